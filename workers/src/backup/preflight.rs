//! The preflight of a dump, which runs while the repository opens.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Instant;

use lagan_schemas::error::Failure;
use lagan_schemas::plan::BackupWork;

use crate::databases::{Access, CodedEngine, Dump};
use crate::session::life::Life;
use crate::worker::Worker;

/// A dump that may start, and the time at which the database said so.
pub(crate) struct Ready {
    pub engine: CodedEngine,
    pub dump: Dump,
    pub asked: Instant,
}

pub(crate) async fn preflight(worker: &Worker, life: &Life, work: &BackupWork) -> Result<Ready, Failure> {
    let database = &work.target.database;
    let engine = worker.engines.find(&database.engine)?;
    let parts = (&worker.spawner, &worker.programs, &worker.intent);
    let access = Access::resolve(parts, database, &work.step, &life.token()).await?;
    let dump = engine.prepare(&access).await?;
    Ok(Ready { engine, dump, asked: Instant::now() })
}

/// Runs `work` to its end, and `other` meanwhile.
pub(crate) async fn beside<T>(work: impl Future<Output = T>, mut other: Pin<&mut impl Future<Output = ()>>) -> T {
    let mut work = pin!(work);
    let mut other_ended = false;
    poll_fn(|cx| {
        other_ended = other_ended || other.as_mut().poll(cx).is_ready();
        work.as_mut().poll(cx)
    })
    .await
}
