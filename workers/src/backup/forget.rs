//! Removes snapshots after the end of a session (P11): those that retention decided on, and those that the session wrote and
//! did not name. A removal that fails is left to the next backup.

use std::sync::Arc;

use jiff::Zoned;
use lagan_schemas::error::Failure;
use lagan_schemas::origin::{ConfigurationKey, SnapshotOwner};
use lagan_schemas::plan::{PlanRepository, Work};
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::session::{Phase, Session};
use tokio_util::task::AbortOnDropHandle;

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
    let Some(policy) = applied(&session, &work.retention) else { return };
    let configuration = ConfigurationKey::of(&plan.invoker);
    for planned in work.repositories.iter() {
        let results = session.results.iter().filter(|result| result.repository == planned.reference);
        let named: Vec<String> = results.map(|result| result.snapshot.clone()).collect();
        if let Err(failure) = forget_in(worker, &session, planned, (&configuration, &policy), &named).await {
            tracing::warn!(%failure, "old snapshots were not forgotten, the next backup tries again");
        }
    }
}

/// Returns the rules of retention that apply after a session; `None` if nothing goes. Snapshots that were rejected, or that
/// their session did not name, go whatever the rules say, so a dry run and a session that failed apply no rule but this one.
/// A session of the same configuration whose worker was lost may have left one. If the storage itself failed, asking it
/// again would only occupy the slot.
fn applied(session: &Session, policy: &RetentionPolicy) -> Option<RetentionPolicy> {
    match session.phase {
        Phase::Succeeded if !policy.dry_run => Some(policy.clone()),
        Phase::Succeeded => Some(RetentionPolicy::default()),
        _ => {
            let of_storage =
                session.last_failure.as_ref().is_some_and(|failure| failure.code.as_str().starts_with("E03"));
            (!session.rejected_snapshots.is_empty() || !of_storage).then(RetentionPolicy::default)
        }
    }
}

async fn forget_in(
    worker: &Worker,
    session: &Session,
    planned: &PlanRepository,
    (configuration, policy): (&ConfigurationKey, &RetentionPolicy),
    named: &[String],
) -> Result<(), Failure> {
    let cluster = &worker.intent.identity().await?;
    let owner = SnapshotOwner { cluster, configuration };
    let secret = worker.intent.storage_secret(planned).await?;
    let place = place(planned, &secret, worker.intent.volumes())?;
    let lease_owner = format!("{}-forget-{}", session.key.uid, worker.instance);
    let stop = worker.stop_now.child_token();
    let opened = Opened::open(worker, &place, &lease_owner, Missing::Fail, &stop).await?;
    // Without the lease the place may be somebody else's: no request goes to it any more.
    let lost = opened.lease.tenure().lost();
    let stopped = stop.clone();
    let _watch = AbortOnDropHandle::new(tokio::spawn(async move {
        lost.cancelled().await;
        stopped.cancel();
    }));
    let removed = async {
        let repository = Arc::clone(&opened.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let asking = Asking { session: session.key.uid, cluster, configuration: Some(configuration), stop: &stop };
        let unnamed = retention::unnamed(worker, &listed.snapshots, asking, named).await?;
        let decisions = retention::decide(&listed.snapshots, owner, policy, &Zoned::now(), &unnamed)?;
        let removed = decisions.into_iter().filter(|d| d.verdict == Verdict::Remove && !named.contains(&d.id));
        let go: Vec<String> = removed.map(|decision| decision.id).collect();
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

#[cfg(test)]
mod tests {
    use lagan_schemas::error::Code;
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures;

    #[test]
    fn what_no_session_named_goes_whatever_the_policy_says() {
        let policy = |dry_run| RetentionPolicy { keep_last: Some(1), dry_run, ..RetentionPolicy::default() };
        let no_rule = Some(RetentionPolicy::default());
        for (phase, dry_run, rejected, expected) in [
            (Phase::Succeeded, false, vec![], Some(policy(false))),
            (Phase::Succeeded, true, vec![], no_rule.clone()),
            (Phase::Failed, false, vec![], no_rule.clone()),
            (Phase::Cancelled, true, vec![], no_rule.clone()),
            (Phase::Failed, false, vec!["bad".to_owned()], no_rule.clone()),
            (Phase::Failed, true, vec!["bad".to_owned()], no_rule.clone()),
            (Phase::Cancelled, true, vec!["bad".to_owned()], no_rule.clone()),
        ] {
            let mut session = fixtures::session(SessionKind::Backup);
            (session.phase, session.rejected_snapshots) = (phase, rejected);
            assert_eq!(applied(&session, &policy(dry_run)), expected, "{phase:?} {dry_run} {session:?}");
        }
        let mut session = fixtures::session(SessionKind::Backup);
        session.phase = Phase::Failed;
        session.last_failure = Some(Failure::new(Code::StorageUnreachable, "no answer"));
        assert_eq!(applied(&session, &policy(false)), None, "its storage does not answer");
        session.rejected_snapshots = vec!["bad".to_owned()];
        assert_eq!(applied(&session, &policy(false)), no_rule);
    }
}
