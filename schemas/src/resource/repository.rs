//! Repository: the place of snapshots. Field names and meaning are Stash's.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, list_schema};

/// Holds a Repository with `wipeOut` back until its data is deleted, or until that has failed.
pub const WIPE_OUT_FINALIZER: &str = "lagan.dev/wipe-out";

/// A restic repository in an object store or a directory.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "Repository",
    plural = "repositories",
    namespaced,
    status = "RepositoryStatus",
    shortname = "lrepo",
    category = "lagan",
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.backend"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Integrity", type_ = "boolean", json_path = ".status.integrity"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.totalSize"),
    printcolumn(name = "Snapshots", type_ = "integer", json_path = ".status.snapshotCount"),
    printcolumn(name = "Last Backup", type_ = "date", json_path = ".status.lastBackupTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Last Check", type_ = "date", json_path = ".status.lastCheckTime", priority = 1),
    printcolumn(name = "Location", type_ = "string", json_path = ".status.location", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[x_kube(
    cel,
    validation = Rule::new("!(has(self.wipeOut) && self.wipeOut && has(self.backend.local))").message("wipeOut: not for a local repository"),
    validation = Rule::new("!has(self.maxConcurrent) || self.maxConcurrent >= 1").message("maxConcurrent: must be at least 1")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositorySpec {
    /// The place and the Secret that opens it.
    pub backend: Backend,
    /// Delete the data too when this object is deleted in a cluster: everything below the prefix. Not for `local`, and
    /// not for data that another Repository names too. If it can't be done within ten minutes the object goes all the
    /// same, and an Event says that the data stays. A folder of manifests deletes no data, whatever this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe_out: Option<bool>,
    /// Namespaces whose objects may use this repository; by default only its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// Number of sessions that may use the repository at a time, at least 1; by default the engine's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<i32>,
}

impl RepositorySpec {
    /// Returns whether the data is deleted with the object.
    #[must_use]
    pub fn wipes(&self) -> bool {
        self.wipe_out == Some(true) && self.backend.local.is_none()
    }
}

/// A storage: exactly one of the blocks.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.local) || has(self.s3)").message("backend: name where the data lives: `local` or `s3`"),
    validation = Rule::new("!(has(self.local) && has(self.s3))").message("backend: name one place, not several"),
    validation = Rule::new("has(self.storageSecretName) && size(self.storageSecretName) > 0").message("backend.storageSecretName: name the Secret that holds RESTIC_PASSWORD")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Secret with `RESTIC_PASSWORD` and the keys of the storage: for S3 `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and for
    /// temporary credentials `AWS_SESSION_TOKEN`. Each attempt reads them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_secret_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalBackend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Backend>,
}

/// A directory. In folder mode `hostPath.path`, else `mountPath`, plus `subPath`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.mountPath.startsWith('/') && !self.mountPath.contains('..')").message("local.mountPath: must be an absolute path without `..`"),
    validation = Rule::new("self.mountPath != '/stash' && !self.mountPath.startsWith('/stash/')").message("local.mountPath: must not be /stash or below"),
    validation = Rule::new("!has(self.subPath) || (!self.subPath.startsWith('/') && !self.subPath.contains('..'))").message("local.subPath: must be relative and without `..`"),
    validation = Rule::new("!has(self.hostPath) || (self.hostPath.path.startsWith('/') && !self.hostPath.path.contains('..'))").message("local.hostPath.path: must be an absolute path without `..`")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalBackend {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<VolumeClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<Nfs>,
    /// Path at which the worker sees the volume.
    #[schemars(length(max = 1024))]
    pub mount_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub sub_path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPath {
    #[schemars(length(max = 1024))]
    pub path: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeClaim {
    pub claim_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nfs {
    pub server: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// A bucket of S3 or of a server that speaks it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.bucket.matches('^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$')").message("s3.bucket: 3 to 63 lower-case letters, digits, `.` and `-`"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.contains('@')").message("s3.endpoint: must not hold user and password; they belong into the Secret"),
    validation = Rule::new("!has(self.endpoint) || self.endpoint.contains('@') || self.endpoint.matches('^(https?://)?([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\\\[[0-9A-Fa-f:.]+\\\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$')").message("s3.endpoint: must be a host, or http:// or https:// and a host, with a port where it needs one (example \"https://s3.example.org:9000\"); IPv6 in brackets, no path"),
    validation = Rule::new("!has(self.prefix) || (!self.prefix.contains('..') && !self.prefix.contains('//') && !self.prefix.contains('\\\\'))").message("s3.prefix: must not hold `..`, `//` or a backslash"),
    validation = Rule::new("!has(self.prefix) || (size(self.prefix) <= 1024 && !self.prefix.matches('^ | $|[[:cntrl:]]'))").message("s3.prefix: must not hold control characters, blanks at its ends, or more than 1024 characters")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Backend {
    /// Host or URL; https by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub endpoint: Option<String>,
    #[schemars(length(max = 63))]
    pub bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Accept any certificate of the endpoint.
    #[serde(rename = "insecureTLS", default, skip_serializing_if = "Option::is_none")]
    pub insecure_tls: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsagePolicy {
    /// Namespaces that may write to the repository and restore their own snapshots from it.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub allowed_namespaces: AllowedNamespaces,
    /// Namespaces that may restore snapshots of other namespaces from it, if those consent too (annotation
    /// `lagan.dev/snapshot-usage-policy` of the BackupConfiguration, written into each snapshot) or are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_namespace_restore: Option<AllowedNamespaces>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedNamespaces {
    /// All, Selector or Same.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub from: AllowedFrom,
    /// Labels of the namespaces, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<super::Opaque>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    All,
    Selector,
    #[default]
    Same,
}

/// Rules for snapshots that are kept. A rule of 0 is no rule; without any rule all snapshots are kept.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.keepLast) && self.keepLast > 0) || (has(self.keepHourly) && self.keepHourly > 0) || (has(self.keepDaily) && self.keepDaily > 0) || (has(self.keepWeekly) && self.keepWeekly > 0) || (has(self.keepMonthly) && self.keepMonthly > 0) || (has(self.keepYearly) && self.keepYearly > 0) || (has(self.keepTags) && size(self.keepTags) > 0)").message("retentionPolicy: at least one keep rule must be above 0; refusing to delete everything"),
    validation = Rule::new("!((has(self.keepLast) && self.keepLast < 0) || (has(self.keepHourly) && self.keepHourly < 0) || (has(self.keepDaily) && self.keepDaily < 0) || (has(self.keepWeekly) && self.keepWeekly < 0) || (has(self.keepMonthly) && self.keepMonthly < 0) || (has(self.keepYearly) && self.keepYearly < 0))").message("retentionPolicy: keep rules can't be negative")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionPolicy {
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub keep_tags: Option<Vec<String>>,
    /// Free space too. Snapshots are always forgotten at once; a maintenance session frees the space.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub prune: bool,
    /// Report the snapshots that would be forgotten, and keep them.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub dry_run: bool,
}

impl RetentionPolicy {
    /// Whether only tags keep snapshots. Backups are stored without tags of people, so such a policy keeps the newest
    /// snapshot and those that a person has tagged with `restic tag`.
    #[must_use]
    pub fn keeps_by_tags_only(&self) -> bool {
        let counts =
            [self.keep_last, self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly];
        self.keep_tags.as_ref().is_some_and(|tags| !tags.is_empty())
            && counts.iter().all(|count| count.unwrap_or(0) <= 0)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub first_backup_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_backup_time: Option<Timestamp>,
    /// The kind of storage: `local` or `s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The place of the data, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Time of the last read-back, which sets `integrity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_check_time: Option<Timestamp>,
    /// Result of the last read-back of a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
    /// Size of the repository, such as `1.234 MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots_removed_on_last_cleanup: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "list_schema")]
    pub conditions: Vec<Condition>,
}
