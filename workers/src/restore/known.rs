//! Finds out what a snapshot's stream holds before its first byte is fed: from the record beside it, or by reading it to
//! its last byte, which also proves that it can be read.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lagan_schemas::error::{Code, Failure, chain};

use crate::failures::of_repository;
use crate::mariadb::dump::{RECORD_VERSION, Record, Recorder};
use crate::opened::blocking;
use crate::repository::{Error, Repository, StoreError};
use crate::session::life::Life;

/// The file beside the stream in every snapshot of this program.
pub(crate) const RECORD_PATH: &str = "/lagan-record.json";
/// Records have bounds of their own; what is longer is none.
const RECORD_BYTES: u64 = 32 << 20;
const BLOCK_BYTES: usize = 1 << 20;

/// The certainty that is needed before the first statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The record is enough: there is nothing that could be lost.
    Record,
    /// Every byte can be read, because data of the target is about to be replaced.
    EveryByte,
}

pub(super) async fn record(
    repository: &Arc<Repository>,
    (snapshot, path): (&str, &str),
    proof: Proof,
    life: &Arc<Life>,
    bytes: Arc<AtomicU64>,
) -> Result<Record, Failure> {
    let (repository, life) = (Arc::clone(repository), Arc::clone(life));
    let (snapshot, path) = (snapshot.to_owned(), path.to_owned());
    blocking(move || {
        let stored = stored(&repository, &snapshot)?;
        match (stored, proof) {
            (Some(record), Proof::Record) => Ok(record),
            (stored, _) => {
                let read = read_through(&repository, (&snapshot, &path), &life, &bytes)?;
                Ok(Record { taken: stored.and_then(|stored| stored.taken), ..read })
            }
        }
    })
    .await?
}

/// The record beside the stream, if there is one that this program understands.
fn stored(repository: &Repository, snapshot: &str) -> Result<Option<Record>, Failure> {
    let (length, reader) = match repository.read(snapshot, RECORD_PATH) {
        Ok(found) => found,
        Err(Error::PathNotFound { .. }) => return Ok(None),
        Err(error) => return Err(of_repository(&error)),
    };
    if length > RECORD_BYTES {
        return Ok(None);
    }
    let mut json = Vec::new();
    reader.take(RECORD_BYTES).read_to_end(&mut json).map_err(|error| of_read(&error))?;
    let record = serde_json::from_slice::<Record>(&json).ok();
    Ok(record.filter(|record| record.version == RECORD_VERSION))
}

fn read_through(
    repository: &Repository,
    (snapshot, path): (&str, &str),
    life: &Life,
    bytes: &AtomicU64,
) -> Result<Record, Failure> {
    let (_, mut reader) = repository.read(snapshot, path).map_err(|error| of_repository(&error))?;
    let mut recorder = Recorder::default();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        if let Some(cause) = life.stopped() {
            return Err(cause.failure());
        }
        match reader.read(&mut block) {
            Ok(0) => return Ok(recorder.finish()),
            Ok(count) => {
                recorder.feed(&block[..count]);
                bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) => return Err(of_read(&error)),
        }
    }
}

fn of_read(error: &io::Error) -> Failure {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        return of_repository(error);
    }
    match inner.and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(error) => of_repository(&Error::Storage(error.clone())),
        None => Failure::new(Code::RepositoryDamaged, format!("the snapshot can't be read: {}", chain(error))),
    }
}
