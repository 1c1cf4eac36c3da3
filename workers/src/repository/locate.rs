//! Where blobs lie: a pass over the index files for just the blobs that are asked for, so that memory follows the
//! snapshot and not the repository. A blob that lies only in packs marked for deletion says so.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use rustic_core::repofile::{BlobType, IndexFile, IndexPack, Node, Tree};
use rustic_core::{FileType, Id};

use super::error::Error;
use super::open::{Core, Repository};
use super::store::path_of;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) blob: Id,
    pub(super) pack: Id,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) uncompressed: Option<NonZeroU32>,
    pub(super) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Kept,
    /// A prune has marked the pack; it will be deleted unless another prune sees that it is needed.
    Marked,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) places: HashMap<Id, Place>,
    /// Length of every pack that holds one of them.
    pub(super) packs: HashMap<Id, u32>,
}

impl Place {
    /// Length of the blob's content.
    pub(super) fn content_length(&self) -> u64 {
        u64::from(self.uncompressed.map_or(self.length.saturating_sub(32), NonZeroU32::get))
    }
}

pub(super) fn find(core: &Core, kind: BlobType, wanted: &HashSet<Id>) -> Result<Found, Error> {
    let failed = |error: Box<rustic_core::RusticError>| Error::from_core("read the index", &error);
    let mut kept = Found::default();
    let mut marked = Found::default();
    let mut marked_packs = HashSet::new();
    for file in core.stream_files::<IndexFile>().map_err(failed)? {
        let (_, index) = file.map_err(failed)?;
        for pack in &index.packs {
            collect(pack, kind, wanted, Standing::Kept, &mut kept);
        }
        for pack in &index.packs_to_delete {
            marked_packs.insert(*pack.id);
            collect(pack, kind, wanted, Standing::Marked, &mut marked);
        }
    }
    // While a prune rewrites the index, a pack can stand in an old file as kept and in a new one as marked.
    kept.places.retain(|_, place| !marked_packs.contains(&place.pack));
    for (id, place) in marked.places {
        kept.places.entry(id).or_insert(place);
    }
    kept.packs.extend(marked.packs);
    let used: HashSet<Id> = kept.places.values().map(|place| place.pack).collect();
    kept.packs.retain(|id, _| used.contains(id));
    Ok(kept)
}

fn collect(pack: &IndexPack, kind: BlobType, wanted: &HashSet<Id>, standing: Standing, found: &mut Found) {
    for blob in pack.blobs.iter().filter(|blob| blob.tpe == kind && wanted.contains(&*blob.id)) {
        let place = Place {
            blob: *blob.id,
            pack: *pack.id,
            offset: blob.location.offset,
            length: blob.location.length,
            uncompressed: blob.location.uncompressed_length,
            standing,
        };
        found.places.insert(place.blob, place);
        found.packs.insert(place.pack, pack.pack_size());
    }
}

impl Repository {
    pub(super) fn tree(&self, core: &Core, id: Id) -> Result<(Tree, Place, Found), Error> {
        let damaged = |detail: String| Error::Damaged { detail };
        let found = find(core, BlobType::Tree, &HashSet::from([id]))?;
        let place = *found.places.get(&id).ok_or_else(|| damaged(format!("tree `{id}` is not in the index")))?;
        let json = self.blob(&place)?;
        let tree = serde_json::from_slice(&json).map_err(|error| damaged(format!("tree `{id}`: {error}")))?;
        Ok((tree, place, found))
    }

    /// The file at `path`; `None` if the snapshot has none there.
    pub(super) fn node(&self, core: &Core, mut tree: Id, path: &str) -> Result<Option<Node>, Error> {
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let (found, _, _) = self.tree(core, tree)?;
            let Some(node) = found.nodes.into_iter().find(|node| *node.name() == *name) else { return Ok(None) };
            match (names.peek(), node.subtree) {
                (None, _) => return Ok(node.is_file().then_some(node)),
                (Some(_), Some(subtree)) => tree = *subtree,
                (Some(_), None) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn blob(&self, place: &Place) -> Result<Vec<u8>, Error> {
        let data = self.store.read_range(&path_of(FileType::Pack, &place.pack), place.offset, place.length)?;
        self.cipher
            .open_blob(&place.blob, &data, place.uncompressed)
            .ok_or_else(|| Error::Damaged { detail: format!("blob `{}` in pack `{}`", place.blob, place.pack) })
    }
}
