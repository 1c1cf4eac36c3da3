//! The status of a session: what BackupSession and RestoreSession show, as a fold of its facts.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Cause, NoticeStatus, TargetResult};
use lagan_schemas::plan::{Plan, PlanTarget};
use lagan_schemas::resource::backup_configuration::TargetRef;
use lagan_schemas::resource::backup_session::{
    BackupSessionStatus, FileStats, HostStats, RunStatus, SnapshotStats, TargetStatus,
};
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::restore_session::RestoreSessionStatus;
use lagan_schemas::session::{Course, Phase, Session};

use super::conditions::Conditions;
use super::text::{go_duration, processing_time, size};
use super::wait::WAITING;
use crate::waiting::retry_time;

pub(crate) fn backup(session: &Session) -> BackupSessionStatus {
    let plan = session.plan.as_deref();
    BackupSessionStatus {
        phase: session.phase.display().to_owned(),
        session_duration: duration(session).map(go_duration),
        session_deadline: plan.and_then(|plan| plan.deadline),
        run: run(session),
        targets: targets(plan).map(|(plan, target)| target_status(session, plan, target)).collect(),
        conditions: backup_conditions(session),
    }
}

pub(crate) fn restore(session: &Session) -> RestoreSessionStatus {
    let plan = session.plan.as_deref();
    RestoreSessionStatus {
        phase: session.phase.display().to_owned(),
        total_hosts: plan.map(|_| 1),
        session_duration: duration(session).map(go_duration),
        session_deadline: plan.and_then(|plan| plan.deadline),
        // This field belongs to the planner, which wrote it before it planned.
        recorded_time: None,
        run: run(session),
        stats: targets(plan).map(|(plan, target)| host_stats(session, plan, target)).collect(),
        conditions: restore_conditions(session),
    }
}

/// The target of a plan, which Stash shows as a list.
fn targets(plan: Option<&Plan>) -> impl Iterator<Item = (&Plan, &PlanTarget)> {
    plan.and_then(|plan| Some((plan, plan.target()?))).into_iter()
}

/// The time from the request to the end. Stash counts from the creation of the session too.
fn duration(session: &Session) -> Option<Duration> {
    let (first, last) = (session.first_time?, session.last_time?);
    session.phase.is_end().then(|| last.duration_since(first).unsigned_abs())
}

/// The time from the request to the first start; a session that was never started waited to its end.
fn waiting(session: &Session) -> Option<Duration> {
    let end = session.started_time.or(session.last_time.filter(|_| session.phase.is_end()))?;
    Some(end.duration_since(session.first_time?).unsigned_abs())
}

fn run(session: &Session) -> RunStatus {
    let ended = session.phase.is_end();
    let result = session.results.first();
    let failure = session.last_failure.as_ref();
    RunStatus {
        requested_time: session.first_time.map(seconds),
        start_time: session.started_time.map(seconds),
        waiting_time: waiting(session).map(go_duration),
        completion_time: session.last_time.filter(|_| ended).map(seconds),
        snapshot: result.map(|r| short(&r.snapshot)).or_else(|| session.restoring_snapshot.as_deref().map(short)),
        size_bytes: result.map(|r| r.size_bytes),
        added_bytes: result.map(|r| r.added_bytes),
        size: result.map(|r| size(r.size_bytes)),
        added: result.map(|r| size(r.added_bytes)),
        trigger: session.request.as_ref().map(|request| trigger(&request.cause).to_owned()),
        progress: (session.phase == Phase::Succeeded).then(|| "100%".to_owned()),
        attempts: session.attempts,
        worker: session.worker_host.clone(),
        code: failure.map(|f| f.code.to_string()),
        reason: failure.map(|f| f.reason.clone()),
        message: failure.map(|f| f.message.clone()),
        folded_sequence: session.last_sequence,
        folded_store: None,
    }
}

fn trigger(cause: &Cause) -> &'static str {
    match cause {
        Cause::Slot { .. } => "Slot",
        Cause::Object { .. } => "Object",
    }
}

/// Rounds a time down to whole seconds, as Kubernetes has them.
pub(crate) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The short form of a snapshot id, as restic shows it.
fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

fn target_phase(session: &Session) -> &'static str {
    match session.phase {
        Phase::Skipped => "Pending",
        phase => phase.display(),
    }
}

fn target_status(session: &Session, plan: &Plan, target: &PlanTarget) -> TargetStatus {
    let succeeded = session.phase == Phase::Succeeded;
    let actions = |names: &[&str]| if succeeded { names.iter().map(|n| (*n).to_owned()).collect() } else { Vec::new() };
    TargetStatus {
        reference: TargetRef {
            api_version: target.reference.api_version.clone(),
            kind: target.reference.kind.to_string(),
            name: target.reference.name.clone(),
            namespace: target.reference.namespace.clone(),
        },
        total_hosts: Some(1),
        phase: target_phase(session).to_owned(),
        stats: if session.phase.is_end() { vec![host_stats(session, plan, target)] } else { Vec::new() },
        pre_backup_actions: actions(&["InitializeBackendRepository"]),
        post_backup_actions: actions(&["ApplyRetentionPolicy", "VerifyRepositoryIntegrity"]),
    }
}

fn host_stats(session: &Session, plan: &Plan, target: &PlanTarget) -> HostStats {
    let result = session.results.iter().find(|result| result.target == target.name);
    let took = result.map(|result| Duration::from_millis(result.duration_ms));
    HostStats {
        hostname: plan.host().unwrap_or("host-0").to_owned(),
        phase: target_phase(session).to_owned(),
        duration: took.map(go_duration),
        error: session.last_failure.as_ref().map(ToString::to_string),
        snapshots: result.map(snapshot_stats).into_iter().collect(),
    }
}

