//! Builds one pack from a few small blobs, in restic's format: blobs, encrypted header, length of the header.

use std::num::NonZeroU32;

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::Id;
use rustic_core::repofile::{BlobType, IndexBlob, IndexPack};

use super::cipher::{Cipher, hash};
use super::error::Error;

pub(super) struct Pack {
    pub(super) content: Bytes,
    /// Its entry in an index.
    pub(super) entry: IndexPack,
}

impl Pack {
    pub(super) fn id(&self) -> Id {
        *self.entry.id
    }

    /// `level` is of zstd; `None` in a repository of version 1.
    pub(super) fn new(cipher: &Cipher, level: Option<i32>, kind: BlobType, blobs: &[&[u8]]) -> Result<Self, Error> {
        let (mut content, mut header, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for plain in blobs {
            let (data, uncompressed) = match level {
                None => (plain.to_vec(), None),
                Some(level) => {
                    let data = zstd::bulk::compress(plain, level).map_err(|error| failed("compress a blob", &error))?;
                    (data, u32::try_from(plain.len()).ok().and_then(NonZeroU32::new))
                }
            };
            let blob = cipher.encrypt(&data).ok_or_else(no_randomness)?;
            let (offset, length) = (size(content.len())?, size(blob.len())?);
            let id = hash(plain);
            header.extend(header_entry(kind, id, length, uncompressed));
            entries.push(index_entry(kind, id, (offset, length), uncompressed)?);
            content.extend_from_slice(&blob);
        }
        let header = cipher.encrypt(&header).ok_or_else(no_randomness)?;
        content.extend_from_slice(&header);
        content.extend_from_slice(&size(header.len())?.to_le_bytes());
        let entry = IndexPack {
            id: hash(&content).into(),
            blobs: entries,
            time: Some(Timestamp::now()),
            size: Some(size(content.len())?),
        };
        Ok(Self { content: content.into(), entry })
    }
}

fn size(bytes: usize) -> Result<u32, Error> {
    u32::try_from(bytes).map_err(|error| failed("pack a blob", &error))
}

/// restic's header entry: kind, encrypted length, for compressed blobs the plain length, and the name; numbers are
/// little-endian.
fn header_entry(kind: BlobType, id: Id, length: u32, uncompressed: Option<NonZeroU32>) -> Vec<u8> {
    let number: u8 = match (kind, uncompressed) {
        (BlobType::Data, None) => 0,
        (BlobType::Tree, None) => 1,
        (BlobType::Data, Some(_)) => 2,
        (BlobType::Tree, Some(_)) => 3,
    };
    let mut entry = vec![number];
    entry.extend_from_slice(&length.to_le_bytes());
    if let Some(uncompressed) = uncompressed {
        entry.extend_from_slice(&uncompressed.get().to_le_bytes());
    }
    let hex = id.to_hex();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    entry.extend(hex.as_bytes().chunks(2).filter_map(byte));
    entry
}

/// Goes through JSON, because `rustic_core` does not export the type of the location.
fn index_entry(
    kind: BlobType,
    id: Id,
    (offset, length): (u32, u32),
    uncompressed: Option<NonZeroU32>,
) -> Result<IndexBlob, Error> {
    let entry = serde_json::json!({
        "id": &*id.to_hex(), "type": kind, "offset": offset, "length": length, "uncompressed_length": uncompressed,
    });
    serde_json::from_value(entry).map_err(|error| failed("describe a blob", &error))
}

fn failed(action: &'static str, error: &dyn std::fmt::Display) -> Error {
    Error::Core { action, detail: error.to_string() }
}

pub(super) fn no_randomness() -> Error {
    failed("encrypt a file", &"the system gives no random bytes")
}
