//! Opens a repository under its lease: writers and readers share it, initialising a new one needs it alone (P15).

use std::sync::Arc;
use std::time::Duration;

use lagan_bus::kv;
use lagan_bus::lease::{Lease, LeaseError, LeaseMode};
use lagan_schemas::error::{Code, Failure, chain};
use tokio_util::sync::CancellationToken;

use crate::failures::{internal, of_repository};
use crate::place::RepositoryAccess;
use crate::repository::{Error, Presence, Repository, Storage, StorageAccess};
use crate::session::verdict::MOMENT;
use crate::worker::Worker;

const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Opened {
    pub repository: Arc<Repository>,
    pub lease: Lease,
}

/// Whether an absent repository is initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Init,
    Fail,
}

impl Opened {
    /// Opens the repository. `stop` ends this and every later request to its storage.
    pub async fn open(
        worker: &Worker,
        place: &RepositoryAccess,
        owner: &str,
        missing: Missing,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        reachable(worker, &place.storage, stop).await?;
        let access = worker.access(stop);
        let acquire = async |mode| lease(worker, &place.storage, (owner, mode), stop).await;
        let lease = acquire(LeaseMode::Shared).await?;
        match open(place, &access).await {
            Ok(repository) => return Ok(Self { repository, lease }),
            Err(error) if matches!(error, Error::Absent { .. }) && missing == Missing::Init => {}
            Err(error) => {
                lease.release().await;
                return Err(of_repository(&error));
            }
        }
        lease.release().await;
        let alone = acquire(LeaseMode::Exclusive).await?;
        let made = init(place, &access).await;
        alone.release().await;
        made?;
        let lease = acquire(LeaseMode::Shared).await?;
        match open(place, &access).await {
            Ok(repository) => Ok(Self { repository, lease }),
            Err(error) => {
                lease.release().await;
                Err(of_repository(&error))
            }
        }
    }
}

/// Fails if the storage does not answer within a moment. Later requests, of which work depends, are repeated for longer.
pub(crate) async fn reachable(worker: &Worker, storage: &Storage, stop: &CancellationToken) -> Result<(), Failure> {
    let (storage, access) = (storage.clone(), worker.access(stop).brief());
    match blocking(move || Repository::probe(&storage, &access)).await? {
        Err(error) if error.code() == Code::StorageUnreachable => Err(of_repository(&error)),
        // Whoever opens the repository judges it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The lease of a place, whether or not there is a repository. An outage of NATS is waited for until `stop`.
pub(crate) async fn lease(
    worker: &Worker,
    storage: &Storage,
    (owner, mode): (&str, LeaseMode),
    stop: &CancellationToken,
) -> Result<Lease, Failure> {
    let place = storage.place();
    let scope = kv::key(&["repository", &place.id().to_string()]);
    // That a holder is dead is known only after a full TTL of watching: a shorter wait would never take its lease over.
    let patience = MOMENT.max(worker.timing.failover + worker.timing.failover / 2);
    loop {
        match worker.leases.acquire(&scope, mode, owner, patience).await {
            Err(error) if error.is_outage() && !stop.is_cancelled() => {
                tracing::warn!(error = chain(&error), "the lease of the repository can't be asked for yet");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            acquired => return acquired.map_err(|error| lease_failure(&place.to_string(), &error)),
        }
    }
}

fn lease_failure(location: &str, error: &LeaseError) -> Failure {
    let code = match error {
        LeaseError::Held { .. } | LeaseError::MadeAgain { .. } => Code::RepositoryLocked,
        LeaseError::Kv(_) => Code::Internal,
    };
    Failure::new(code, format!("repository `{location}`: {}", chain(error)))
}

/// Runs blocking work of the repository on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))
}

async fn open(place: &RepositoryAccess, access: &StorageAccess) -> Result<Arc<Repository>, Error> {
    let (place, access) = (place.clone(), access.clone());
    let opened = tokio::task::spawn_blocking(move || Repository::open(&place.storage, &place.password, &access)).await;
    opened.map_err(|error| Error::Core { action: "open the repository", detail: error.to_string() })?.map(Arc::new)
}

async fn init(place: &RepositoryAccess, access: &StorageAccess) -> Result<(), Failure> {
    let (place, access) = (place.clone(), access.clone());
    let made = blocking(move || match Repository::probe(&place.storage, &access)? {
        // Somebody was faster while we waited for the lease.
        Presence::Present => Ok(()),
        Presence::Absent => Repository::init(&place.storage, &place.password, &access).map(drop),
    });
    match made.await? {
        Ok(()) => Ok(()),
        Err(Error::Exists { .. }) => Ok(()),
        Err(error) => Err(of_repository(&error)),
    }
}
