//! The CloudEvents 1.0 envelope, structured mode: the body of every message of every stream.
//! It must not know what any event means.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const CONTENT_TYPE: &str = "application/cloudevents+json";
const SPEC_VERSION: &str = "1.0";

/// A CloudEvent. Readers ignore unknown attributes, so unknown fields are not refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CloudEvent {
    pub specversion: String,
    /// The event's id, which is also the `Nats-Msg-Id`: an event that is published twice is stored once.
    pub id: String,
    /// The author: `/lagan/<cluster>/<component>`.
    pub source: String,
    /// The type, such as `dev.lagan.backup.succeeded.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `<namespace>/<name>` of the object that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The time of creation by the author's clock, in RFC 3339. Deadlines use the server's message time instead.
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
    #[error("the message is not a CloudEvent")]
    Envelope(#[source] serde_json::Error),
    #[error("CloudEvents version `{0}` is not `1.0`")]
    Version(String),
    #[error("event type `{0}` is unknown to this version")]
    UnknownType(String),
    #[error("the data of an event of type `{kind}` can't be read")]
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
    /// The object; `None` if it was deleted.
    pub object: Option<Value>,
    /// The uid of the object, also of a deleted one.
    pub uid: uuid::Uuid,
    /// Paths of fields that the object sets and that have no effect. The published object does not hold them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_fields: Vec<String>,
    /// The reason why the object can't be used.
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

/// Event type of STATUS. The data is an object of the kind with its `status`.
pub const STATUS_CHANGED: &str = "dev.lagan.status.changed.v1";

/// Progress of a session, on PROGRESS. It is published a few times a second, kept for a minute, and only informative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub session: uuid::Uuid,
    pub session_name: String,
    pub target: String,
    pub activity: Activity,
    /// Bytes of the stream that have passed so far.
    pub bytes: u64,
    pub bytes_per_second: u64,
    /// Size of the stream. It is known for restores; a dump's size is known only at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

impl Progress {
    pub const TYPE: &str = "dev.lagan.progress.v1";

    /// Reads an event of PROGRESS; `None` for one of another type or of a later version.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let event = CloudEvent::from_bytes(payload).ok().filter(|event| event.kind == Self::TYPE)?;
        serde_json::from_value(event.data).ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Waiting for the database and running preflight checks.
    Preparing,
    Dumping,
    Verifying,
    Restoring,
    /// A worker of the pool can't read the plan: it waits for a worker of a later version.
    Waiting,
}
