//! The source of intent: a folder and its ledger, or a Kubernetes API server. Both answer the same questions, and this is
//! the only file that asks which of the two it is: everything else asks what a source can do.
//! It must not decide anything.

mod error;
mod folder;
mod standing;

use std::collections::BTreeMap;

use jiff::Timestamp;
use lagan_schemas::origin::ClusterIdentity;
use lagan_schemas::place::Volumes;
use lagan_schemas::resource::secret::Secret;
use lagan_schemas::resource::{Object, ObjectRef};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

pub use self::error::SourceError;
pub use self::folder::FolderSource;
pub use self::standing::Standing;
use crate::kubernetes::{BLUEPRINTS, Kubernetes, StashCompat};
use crate::ledger::LedgerEntry;
use crate::open_slot::{DecidedSlot, OpenSlot};

/// Where manifests, Secrets and the memory of what was done are.
#[derive(Debug, Clone)]
pub struct Source(Origin);

#[derive(Debug, Clone)]
enum Origin {
    Folder(FolderSource),
    Cluster(Kubernetes),
}

impl From<FolderSource> for Source {
    fn from(local: FolderSource) -> Self {
        Self(Origin::Folder(local))
    }
}

impl From<Kubernetes> for Source {
    fn from(api: Kubernetes) -> Self {
        Self(Origin::Cluster(api))
    }
}

/// The place that a watcher follows.
#[derive(Debug, Clone, Copy)]
pub enum Watched<'a> {
    Files(&'a FolderSource),
    Objects(&'a Kubernetes),
}

/// The ledger that a cluster's memory is in, where it is not in the statuses of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerIdentity {
    pub id: Uuid,
    pub data_dir: std::path::PathBuf,
}

/// A change of the Stash operator in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorChange {
    Installed,
    Removed,
}

