//! The CloudEvents 1.0 envelope, structured mode: the body of every message of every stream.
//! It must not know what any event means.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const CONTENT_TYPE: &str = "application/cloudevents+json";
const SPEC_VERSION: &str = "1.0";

/// Readers ignore attributes they do not know, so nothing here denies unknown fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CloudEvent {
    pub specversion: String,
    /// Also the `Nats-Msg-Id`: publishing the same event twice stores it once.
    pub id: String,
    /// `/lagan/<cluster>/<component>`
    pub source: String,
    /// `dev.lagan.backup.succeeded.v1`
    #[serde(rename = "type")]
    pub kind: String,
    /// `<namespace>/<name>` of the object this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the author made it, RFC 3339. Deadlines use the server's message time instead.
    #[schemars(with = "String")]
    pub time: Timestamp,
    pub datacontenttype: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessionuid: Option<String>,
    pub data: Value,
}

impl CloudEvent {
    #[must_use]
    pub fn new(id: String, source: String, kind: String, time: Timestamp, data: Value) -> Self {
        Self {
            specversion: SPEC_VERSION.to_owned(),
            dataschema: Some(format!("https://lagan.dev/schemas/{kind}.json")),
            id,
            source,
            kind,
            subject: None,
            time,
            datacontenttype: "application/json".to_owned(),
            cluster: None,
            sessionuid: None,
            data,
        }
    }

    #[must_use]
    pub fn about(mut self, subject: String) -> Self {
        self.subject = Some(subject);
        self
    }

    #[must_use]
    pub fn in_cluster(mut self, cluster: &str) -> Self {
        self.cluster = Some(cluster.to_owned());
        self
    }

    #[must_use]
    pub fn of_session(mut self, uid: String) -> Self {
        self.sessionuid = Some(uid);
        self
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope of strings and JSON serialises")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EventError> {
        let event: Self = serde_json::from_slice(bytes).map_err(EventError::Envelope)?;
        if event.specversion == SPEC_VERSION { Ok(event) } else { Err(EventError::Version(event.specversion)) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("message is not a CloudEvent")]
    Envelope(#[source] serde_json::Error),
    #[error("CloudEvents version `{0}` is not `1.0`")]
    Version(String),
    #[error("event type `{0}` is not known to this version")]
    UnknownType(String),
    #[error("data of event type `{kind}` can't be read")]
    Data {
        kind: String,
        #[source]
        source: serde_json::Error,
    },
}

/// The last value of an object on RESOURCES: the object, or a tombstone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceEvent {
    /// `None` says that the object is gone.
    pub object: Option<Value>,
    /// The uid of the object that is, or was.
    pub uid: uuid::Uuid,
    /// Why the object can't be used, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ResourceEvent {
    pub const APPLIED: &str = "dev.lagan.resource.applied.v1";
    pub const DELETED: &str = "dev.lagan.resource.deleted.v1";

    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.object.is_some() { Self::APPLIED } else { Self::DELETED }
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EventError> {
        let event = CloudEvent::from_bytes(bytes)?;
        match event.kind.as_str() {
            Self::APPLIED | Self::DELETED => {
                serde_json::from_value(event.data).map_err(|source| EventError::Data { kind: event.kind, source })
            }
            _ => Err(EventError::UnknownType(event.kind)),
        }
    }
}

/// The last status of an object on STATUS: an object of its kind with `status` filled.
pub const STATUS_CHANGED: &str = "dev.lagan.status.changed.v1";

/// How far a session is, on PROGRESS: several times a second at most, kept for a minute, never the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub session: uuid::Uuid,
    pub session_name: String,
    pub target: String,
    pub activity: Activity,
    /// Bytes of the stream so far.
    pub bytes: u64,
    pub bytes_per_second: u64,
    /// Known for a restore; a dump's size is known when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

impl Progress {
    pub const TYPE: &str = "dev.lagan.progress.v1";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Waiting for the database, looking at what is there.
    Preparing,
    Dumping,
    Verifying,
    Restoring,
}
