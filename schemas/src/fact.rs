//! The facts of a session: their data and their form as events.
//! It must not decide which fact is legal when; `session` does.

mod bounds;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Failure;
use crate::event::{CloudEvent, EventError};
use crate::plan::Plan;
use crate::position::Position;
use crate::resource::ObjectRef;
use crate::subject::{SessionKey, SessionKind};

pub use crate::notice::{Notice, NoticeStatus};

/// The id of a worker process, new at each start.
pub type Instance = Uuid;

/// The worker that holds a session, and which attempt it makes. Every worker fact carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub attempt: u32,
    pub worker: Instance,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// The session's readable name.
    pub name: String,
    pub invoker: ObjectRef,
    pub cause: Cause,
    /// Planning waits until its view of RESOURCES has reached this position. If RESOURCES has another store by then, it
    /// waits until the view is complete.
    pub resources_position: Position,
    /// `urgent` for requests of people, `normal` for slots.
    pub priority: Urgency,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// A slot of the configuration's schedule has come.
    #[serde(rename_all = "camelCase")]
    Slot {
        #[schemars(with = "String")]
        slot: Timestamp,
        /// Number of earlier slots that were not run.
        missed: u32,
    },
    /// A BackupSession or RestoreSession object was created. Its uid is the session's.
    #[serde(rename_all = "camelCase")]
    Object { object: ObjectRef },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    Urgent,
    Normal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    pub reason: String,
    pub message: String,
    /// The running session that this one would have had to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    #[serde(flatten)]
    pub holder: Holder,
    /// The worker's host name, for people.
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
    /// The first of the databases that are written to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// Number of all of them.
    #[serde(default)]
    pub database_count: u64,
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
    /// The session is not planned again before this time.
    #[schemars(with = "String")]
    pub after: Timestamp,
    pub counted: Counted,
    /// Snapshots that passed their read-back before the attempt failed, such as in a post hook. They stay valid however the
    /// session ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<TargetResult>,
    /// Snapshots of this session that failed their read-back and will never be adopted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_snapshots: Vec<String>,
    /// Conditions of this attempt. The next one reads in them which hooks have run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Notice>,
}

/// Whether a retry counts against the limit of the configuration. A drain does not, and neither does the wait for a server that
/// does not answer, for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    Yes,
    No,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequested {
    /// The person or program that asked, in its own words.
    pub by: String,
    pub reason: String,
    /// The code with which the session ends: `E0503` for a person, `E0502` for a deadline.
    pub code: crate::error::Code,
}

/// The result for one target in one repository.
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
    /// Bytes by which the repository grew.
    #[serde(default)]
    pub added_bytes: u64,
    /// SHA-256 of the dump in lower-case hex; empty if the snapshot was adopted.
    #[serde(default)]
    pub sha256: String,
    pub duration_ms: u64,
    /// True if an earlier attempt of this session wrote the snapshot, which passed the same read-back.
    #[serde(default)]
    pub adopted: bool,
    /// Number of packs that the read-back read completely.
    #[serde(default)]
    pub packs_read: u64,
    #[serde(default)]
    pub packs: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<RepositoryStatistics>,
    /// Totals of what the dump holds. Missing for an adopted snapshot and for a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordTotals>,
}

/// Totals of a dump's record, which is a file of the snapshot beside the dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordTotals {
    pub databases: u64,
    pub tables: u64,
    /// Views, sequences, triggers, routines and events.
    pub other_objects: u64,
    pub rows: u64,
    /// SHA-256 of the record in lower-case hex.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionResult {
    /// Number of snapshots that stay.
    pub kept: u64,
    /// Number of snapshots that were forgotten, or would have been (`dryRun`).
    pub removed: u64,
    /// Short ids of the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_sample: Vec<String>,
    #[serde(default)]
    pub dry_run: bool,
}

impl RetentionResult {
    /// Number of forgotten snapshots that are named.
    const SAMPLE: usize = 8;
    /// Length of a short id, as restic prints it.
    const SHORT_ID: usize = 8;

    /// Summarises a retention run by the ids of the snapshots that it removed.
    #[must_use]
    pub fn new<Id: AsRef<str>>(kept: u64, removed: &[Id], mode: RetentionMode) -> Self {
        let short = |id: &Id| id.as_ref().chars().take(Self::SHORT_ID).collect();
        Self {
            kept,
            removed: removed.len() as u64,
            removed_sample: removed.iter().take(Self::SAMPLE).map(short).collect(),
            dry_run: mode == RetentionMode::DryRun,
        }
    }
}

/// Whether a retention run removes snapshots or only reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionMode {
    Remove,
    DryRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatistics {
    pub snapshots: u64,
    pub size_bytes: u64,
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

/// The data of `failed` and `cancelled`. `holder` is `None` if the planner ends a session that no worker holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    #[serde(flatten)]
    pub failure: Failure,
    /// Snapshots that passed their read-back in any attempt before the session ended, such as before a post hook that failed.
    /// They are valid: `latest` and retention count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<TargetResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_snapshots: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Notice>,
}

macro_rules! facts {
    ($($variant:ident($data:ty) = $name:literal;)*) => {
        #[derive(Debug, Clone, PartialEq)]
        pub enum Fact { $($variant($data),)* }

        /// The name of a fact, which is part of its subject and its event type.
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

            /// Returns the JSON schema of the event's data.
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
    Requested(Box<Requested>) = "requested";
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

    /// Returns the event type, such as `dev.lagan.backup.cancel-requested.v1`.
    #[must_use]
    pub fn event_type(self, session: SessionKind) -> String {
        format!("dev.lagan.{}.{}.v1", session.as_str(), self.as_str())
    }
}

impl Fact {
    /// Wraps the fact in an event. `id` must be unique for each append.
    #[must_use]
    pub fn event(&self, key: &SessionKey, id: String, component: &str, now: Timestamp) -> CloudEvent {
        let kind = self.kind().event_type(key.kind);
        CloudEvent::new(id, format!("/lagan/{}/{component}", key.cluster), kind, now, self.data())
            .about(format!("{}/{}", key.namespace, key.invoker))
            .in_cluster(key.cluster.as_str())
            .of_session(key.uid.to_string())
    }

    /// Decodes an event of SESSIONS. A fact of a later version gives `UnknownType`.
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

    /// Returns the worker that wrote the fact, if a worker did.
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
