//! Requests of people and programs to the engine, and its answers. Plain JSON over request and reply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Verb of the cancel request: `lagan.request.<cluster>.cancel`.
pub const CANCEL: &str = "cancel";

/// Ends a session. It is answered when the request is in the session's log, not when the session has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelSession {
    pub session: Uuid,
    /// Who asks, for people.
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub outcome: Outcome,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Accepted,
    NotFound,
    /// The session has ended already.
    AlreadyEnded,
    Unavailable,
}
