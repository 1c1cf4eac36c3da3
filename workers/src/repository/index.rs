//! Reads the index: all index files once, a few at a time, on threads of this call. It must not keep an index file: memory
//! is bounded by the limit of one file, whatever the size of the repository.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use rustic_core::repofile::IndexFile;
use rustic_core::{FileType, Id};

use super::cipher::hash;
use super::error::Error;
use super::limits;
use super::open::Repository;
use super::store::path_of;

/// Threads that read, decrypt and parse. Not more on a machine with more cores: each holds an index file in memory.
const READERS: usize = 4;

impl Repository {
    /// Calls `visit` with each index file, in any order.
    pub(super) fn each_index(&self, mut visit: impl FnMut(&IndexFile) -> Result<(), Error>) -> Result<(), Error> {
        let ids: Vec<Id> = self.store.list(FileType::Index)?.into_iter().map(|(id, _)| id).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            for _ in 0..READERS.min(ids.len()) {
                let sender = sender.clone();
                let (ids, next) = (&ids, &next);
                scope.spawn(move || {
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // A closed channel means that the visit has failed.
                        if sender.send(self.json_file::<IndexFile>(FileType::Index, id)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            receiver.into_iter().try_for_each(|index| visit(&index?))
        })
    }

    /// Reads a JSON file, and compares its content with its name.
    pub(super) fn json_file<T: serde::de::DeserializeOwned>(&self, kind: FileType, id: &Id) -> Result<T, Error> {
        let path = path_of(kind, id);
        let content = self.store.read(&path, limits::file_bytes(kind))?;
        let damaged = |why: String| Error::Damaged { detail: format!("`{path}`: {why}") };
        if hash(&content) != *id {
            return Err(damaged("its content is not what its name says".to_owned()));
        }
        let json = self.cipher.open_file(kind, &content).map_err(|error| damaged(error.to_string()))?;
        // The error shows a line and a column, and none of the content.
        serde_json::from_slice(&json)
            .map_err(|error| damaged(format!("it is not what restic writes ({}:{})", error.line(), error.column())))
    }
}
