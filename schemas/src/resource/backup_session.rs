//! BackupSession: one run of a BackupConfiguration. People make one to ask for a backup; the reporter makes
//! one for each scheduled session. Status shapes are Stash's, with ours added.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup_configuration::TargetRef;
use super::condition::{Condition, list_schema};
use crate::position::StoreId;

/// One run of a backup.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "BackupSession",
    namespaced,
    status = "BackupSessionStatus",
    shortname = "lbs",
    category = "lagan",
    selectable = ".spec.invoker.name",
    printcolumn(name = "Invoker", type_ = "string", json_path = ".spec.invoker.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.sessionDuration"),
    printcolumn(name = "Snapshot", type_ = "string", json_path = ".status.snapshot"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Invoker-Kind", type_ = "string", json_path = ".spec.invoker.kind", priority = 1),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".status.trigger", priority = 1),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempts", priority = 1),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.worker", priority = 1),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size", priority = 1),
    printcolumn(name = "Added", type_ = "string", json_path = ".status.added", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1)
)]
#[x_kube(
    cel,
    validation = Rule::new("self == oldSelf").message("spec: a session can't be changed; create a new one"),
    validation = Rule::new("self.invoker.kind == 'BackupConfiguration'").message("invoker.kind: must be BackupConfiguration")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupSessionSpec {
    pub invoker: Invoker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_left: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invoker {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    #[schemars(length(max = 63))]
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSessionStatus {
    /// Pending, Skipped, Running, Succeeded, Failed or Unknown.
    #[serde(default)]
    pub phase: String,
    /// Duration in whole seconds, as Go formats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub session_deadline: Option<Timestamp>,
    #[serde(flatten)]
    pub run: RunStatus,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_schema")]
    pub conditions: Vec<Condition>,
}

/// Status fields of all sessions that Stash does not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub requested_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub start_time: Option<Timestamp>,
    /// Time from the request to the first start, or to the end of a session that was never started, such as `1.5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub completion_time: Option<Timestamp>,
    /// Short id of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
    /// Size of the stream, such as `1.234 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Size of the data that was new to the repository, such as `1.234 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<String>,
    /// The cause of the session: Slot or Object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Coarse progress, updated now and then. The stream PROGRESS has all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Code of the last failure, such as `E0201`, also while the session is being retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Sequence of the last fact that this status was folded from.
    #[serde(default)]
    pub folded_sequence: u64,
    /// Store of that sequence: the time at which the stream of facts was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub folded_store: Option<StoreId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    #[serde(rename = "ref")]
    pub reference: TargetRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_hosts: Option<i32>,
    #[serde(default)]
    pub phase: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stats: Vec<HostStats>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_backup_actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_backup_actions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostStats {
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStats {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub total_size: String,
    #[serde(default)]
    pub uploaded: String,
    #[serde(default)]
    pub processing_time: String,
    #[serde(default)]
    pub file_stats: FileStats,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileStats {
    #[serde(default)]
    pub total_files: i64,
    #[serde(default)]
    pub new_files: i64,
    #[serde(default)]
    pub modified_files: i64,
    #[serde(default)]
    pub unmodified_files: i64,
}
