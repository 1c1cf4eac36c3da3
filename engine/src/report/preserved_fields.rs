//! Fields of a session's status that do not follow from its facts, and that a new fold takes over from the old status.

use lagan_schemas::resource::condition::{Condition, set};
use lagan_schemas::resource::{Status, StatusDocument};

use super::wait::WAITING;

/// Type of the condition that says how the push of a session's metrics went.
pub(crate) const METRICS_PUSHED: &str = "MetricsPushed";
/// Type of the condition of a session whose plan no worker of its pool has been able to read.
pub(crate) const WAITS_FOR_WORKER_UPGRADE: &str = "WaitsForWorkerUpgrade";

/// Takes over the result of the metrics push and the progress, if both documents are about the same session.
pub(crate) fn preserve(old: &StatusDocument, new: &mut StatusDocument) {
    if old.metadata.common.uid != new.metadata.common.uid {
        return;
    }
    if let Some(pushed) = old.status.conditions().iter().find(|condition| condition.kind == METRICS_PUSHED) {
        set_condition(&mut new.status, pushed);
    }
    let is_untaken = new.status.session_phase() == "Pending" && old.status.session_phase() == "Pending";
    if let Some(waits) = old.status.conditions().iter().find(|one| is_untaken && one.kind == WAITS_FOR_WORKER_UPGRADE) {
        set_condition(&mut new.status, waits);
    }
    let is_running = is_running(&new.status);
    if let (Some(old), Some(new)) = (old.status.run(), new.status.run_mut()) {
        // A new attempt starts from nothing.
        let is_same_attempt = old.attempts == new.attempts;
        if is_running && is_same_attempt && old.progress.is_some() {
            new.progress.clone_from(&old.progress);
        }
    }
}

/// Takes over what a session waits for that has not been planned since.
pub(crate) fn preserve_wait(old: &StatusDocument, new: &mut StatusDocument) {
    let is_same = old.metadata.common.uid == new.metadata.common.uid;
    if let Some(waits) = old.status.conditions().iter().find(|one| is_same && one.kind == WAITING) {
        set_condition(&mut new.status, waits);
    }
}

pub(crate) fn is_running(status: &Status) -> bool {
    status.session_phase() == "Running"
}

/// Sets a condition and gives it the observed generation of the others.
pub(crate) fn set_condition(status: &mut Status, condition: &Condition) {
    let conditions = status.conditions_mut();
    let observed_generation = conditions.last().map_or(condition.observed_generation, |last| last.observed_generation);
    set(conditions, Condition { observed_generation, ..condition.clone() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use lagan_schemas::resource::backup_session::{BackupSessionStatus, RunStatus};
    use lagan_schemas::resource::condition::ConditionStatus;
    use lagan_schemas::resource::{Kind, Metadata};
    use serde_json::Value;
    use uuid::Uuid;

    fn document(phase: &str, attempts: u32) -> StatusDocument {
        let run = RunStatus { attempts, ..RunStatus::default() };
        StatusDocument {
            api_version: "lagan.dev/v1alpha1".to_owned(),
            kind: Kind::BackupSession,
            metadata: Metadata { uid: Some(Uuid::from_u128(1)), ..Metadata::default() }.into(),
            spec: Value::Null,
            status: BackupSessionStatus { phase: phase.to_owned(), run, ..BackupSessionStatus::default() }.into(),
        }
    }

    fn pushed(status: ConditionStatus) -> Condition {
        Condition {
            kind: METRICS_PUSHED.to_owned(),
            status,
            reason: "Because".to_owned(),
            message: String::new(),
            observed_generation: 0,
            last_transition_time: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_result_of_a_push_outlives_later_folds_of_the_same_session() {
        let mut old = document("Succeeded", 1);
        set_condition(&mut old.status, &pushed(ConditionStatus::False));
        let mut new = document("Succeeded", 1);
        preserve(&old, &mut new);
        assert_eq!(new.status.conditions()[0].status, ConditionStatus::False);
        set_condition(&mut new.status, &pushed(ConditionStatus::True));
        assert_eq!(new.status.conditions().len(), 1);
        let mut other = document("Succeeded", 1);
        other.metadata.common.uid = Some(Uuid::from_u128(2));
        preserve(&new, &mut other);
        assert!(other.status.conditions().is_empty());
    }

    #[test]
    fn progress_stays_within_an_attempt_and_never_on_a_session_that_ended() {
        let mut old = document("Running", 1);
        old.status.run_mut().expect("a session").progress = Some("41%".to_owned());
        for (phase, attempts, stays) in [("Running", 1, true), ("Running", 2, false), ("Failed", 1, false)] {
            let mut new = document(phase, attempts);
            preserve(&old, &mut new);
            assert_eq!(new.status.run().is_some_and(|run| run.progress.is_some()), stays, "{phase} {attempts}");
        }
    }
}
