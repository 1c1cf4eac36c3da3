//! What goes after `succeeded` (P11): what retention decided, and this session's other snapshots. What fails here is
//! done by the next backup.

use std::sync::Arc;

use jiff::Zoned;
use lagan_schemas::error::Failure;
use lagan_schemas::origin::{ConfigurationKey, Owner};
use lagan_schemas::plan::{PlanRepository, Work};
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::session::Session;

use crate::failures::of_repository;
use crate::opened::{Missing, Opened, blocking};
use crate::place::place;
use crate::repository::Verdict;
use crate::retention::{self, Asking};
use crate::session::held::Held;
use crate::worker::Worker;

pub(crate) async fn forget(worker: &Worker, held: &Held) {
    let session = held.session().await;
    let Some(plan) = &session.plan else { return };
    let Work::Backup(work) = &plan.work else { return };
    let configuration = ConfigurationKey::of(&plan.invoker);
    let policy = &work.retention;
    if policy.dry_run {
        return;
    }
    for result in &session.results {
        let planned = work.repositories.iter().find(|planned| planned.reference == result.repository);
        let Some(planned) = planned else { continue };
        if let Err(failure) = forget_in(worker, &session, planned, (&configuration, policy), &result.snapshot).await {
            tracing::warn!(%failure, "old snapshots were not forgotten, the next backup tries again");
        }
    }
}

async fn forget_in(
    worker: &Worker,
    session: &Session,
    planned: &PlanRepository,
    (configuration, policy): (&ConfigurationKey, &RetentionPolicy),
    named: &str,
) -> Result<(), Failure> {
    let cluster = &worker.intent.identity().await?;
    let owner = Owner { cluster, configuration };
    let secret = worker.intent.storage_secret(planned).await?;
    let place = place(planned, &secret, worker.intent.volumes())?;
    let lease_owner = format!("{}-forget-{}", session.key.uid, worker.instance);
    let opened = Opened::open(worker, &place, &lease_owner, Missing::Fail, &worker.stop_now).await?;
    let removed = async {
        let repository = Arc::clone(&opened.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let named = [named.to_owned()];
        let asking = Asking { session: session.key.uid, cluster };
        let unnamed = retention::unnamed(worker, &listed.snapshots, asking, &named).await;
        let decisions = retention::decide(&listed.snapshots, owner, policy, &Zoned::now(), &unnamed)?;
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
