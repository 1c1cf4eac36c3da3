//! Reads a snapshot back with a fresh index: the snapshot, its tree, every blob in an unmarked pack, the length of every
//! pack, and the hash of a sample of packs. A backup does so before its snapshot file exists. It must not trust any value
//! that the backup kept in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustic_core::repofile::{BlobType, Node, SnapshotFile};
use rustic_core::{FileType, Id};

use super::error::Error;
use super::locate::{BlobIndex, PackState};
use super::open::Repository;
use super::store::path_of;

/// Up to this number of packs, each length is asked for by itself; beyond it, one listing of all packs is cheaper.
const SINGLE_LOOKS: usize = 256;
const LOOKERS: usize = 8;
/// Number of packs that are read in addition to the first and the last.
const SAMPLE: usize = 3;

/// Facts about the snapshot that the caller knows; the others are taken from the snapshot itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpectedSnapshot {
    pub bytes: Option<u64>,
}

/// The result of a read-back that found no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBack {
    /// Length of the file in the snapshot.
    pub bytes: u64,
    pub packs_read: usize,
    pub packs_total: usize,
}

impl Repository {
    /// Reads the snapshot back. A fault of the snapshot is `Error::ReadBack`; a storage that could not be asked is
    /// `Error::Storage`.
    pub fn verify(&self, snapshot_id: &str, expected: ExpectedSnapshot) -> Result<ReadBack, Error> {
        let checked = self.snapshot_file(snapshot_id).and_then(|snapshot| self.check(&snapshot, expected));
        checked.map_err(|error| finding(error, |detail| Error::ReadBack { id: snapshot_id.to_owned(), detail }))
    }

    /// Reads back everything that a snapshot will name, before its file is written.
    pub(super) fn verify_stored(&self, snapshot: &SnapshotFile, bytes: u64) -> Result<ReadBack, Error> {
        let checked = self.check(snapshot, ExpectedSnapshot { bytes: Some(bytes) });
        checked.map_err(|error| finding(error, |detail| Error::NotStored { detail }))
    }

    /// Reads back the file of a snapshot whose content was read back before it was written.
    pub fn verify_file(&self, snapshot_id: &str) -> Result<(), Error> {
        let read = self.snapshot_file(snapshot_id).map(drop);
        read.map_err(|error| finding(error, |detail| Error::ReadBack { id: snapshot_id.to_owned(), detail }))
    }

    fn check(&self, snapshot: &SnapshotFile, expected: ExpectedSnapshot) -> Result<ReadBack, Error> {
        let (tree, location, trees) = self.tree(*snapshot.tree)?;
        let (file, companions) = files(&tree.nodes, snapshot)?;
        let of = |file: &Node| file.content.iter().flatten().map(|id| **id).collect::<Vec<Id>>();
        let content = [of(file), companions.iter().flat_map(|file| of(file)).collect()].concat();
        let mut found = self.find(BlobType::Data, &content.iter().copied().collect::<HashSet<_>>())?;
        check_blobs(&of(file), &found, file, expected)?;
        for companion in companions {
            check_blobs(&of(companion), &found, companion, ExpectedSnapshot::default())?;
        }
        if location.standing == PackState::Marked {
            return Err(damaged("its tree is in a pack marked for deletion"));
        }
        let order = packs_in_order(&content, &found, location.pack);
        found.packs.extend(trees.packs);
        self.check_packs(&found.packs)?;
        let sample = sample(&order, snapshot.tree.as_u32());
        for pack in &sample {
            if self.store.hash(&path_of(FileType::Pack, pack))? != *pack {
                return Err(damaged(format!("the content of pack `{}` is not what its name says", &*pack.to_hex())));
            }
        }
        Ok(ReadBack { bytes: file.meta.size, packs_read: sample.len(), packs_total: order.len() })
    }

