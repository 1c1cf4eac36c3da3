//! Limits for everything that is read from a repository. Whoever owns the password of a repository can put any content
//! into its files, so a worker must not trust their lengths, costs and counts. Each limit is far above real repositories.

use rustic_core::FileType;
use rustic_core::repofile::BlobType;

/// Keys that are tried.
pub(super) const KEYS: usize = 64;
/// Memory of one key derivation, in bytes: `128 * N * r`. `rustic_core` uses 128 MiB.
pub(super) const KEY_MEMORY: u64 = 256 << 20;
/// Work of all key derivations of one unlocking, in bytes that scrypt mixes: `128 * N * r * p`. A new key of `restic`
/// needs about 200 MiB; this takes half a minute at most.
pub(super) const KEY_WORK: u64 = 16 << 30;
/// Snapshots in a listing.
pub(super) const SNAPSHOTS: usize = 100_000;
/// Files of any other kind in a listing.
pub(super) const FILES: usize = 10_000_000;
/// Names in the path of a file in a snapshot.
pub(super) const DEPTH: usize = 64;

/// Largest size of a file, both stored and decompressed.
pub(super) const fn file_bytes(kind: FileType) -> usize {
    match kind {
        FileType::Config | FileType::Key => 1 << 20,
        FileType::Snapshot => 8 << 20,
        FileType::Index => 64 << 20,
        // Packs are not compressed as a whole and are never read into memory as a whole.
        FileType::Pack => u32::MAX as usize,
    }
}

/// Largest content of a blob. The tree of a dump lists its chunks: 256 MiB are enough for 3 TB.
pub(super) const fn blob_bytes(kind: BlobType) -> u64 {
    match kind {
        BlobType::Tree => 256 << 20,
        BlobType::Data => 64 << 20,
    }
}
