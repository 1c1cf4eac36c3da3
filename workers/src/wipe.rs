//! Deletes the data of a Repository that was deleted with `wipeOut`. The source is asked again before each page, and the
//! repository's lease is held alone. It must not run by the plan alone (P5).

use std::sync::Mutex;
use std::sync::PoisonError;

use lagan_bus::lease::{Lease, Mode};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::plan::PlanRepository;
use tokio_util::sync::CancellationToken;

use crate::opened::{blocking, lease};
use crate::place::{Place, place};
use crate::repository::{Content, Storage, Wipe, WipeError};
use crate::session::Outcome;
use crate::session::held::Held;
use crate::session::life::{Life, StopCause};
use crate::worker::Worker;

pub(crate) async fn run(worker: &Worker, held: &Held, life: &Life, repository: &PlanRepository) -> Outcome {
    let deleted = Mutex::new(Content::default());
    let result = attempt(worker, held, life, repository, &deleted).await;
    let deleted = *deleted.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(Wiped { location, foreign }) => {
            let Content { objects, bytes } = deleted;
            let earlier = if held.holder.attempt > 1 { ", besides what earlier attempts deleted" } else { "" };
            let stays = foreign.map(|foreign| format!("; {foreign}")).unwrap_or_default();
            let message =
                format!("{objects} objects with {bytes} bytes were deleted from `{location}`{earlier}{stays}");
            tracing::info!(objects, size_bytes = bytes, location, "data of a repository deleted");
            let wiped = "RepositoryWiped".to_owned();
            let notice = Notice { kind: wiped.clone(), status: NoticeStatus::True, reason: wiped, message };
            Outcome::Succeeded { results: Vec::new(), conditions: vec![notice] }
        }
        Err(failure) if life.stopped() == Some(StopCause::Fenced) => {
            tracing::warn!(%failure, "deleting data stopped");
            Outcome::Fenced
        }
        Err(failure) => with_what_is_gone(failure, deleted).into(),
    }
}

fn with_what_is_gone(failure: Failure, deleted: Content) -> Failure {
    if deleted.objects == 0 {
        return failure;
    }
    Failure::new(failure.code, format!("{}; {} objects of it are gone already", failure.message, deleted.objects))
}

/// A place without any file of a repository.
struct Wiped {
    location: String,
    /// A description of the objects that are not of the repository and stay.
    foreign: Option<String>,
}

async fn attempt(
    worker: &Worker,
    held: &Held,
    life: &Life,
    repository: &PlanRepository,
    deleted: &Mutex<Content>,
) -> Result<Wiped, Failure> {
    let stop = life.token();
    let (place, lease) = tokio::select! {
        () = stop.cancelled() => return Err(stopped(life)),
        prepared = prepare(worker, held, repository) => prepared?,
    };
    let location = place.storage.location();
    let watch = life.stop_when(lease.lost(), StopCause::LeaseLost(location.clone()));
    // Dropping it breaks the request off that is under way: nothing goes on in the background.
    let result = tokio::select! {
        () = stop.cancelled() => Err(stopped(life)),
        result = delete(worker, repository, (&place, &stop), &lease, deleted) => result,
    };
    drop(watch);
    lease.release().await;
    result.map(|foreign| Wiped { location, foreign })
}

async fn prepare(worker: &Worker, held: &Held, repository: &PlanRepository) -> Result<(Place, Lease), Failure> {
    worker.intent.confirm_wipe(repository).await?;
    let secret = worker.intent.storage_secret(repository).await?;
    let place = place(repository, &secret, worker.intent.volumes())?;
    let owner = format!("{}-{}", held.session().await.key.uid, held.holder.worker);
    let lease = lease(worker, &place.storage, &owner, Mode::Exclusive).await?;
    Ok((place, lease))
}

async fn delete(
    worker: &Worker,
    repository: &PlanRepository,
    (place, stop): (&Place, &CancellationToken),
    lease: &Lease,
    deleted: &Mutex<Content>,
) -> Result<Option<String>, Failure> {
    let Storage::S3(s3) = place.storage.clone() else {
        return Err(Failure::new(Code::InvalidSpec, "wipeOut: not for a local repository"));
    };
    let (password, access) = (place.password.clone(), worker.access(stop));
    let opened = blocking(move || Wipe::open(&s3, &password, &access)).await?;
    let mut wipe = opened.map_err(|error| of_wipe(&error))?;
    tracing::info!(location = place.storage.location(), "data of a repository is deleted");
    loop {
        worker.intent.confirm_wipe(repository).await?;
        if !lease.is_held() {
            return Err(Failure::new(Code::RepositoryLocked, "the lease of the repository was lost"));
        }
        let page = wipe.delete_page().await.map_err(|error| of_wipe(&error))?;
        if page.objects == 0 {
            return wipe.foreign().await.map_err(|error| of_wipe(&error));
        }
        *deleted.lock().unwrap_or_else(PoisonError::into_inner) += page;
    }
}

fn of_wipe(error: &WipeError) -> Failure {
    Failure::new(error.code(), chain(error))
}

fn stopped(life: &Life) -> Failure {
    match life.stopped() {
        Some(StopCause::Deadline) => {
            Failure::new(Code::DeadlineExceeded, "the storage did not take it in time: it is slow or does not answer")
        }
        Some(cause) => cause.failure(),
        None => Failure::new(Code::Internal, "stopped for no reason"),
    }
}
