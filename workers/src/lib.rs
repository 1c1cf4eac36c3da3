//! Executes plans: pulls a session, claims it, runs its steps, writes or reads a restic repository, reports.
//! It must not decide what to do; the plan says it.

mod agreement;
mod backup;
pub mod connection;
mod consent;
mod databases;
mod execution;
mod failures;
mod hooks;
mod intent;
pub mod mariadb;
mod metrics;
mod opened;
mod outbound;
mod place;
pub mod process;
mod progress;
pub mod repository;
mod restore;
mod retention;
mod session;
mod wipe;
mod worker;

#[cfg(test)]
#[path = "../../schemas/fixtures/check.rs"]
mod check;
#[cfg(test)]
mod fixtures;

pub use metrics::WorkerMetrics;
pub use outbound::{Outbound, ProtectedServer};
pub use place::{RepositoryAccess, Volumes, place, storage_of};
pub use process::Spawner;
pub use worker::{WorkerError, WorkerOptions, run};