    fn check_packs(&self, packs: &HashMap<Id, u32>) -> Result<(), Error> {
        if packs.len() > SINGLE_LOOKS {
            let mut listed = HashMap::new();
            self.store.each(FileType::Pack, |id, length| {
                if packs.contains_key(&id) {
                    listed.insert(id, length);
                }
                Ok(())
            })?;
            return packs.iter().try_for_each(|(id, length)| {
                check_length(id, *length, listed.get(id).map(|length| u64::from(*length)))
            });
        }
        let todo: Vec<(&Id, &u32)> = packs.iter().collect();
        let next = AtomicUsize::new(0);
        let result = Mutex::new(Ok(()));
        thread::scope(|scope| {
            for _ in 0..LOOKERS.min(todo.len()) {
                scope.spawn(|| {
                    while let Some((id, length)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let looked = self.store.length(&path_of(FileType::Pack, id)).map_err(Error::from);
                        if let Err(error) = looked.and_then(|found| check_length(id, **length, found)) {
                            *result.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                            return;
                        }
                    }
                });
            }
        });
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns an error into a finding about what was read back, unless the storage could not be asked. A missing file is a fault
/// of the snapshot.
fn finding(error: Error, wrong: impl Fn(String) -> Error) -> Error {
    match error {
        Error::Damaged { detail } | Error::Core { detail, .. } => wrong(detail),
        Error::Storage(storage) if Error::Storage(storage.clone()).is_missing_file() => wrong(storage.to_string()),
        Error::Storage(storage) if storage.kind == super::StoreErrorKind::WrongLength => wrong(storage.to_string()),
        other => other,
    }
}

fn damaged(detail: impl Into<String>) -> Error {
    Error::Damaged { detail: detail.into() }
}

/// The file that the snapshot's path names, and those beside it.
fn files<'n>(nodes: &'n [Node], snapshot: &SnapshotFile) -> Result<(&'n Node, Vec<&'n Node>), Error> {
    let paths: Vec<&String> = snapshot.paths.iter().collect();
    let is_named = |node: &&Node| match paths.as_slice() {
        [path] => path.rsplit('/').next().is_some_and(|name| *node.name() == *name),
        _ => false,
    };
    let (named, others): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_named);
    match named.as_slice() {
        [file] if others.len() <= 1 && nodes.iter().all(Node::is_file) => Ok((file, others)),
        _ => Err(damaged(format!("it holds {} entries for the paths {paths:?}", nodes.len()))),
    }
}

fn check_blobs(content: &[Id], found: &BlobIndex, file: &Node, expected: ExpectedSnapshot) -> Result<(), Error> {
    let mut length = 0;
    for id in content {
        let blob = found.blobs.get(id).ok_or_else(|| damaged(format!("blob `{id}` is not in the index")))?;
        if blob.standing == PackState::Marked {
            return Err(damaged(format!("blob `{id}` is only in a pack marked for deletion")));
        }
        length += blob.content_length();
    }
    let expected = expected.bytes.unwrap_or(file.meta.size);
    // `rustic` writes 0 for a stream, because its archiver does not know the length in advance.
    let noted = if file.meta.size == 0 { length } else { file.meta.size };
    if length == expected && noted == length {
        Ok(())
    } else {
        Err(damaged(format!("expected {expected} bytes, the tree says {}, its blobs hold {length}", file.meta.size)))
    }
}

fn check_length(pack: &Id, expected: u32, found: Option<u64>) -> Result<(), Error> {
    match found {
        Some(found) if found == u64::from(expected) => Ok(()),
        Some(found) => Err(damaged(format!("pack `{}` has {found} bytes instead of {expected}", &*pack.to_hex()))),
        None => Err(damaged(format!("pack `{}` is missing", &*pack.to_hex()))),
    }
}

/// Lists the packs in the order of the file, followed by the pack of the tree.
fn packs_in_order(content: &[Id], found: &BlobIndex, tree: Id) -> Vec<Id> {
    let mut seen = HashSet::new();
    let data = content.iter().filter_map(|id| found.blobs.get(id)).map(|blob| blob.pack);
    data.chain([tree]).filter(|pack| seen.insert(*pack)).collect()
}

/// Chooses the first and the last packs and a few between them, which differ from snapshot to snapshot.
fn sample(packs: &[Id], seed: u32) -> Vec<Id> {
    let count = packs.len();
    let mut chosen = BTreeSet::from([0, count.saturating_sub(1), count.saturating_sub(2)]);
    let mut state = u64::from(seed) | 1;
    for _ in 0..SAMPLE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = usize::try_from(state >> 33).unwrap_or(0);
        chosen.insert(index % count.max(1));
    }
    chosen.into_iter().filter_map(|index| packs.get(index).copied()).collect()
}
