//! The record of the stream that is restored: from the snapshot, or from one complete pass of the stream. The pass also
//! proves that every byte of the snapshot can be read.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;

use super::Restore;
use crate::backup::RECORD;
use crate::databases::CodedEngine;
use crate::failures::of_repository;
use crate::opened::blocking;
use crate::repository::{Error, Repository, Snapshot, StoreError};

const BLOCK_BYTES: usize = 1024 * 1024;
/// Records have bounds of their own; a longer file is none.
const RECORD_BYTES: u64 = 32 << 20;

impl Restore<'_, '_> {
    /// The record that the backup put beside the stream, if it did.
    pub(super) async fn record(&self, snapshot: &str) -> Result<Option<Vec<u8>>, Failure> {
        let (repository, id) = (Arc::clone(self.repository), snapshot.to_owned());
        blocking(move || record(&repository, &id)).await?
    }

    /// Reads the stream to its last byte.
    pub(super) async fn survey(
        &self,
        engine: &CodedEngine,
        snapshot: &Snapshot,
        stored: Option<&[u8]>,
    ) -> Result<Vec<u8>, Failure> {
        let (repository, id) = (Arc::clone(self.repository), snapshot.id.clone());
        let path = self.work.source.path.clone();
        let (life, mut survey) = (Arc::clone(self.execution.life), engine.survey(stored));
        let bytes: Arc<AtomicU64> = Arc::default();
        let _progress = self.execution.progress(|context| {
            context.activity = Activity::Verifying;
            context.bytes = Arc::clone(&bytes);
            context.total_bytes = snapshot.bytes;
        });
        let pass = move || {
            let (_, mut reader) = repository.read(&id, &path).map_err(|error| of_repository(&error))?;
            let mut block = vec![0; BLOCK_BYTES];
            loop {
                if let Some(cause) = life.stopped() {
                    return Err(cause.failure());
                }
                match reader.read(&mut block) {
                    Ok(0) => return Ok(survey.finish()),
                    Ok(count) => {
                        survey.block(&block[..count]);
                        bytes.fetch_add(count as u64, Ordering::Relaxed);
                    }
                    Err(error) => return Err(of_read(&error)),
                }
            }
        };
        blocking(pass).await?
    }
}

fn record(repository: &Repository, snapshot: &str) -> Result<Option<Vec<u8>>, Failure> {
    let (length, reader) = match repository.read(snapshot, &format!("/{RECORD}")) {
        Ok(found) => found,
        Err(Error::PathNotFound { .. }) => return Ok(None),
        Err(error) => return Err(of_repository(&error)),
    };
    if length > RECORD_BYTES {
        return Ok(None);
    }
    let mut record = Vec::new();
    reader.take(RECORD_BYTES).read_to_end(&mut record).map_err(|error| of_read(&error))?;
    Ok(Some(record))
}

pub(super) fn of_read(error: &io::Error) -> Failure {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        return of_repository(error);
    }
    match inner.and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(error) => of_repository(&Error::Storage(error.clone())),
        None => Failure::new(Code::RepositoryDamaged, format!("the snapshot can't be read: {}", chain(error))),
    }
}
