//! Locates blobs by one pass over the index files. Only the wanted blobs are remembered, so that memory grows with the
//! snapshot and not with the repository. A blob that is only in packs marked for deletion is reported as such.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use rustic_core::repofile::{BlobType, IndexFile, IndexPack, Node, Tree};
use rustic_core::{FileType, Id};

use super::cipher::OVERHEAD;
use super::error::Error;
use super::limits;
use super::open::Repository;
use super::store::path_of;

/// The position of a blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobLocation {
    pub(super) blob: Id,
    pub(super) pack: Id,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) uncompressed: Option<NonZeroU32>,
    pub(super) standing: PackState,
}

/// Whether a pack is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackState {
    Kept,
    /// A prune has marked the pack. It will be deleted unless another prune sees that it is needed.
    Marked,
}

/// The part of the index that concerns the wanted blobs.
#[derive(Default)]
pub(super) struct BlobIndex {
    pub(super) blobs: HashMap<Id, BlobLocation>,
    /// Length of every pack that holds one of the blobs.
    pub(super) packs: HashMap<Id, u32>,
}

impl BlobLocation {
    /// Length of the blob's content.
    pub(super) fn content_length(&self) -> u64 {
        u64::from(self.uncompressed.map_or(self.length.saturating_sub(32), NonZeroU32::get))
    }
}

/// Index files in the order in which they arrive. A pack counts as marked if any of them marks it: while a prune
/// rewrites the index, an old file may still list the pack as kept.
#[derive(Default)]
struct Merge {
    kept: HashMap<Id, BlobLocation>,
    /// Further locations of the blobs in `kept`, in case their pack turns out to be marked. They are few.
    duplicates: Vec<BlobLocation>,
    marked: HashMap<Id, BlobLocation>,
    marked_packs: HashSet<Id>,
    pack_lengths: HashMap<Id, u32>,
}

impl Merge {
    fn add(&mut self, index: &IndexFile, kind: BlobType, wanted: &HashSet<Id>) -> Result<(), Error> {
        for pack in &index.packs {
            self.collect(pack, kind, wanted, PackState::Kept)?;
        }
        for pack in &index.packs_to_delete {
            self.marked_packs.insert(*pack.id);
            self.collect(pack, kind, wanted, PackState::Marked)?;
        }
        Ok(())
    }

