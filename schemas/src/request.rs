//! Requests of people and programs to the engine, and its answers. Plain JSON over request and reply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Verb of the request that cancels a session: `lagan.request.<cluster>.cancel`.
pub const CANCEL: &str = "cancel";

/// Cancels a session. The answer says that the request is in the session's log, not that the session has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelSession {
    pub session: Uuid,
    /// The name of the person or program that asks, for people.
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
