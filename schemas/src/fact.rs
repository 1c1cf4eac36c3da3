//! The facts of a session: what each carries and how it becomes an event.
//! Which fact is legal when is for `session` to say, not for this file.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Failure;
use crate::event::{CloudEvent, EventError};
use crate::plan::Plan;
use crate::resource::ObjectRef;
use crate::subject::{SessionKey, SessionKind};

/// The instance of a worker process, unique for each start.
pub type Instance = Uuid;

/// Who wrote a worker fact. `part` is 0 until dumps are cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub attempt: u32,
    pub worker: Instance,
    #[serde(default)]
    pub part: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// What people call the session.
    pub name: String,
    pub invoker: ObjectRef,
    pub cause: Cause,
    /// Planning waits until its view of RESOURCES has reached this sequence.
    pub resources_position: u64,
    /// `urgent` for what people ask for, `normal` for slots.
    pub priority: Priority,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// A slot of the configuration's schedule.
    #[serde(rename_all = "camelCase")]
    Slot {
        #[schemars(with = "String")]
        slot: Timestamp,
        /// Slots before this one that nobody ran.
        missed: u32,
    },
    /// A BackupSession or RestoreSession object; its uid is the session's.
    #[serde(rename_all = "camelCase")]
    Object { object: ObjectRef },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Urgent,
    Normal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    pub reason: String,
    pub message: String,
    /// The session in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    #[serde(flatten)]
    pub holder: Holder,
    /// Host name of the worker, for people.
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restoring {
    #[serde(flatten)]
    pub holder: Holder,
    pub target: String,
    pub repository: String,
    pub snapshot: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Committing {
    #[serde(flatten)]
    pub holder: Holder,
    pub target: String,
    pub repository: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retrying {
    #[serde(flatten)]
    pub holder: Holder,
    #[serde(flatten)]
    pub failure: Failure,
    /// Not planned again before this time.
    #[schemars(with = "String")]
    pub after: Timestamp,
    pub counted: Counted,
    /// Snapshots of this session that failed their read-back and will never be adopted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_snapshots: Vec<String>,
    /// What this attempt found; the next one reads here which hooks have run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Notice>,
}

/// Whether a retry uses one of the tries that the configuration allows. A drain does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    Yes,
    No,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequested {
    /// Who asked, in their own words.
    pub by: String,
    pub reason: String,
    /// What the session ends with: `E0503` for a person, `E0502` for a deadline.
    pub code: crate::error::Code,
}

/// What came of one target in one repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetResult {
    pub target: String,
    pub host: String,
    pub repository: ObjectRef,
    pub path: String,
    pub snapshot: String,
    /// Bytes of the dump.
    pub size_bytes: u64,
    /// Bytes that the repository grew by.
    #[serde(default)]
    pub added_bytes: u64,
    /// SHA-256 of the dump, lower-case hex; empty when the snapshot was adopted.
    #[serde(default)]
    pub sha256: String,
    pub duration_ms: u64,
    /// The snapshot was written by an earlier attempt of this session and passed the same read-back.
    #[serde(default)]
    pub adopted: bool,
    /// Packs that the read-back read whole, of how many the snapshot uses.
    #[serde(default)]
    pub packs_read: u64,
    #[serde(default)]
    pub packs: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<RepositoryStatistics>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionResult {
    pub kept: u64,
    /// Ids of the snapshots that were forgotten, or would have been (`dryRun`).
    pub removed: Vec<String>,
    #[serde(default)]
    pub dry_run: bool,
    /// Why each snapshot that stayed was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<KeepReason>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeepReason {
    pub snapshot: String,
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatistics {
    pub snapshots: u64,
    pub size_bytes: u64,
}

/// Something a person should know about a session that went on all the same, or why a step was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Condition type, CamelCase.
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Succeeded {
    #[serde(flatten)]
    pub holder: Holder,
    pub results: Vec<TargetResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Notice>,
}

/// `failed` and `cancelled`. `holder` is `None` when the planner ends what nobody holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    #[serde(flatten)]
    pub failure: Failure,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_snapshots: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Notice>,
}

macro_rules! facts {
    ($($variant:ident($data:ty) = $name:literal;)*) => {
        #[derive(Debug, Clone, PartialEq)]
        pub enum Fact { $($variant($data),)* }

        /// The name of a fact: last word of its subject (third from the end for `planned`), part of its event type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FactKind { $($variant,)* }

        impl FactKind {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn decode(self, data: Value) -> Result<Fact, serde_json::Error> {
                Ok(match self { $(Self::$variant => Fact::$variant(serde_json::from_value(data)?),)* })
            }

            /// JSON schema of the event's data.
            #[must_use]
            pub fn schema(self) -> schemars::Schema {
                match self { $(Self::$variant => schemars::schema_for!($data),)* }
            }
        }

        impl Fact {
            #[must_use]
            pub const fn kind(&self) -> FactKind {
                match self { $(Self::$variant(_) => FactKind::$variant,)* }
            }

            #[must_use]
            pub fn data(&self) -> Value {
                match self { $(Self::$variant(data) => serde_json::to_value(data),)* }.expect("facts are JSON values")
            }
        }
    };
}

facts! {
    Requested(Requested) = "requested";
    Skipped(Skipped) = "skipped";
    Planned(Box<Plan>) = "planned";
    Started(Started) = "started";
    Restoring(Restoring) = "restoring";
    Committing(Committing) = "committing";
    Retrying(Retrying) = "retrying";
    CancelRequested(CancelRequested) = "cancel-requested";
    Succeeded(Succeeded) = "succeeded";
    Failed(Ended) = "failed";
    Cancelled(Ended) = "cancelled";
}

impl FactKind {
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// `dev.lagan.backup.cancel-requested.v1`
    #[must_use]
    pub fn event_type(self, session: SessionKind) -> String {
        format!("dev.lagan.{}.{}.v1", session.as_str(), self.as_str())
    }
}

impl Fact {
    /// The event of this fact. `id` is deterministic where the fact is, else unique to the author's try.
    #[must_use]
    pub fn event(&self, key: &SessionKey, id: String, component: &str, now: Timestamp) -> CloudEvent {
        let kind = self.kind().event_type(key.kind);
        CloudEvent::new(id, format!("/lagan/{}/{component}", key.cluster), kind, now, self.data())
            .about(format!("{}/{}", key.namespace, key.invoker))
            .in_cluster(key.cluster.as_str())
            .of_session(key.uid.to_string())
    }

    /// Decodes an event of SESSIONS. A fact of a later version is `UnknownType`.
    pub fn decode(event: CloudEvent) -> Result<Self, EventError> {
        let unknown = || EventError::UnknownType(event.kind.clone());
        let mut words = event.kind.split('.').skip(2);
        let (_, name, version) = (words.next(), words.next(), words.next());
        if version != Some("v1") {
            return Err(unknown());
        }
        let kind = name.and_then(FactKind::from_name).ok_or_else(unknown)?;
        kind.decode(event.data).map_err(|source| EventError::Data { kind: event.kind, source })
    }

    /// The worker that wrote it, for facts that only a worker writes.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Started(f) => Some(f.holder),
            Self::Restoring(f) => Some(f.holder),
            Self::Committing(f) => Some(f.holder),
            Self::Retrying(f) => Some(f.holder),
            Self::Succeeded(f) => Some(f.holder),
            Self::Failed(f) | Self::Cancelled(f) => f.holder,
            Self::Requested(_) | Self::Skipped(_) | Self::Planned(_) | Self::CancelRequested(_) => None,
        }
    }
}