    fn collect(
        &mut self,
        pack: &IndexPack,
        kind: BlobType,
        wanted: &HashSet<Id>,
        standing: PackState,
    ) -> Result<(), Error> {
        for blob in pack.blobs.iter().filter(|blob| blob.tpe == kind && wanted.contains(&*blob.id)) {
            let location = BlobLocation {
                blob: *blob.id,
                pack: *pack.id,
                offset: blob.location.offset,
                length: blob.location.length,
                uncompressed: blob.location.uncompressed_length,
                standing,
            };
            check_lengths(&location, kind)?;
            self.pack_lengths.insert(location.pack, pack.pack_size());
            match (standing, self.kept.get(&location.blob)) {
                (PackState::Marked, _) => drop(self.marked.insert(location.blob, location)),
                (PackState::Kept, Some(first)) if first.pack != location.pack => self.duplicates.push(location),
                (PackState::Kept, _) => drop(self.kept.insert(location.blob, location)),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> BlobIndex {
        let mut blobs = self.kept;
        blobs.retain(|_, location| !self.marked_packs.contains(&location.pack));
        for location in self.duplicates {
            if !self.marked_packs.contains(&location.pack) {
                blobs.entry(location.blob).or_insert(location);
            }
        }
        for (id, location) in self.marked {
            blobs.entry(id).or_insert(location);
        }
        let used: HashSet<Id> = blobs.values().map(|location| location.pack).collect();
        self.pack_lengths.retain(|id, _| used.contains(id));
        BlobIndex { blobs, packs: self.pack_lengths }
    }
}

/// Refuses lengths for which a reader would reserve more memory than any real blob needs.
fn check_lengths(location: &BlobLocation, kind: BlobType) -> Result<(), Error> {
    let limit = limits::blob_bytes(kind);
    let stored = u64::from(location.length);
    let end = u64::from(location.offset) + stored;
    let is_sound = stored > OVERHEAD as u64
        && stored <= limit + (limit >> 8) + OVERHEAD as u64
        && location.content_length() <= limit
        && u32::try_from(end).is_ok();
    if is_sound {
        return Ok(());
    }
    let detail = format!(
        "the index says that blob `{}` has {stored} bytes and a content of {}; a worker reads {limit} at most",
        location.blob,
        location.content_length()
    );
    Err(Error::Damaged { detail })
}

impl Repository {
    /// Locates the wanted blobs of one kind. A blob that no pack holds is missing from the result.
    pub(super) fn find(&self, kind: BlobType, wanted: &HashSet<Id>) -> Result<BlobIndex, Error> {
        let mut merge = Merge::default();
        self.each_index(|index| merge.add(index, kind, wanted))?;
        Ok(merge.finish())
    }

    /// Reads a tree; returns also its location and the index of its pack.
    pub(super) fn tree(&self, id: Id) -> Result<(Tree, BlobLocation, BlobIndex), Error> {
        let damaged = |detail: String| Error::Damaged { detail };
        let found = self.find(BlobType::Tree, &HashSet::from([id]))?;
        let location = *found.blobs.get(&id).ok_or_else(|| damaged(format!("tree `{id}` is not in the index")))?;
        let json = self.blob(&location)?;
        let tree =
            serde_json::from_slice(&json).map_err(|_| damaged(format!("tree `{id}` is not what restic writes")))?;
        Ok((tree, location, found))
    }

    /// Finds the file at `path`; `None` if the snapshot has no file there.
    pub(super) fn node(&self, mut tree: Id, path: &str) -> Result<Option<Node>, Error> {
        let mut names = path.split('/').filter(|name| !name.is_empty()).take(limits::DEPTH).peekable();
        while let Some(name) = names.next() {
            let (found, _, _) = self.tree(tree)?;
            let Some(node) = found.nodes.into_iter().find(|node| *node.name() == *name) else { return Ok(None) };
            match (names.peek(), node.subtree) {
                (None, _) => return Ok(node.is_file().then_some(node)),
                (Some(_), Some(subtree)) => tree = *subtree,
                (Some(_), None) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn blob(&self, location: &BlobLocation) -> Result<Vec<u8>, Error> {
        let BlobLocation { blob, pack, .. } = location;
        let data = self.store.read_range(&path_of(FileType::Pack, pack), location.offset, location.length)?;
        self.cipher
            .open_blob(blob, &data, location.uncompressed)
            .ok_or_else(|| Error::Damaged { detail: format!("blob `{blob}` in pack `{pack}`") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn id(number: u8) -> Id {
        Id::new([number; 32])
    }

    /// An index file with blob 1 in each of the packs.
    fn index(kept: &[u8], marked: &[u8]) -> IndexFile {
        let pack = |number: &u8| {
            let blob = json!({"id": id(1), "type": "data", "offset": 0, "length": 100});
            json!({"id": id(*number), "blobs": [blob]})
        };
        let packs = |numbers: &[u8]| numbers.iter().map(pack).collect::<Vec<_>>();
        serde_json::from_value(json!({"packs": packs(kept), "packs_to_delete": packs(marked)})).unwrap()
    }

    fn standing(files: &[&IndexFile]) -> (u8, PackState) {
        let mut merge = Merge::default();
        for file in files {
            merge.add(file, BlobType::Data, &HashSet::from([id(1)])).unwrap();
        }
        let found = merge.finish();
        let location = found.blobs[&id(1)];
        assert_eq!(found.packs.into_keys().collect::<Vec<_>>(), [location.pack]);
        let pack = (0..=u8::MAX).find(|number| id(*number) == location.pack).unwrap();
        (pack, location.standing)
    }

    #[test]
    fn a_blob_in_a_kept_and_in_a_marked_pack_is_kept_whatever_the_order_of_the_index_files() {
        let (old, new) = (index(&[8, 9], &[]), index(&[8], &[9]));
        for files in [[&old, &new], [&new, &old]] {
            assert_eq!(standing(&files), (8, PackState::Kept));
        }
        let (old, new) = (index(&[9, 8], &[]), index(&[], &[9]));
        for files in [[&old, &new], [&new, &old]] {
            assert_eq!(standing(&files), (8, PackState::Kept));
        }
    }

    #[test]
    fn lengths_that_no_real_blob_has_are_refused_before_memory_is_reserved() {
        for (offset, length, uncompressed) in
            [(0, 32, 1), (0, 100, u32::MAX), (0, u32::MAX, 100), (u32::MAX, 100, 100), (0, 100, (64 << 20) + 1)]
        {
            let blob = json!({"id": id(1), "type": "data", "offset": offset, "length": length, "uncompressed_length": uncompressed});
            let index: IndexFile = serde_json::from_value(json!({"packs": [{"id": id(9), "blobs": [blob]}]})).unwrap();
            let error = Merge::default().add(&index, BlobType::Data, &HashSet::from([id(1)])).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{offset} {length} {uncompressed} {error}");
        }
    }

    #[test]
    fn a_pack_that_one_index_file_keeps_and_another_marks_is_marked() {
        let (old, new) = (index(&[9], &[]), index(&[], &[9]));
        for files in [[&old, &new], [&new, &old]] {
            assert_eq!(standing(&files), (9, PackState::Marked));
        }
    }
}
