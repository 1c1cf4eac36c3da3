//! BackupBlueprint: the backup of databases that carry only an annotation. Field names and meaning are Stash's.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Opaque;
use super::backup_configuration::{RetryConfig, TaskRef};
use super::condition::{Condition, list_schema};
use super::hooks::BackupHooks;
use super::repository::{Backend, RetentionPolicy, UsagePolicy};
use crate::duration::{self, DELAY, GoDuration, TIME_OUT};

/// A Repository and a BackupConfiguration for every AppBinding that names it in an annotation.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "BackupBlueprint",
    status = "BackupBlueprintStatus",
    shortname = "lbb",
    category = "lagan",
    printcolumn(name = "Task", type_ = "string", json_path = ".spec.task.name"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Usages", type_ = "integer", json_path = ".status.usages"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    cel,
    validation = Rule::new("!(has(self.wipeOut) && self.wipeOut && has(self.backend.local))").message("wipeOut: not for a local repository"),
    validation = Rule::new("!has(self.backupHistoryLimit) || self.backupHistoryLimit >= 0").message("backupHistoryLimit: can't be negative"),
    validation = TIME_OUT.sign_rule(),
    validation = TIME_OUT.form_rule(),
    validation = Rule::new("!has(self.retryConfig) || !has(self.retryConfig.maxRetry) || (self.retryConfig.maxRetry >= 0 && self.retryConfig.maxRetry <= 100)").message("retryConfig.maxRetry: must be 0 to 100"),
    validation = DELAY.sign_rule(),
    validation = DELAY.form_rule()
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupBlueprintSpec {
    /// The place of each Repository's data. `prefix` and `subPath` may hold `${TARGET_NAMESPACE}`, `${TARGET_NAME}`,
    /// `${TARGET_KIND}`, `${TARGET_APP_RESOURCE}` and the like.
    pub backend: Backend,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe_out: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// Namespace of the BackupConfiguration; by default that of its target.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::blank_is_absent")]
    pub backup_namespace: Option<String>,
    /// Namespace of the Repository; by default that of the BackupConfiguration.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::blank_is_absent")]
    pub repo_namespace: Option<String>,
    /// A schedule as in a BackupConfiguration. An annotation may give another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub schedule: Option<String>,
    /// IANA name of the schedule's time zone, such as `Europe/Berlin`; UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// The Task, whose name may hold the same variables. By default it is taken from the AppBinding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    pub retention_policy: RetentionPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim_volume_template: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_history_limit: Option<i32>,
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

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupBlueprintStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// Number of databases that the blueprint backs up. An engine that watches some namespaces only does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usages: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_schema")]
    pub conditions: Vec<Condition>,
}
