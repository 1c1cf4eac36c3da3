//! Ends a backup: writes the length of the stream, known only now, into the tree, then uploads tree pack, index and
//! snapshot in restic's order. There is one of each per backup, as restic writes them. It must not write the snapshot
//! unless the archive holds exactly the bytes that were read and the gate has opened.

use std::num::NonZeroU32;

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::repofile::{BlobType, IndexFile, SnapshotFile, Tree};
use rustic_core::{FileType, Id};

use super::archive::Withheld;
use super::backup::Gate;
use super::cipher::{Cipher, OVERHEAD, hash};
use super::error::Error;
use super::store::path_of;
use super::upload::Uploads;

pub(super) struct Seal<'a> {
    pub(super) uploads: &'a Uploads,
    pub(super) cipher: &'a Cipher,
    /// zstd level; `None` in a repository of version 1.
    pub(super) compression: Option<i32>,
}

impl Seal<'_> {
    /// Writes the snapshot and returns its id. `length` is the number of bytes read from the stream.
    pub(super) fn commit(
        &self,
        withheld: Withheld,
        mut snapshot: SnapshotFile,
        length: u64,
        gate: &dyn Gate,
    ) -> Result<Id, Error> {
        self.uploads.barrier()?;
        let (_, index) = withheld.index.ok_or_else(|| incomplete("the archiver wrote no index"))?;
        let mut index: IndexFile = self.open_json(&index, "index")?;
        let old = self.tree(&withheld.tree_packs, &index, *snapshot.tree)?;
        let (tree, tree_id) = with_length(old, length)?;
        let level = self.compression;
        let pack = self.tree_pack(&tree, tree_id)?;
        self.uploads.write_after_all(&path_of(FileType::Pack, &pack.id), vec![pack.content.clone()])?;
        replace_tree_pack(&mut index, &pack, tree_id)?;
        let index = self.seal_json(&index, level)?;
        self.uploads.write_after_all(&path_of(FileType::Index, &hash(&index)), vec![index])?;

        snapshot.tree = tree_id.into();
        snapshot.id = Id::default().into();
        let snapshot = self.seal_json(&snapshot, level)?;
        let id = hash(&snapshot);
        gate.open().map_err(|refused| Error::GateRefused { reason: refused.reason })?;
        self.uploads.write_after_all(&path_of(FileType::Snapshot, &id), vec![snapshot])?;
        Ok(id)
    }

    /// Reads the tree that the archiver made from the withheld pack.
    fn tree(&self, packs: &[(Id, Bytes)], index: &IndexFile, tree: Id) -> Result<Tree, Error> {
        let [(pack, content)] = packs else {
            return Err(incomplete(&format!("the archiver wrote {} tree packs", packs.len())));
        };
        let blob = index
            .packs
            .iter()
            .filter(|entry| *entry.id == *pack)
            .flat_map(|entry| &entry.blobs)
            .find(|blob| *blob.id == tree)
            .ok_or_else(|| incomplete("the tree is not in the index"))?;
        let start = blob.location.offset as usize;
        content
            .get(start..start + blob.location.length as usize)
            .and_then(|data| self.cipher.open_blob(&tree, data, blob.location.uncompressed_length))
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| incomplete("the tree cannot be read"))
    }

    /// Builds a pack with one tree blob: blob, encrypted header, length of the header.
    fn tree_pack(&self, tree: &[u8], id: Id) -> Result<TreePack, Error> {
        let plain_length = u32::try_from(tree.len()).ok().and_then(NonZeroU32::new);
        let (data, uncompressed) = match self.compression {
            None => (tree.to_vec(), None),
            Some(level) => {
                let data = zstd::bulk::compress(tree, level).map_err(|error| core("compress the tree", &error))?;
                (data, plain_length)
            }
        };
        let blob = self.cipher.encrypt(&data).ok_or_else(no_randomness)?;
        let length = u32::try_from(blob.len()).map_err(|error| core("pack the tree", &error))?;
        let header = self.cipher.encrypt(&header(id, length, uncompressed)).ok_or_else(no_randomness)?;
        let header_length = u32::try_from(header.len()).map_err(|error| core("pack the tree", &error))?;
        let content: Bytes = [&*blob, &*header, &header_length.to_le_bytes()].concat().into();
        Ok(TreePack { id: hash(&content), content, length, uncompressed })
    }

    fn open_json<T: serde::de::DeserializeOwned>(&self, file: &[u8], what: &str) -> Result<T, Error> {
        let json = self.cipher.open_file(file);
        json.and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| incomplete(&format!("the {what} cannot be read")))
    }

    fn seal_json<T: serde::Serialize>(&self, value: &T, level: Option<i32>) -> Result<Bytes, Error> {
        let json = serde_json::to_vec(value).map_err(|error| core("write JSON", &error))?;
        let file = self.cipher.seal_file(&json, level).ok_or_else(no_randomness)?;
        // A file that cannot be decrypted here could not be decrypted anywhere.
        match self.cipher.open_file(&file) {
            Some(again) if again == json => Ok(file.into()),
            _ => Err(core("encrypt a file", &"it does not decrypt to what it was")),
        }
    }
}

