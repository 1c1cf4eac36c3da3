//! Deletes the data of a Repository that was deleted with `wipeOut`. The source is asked again before each page, and the
//! repository's lease is held alone. It must not run by the plan alone (P5).

use std::sync::Mutex;
use std::sync::PoisonError;

use lagan_bus::lease::{Lease, Mode};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::plan::PlanRepository;

use crate::opened::lease;
use crate::place::storage_of;
use crate::repository::{Content, S3, Storage, Wipe, WipeError};
use crate::session::Outcome;
use crate::session::held::Held;
use crate::session::life::{Life, StopCause};
use crate::worker::Worker;

pub(crate) async fn run(worker: &Worker, held: &Held, life: &Life, repository: &PlanRepository) -> Outcome {
    let deleted = Mutex::new(Content::default());
    let result = attempt(worker, held, life, repository, &deleted).await;
    let deleted = *deleted.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(location) => {
            let Content { objects, bytes } = deleted;
            let earlier = if held.holder.attempt > 1 { ", besides what earlier attempts deleted" } else { "" };
            let message = format!("{objects} objects with {bytes} bytes were deleted from `{location}`{earlier}");
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

/// Gives the location that is empty now.
async fn attempt(
    worker: &Worker,
    held: &Held,
    life: &Life,
    repository: &PlanRepository,
    deleted: &Mutex<Content>,
) -> Result<String, Failure> {
    let stop = life.token();
    let (s3, location, lease) = tokio::select! {
        () = stop.cancelled() => return Err(stopped(life)),
        prepared = prepare(worker, held, repository) => prepared?,
    };
    let watch = life.stop_when(lease.lost(), StopCause::LeaseLost(location.clone()));
    // Dropping it breaks the request off that is under way: nothing goes on in the background.
    let result = tokio::select! {
        () = stop.cancelled() => Err(stopped(life)),
        result = delete(worker, repository, &s3, &lease, deleted) => result,
    };
    drop(watch);
    lease.release().await;
    result.map(|()| location)
}

async fn prepare(worker: &Worker, held: &Held, repository: &PlanRepository) -> Result<(S3, String, Lease), Failure> {
    worker.intent.confirm_wipe(repository).await?;
    let secret = worker.intent.storage_secret(repository).await?;
    let storage = storage_of(&repository.backend, &secret, worker.intent.volumes())?;
    let owner = format!("{}-{}", held.session().await.key.uid, held.holder.worker);
    let Storage::S3(s3) = &storage else {
        return Err(Failure::new(Code::InvalidSpec, "wipeOut: not for a local repository"));
    };
    let lease = lease(worker, &storage, &owner, Mode::Exclusive).await?;
    Ok((s3.clone(), storage.location(), lease))
}

async fn delete(
    worker: &Worker,
    repository: &PlanRepository,
    s3: &S3,
    lease: &Lease,
    deleted: &Mutex<Content>,
) -> Result<(), Failure> {
    let mut wipe = Wipe::new(s3).map_err(|error| of_wipe(&error.into()))?;
    let found = wipe.survey().await.map_err(|error| of_wipe(&error))?;
    tracing::info!(objects = found.objects, size_bytes = found.bytes, "data of a repository is deleted");
    loop {
        worker.intent.confirm_wipe(repository).await?;
        if !lease.is_held() {
            return Err(Failure::new(Code::RepositoryLocked, "the lease of the repository was lost"));
        }
        let page = wipe.delete_page().await.map_err(|error| of_wipe(&error))?;
        if page.objects == 0 {
            return Ok(());
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
