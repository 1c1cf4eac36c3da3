//! The status of an object that breaks a rule which the API server does not know: the words of folder mode.

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use serde_json::{Value, json};

use crate::view::Refused;

/// `None` for kinds that have no status.
pub(crate) fn status(kind: Kind, refused: &Refused, now: Timestamp) -> Option<Value> {
    let condition = |kind: &str, reason: &str| Condition {
        kind: kind.to_owned(),
        status: ConditionStatus::False,
        reason: reason.to_owned(),
        message: refused.problem.clone(),
        observed_generation: refused.metadata.generation,
        last_transition_time: now,
    };
    let validation = condition("ValidationPassed", "ResourceValidationFailed");
    let summary = |kind: &str| vec![validation.clone(), condition(kind, "Invalid")];
    let generation = refused.metadata.generation;
    match kind {
        Kind::BackupConfiguration => {
            Some(json!({ "observedGeneration": generation, "phase": "Invalid", "conditions": summary("Ready") }))
        }
        Kind::Repository | Kind::BackupBlueprint => {
            Some(json!({ "observedGeneration": generation, "conditions": summary("Ready") }))
        }
        Kind::RestoreSession => Some(json!({ "phase": "Invalid", "conditions": summary("Succeeded") })),
        Kind::BackupSession | Kind::Task | Kind::Function | Kind::AppBinding | Kind::Secret => None,
    }
}
