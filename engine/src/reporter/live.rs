//! An object as the API server returns it.

use lagan_schemas::resource::Metadata;
use lagan_sources::stand_in;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, Deserialize)]
pub(super) struct LiveObject {
    pub metadata: LiveMetadata,
    #[serde(default)]
    pub spec: Value,
    #[serde(default)]
    pub status: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiveMetadata {
    #[serde(flatten)]
    pub common: Metadata,
    #[serde(default)]
    pub resource_version: String,
}

impl LiveObject {
    /// `None` for an object without readable metadata, which the API server never returns.
    pub fn read(object: &Value) -> Option<Self> {
        Self::deserialize(object).ok()
    }

    pub fn uid(&self) -> Option<Uuid> {
        self.metadata.common.uid
    }

    /// Whether the session has ended that the object asked for or stands for.
    pub fn has_ended(&self) -> bool {
        matches!(self.status["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"))
    }

    /// Whether Lagan wrote that the session has ended. A person who changes the phase alone is corrected.
    pub fn shows_end(&self) -> bool {
        self.has_ended() && self.status["completionTime"].is_string()
    }

    /// The scheduled session that the object stands for.
    pub fn session(&self) -> Option<Uuid> {
        stand_in::session_of(&self.metadata.common)
    }
}
