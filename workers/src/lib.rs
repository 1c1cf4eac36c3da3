//! Executes plans: pulls a session, claims it, runs its steps, writes or reads a restic repository, reports.
//! It must not decide what to do; the plan says it.

mod backup;
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

pub use metrics::Metrics;
pub use outbound::{Outbound, ProtectedServer};
pub use place::{Place, Volumes, place, storage_of};
pub use process::Spawner;
pub use retention::{Asking, unnamed_snapshots};
pub use worker::{Options, WorkerError, run};
