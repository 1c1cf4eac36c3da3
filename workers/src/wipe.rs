//! Deletes the data of a Repository that was deleted with `wipeOut`. It asks the source again before each page, and holds
//! the repository's lease alone. It must not run by the plan alone (P5).

use lagan_bus::lease::Lease;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::plan::WipeWork;

use crate::execution::Execution;
use crate::opened::blocking;
use crate::place::RepositoryAccess;
use crate::repository::{Content, Storage, Wipe, WipeError};
use crate::session::Broken;
use crate::session::life::{Life, StopCause};

pub(crate) async fn run(
    execution: &mut Execution<'_>,
    work: &WipeWork,
    place: &RepositoryAccess,
    lease: &Lease,
) -> Result<(), Broken> {
    execution.held.begin_work();
    let mut deleted = Content::default();
    let deleting = delete(execution, work, (place, lease), &mut deleted);
    let result = until_stopped(execution.life, deleting).await;
    let Content { objects, bytes } = deleted;
    let foreign = match result {
        Ok(foreign) => foreign,
        Err(failure) => {
            tracing::warn!(%failure, "deleting data stopped");
            return Err(with_deleted_objects(failure, deleted).into());
        }
    };
    let location = place.storage.location();
    let stays = foreign.map(|foreign| format!("; {foreign}")).unwrap_or_default();
    let earlier = if execution.held.holder.attempt > 1 { ", besides what earlier attempts deleted" } else { "" };
    let message = format!("{objects} objects with {bytes} bytes were deleted from `{location}`{earlier}{stays}");
    tracing::info!(objects, size_bytes = bytes, location, "data of a repository deleted");
    let wiped = "RepositoryWiped".to_owned();
    execution.conditions.push(Notice { kind: wiped.clone(), status: NoticeStatus::True, reason: wiped, message });
    Ok(())
}

fn with_deleted_objects(failure: Failure, deleted: Content) -> Failure {
    if deleted.objects == 0 {
        return failure;
    }
    Failure::new(failure.code, format!("{}; {} objects of it are gone already", failure.message, deleted.objects))
}

/// Deletes the files of the repository. Answers a description of the objects that are not among them and stay.
async fn delete(
    execution: &Execution<'_>,
    WipeWork { repository, namespaces }: &WipeWork,
    (place, lease): (&RepositoryAccess, &Lease),
    deleted: &mut Content,
) -> Result<Option<String>, Failure> {
    let Storage::S3(s3) = place.storage.clone() else {
        return Err(Failure::new(Code::InvalidSpec, "wipeOut: not for a local repository"));
    };
    let cluster = execution.worker.intent.identity().await?;
    let (password, access) = (place.password.clone(), execution.worker.access(&execution.life.token()));
    let namespaces = namespaces.clone();
    let opened = blocking(move || Wipe::open(&s3, &password, &access, (&cluster, &namespaces))).await?;
    let mut wipe = opened.map_err(|error| of_wipe(&error))?;
    tracing::info!(location = place.storage.location(), "data of a repository is deleted");
    loop {
        execution.worker.intent.confirm_wipe(repository).await?;
        let held = lease.tenure().confirmed().await;
        held.map_err(|_| Failure::new(Code::RepositoryLocked, "the lease of the repository was lost"))?;
        let page = wipe.delete_page().await.map_err(|error| of_wipe(&error))?;
        if page.objects == 0 {
            return wipe.foreign().await.map_err(|error| of_wipe(&error));
        }
        *deleted += page;
    }
}

/// Drops the work when the session must stop. That breaks off the request under way: nothing goes on in the background.
pub(crate) async fn until_stopped<T>(
    life: &Life,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let stop = life.token();
    tokio::select! {
        () = stop.cancelled() => Err(stopped(life)),
        done = work => done,
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
