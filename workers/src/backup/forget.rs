//! What goes after `succeeded` (P11): what retention decided, and this session's other snapshots. What fails here is
//! done by the next backup.

use std::sync::Arc;

use jiff::Zoned;
use lagan_schemas::error::Failure;
use lagan_schemas::plan::{PlanRepository, Work};
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::session::Session;

use super::configuration;
use crate::failures::of_repository;
use crate::opened::{Missing, Opened, blocking};
use crate::place::place;
use crate::repository::Verdict;
use crate::retention;
use crate::session::held::Held;
use crate::worker::Worker;

pub(crate) async fn forget(worker: &Worker, held: &Held) {
    let session = held.session().await;
    let Some(Work::Backup(work)) = session.plan.as_ref().map(|plan| &plan.work) else { return };
    let policy = &work.retention;
    if policy.dry_run {
        return;
    }
    for result in &session.results {
        let planned = work.repositories.iter().find(|planned| planned.reference == result.repository);
        let Some(planned) = planned else { continue };
        if let Err(failure) = forget_in(worker, &session, planned, policy, &result.snapshot).await {
            tracing::warn!(%failure, "old snapshots were not forgotten, the next backup tries again");
        }
    }
}

async fn forget_in(
    worker: &Worker,
    session: &Session,
    planned: &PlanRepository,
    policy: &RetentionPolicy,
    named: &str,
) -> Result<(), Failure> {
    let secret = worker.intent.storage_secret(planned).await?;
    let place = place(planned, &secret, worker.intent.volumes())?;
    let owner = format!("{}-forget-{}", session.key.uid, worker.instance);
    let opened = Opened::open(worker, &place, &owner, Missing::Fail).await?;
    let removed = async {
        let repository = Arc::clone(&opened.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let named = [named.to_owned()];
        let unnamed = retention::unnamed(worker, &listed.snapshots, session.key.uid, &named).await;
        let decisions =
            retention::decide(&listed.snapshots, &configuration(&session.key), policy, &Zoned::now(), &unnamed)?;
        let go: Vec<String> =
            decisions.into_iter().filter(|d| d.verdict == Verdict::Remove && d.id != named[0]).map(|d| d.id).collect();
        let repository = Arc::clone(&opened.repository);
        let count = go.len();
        blocking(move || repository.remove(&go)).await?.map_err(|error| of_repository(&error))?;
        Ok::<_, Failure>(count)
    };
    let removed = removed.await;
    opened.lease.release().await;
    removed.map(|count| {
        if count > 0 {
            tracing::info!(count, "old snapshots forgotten");
        }
    })
}
