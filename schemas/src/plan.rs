//! The plan of a session: everything a worker needs, with no choice left to it and no secret in it.
//! It must not resolve anything; the planner fills it.

mod hooks;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fact::Notice;
use crate::resource::ObjectRef;
use crate::resource::function::DatabaseKind;
use crate::resource::repository::{Backend, RetentionPolicy};
use crate::subject::{Lane, SessionKind};

pub use hooks::{Application, PlanHooks};

/// Version of the plan's shape; a worker refuses one it does not know.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub version: u32,
    pub kind: SessionKind,
    /// What people call the session.
    pub session_name: String,
    pub invoker: ObjectRef,
    /// The object that asked, if one did: the worker confirms a restore's uid with the source of intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    pub pool: String,
    pub lane: Lane,
    pub targets: Vec<PlanTarget>,
    /// The repository whose data is deleted: its object was deleted and asked for that (`wipeOut`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<PlanRepository>,
    pub retry: Retry,
    /// The session fails when it has not ended by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
    /// A step that moves no byte for so long is killed.
    pub stall_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionPolicy>,
    /// What the planner left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Tries after the first one.
    pub max: u32,
    pub delay_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanTarget {
    /// Alias of the target, or its object's name.
    pub name: String,
    /// restic host of the snapshots.
    pub host: String,
    pub reference: ObjectRef,
    pub database: Database,
    pub steps: Vec<Step>,
    pub repositories: Vec<PlanRepository>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreFrom>,
    /// The worker reads what runs before and after the work from the invoker, at its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<PlanHooks>,
}

/// Where the database answers and which secret opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    pub kind: DatabaseKind,
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Credentials,
    /// How long to wait for it to answer before the first step.
    pub wait_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    pub mode: TlsMode,
    /// PEM, base64 as in the AppBinding; public by nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Secret with `tls.crt` and `tls.key` for client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// Where the worker finds user and password: the AppBinding at its source, and the Secret that it names.
/// Neither its URL's credentials nor the values of its `secretTransforms` are ever published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub namespace: String,
    pub app_binding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// One program to run: argv with nothing left to substitute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub function: String,
    /// Name of a program on the worker's allow-list.
    pub program: String,
    pub args: Vec<String>,
    /// The user's part of `args`, which the worker holds against the forbidden options.
    pub user_args: Vec<String>,
    pub stream: StepStream,
}

/// What the step's stream is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepStream {
    /// Standard output becomes this entry of the snapshot.
    Stdout(String),
    /// This entry of the snapshot is fed to standard input.
    Stdin(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRepository {
    pub reference: ObjectRef,
    pub backend: Backend,
    /// The Secret with `RESTIC_PASSWORD` and the storage keys.
    pub secret: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreFrom {
    pub snapshot: SnapshotSelector,
    /// `namespace/name` of the BackupConfiguration whose snapshots count, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// restic host, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub path: String,
    /// `latest` means the latest of this time, whenever the worker gets to it.
    #[schemars(with = "String")]
    pub not_after: Timestamp,
    pub overwrite: Overwrite,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SnapshotSelector {
    Latest,
    Id(String),
}

/// What a restore does with a target that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overwrite {
    Refuse,
    /// As Stash does, with a condition that says so.
    Warn,
    Allow,
}
