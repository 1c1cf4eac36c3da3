//! A folder of manifests, with the ledger that remembers what was done, as a source of intent.

use std::path::PathBuf;
use std::sync::Arc;

use lagan_schemas::origin::ClusterIdentity;
use lagan_schemas::resource::Object;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use super::Standing;
use super::error::SourceError;
use crate::folder::{Folder, object_file, write_file};
use crate::ledger::{Ledger, LedgerEntry};
use crate::open_slot::DecidedSlot;

/// A folder of manifests and its ledger.
#[derive(Debug, Clone)]
pub struct FolderSource {
    pub folder: Arc<Folder>,
    pub ledger: Arc<Ledger>,
    /// The directory of Lagan's own objects, which is part of the folder.
    pub objects: PathBuf,
    pub data_dir: PathBuf,
}

impl FolderSource {
    /// Removes the file of an object that Lagan itself made.
    pub(super) fn remove(&self, key: &ObjectKey) -> Result<(), SourceError> {
        match std::fs::remove_file(self.objects.join(file_of(key))) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(SourceError::File { key: key.to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// Writes the file of an object that Lagan derived.
    pub(super) fn put(&self, object: &Object) -> Result<(), SourceError> {
        let key = object.key();
        // JSON is YAML.
        let text = serde_json::to_string_pretty(&object.to_json()).unwrap_or_default();
        let written = write_file(&self.objects, &file_of(&key), &text);
        written.map(drop).map_err(|source| SourceError::File { key: key.to_string(), source })
    }

    /// Reads an object with its uid, which is in the ledger.
    pub(super) fn object(&self, key: &ObjectKey) -> Result<Option<Object>, SourceError> {
        let found = self.folder.object(key);
        let found = found.map_err(|problem| SourceError::Folder { key: key.to_string(), file: problem.file() })?;
        let Some(mut object) = found else { return Ok(None) };
        let identity = self.ledger.read(|state| state.objects.get(key).copied())?;
        object.metadata.uid = identity.filter(|identity| !identity.deleted).map(|identity| identity.uid);
        Ok(Some(object))
    }

    /// Whether a manifest names the namespace, or one that can't be read may do so.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        let scan = self.folder.scan();
        scan.hidden_by(None).is_some() || scan.objects.keys().any(|key| key.namespace.as_deref() == Some(name))
    }

    pub(super) fn identity(&self) -> Result<ClusterIdentity, SourceError> {
        Ok(self
            .ledger
            .read(|state| ClusterIdentity { uid: state.id.unwrap_or_default(), adopted: state.adopted.clone() })?)
    }

    pub(super) fn standing(&self, session: Uuid) -> Result<Standing, SourceError> {
        Ok(self.ledger.read(|state| {
            if state.ended.contains_key(&session) {
                Standing::Ended
            } else if state.recorded.contains(&session) {
                Standing::Recorded
            } else {
                Standing::New
            }
        })?)
    }

    /// Records the end of a session, once.
    pub(super) fn record_end(&self, session: Uuid, phase: &str) -> Result<(), SourceError> {
        if self.ledger.read(|state| state.ended.contains_key(&session))? {
            return Ok(());
        }
        self.remember(LedgerEntry::Ended { session, phase: phase.to_owned() })
    }

    pub(super) fn set_marks(&self, decided: Vec<DecidedSlot>) -> Result<(), SourceError> {
        let entries = decided.into_iter().flat_map(|DecidedSlot { configuration, slot, opened }| {
            [opened.map(LedgerEntry::Opened), Some(LedgerEntry::Mark { configuration, slot })]
        });
        let entries: Vec<LedgerEntry> = entries.flatten().collect();
        if entries.is_empty() {
            return Ok(());
        }
        Ok(self.ledger.update(|_| (entries, ()))?)
    }

    /// Closes slots that are open. Another process may have closed them before.
    pub(super) fn close_slots(&self, mut sessions: Vec<Uuid>) -> Result<(), SourceError> {
        Ok(self.ledger.update(|state| {
            sessions.retain(|session| state.open.contains_key(session));
            (sessions.into_iter().map(|session| LedgerEntry::Closed { session }).collect(), ())
        })?)
    }

    pub(super) fn remember(&self, entry: LedgerEntry) -> Result<(), SourceError> {
        Ok(self.ledger.update(|_| (vec![entry], ()))?)
    }
}

fn file_of(key: &ObjectKey) -> String {
    object_file(key.kind, key.namespace.as_deref().unwrap_or_default(), &key.name)
}