impl Source {
    #[must_use]
    pub const fn watched(&self) -> Watched<'_> {
        match &self.0 {
            Origin::Folder(local) => Watched::Files(local),
            Origin::Cluster(api) => Watched::Objects(api),
        }
    }

    /// The API server that shows statuses on their objects; `None` where only STATUS shows them.
    #[must_use]
    pub const fn statuses(&self) -> Option<&Kubernetes> {
        match &self.0 {
            Origin::Folder(_) => None,
            Origin::Cluster(api) => Some(api),
        }
    }

    /// The API server that knows Services and pods; `None` where there are none.
    #[must_use]
    pub const fn services(&self) -> Option<&Kubernetes> {
        self.statuses()
    }

    /// Whether every session has an object that shows it, which people can delete.
    #[must_use]
    pub const fn shows_sessions(&self) -> bool {
        self.statuses().is_some()
    }

    /// Namespaces whose objects are seen; none means all.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        match &self.0 {
            Origin::Folder(_) => &[],
            Origin::Cluster(api) => &api.namespaces,
        }
    }

    /// Whether an object of this name would be seen. A folder is seen as a whole.
    #[must_use]
    pub fn watches(&self, key: &ObjectKey) -> bool {
        match &self.0 {
            Origin::Folder(_) => true,
            Origin::Cluster(api) => api.watches(key),
        }
    }

    /// Whether a deleted Repository may take its data with it. A file that is removed deletes no data.
    #[must_use]
    pub const fn deletes_data(&self) -> bool {
        self.statuses().is_some()
    }

    /// Where the volumes of `local` repositories are visible.
    #[must_use]
    pub const fn volumes(&self) -> Volumes {
        match &self.0 {
            Origin::Folder(_) => Volumes::Host,
            Origin::Cluster(_) => Volumes::Mounted,
        }
    }

    /// The ledger that remembers what was done; `None` where the statuses of the objects do.
    pub fn ledger(&self) -> Result<Option<LedgerIdentity>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => {
                Ok(Some(LedgerIdentity { id: local.identity()?.uid, data_dir: local.data_dir.clone() }))
            }
            Origin::Cluster(_) => Ok(None),
        }
    }

    /// The identity of the cluster, with those that it adopted. It stays when names, nodes and Lagan itself are replaced.
    pub async fn identity(&self) -> Result<ClusterIdentity, SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.identity(),
            Origin::Cluster(api) => Ok(api.identity().await?),
        }
    }

    /// Takes over the identity of a lost cluster: its snapshots count as this cluster's own.
    pub async fn adopt_identity(&self, identity: Uuid) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.remember(LedgerEntry::Adopted { identity }),
            Origin::Cluster(api) => Ok(api.adopt_identity(identity).await?),
        }
    }

    /// Whether a Stash operator came or went since this source was opened, so that the objects of Stash's group are not
    /// ours any more, or are ours again.
    pub async fn stash_operator_change(&self) -> Result<Option<OperatorChange>, SourceError> {
        let Origin::Cluster(api) = &self.0 else { return Ok(None) };
        let (expected, change) = match api.stash {
            StashCompat::On => (false, OperatorChange::Installed),
            StashCompat::LeftToOperator => (true, OperatorChange::Removed),
            StashCompat::Off => return Ok(None),
        };
        Ok((api.stash_operator_runs().await? != expected).then_some(change))
    }

    /// Reads what is remembered of schedules, once, before the first `mark`.
    pub async fn recall_marks(&self) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(_) => Ok(()),
            Origin::Cluster(api) => Ok(api.recall_marks().await?),
        }
    }

    /// Whether an object that a view has lost is really gone. The view of a cluster may be empty after a loss.
    pub async fn confirms_deletion(&self, key: &ObjectKey) -> Result<bool, SourceError> {
        match &self.0 {
            Origin::Folder(_) => Ok(true),
            Origin::Cluster(api) => Ok(api.get(key).await?.is_none()),
        }
    }

    /// Removes the file of a session that has left the history. The object of a cluster goes with its status.
    pub fn forget_session(&self, key: &ObjectKey) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.remove(key),
            Origin::Cluster(_) => Ok(()),
        }
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.folder.secret(namespace, name)),
            Origin::Cluster(api) => Ok(api.secret(namespace, name).await?),
        }
    }

    pub async fn has_secret(&self, namespace: &str, name: &str) -> Result<bool, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.folder.secret(namespace, name).is_some()),
            Origin::Cluster(api) => Ok(api.has_secret(namespace, name).await?),
        }
    }

    /// Reads an object with its unpublished fields and its uid.
    pub async fn object(&self, key: &ObjectKey) -> Result<Option<Object>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.object(key),
            Origin::Cluster(api) => {
                let Some(value) = api.get(key).await? else { return Ok(None) };
                Object::from_json(value)
                    .map(Some)
                    .map_err(|source| SourceError::Object { key: key.to_string(), source })
            }
        }
    }

    /// Reads the labels of a namespace; `None` in a folder, where namespaces have none.
    pub async fn namespace_labels(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, SourceError> {
        match &self.0 {
            Origin::Folder(_) => Ok(None),
            Origin::Cluster(api) => Ok(Some(api.namespace_labels(name).await?)),
        }
    }

    /// Whether a namespace exists. A folder has those that its manifests name; while a manifest can't be read, any.
    pub async fn has_namespace(&self, name: &str) -> Result<bool, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.has_namespace(name)),
            Origin::Cluster(api) => Ok(api.has_namespace(name).await?),
        }
    }

    /// Annotations of a Service; `None` if there is no such Service, as always in a folder. A name in a namespace of which
    /// nothing may be read is not known to be a Service: it is often a public host, and reaches no private network.
    pub async fn service_annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, SourceError> {
        match &self.0 {
            Origin::Folder(_) => Ok(None),
            Origin::Cluster(api) => match api.service_annotations(namespace, name).await.map_err(SourceError::from) {
                Err(error) if error.is_refusal() => Ok(None),
                answer => answer,
            },
        }
    }

    /// Reads the standing of a session's object, once before the session is requested.
    pub async fn standing(&self, object: &Object) -> Result<Standing, SourceError> {
        let uid = object.metadata.uid.unwrap_or_default();
        match &self.0 {
            Origin::Folder(local) => local.standing(uid),
            Origin::Cluster(api) => Ok(standing::of(api.get(&object.key()).await?.as_ref(), object)),
        }
    }

    /// Records that a restore may begin, so that it is never begun again (P5).
    pub async fn record_restore(&self, object: &ObjectRef) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => {
                local.remember(LedgerEntry::Recorded { session: object.uid.unwrap_or_default(), writes_since: None })
            }
            Origin::Cluster(api) => {
                let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
                Ok(api.record_restore(object, now).await?)
            }
        }
    }

    /// Records that a restore is about to write (P5). In a cluster its status says so, when the log does.
    pub fn record_writing(&self, restore: Uuid) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => {
                let writes_since = Some(Timestamp::now());
                local.remember(LedgerEntry::Recorded { session: restore, writes_since })
            }
            Origin::Cluster(_) => Ok(()),
        }
    }

    /// Whether a restore has ended, or may have written something. The source may know that when the log, which was set back
    /// to an older copy, does not.
    pub async fn has_run(&self, restore: &ObjectRef) -> Result<bool, SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.has_run(restore.uid.unwrap_or_default()),
            Origin::Cluster(api) => {
                let Some(value) = api.get(&restore.key()).await? else { return Ok(false) };
                let status = &value["status"];
                let has_ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"));
                // A restore names its snapshot when it is about to write.
                Ok(has_ended || status["snapshot"].is_string())
            }
        }
    }

    /// Records the end of a session that an object asked for. In a cluster the object's status serves as this record.
    pub fn record_end(&self, session: Uuid, phase: &str) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.record_end(session, phase),
            Origin::Cluster(_) => Ok(()),
        }
    }

    /// Creates or updates an object that Lagan derived.
    pub async fn put(&self, object: &Object) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.put(object),
            Origin::Cluster(api) => {
                let mut value = object.to_json();
                // The API server sets the other fields.
                if let Some(metadata) = value["metadata"].as_object_mut() {
                    metadata
                        .retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
                }
                Ok(api.apply_object(&object.key(), value, BLUEPRINTS).await?)
            }
        }
    }

    /// Deletes an object that Lagan created.
    pub async fn remove(&self, key: &ObjectKey, uid: Option<Uuid>) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.remove(key),
            Origin::Cluster(api) => Ok(api.delete(key, uid).await?),
        }
    }

    /// Reads the last decided slot of a configuration.
    pub fn mark(&self, configuration: Uuid) -> Result<Option<Timestamp>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.ledger.read(|state| state.marks.get(&configuration).copied())?),
            Origin::Cluster(api) => Ok(api.mark(configuration)),
        }
    }

    /// Moves the marks of configurations forward, and remembers the sessions of the slots. A folder writes all of them at
    /// once; in a cluster this process remembers them, and the objects that the reporter makes.
    pub fn set_marks(&self, decided: Vec<DecidedSlot>) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.set_marks(decided),
            Origin::Cluster(api) => {
                api.set_marks(decided);
                Ok(())
            }
        }
    }

    /// Lists the slots whose sessions are requested and have not ended, as far as the source knows.
    pub async fn open_slots(&self) -> Result<Vec<OpenSlot>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.ledger.read(|state| state.open.values().cloned().collect())?),
            Origin::Cluster(api) => Ok(api.open_slots().await?),
        }
    }

    /// Lists the sessions of slots that are remembered until they are closed. In a cluster objects show others.
    pub fn remembered_slots(&self) -> Result<Vec<Uuid>, SourceError> {
        match &self.0 {
            Origin::Folder(local) => Ok(local.ledger.read(|state| state.open.keys().copied().collect())?),
            Origin::Cluster(api) => Ok(api.remembered_slots()),
        }
    }

    /// Remembers that the sessions of slots have ended. In a cluster the statuses of their objects say so too.
    pub fn close_slots(&self, sessions: Vec<Uuid>) -> Result<(), SourceError> {
        match &self.0 {
            Origin::Folder(local) => local.close_slots(sessions),
            Origin::Cluster(api) => {
                api.close_slots(&sessions);
                Ok(())
            }
        }
    }
}
