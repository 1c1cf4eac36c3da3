//! The source of intent: a folder and its ledger, or a Kubernetes API server. Both answer the same questions.
//! It must not decide anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lagan_schemas::resource::secret::Secret;
use lagan_schemas::resource::{Kind, Object, ObjectError, ObjectRef};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use crate::folder::{Folder, object_file, write_file};
use crate::kubernetes::{BLUEPRINTS, Kubernetes, KubernetesError};
use crate::ledger::{Entry, Ledger, LedgerError};

#[derive(Debug, Clone)]
pub enum Source {
    Folder(Local),
    Kubernetes(Kubernetes),
}

/// A folder of manifests, and the memory that goes with it.
#[derive(Debug, Clone)]
pub struct Local {
    pub folder: Arc<Folder>,
    pub ledger: Arc<Ledger>,
    /// Where Lagan's own objects are; one of the folder's.
    pub objects: std::path::PathBuf,
    pub data_dir: std::path::PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    #[error("file of `{key}` can't be written or removed")]
    File {
        key: String,
        #[source]
        source: std::io::Error,
    },
    /// Without the reason: it may quote a manifest, and this text is published.
    #[error("`{key}` was not found, and `{file}`, where it may stand, can't be read")]
    Folder { key: String, file: String },
    #[error("`{key}` can't be read at its source")]
    Object {
        key: String,
        #[source]
        source: ObjectError,
    },
}

/// What the source remembers of a session's object (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it may run.
    New,
    /// It may have begun to restore, whatever the log says.
    Recorded,
    Ended,
    /// It is not there any more, or another one has its name.
    Gone,
}

impl Source {
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, SourceError> {
        match self {
            Self::Folder(local) => Ok(local.folder.secret(namespace, name)),
            Self::Kubernetes(api) => Ok(api.secret(namespace, name).await?),
        }
    }

    pub async fn has_secret(&self, namespace: &str, name: &str) -> Result<bool, SourceError> {
        match self {
            Self::Folder(local) => Ok(local.folder.secret(namespace, name).is_some()),
            Self::Kubernetes(api) => Ok(api.has_secret(namespace, name).await?),
        }
    }

    /// One object with everything that is not published, and with its uid.
    pub async fn object(&self, key: &ObjectKey) -> Result<Option<Object>, SourceError> {
        match self {
            Self::Folder(local) => {
                let found = local.folder.object(key);
                let found =
                    found.map_err(|problem| SourceError::Folder { key: key.to_string(), file: problem.file() })?;
                let Some(mut object) = found else { return Ok(None) };
                let identity = local.ledger.read(|state| state.objects.get(key).copied())?;
                object.metadata.uid = identity.filter(|identity| !identity.deleted).map(|identity| identity.uid);
                Ok(Some(object))
            }
            Self::Kubernetes(api) => {
                let Some(value) = api.get(key).await? else { return Ok(None) };
                Object::from_json(value)
                    .map(Some)
                    .map_err(|source| SourceError::Object { key: key.to_string(), source })
            }
        }
    }

