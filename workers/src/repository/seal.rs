//! Ends a backup: writes the length of the stream, known only now, into the tree, then uploads tree pack, index and
//! snapshot in restic's order. There is one of each per backup, as restic writes them, and a data pack for the file beside
//! the stream. It must not write the snapshot unless the archive holds exactly the bytes that were read and the gate has
//! opened.

use std::ffi::OsStr;

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::repofile::{BlobType, IndexFile, IndexPack, Metadata, Node, NodeType, SnapshotFile, Tree};
use rustic_core::{FileType, Id};

use super::archive::Withheld;
use super::cipher::{Cipher, hash};
use super::error::Error;
use super::pack::{Pack, no_randomness};
use super::store::path_of;
use super::upload::Uploads;

/// The conditions of a backup besides those of its storage. The methods are called in this order, and each may block.
pub trait Gate: Send + Sync {
    /// Judges the stream, once it has ended.
    fn judge(&self) -> Result<(), GateRefused> {
        Ok(())
    }

    /// A file to store beside a stream that was judged to be whole. The snapshot's paths do not name it.
    fn companion(&self) -> Option<Companion> {
        None
    }

    /// The last condition before a snapshot file is written; the caller appends `committing` in it.
    fn open(&self) -> Result<(), GateRefused>;
}

/// A small file in the root of the snapshot, beside the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    pub name: String,
    pub content: Vec<u8>,
    pub time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRefused {
    pub reason: String,
}

impl From<GateRefused> for Error {
    fn from(refused: GateRefused) -> Self {
        Self::GateRefused { reason: refused.reason }
    }
}

/// Length of the blobs of a file beside the stream.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) struct Seal<'a> {
    pub(super) uploads: &'a Uploads,
    pub(super) cipher: &'a Cipher,
    /// zstd level; `None` in a repository of version 1.
    pub(super) compression: Option<i32>,
}

impl Seal<'_> {
    /// Writes tree and index, so that everything is stored but the snapshot, which then names the tree. `length` is the
    /// number of bytes read from the stream.
    pub(super) fn store(
        &self,
        withheld: Withheld,
        snapshot: &mut SnapshotFile,
        length: u64,
        gate: &dyn Gate,
    ) -> Result<(), Error> {
        self.uploads.barrier()?;
        gate.judge()?;
        let (_, index) = withheld.index.ok_or_else(|| incomplete("the archiver wrote no index"))?;
        let mut index: IndexFile = self.open_index(&index)?;
        let old = self.tree(&withheld.tree_packs, &index, *snapshot.tree)?;
        let companion = gate.companion().map(|companion| self.companion(&companion, &mut index)).transpose()?;
        let (tree, tree_id) = complete(old, length, companion)?;
        let level = self.compression;
        let pack = Pack::new(self.cipher, level, BlobType::Tree, &[&tree])?;
        self.uploads.write_after_all(&path_of(FileType::Pack, &pack.id()), vec![pack.content])?;
        replace_tree_pack(&mut index, pack.entry)?;
        let index = self.seal_json(FileType::Index, &index, level)?;
        self.uploads.write_after_all(&path_of(FileType::Index, &hash(&index)), vec![index])?;

        snapshot.tree = tree_id.into();
        snapshot.id = Id::default().into();
        Ok(())
    }

    /// Writes the snapshot file and returns its id.
    pub(super) fn commit(&self, snapshot: &SnapshotFile, gate: &dyn Gate) -> Result<Id, Error> {
        let snapshot = self.seal_json(FileType::Snapshot, snapshot, self.compression)?;
        let id = hash(&snapshot);
        gate.open()?;
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

    /// Uploads a file that belongs to the snapshot beside the stream, and returns its node for the tree.
    fn companion(&self, companion: &Companion, index: &mut IndexFile) -> Result<Node, Error> {
        let chunks: Vec<&[u8]> = companion.content.chunks(CHUNK_BYTES).collect();
        if !chunks.is_empty() {
            let pack = Pack::new(self.cipher, self.compression, BlobType::Data, &chunks)?;
            self.uploads.write_after_all(&path_of(FileType::Pack, &pack.id()), vec![pack.content])?;
            index.packs.push(pack.entry);
        }
        let meta = Metadata {
            mode: Some(0o644),
            size: companion.content.len() as u64,
            mtime: Some(companion.time),
            atime: Some(companion.time),
            ctime: Some(companion.time),
            links: 1,
            ..Metadata::default()
        };
        let mut node = Node::new_node(OsStr::new(&companion.name), NodeType::File, meta);
        node.content = Some(chunks.iter().map(|chunk| hash(chunk).into()).collect());
        Ok(node)
    }

    fn open_index(&self, file: &[u8]) -> Result<IndexFile, Error> {
        let json = self.cipher.open_file(FileType::Index, file).ok();
        json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| incomplete("the index cannot be read"))
    }

    fn seal_json<T: serde::Serialize>(&self, kind: FileType, value: &T, level: Option<i32>) -> Result<Bytes, Error> {
        let json = serde_json::to_vec(value).map_err(|error| core("write JSON", &error))?;
        let file = self.cipher.seal_file(&json, level).ok_or_else(no_randomness)?;
        // A file that cannot be decrypted here could not be decrypted anywhere.
        match self.cipher.open_file(kind, &file) {
            Ok(again) if again == json => Ok(file.into()),
            _ => Err(core("encrypt a file", &"it does not decrypt to what it was")),
        }
    }
}

/// Completes the tree: the length of the stream, and the file beside it.
fn complete(mut tree: Tree, length: u64, companion: Option<Node>) -> Result<(Vec<u8>, Id), Error> {
    match tree.nodes.as_mut_slice() {
        [file] if file.is_file() => file.meta.size = length,
        nodes => return Err(incomplete(&format!("the tree has {} entries", nodes.len()))),
    }
    tree.nodes.extend(companion);
    // restic looks names up in this order.
    tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    if tree.nodes.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(incomplete("two files of the snapshot have one name"));
    }
    let (json, id) = tree.serialize().map_err(|error| core("write the tree", &error))?;
    Ok((json, *id))
}

fn replace_tree_pack(index: &mut IndexFile, pack: IndexPack) -> Result<(), Error> {
    let entry = index
        .packs
        .iter_mut()
        .find(|entry| entry.blob_type() == BlobType::Tree)
        .ok_or_else(|| incomplete("no tree pack in the index"))?;
    if entry.blobs.len() != 1 {
        return Err(incomplete("the tree pack holds more than one tree"));
    }
    *entry = pack;
    Ok(())
}

fn incomplete(detail: &str) -> Error {
    Error::Incomplete { detail: detail.to_owned() }
}

fn core(action: &'static str, error: &dyn std::fmt::Display) -> Error {
    Error::Core { action, detail: error.to_string() }
}
