//! Conditions as the Kubernetes API conventions and kmodules write them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: ConditionStatus,
    /// One CamelCase word, for programs.
    pub reason: String,
    /// A sentence, for people.
    pub message: String,
    #[serde(default)]
    pub observed_generation: i64,
    /// The time at which `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Sets a condition, keeping its transition time while the status stays.
pub fn set(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|c| c.kind == new.kind) {
        Some(old) => {
            let since = if old.status == new.status { old.last_transition_time } else { new.last_transition_time };
            *old = Condition { last_transition_time: since, ..new };
        }
        None => conditions.push(new),
    }
}

/// Returns the schema of a `conditions` list, which is a map by `type`, so that several writers can apply their own.
#[must_use]
pub fn list_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let items = generator.subschema_for::<Condition>();
    schemars::json_schema!({
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