    /// Labels of a namespace; `None` where namespaces have none.
    pub async fn namespace_labels(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, SourceError> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Kubernetes(api) => Ok(Some(api.namespace_labels(name).await?)),
        }
    }

    /// Asked once for each session's object, before it is requested.
    pub async fn standing(&self, object: &Object) -> Result<Standing, SourceError> {
        let uid = object.metadata.uid.unwrap_or_default();
        match self {
            Self::Folder(local) => Ok(local.ledger.read(|state| {
                if state.ended.contains_key(&uid) {
                    Standing::Ended
                } else if state.recorded.contains(&uid) {
                    Standing::Recorded
                } else {
                    Standing::New
                }
            })?),
            Self::Kubernetes(api) => {
                let Some(value) = api.get(&object.key()).await? else { return Ok(Standing::Gone) };
                let text = |pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_str);
                let same = text("/metadata/uid").and_then(|text| text.parse().ok()) == Some(uid);
                let ours = value.pointer("/status/foldedSequence").is_some();
                let is_restore = object.kind() == Kind::RestoreSession;
                Ok(match text("/status/phase") {
                    _ if !same => Standing::Gone,
                    Some("Succeeded" | "Failed" | "Skipped") => Standing::Ended,
                    _ if text("/status/recordedTime").is_some() => Standing::Recorded,
                    // Somebody else's run, a Stash operator's: what it did nobody here knows.
                    Some(phase) if !ours && !matches!(phase, "" | "Pending") => {
                        if is_restore {
                            Standing::Recorded
                        } else {
                            Standing::Ended
                        }
                    }
                    _ => Standing::New,
                })
            }
        }
    }

    /// A restore that may begin; nothing begins it again after this (P5).
    pub async fn record_restore(&self, object: &ObjectRef) -> Result<(), SourceError> {
        match self {
            Self::Folder(local) => {
                let session = object.uid.unwrap_or_default();
                Ok(local.ledger.update(|_| (vec![Entry::Recorded { session }], ()))?)
            }
            Self::Kubernetes(api) => {
                let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
                Ok(api.record_restore(object, now).await?)
            }
        }
    }

    /// The end of a session that an object asked for. In a cluster the object's status is this memory.
    pub fn record_end(&self, session: Uuid, phase: &str) -> Result<(), SourceError> {
        let Self::Folder(local) = self else { return Ok(()) };
        if local.ledger.read(|state| state.ended.contains_key(&session))? {
            return Ok(());
        }
        Ok(local.ledger.update(|_| (vec![Entry::Ended { session, phase: phase.to_owned() }], ()))?)
    }

    /// Makes an object that Lagan itself derived, or changes it to this.
    pub async fn put(&self, object: &Object) -> Result<(), SourceError> {
        let (key, value) = (object.key(), object.to_json());
        match self {
            Self::Folder(local) => {
                let file = object_file(key.kind, key.namespace.as_deref().unwrap_or_default(), &key.name);
                // JSON is YAML.
                let text = serde_json::to_string_pretty(&value).unwrap_or_default();
                let written = write_file(&local.objects, &file, &text);
                written.map(drop).map_err(|source| SourceError::File { key: key.to_string(), source })
            }
            Self::Kubernetes(api) => {
                let mut value = value;
                // The API server's to give.
                if let Some(metadata) = value["metadata"].as_object_mut() {
                    metadata
                        .retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
                }
                Ok(api.apply_object(&key, value, BLUEPRINTS).await?)
            }
        }
    }

    /// Removes an object that Lagan itself made.
    pub async fn remove(&self, key: &ObjectKey, uid: Option<Uuid>) -> Result<(), SourceError> {
        match self {
            Self::Folder(local) => {
                let file = object_file(key.kind, key.namespace.as_deref().unwrap_or_default(), &key.name);
                match std::fs::remove_file(local.objects.join(file)) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        Err(SourceError::File { key: key.to_string(), source })
                    }
                    _ => Ok(()),
                }
            }
            Self::Kubernetes(api) => Ok(api.delete(key, uid).await?),
        }
    }

    /// The last slot of a configuration that was decided.
    pub fn mark(&self, configuration: Uuid) -> Result<Option<Timestamp>, SourceError> {
        match self {
            Self::Folder(local) => Ok(local.ledger.read(|state| state.marks.get(&configuration).copied())?),
            Self::Kubernetes(api) => Ok(api.mark(configuration)),
        }
    }

    pub fn set_mark(&self, configuration: Uuid, slot: Timestamp) -> Result<(), SourceError> {
        match self {
            Self::Folder(local) => Ok(local.ledger.update(|_| (vec![Entry::Mark { configuration, slot }], ()))?),
            Self::Kubernetes(api) => {
                api.set_mark(configuration, slot);
                Ok(())
            }
        }
    }
}
