//! A folder of manifests, with the ledger that remembers what was done, as a source of intent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lagan_schemas::origin::ClusterIdentity;
use lagan_schemas::resource::Object;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use super::Standing;
use super::error::SourceError;
use crate::folder::{Folder, earlier_object_file, object_file, write_file};
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
        let file = self.objects.join(object_file(key));
        for path in earlier_object_file(&self.objects, key).into_iter().chain([file]) {
            remove_file(key, &path)?;
        }
        Ok(())
    }

    /// Writes the file of an object that Lagan derived.
    pub(super) fn put(&self, object: &Object) -> Result<(), SourceError> {
        let key = object.key();
        // JSON is YAML.
        let text = serde_json::to_string_pretty(&object.to_json()).unwrap_or_default();
        let written = write_file(&self.objects, &object_file(&key), &text);
        written.map_err(|source| SourceError::File { key: key.to_string(), source })?;
        // Of two files of one object the first counts, which would be the earlier one.
        earlier_object_file(&self.objects, &key).map_or(Ok(()), |earlier| remove_file(&key, &earlier))
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

    /// Whether a restore has ended, or may have written something.
    pub(super) fn has_run(&self, session: Uuid) -> Result<bool, SourceError> {
        Ok(self.ledger.read(|state| state.ended.contains_key(&session) || state.writing.contains_key(&session))?)
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

fn remove_file(key: &ObjectKey, path: &Path) -> Result<(), SourceError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SourceError::File { key: key.to_string(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::manifest::{Manifest, parse};

    use super::*;

    fn object(group: &str, namespace: &str, name: &str, path: &str) -> Object {
        let text = format!(
            "apiVersion: {group}/v1alpha1\nkind: Repository\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  backend: {{storageSecretName: s, local: {{mountPath: {path}}}}}\n"
        );
        match parse("test.yaml", &text).remove(0).unwrap() {
            Manifest::Object(object) => *object,
            other => panic!("{other:?}"),
        }
    }

    fn source(dir: &Path) -> FolderSource {
        let (folder, ledger) = (Folder::new(vec![dir.to_owned()]), Ledger::open(dir).unwrap());
        FolderSource { folder: folder.into(), ledger: ledger.into(), objects: dir.to_owned(), data_dir: dir.to_owned() }
    }

    #[test]
    fn objects_whose_names_look_alike_have_a_file_each() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path());
        let alike = [
            object("lagan.dev", "a-b", "c", "/1"),
            object("lagan.dev", "a", "b-c", "/2"),
            object("stash.appscode.com", "a", "b-c", "/3"),
            object("lagan.dev", "a", "b.c", "/4"),
            object("lagan.dev", "a", &"n".repeat(253), "/5"),
            object("lagan.dev", "a", &("n".repeat(252) + "m"), "/6"),
        ];
        for object in &alike {
            source.put(object).unwrap();
        }
        assert_eq!(source.folder.scan().objects.len(), alike.len());
        source.remove(&alike[1].key()).unwrap();
        let left: Vec<bool> = alike.iter().map(|object| source.object(&object.key()).unwrap().is_some()).collect();
        assert_eq!(left, [true, false, true, true, true, true]);
    }

    #[test]
    fn the_file_of_an_earlier_version_goes_with_its_object_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path());
        let (first, second) = (object("lagan.dev", "a-b", "c", "/1"), object("lagan.dev", "a", "b-c", "/2"));
        let earlier = dir.path().join("repository-a-b-c.yaml");
        std::fs::write(&earlier, serde_json::to_string(&first.to_json()).unwrap()).unwrap();
        source.put(&second).unwrap();
        source.remove(&second.key()).unwrap();
        assert!(earlier.exists(), "it is the file of another object");
        let changed = object("lagan.dev", "a-b", "c", "/3");
        source.put(&changed).unwrap();
        let scan = source.folder.scan();
        assert!(scan.problems.is_empty() && !earlier.exists(), "{:?}", scan.problems);
        assert_eq!(scan.objects[&first.key()].object.spec, changed.spec);
        std::fs::write(&earlier, serde_json::to_string(&first.to_json()).unwrap()).unwrap();
        source.remove(&first.key()).unwrap();
        assert!(source.folder.scan().objects.is_empty());
    }
}
