//! A restic repository: probe, init, open, back up, read back, restore, forget, wipe.
//!
//! The operations block and belong on `spawn_blocking`. `wipe` is the exception: it is async, so that dropping it
//! breaks off the request in flight. This module must not know sessions, plans, NATS, Kubernetes or a database, must
//! never write a snapshot before its gate has opened, and must never treat a storage failure as an empty storage.

mod archive;
mod backend;
mod backup;
mod choice;
mod cipher;
mod cores;
mod derive;
mod error;
mod index;
mod init;
mod key;
mod limits;
mod local;
mod locate;
mod object;
mod open;
mod pack;
mod prefetch;
mod restore;
mod retention;
mod seal;
mod snapshot;
mod source;
mod storage;
mod storage_access;
mod store;
mod store_error;
mod transport;
mod upload;
mod verify;
mod wipe;

#[cfg(test)]
mod tests;

pub use backup::{NewSnapshot, WrittenSnapshot};
pub use choice::{Candidate, ChoiceError, WantedSnapshot, by_id, latest};
pub use error::Error;
pub use open::{Presence, Repository, Statistics};
pub use restore::SnapshotReader;
pub use retention::{Decision, RetentionRules, Verdict, retention};
pub use seal::{Companion, Gate, GateRefused};
pub use snapshot::{Damaged, Snapshot, SnapshotList};
pub use storage::{CertificateCheck, Fs, S3, Storage};
pub use storage_access::StorageAccess;
pub use store_error::{StoreError, StoreErrorKind};
pub use verify::{ExpectedSnapshot, ReadBack};
pub use wipe::{Content, Wipe, WipeError};