struct TreePack {
    id: Id,
    content: Bytes,
    /// Length of the encrypted blob, which is at offset 0.
    length: u32,
    uncompressed: Option<NonZeroU32>,
}

/// Builds restic's header entry: kind, encrypted length, for compressed blobs the plain length, and the name; numbers are
/// little-endian.
fn header(id: Id, length: u32, uncompressed: Option<NonZeroU32>) -> Vec<u8> {
    const TREE: u8 = 1;
    const COMPRESSED_TREE: u8 = 3;
    let mut entry = vec![if uncompressed.is_some() { COMPRESSED_TREE } else { TREE }];
    entry.extend_from_slice(&length.to_le_bytes());
    if let Some(uncompressed) = uncompressed {
        entry.extend_from_slice(&uncompressed.get().to_le_bytes());
    }
    let hex = id.to_hex();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    entry.extend(hex.as_bytes().chunks(2).filter_map(byte));
    entry
}

fn with_length(mut tree: Tree, length: u64) -> Result<(Vec<u8>, Id), Error> {
    match tree.nodes.as_mut_slice() {
        [file] if file.is_file() => file.meta.size = length,
        nodes => return Err(incomplete(&format!("the tree has {} entries", nodes.len()))),
    }
    let (json, id) = tree.serialize().map_err(|error| core("write the tree", &error))?;
    Ok((json, *id))
}

fn replace_tree_pack(index: &mut IndexFile, pack: &TreePack, tree: Id) -> Result<(), Error> {
    let entry = index
        .packs
        .iter_mut()
        .find(|entry| entry.blob_type() == BlobType::Tree)
        .ok_or_else(|| incomplete("no tree pack in the index"))?;
    let [blob] = entry.blobs.as_mut_slice() else {
        return Err(incomplete("the tree pack holds more than one tree"));
    };
    entry.id = pack.id.into();
    entry.size = u32::try_from(pack.content.len()).ok();
    entry.time = Some(Timestamp::now());
    blob.id = tree.into();
    blob.location.offset = 0;
    blob.location.length = pack.length;
    blob.location.uncompressed_length = pack.uncompressed;
    debug_assert!(pack.length as usize > OVERHEAD, "an encrypted blob is longer than its overhead");
    Ok(())
}

fn incomplete(detail: &str) -> Error {
    Error::Incomplete { detail: detail.to_owned() }
}

fn core(action: &'static str, error: &dyn std::fmt::Display) -> Error {
    Error::Core { action, detail: error.to_string() }
}

fn no_randomness() -> Error {
    core("encrypt a file", &"the system gives no random bytes")
}