fn snapshot_stats(result: &TargetResult) -> SnapshotStats {
    SnapshotStats {
        name: short(&result.snapshot),
        path: result.path.clone(),
        total_size: size(result.size_bytes),
        uploaded: size(result.added_bytes),
        processing_time: processing_time(Duration::from_millis(result.duration_ms)),
        // The dump is one file, and every backup writes it anew.
        file_stats: FileStats { total_files: 1, new_files: 1, ..FileStats::default() },
    }
}

/// An empty list of conditions, with the time of the last fact.
fn no_conditions(session: &Session) -> Conditions {
    let generation = session.plan.as_ref().map_or(0, |plan| plan.invoker.generation);
    Conditions::new(Vec::new(), generation, seconds(session.last_time.unwrap_or(Timestamp::UNIX_EPOCH)))
}

/// Sets the conditions that the planner and the worker reported.
fn set_notices(conditions: &mut Conditions, session: &Session) {
    let planned = session.plan.iter().flat_map(|plan| &plan.notices);
    for notice in planned.chain(&session.conditions) {
        let status = match notice.status {
            NoticeStatus::True => ConditionStatus::True,
            NoticeStatus::False => ConditionStatus::False,
        };
        conditions.set(&notice.kind, status, &notice.reason, notice.message.clone());
    }
}

/// Sets the one condition that says how the session ended, for `kubectl wait --for=condition=Succeeded`.
fn set_summary(conditions: &mut Conditions, session: &Session) {
    let failure = session.last_failure.as_ref();
    let (status, reason, message) = match session.phase {
        Phase::Succeeded => (ConditionStatus::True, "Completed".to_owned(), "the session succeeded".to_owned()),
        Phase::Failed | Phase::Cancelled => {
            let reason = failure.map_or_else(|| "Failed".to_owned(), |f| f.reason.clone());
            (ConditionStatus::False, reason, failure.map(ToString::to_string).unwrap_or_default())
        }
        Phase::Skipped => (ConditionStatus::False, "Skipped".to_owned(), "another session was running".to_owned()),
        Phase::Retrying => {
            let message = failure.map(|f| format!("will be tried again: {f}")).unwrap_or_default();
            (ConditionStatus::Unknown, "Retrying".to_owned(), message)
        }
        _ => (ConditionStatus::Unknown, "InProgress".to_owned(), "the session has not ended".to_owned()),
    };
    conditions.set("Succeeded", status, &reason, message);
    if let Some(next) = retry_time(session) {
        let message = format!("waits for the time of its next attempt, {}", seconds(next));
        conditions.set(WAITING, ConditionStatus::True, "RetryLater", message);
    }
}

fn backup_conditions(session: &Session) -> Vec<Condition> {
    let mut conditions = no_conditions(session);
    set_notices(&mut conditions, session);
    if session.phase == Phase::Succeeded {
        set_backup_success(&mut conditions, session);
    }
    if let Some(failure) = session.last_failure.as_ref().filter(|_| session.phase.is_end()) {
        set_backup_failure(&mut conditions, failure);
    }
    set_summary(&mut conditions, session);
    conditions.into_list()
}

fn set_backup_success(conditions: &mut Conditions, session: &Session) {
    use ConditionStatus::True;
    let reason = "SuccessfullyInitializedBackendRepository";
    conditions.set("BackendRepositoryInitialized", True, reason, "repository is ready");
    let retention = session.results.iter().find_map(|result| result.retention.as_ref());
    if let Some(retention) = retention {
        let verb = if retention.dry_run { "would forget" } else { "forgot" };
        let message = format!("kept {}, {verb} {}", retention.kept, retention.removed);
        conditions.set("RetentionPolicyApplied", True, "SuccessfullyAppliedRetentionPolicy", message);
    }
    let read: u64 = session.results.iter().map(|result| result.packs_read).sum();
    let all: u64 = session.results.iter().map(|result| result.packs).sum();
    let message = format!("snapshot read back: {read} of {all} packs whole");
    conditions.set("RepositoryIntegrityVerified", True, "SuccessfullyVerifiedRepositoryIntegrity", message);
}

/// Sets the condition that Stash has for some failures.
fn set_backup_failure(conditions: &mut Conditions, failure: &Failure) {
    use ConditionStatus::{False, True};
    let (kind, status, reason) = match failure.code {
        Code::DeadlineExceeded => ("DeadlineExceeded", True, "FailedToCompleteWithinDeadline"),
        Code::WorkerLost => ("BackupDisrupted", True, "FailedToCompleteDueToDisruption"),
        Code::ReadBackFailed => ("RepositoryIntegrityVerified", False, "FailedToVerifyRepositoryIntegrity"),
        _ => return,
    };
    conditions.set(kind, status, reason, failure.message.clone());
}

fn restore_conditions(session: &Session) -> Vec<Condition> {
    use ConditionStatus::{False, True};
    let mut conditions = no_conditions(session);
    set_notices(&mut conditions, session);
    match session.phase {
        // Nothing was restored, which its own condition says.
        Phase::Succeeded if session.course() == Course::DryRun => {}
        Phase::Succeeded => conditions.set("RestoreCompleted", True, "RestoreSucceeded", "the restore succeeded"),
        Phase::Failed | Phase::Cancelled => {
            let message = session.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
            conditions.set("RestoreCompleted", False, "RestoreFailed", message);
        }
        _ => {}
    }
    set_summary(&mut conditions, session);
    conditions.into_list()
}
