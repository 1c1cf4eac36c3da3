//! Notices: conditions that a plan or a fact adds to the status of its session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition of a session that does not end it: a warning, or the reason why a step was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The condition type, in CamelCase.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: NoticeStatus,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoticeStatus {
    True,
    False,
}
