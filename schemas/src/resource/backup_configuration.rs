//! BackupConfiguration: the target, schedule, repository and retention of backups. Field names and meaning are Stash's.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::condition::{Condition, list_schema};
use super::hooks::BackupHooks;
use super::repository::RetentionPolicy;
use super::{NamespacedName, Opaque, Param};
use crate::duration::{self, DELAY, GoDuration, JITTER, TIME_OUT};

/// Backs a target up on a schedule.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "BackupConfiguration",
    namespaced,
    status = "BackupConfigurationStatus",
    shortname = "lbc",
    category = "lagan",
    selectable = ".spec.repository.name",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.ref.name"),
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository.name"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Last Success", type_ = "date", json_path = ".status.lastSuccessTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task.name", priority = 1),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextSlotTime", priority = 1),
    printcolumn(name = "Last Phase", type_ = "string", json_path = ".status.lastSession.phase", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[x_kube(
    cel,
    validation = Rule::new("size(self.schedule) > 0").message("schedule: must not be empty (example \"0 2 * * *\")"),
    validation = Rule::new("has(self.target) && has(self.target.ref)").message("target.ref: name the AppBinding to back up"),
    validation = Rule::new("!has(self.startingDeadlineSeconds) || (self.startingDeadlineSeconds >= 0 && self.startingDeadlineSeconds <= 604800)").message("startingDeadlineSeconds: must be 0 to 604800"),
    validation = Rule::new("!has(self.backupHistoryLimit) || self.backupHistoryLimit >= 0").message("backupHistoryLimit: can't be negative"),
    validation = TIME_OUT.sign_rule(),
    validation = TIME_OUT.form_rule(),
    validation = JITTER.sign_rule(),
    validation = JITTER.form_rule(),
    validation = Rule::new("!has(self.retryConfig) || !has(self.retryConfig.maxRetry) || (self.retryConfig.maxRetry >= 0 && self.retryConfig.maxRetry <= 100)").message("retryConfig.maxRetry: must be 0 to 100"),
    validation = DELAY.sign_rule(),
    validation = DELAY.form_rule()
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupConfigurationSpec {
    /// The Task; by default it is taken from the AppBinding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<BackupTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<Opaque>,
    /// Hooks that run before and after the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    /// Five cron fields, a macro such as `@daily`, or an interval such as `@every 6h`. A time zone may stand in front
    /// (`TZ=Asia/Tokyo 0 3 * * *`).
    #[schemars(length(max = 256))]
    pub schedule: String,
    /// IANA name of the schedule's time zone, such as `Europe/Berlin`; UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// Upper bound of the delay of each slot, at most 24h. An object's slots all have the same delay.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "duration::jitter")]
    pub jitter: Option<GoDuration>,
    /// Age up to which a missed slot is caught up; 3600 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_deadline_seconds: Option<i64>,
    /// Treatment of a slot while the last session runs: Forbid (skip it, the default) or Allow (wait for the target).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// Order among sessions that wait for the same target, storage or workers: High, Normal (the default) or Low. Sessions
    /// that a person asked for come before those of schedules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The format of snapshots. Restic is the only value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    pub repository: NamespacedName,
    pub retention_policy: RetentionPolicy,
    /// Stops scheduled sessions. Sessions that people ask for still run.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub paused: bool,
    /// Number of ended sessions that stay visible; 1 by default, as in Stash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_history_limit: Option<i32>,
    /// A session that has not ended after this time fails.
    #[serde(
        rename = "timeOut",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "duration::time_out"
    )]
    pub time_out: Option<GoDuration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_config: Option<RetryConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    Forbid,
    Allow,
}

/// The order of sessions that wait for the same thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Driver {
    Restic,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRef {
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub params: Vec<Param>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupTarget {
    /// The restic host of the snapshots; `host-0` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<TargetRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volume_mounts: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub exclude: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub args: Vec<String>,
}

/// The object that leads to the data: an AppBinding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::blank_is_absent")]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryConfig {
    /// Number of retries after the first attempt, at most 100.
    #[serde(default = "one", deserialize_with = "null_is_one")]
    pub max_retry: i32,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "duration::delay")]
    pub delay: Option<GoDuration>,
}

fn one() -> i32 {
    1
}

fn null_is_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Option::deserialize(deserializer).map(|number| number.unwrap_or_else(one))
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// Ready, NotReady or Invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ConfigurationPhase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_slot_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_success_time: Option<Timestamp>,
    /// The latest slot that was decided. A restart continues from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_slot_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_session: Option<LastSession>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_schema")]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastSession {
    pub name: String,
    #[schemars(with = "String")]
    pub uid: Uuid,
    pub phase: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigurationPhase {
    Invalid,
    Ready,
    NotReady,
}
