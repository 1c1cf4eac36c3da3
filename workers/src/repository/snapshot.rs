//! Lists snapshots one by one, so that a damaged snapshot is named and hides none of the others. Removing deletes
//! snapshot files only; packs are left to prune.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use jiff::Zoned;
use lagan_schemas::origin::Origin;
use lagan_schemas::tag::Tag;
use rustic_core::repofile::{SnapshotFile, SnapshotId};
use rustic_core::{FileType, Id};

use super::error::Error;
use super::open::Repository;
use super::store::path_of;

const READERS: usize = 8;

/// A snapshot as its file describes it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// 64 hexadecimal digits.
    pub id: String,
    pub time: Zoned,
    pub host: String,
    pub paths: Vec<String>,
    pub tags: Vec<String>,
    /// Bytes of all files, if the writer noted them.
    pub bytes: Option<u64>,
    pub program: String,
    file: SnapshotFile,
}

#[derive(Debug, Clone, Default)]
pub struct SnapshotList {
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    pub damaged: Vec<Damaged>,
}

/// A snapshot file that exists and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub id: String,
    pub why: String,
}

impl From<SnapshotFile> for Snapshot {
    fn from(file: SnapshotFile) -> Self {
        Self {
            id: file.id.to_hex().to_string(),
            time: file.time.clone(),
            host: file.hostname.clone(),
            paths: file.paths.iter().cloned().collect(),
            tags: file.tags.iter().cloned().collect(),
            bytes: file.summary.as_ref().map(|summary| summary.total_bytes_processed),
            program: file.program_version.clone(),
            file,
        }
    }
}

impl Snapshot {
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        Tag::Session.find(&self.tags)
    }

    /// The cluster and configuration that wrote it; `None` for a snapshot that Lagan did not write.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        Some(Origin {
            cluster: Tag::Identity.find(&self.tags)?.parse().ok()?,
            cluster_name: Tag::Cluster.find(&self.tags)?.to_owned(),
            configuration: Tag::Configuration.find(&self.tags)?.parse().ok()?,
        })
    }

    /// The paths as retention and `latest` compare them; like restic, they are sorted.
    #[must_use]
    pub fn path(&self) -> String {
        self.paths.join(",")
    }

    pub(super) fn file(&self) -> &SnapshotFile {
        &self.file
    }
}

impl Repository {
    /// Lists all snapshots. A storage that cannot be asked is an error; a snapshot that cannot be decoded is `damaged`.
    pub fn snapshots(&self) -> Result<SnapshotList, Error> {
        let ids: Vec<Id> = self.store.list(FileType::Snapshot)?.into_iter().map(|(id, _)| id).collect();
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Ok(SnapshotList::default()));
        thread::scope(|scope| {
            for _ in 0..READERS.min(ids.len()) {
                scope.spawn(|| {
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let read = self.read_snapshot(*id);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        match (&mut *found, read) {
                            (Ok(list), Ok(Some(snapshot))) => list.snapshots.push(snapshot),
                            (Ok(_), Ok(None)) => {}
                            (Ok(list), Err(error)) if error.is_about_the_file() => {
                                list.damaged.push(Damaged { id: id.to_hex().to_string(), why: error.to_string() });
                            }
                            (Ok(_), Err(error)) => *found = Err(error),
                            (Err(_), _) => return,
                        }
                    }
                });
            }
        });
        let mut list = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        list.snapshots.sort_by(|a, b| (&a.time, &a.id).cmp(&(&b.time, &b.id)));
        list.damaged.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(list)
    }

    pub(super) fn snapshot_file(&self, id: &str) -> Result<SnapshotFile, Error> {
        let not_found = || Error::SnapshotNotFound { id: id.to_owned() };
        self.read_snapshot(parse_id(id)?)?.map(|snapshot| snapshot.file).ok_or_else(not_found)
    }

    /// Reads a snapshot; `None` if it was removed after it was listed.
    fn read_snapshot(&self, id: Id) -> Result<Option<Snapshot>, Error> {
        match self.json_file::<SnapshotFile>(FileType::Snapshot, &id) {
            Ok(file) => Ok(Some(Snapshot::from(SnapshotFile { id: SnapshotId::from(id), ..file }))),
            Err(error) if error.is_missing_file() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes snapshot files. A file that no longer exists is no error.
    pub fn remove<I: AsRef<str>>(&self, ids: &[I]) -> Result<(), Error> {
        if self.config.append_only == Some(true) {
            let location = self.location().to_owned();
            return Err(Error::Unsupported { location, what: "append-only mode".to_owned() });
        }
        let ids = ids.iter().map(|id| parse_id(id.as_ref())).collect::<Result<Vec<_>, _>>()?;
        for id in ids {
            self.store.remove(&path_of(FileType::Snapshot, &id))?;
            tracing::info!(snapshot = &*id.to_hex(), "snapshot removed");
        }
        Ok(())
    }
}

fn parse_id(id: &str) -> Result<Id, Error> {
    id.parse().map_err(|_| Error::Invalid { what: "a snapshot id (64 hexadecimal digits)", value: id.to_owned() })
}
