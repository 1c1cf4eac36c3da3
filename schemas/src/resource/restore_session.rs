//! RestoreSession: restores one snapshot into a target, once. Field names and meaning are Stash's.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup_configuration::{Driver, Priority, TargetRef, TaskRef};
use super::backup_session::{HostStats, RunStatus};
use super::condition::{Condition, list_schema};
use super::hooks::RestoreHooks;
use super::{NamespacedName, Opaque};
use crate::duration::{self, GoDuration, TIME_OUT};

/// Restores a snapshot into a target. It runs once; to run again, create another.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "RestoreSession",
    namespaced,
    status = "RestoreSessionStatus",
    shortname = "lrs",
    category = "lagan",
    selectable = ".spec.repository.name",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository.name"),
    printcolumn(name = "Snapshot", type_ = "string", json_path = ".status.snapshot"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.ref.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.sessionDuration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.worker", priority = 1)
)]
#[x_kube(
    cel,
    validation = Rule::new("self == oldSelf").message("spec: a session can't be changed; create a new one"),
    validation = Rule::new("has(self.target) && has(self.target.ref)").message("target.ref: name the AppBinding to restore into"),
    validation = Rule::new("!has(self.target) || !has(self.target.rules) || self.target.rules.filter(r, !has(r.targetHosts) || size(r.targetHosts) == 0).size() <= 1").message("target.rules: at most one rule without targetHosts"),
    validation = Rule::new("!has(self.rules) || self.rules.filter(r, !has(r.targetHosts) || size(r.targetHosts) == 0).size() <= 1").message("rules: at most one rule without targetHosts"),
    validation = Rule::new("!has(self.existing) || !has(self.overwrite)").message("existing: it says more than overwrite; leave overwrite out"),
    validation = Rule::new("!has(self.__as__) || !has(self.databases) || size(self.databases) == 1").message("as: one database can get another name; name exactly one in databases, or leave as out"),
    validation = Rule::new("!has(self.databases) || self.databases.all(name, self.databases.exists_one(other, other == name))").message("databases: a name is there twice; name each database once"),
    validation = TIME_OUT.sign_rule(),
    validation = TIME_OUT.form_rule()
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreSessionSpec {
    /// The Task; by default it is taken from the AppBinding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RestoreTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<Opaque>,
    /// Hooks that run before and after the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    pub repository: NamespacedName,
    /// Old place of `target.rules`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RestoreRule>,
    #[serde(
        rename = "timeOut",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "duration::time_out"
    )]
    pub time_out: Option<GoDuration>,
    /// Order among sessions that wait for the same target, storage or workers: High, Normal (the default) or Low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// BackupConfiguration whose snapshots are considered, if several share the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<NamespacedName>,
    /// Name or identity of another cluster that wrote the snapshot. Without it only snapshots of this cluster, and those that
    /// Lagan did not write, are considered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub from_cluster: Option<String>,
    /// Replace what the target holds. Without it a restore into a database that is not empty is refused
    /// (group lagan.dev), or done with a warning (group stash.appscode.com, as Stash does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<bool>,
    /// Treatment of data that the target holds already [default: Refuse; Merge if `overwrite` is true].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,
    /// Databases of the snapshot that are restored [default: all that it holds].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub databases: Vec<String>,
    /// The name that the one database in `databases` gets. Refused if something in the snapshot names the old one.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub renamed: Option<String>,
    /// Comparison of the target with the snapshot after the last statement [default: Objects; None in group
    /// stash.appscode.com, as in Stash].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Do all that a restore does before its first statement, and end there. The condition `DryRun` says what would be
    /// written, and the session fails with what a restore would fail with. No hook runs, and nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// Depth of the comparison after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verify {
    /// Nothing is compared.
    None,
    /// A missing table, view, program or trigger fails the session. A condition names additional ones.
    Objects,
    /// The rows of every table are counted, too. The server reads all of its tables for that.
    Rows,
}

/// Treatment of the databases that a restore writes to, if they hold data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Existing {
    /// Nothing is restored.
    Refuse,
    /// Objects of the snapshot replace those of the same name; all others stay, and a condition names them.
    Merge,
    /// The databases are dropped first. The snapshot has been read to its last byte before.
    Replace,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreTarget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<TargetRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volume_mounts: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volume_claim_templates: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RestoreRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub args: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreRule {
    /// Hosts that the rule applies to; by default all hosts without a rule of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 16))]
    pub target_hosts: Vec<String>,
    /// The restic host of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_host: Option<String>,
    /// `latest`, or the id of a snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 16))]
    pub snapshots: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub exclude: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub include: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSessionStatus {
    /// Pending, Running, Succeeded, Failed, Unknown or Invalid.
    #[serde(default)]
    pub phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_hosts: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub session_deadline: Option<Timestamp>,
    /// Written before the restore may begin. A restore that has it is never begun again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub recorded_time: Option<Timestamp>,
    #[serde(flatten)]
    pub run: RunStatus,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stats: Vec<HostStats>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_schema")]
    pub conditions: Vec<Condition>,
}
