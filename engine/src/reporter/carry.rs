//! What a session's document says beside its facts, and keeps when it is folded anew: how the push of its numbers went,
//! and how far it is.

use lagan_schemas::resource::condition::{Condition, set};
use serde_json::{Value, json};

pub(super) const METRICS_PUSHED: &str = "MetricsPushed";

/// From the document that stood there, if it is of the same session.
pub(super) fn over(old: Option<&Value>, new: &mut Value) {
    let Some(old) = old.filter(|old| old["metadata"]["uid"] == new["metadata"]["uid"]) else { return };
    let pushed = conditions(old).into_iter().find(|condition| condition.kind == METRICS_PUSHED);
    if let Some(condition) = pushed {
        set_condition(new, &condition);
    }
    // Another attempt begins at nothing.
    let same_attempt = old["status"]["attempts"] == new["status"]["attempts"];
    if is_running(new) && same_attempt && old["status"]["progress"].is_string() {
        new["status"]["progress"] = old["status"]["progress"].clone();
    }
}

pub(super) fn is_running(document: &Value) -> bool {
    document["status"]["phase"].as_str() == Some("Running")
}

pub(super) fn set_condition(document: &mut Value, condition: &Condition) {
    let mut all = conditions(document);
    let generation = all.last().map_or(condition.observed_generation, |other| other.observed_generation);
    set(&mut all, Condition { observed_generation: generation, ..condition.clone() });
    document["status"]["conditions"] = json!(all);
}

fn conditions(document: &Value) -> Vec<Condition> {
    serde_json::from_value(document["status"]["conditions"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lagan_schemas::resource::condition::ConditionStatus;

    fn document(phase: &str, attempts: u32) -> Value {
        json!({ "metadata": { "uid": "a" }, "status": { "phase": phase, "attempts": attempts } })
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
    fn how_the_push_went_outlives_later_folds_of_the_same_session() {
        let mut old = document("Succeeded", 1);
        set_condition(&mut old, &pushed(ConditionStatus::False));
        let mut new = document("Succeeded", 1);
        over(Some(&old), &mut new);
        assert_eq!(new["status"]["conditions"][0]["status"], "False");
        set_condition(&mut new, &pushed(ConditionStatus::True));
        assert_eq!(new["status"]["conditions"].as_array().map(Vec::len), Some(1));
        let mut other = document("Succeeded", 1);
        other["metadata"]["uid"] = json!("b");
        over(Some(&new), &mut other);
        assert!(other["status"]["conditions"].is_null());
    }

    #[test]
    fn progress_stays_within_an_attempt_and_never_on_what_ended() {
        let mut old = document("Running", 1);
        old["status"]["progress"] = json!("41%");
        for (phase, attempts, stays) in [("Running", 1, true), ("Running", 2, false), ("Failed", 1, false)] {
            let mut new = document(phase, attempts);
            over(Some(&old), &mut new);
            assert_eq!(new["status"]["progress"].is_string(), stays, "{phase} {attempts}");
        }
    }
}
