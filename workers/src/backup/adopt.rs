//! Snapshots of earlier attempts, which must pass the read-back that the content of a new one passes (P10).

use std::sync::Arc;

use lagan_schemas::error::{Failure, chain};
use lagan_schemas::tag::Tag;

use super::{Backup, Sound};
use crate::execution::{LOST_WORKERS, too_many_lost};
use crate::failures::of_repository;
use crate::opened::blocking;
use crate::repository::{Error, ExpectedSnapshot, ReadBack};

impl Backup<'_, '_> {
    /// Takes a snapshot of this session and target that reads back as the result: nothing is dumped again.
    pub(super) async fn adopt(&mut self) -> Result<Option<Sound>, Failure> {
        let repository = Arc::clone(self.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        for damaged in &listed.damaged {
            tracing::warn!(snapshot = damaged.id, why = damaged.why, "snapshot can't be read");
        }
        let uid = self.execution.session.key.uid.to_string();
        for snapshot in listed.snapshots {
            let is_ours = snapshot.session() == Some(&uid)
                && Tag::Target.find(&snapshot.tags) == Some(self.work.target.name.as_str());
            if !is_ours || self.execution.session.rejected_snapshots.contains(&snapshot.id) {
                continue;
            }
            match self.read_back(&snapshot.id, snapshot.bytes).await? {
                Ok(read_back) => {
                    tracing::info!(snapshot = snapshot.id, "snapshot of an earlier attempt adopted");
                    return Ok(Some(Sound {
                        snapshot: snapshot.id,
                        bytes: read_back.bytes,
                        added_bytes: 0,
                        sha256: String::new(),
                        record: None,
                        adopted: true,
                        read_back,
                    }));
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(snapshot = snapshot.id, error, "snapshot of an earlier attempt rejected");
                    self.execution.rejected.push(snapshot.id);
                }
            }
        }
        too_many_lost(&self.execution.session, LOST_WORKERS).map_or(Ok(None), Err)
    }

    /// The inner result says whether the snapshot is sound.
    async fn read_back(&self, id: &str, bytes: Option<u64>) -> Result<Result<ReadBack, Error>, Failure> {
        let (repository, id) = (Arc::clone(self.repository), id.to_owned());
        finding(blocking(move || repository.verify(&id, ExpectedSnapshot { bytes })).await?)
    }
}

/// Tells a finding about a snapshot, which is the inner result, from an error of asking.
pub(super) fn finding<T>(read: Result<T, Error>) -> Result<Result<T, Error>, Failure> {
    match read {
        Err(error) if !is_about_the_snapshot(&error) => Err(of_repository(&error)),
        sound => Ok(sound),
    }
}

/// Whether an error of a read-back is a finding about the snapshot, and not a failure to reach it.
fn is_about_the_snapshot(error: &Error) -> bool {
    matches!(
        error,
        Error::ReadBack { .. }
            | Error::Damaged { .. }
            | Error::SnapshotNotFound { .. }
            | Error::PathNotFound { .. }
            | Error::Incomplete { .. }
    )
}
