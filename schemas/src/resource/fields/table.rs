//! The table: every field of every kind. A test compares it with the schemas of the CRDs.

use Field::{Foreign, Ignored, Object, Shared, Used};

use crate::resource::Kind;

#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Used(&'static str),
    /// An object, or a list of objects.
    Object(&'static str, &'static [Field]),
    /// An object in which others have fields of their own.
    Shared(&'static str, &'static [Field]),
    /// A field that belongs to somebody else.
    Foreign(&'static str),
    /// A field without effect, and the reason.
    Ignored(&'static str, &'static str),
}

impl Field {
    pub const fn name(&self) -> &'static str {
        match self {
            Used(name) | Object(name, _) | Shared(name, _) | Foreign(name) | Ignored(name, _) => name,
        }
    }
}

pub(super) const fn of(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Repository => REPOSITORY,
        Kind::BackupConfiguration => BACKUP_CONFIGURATION,
        Kind::BackupSession => BACKUP_SESSION,
        Kind::RestoreSession => RESTORE_SESSION,
        Kind::BackupBlueprint => BACKUP_BLUEPRINT,
        Kind::Task => TASK,
        Kind::Function => FUNCTION,
        Kind::AppBinding => APP_BINDING,
        Kind::Secret | Kind::Other(_) => &[],
    }
}

pub(super) const UNKNOWN: &str = "Lagan does not know this field";
/// Reason for every field of a Function of Stash's group.
pub(super) const STASH_FUNCTION: &str = "Lagan runs its built-in Function of the same name, without a container";

const NO_POD: &str = "Lagan starts no pod for a session; set resources and environment on the workers";
const NO_SCRATCH: &str = "data is streamed and needs no scratch space";
const FILES: &str = "a database is dumped as one stream, not as files; choose databases and tables in `task.params`";
const NO_SNAPSHOTTER: &str = "volumes are not snapshotted";
const ONE_HOST: &str = "a database is one host";
const TASK_PARAMS: &str = "arguments of the program belong into parameter `args` of `task.params`";
const PRUNE: &str = "retention forgets snapshots, and their space is not freed inside a backup";
const POOL: &str = "a worker sees the volume at `mountPath`; mount it into a pool of workers";
const NO_CONTAINER: &str = "a Function runs as a program of the worker, not in a container";
const ANY_SERVICE: &str = "host and port are all that a database client needs";

/// Fields that have no effect with some values: kind, path, reason.
pub(super) const BY_VALUE: &[(Kind, &str, &str)] = &[
    (
        Kind::BackupConfiguration,
        "target.ref.apiVersion",
        "an AppBinding is read from group appcatalog.appscode.com only",
    ),
    (Kind::BackupSession, "invoker.apiGroup", "the BackupConfiguration is looked up in the group of the BackupSession"),
    (Kind::RestoreSession, "target.ref.apiVersion", "an AppBinding is read from group appcatalog.appscode.com only"),
    (Kind::RestoreSession, "rules[].snapshots", "a database is restored from one snapshot, the first of the list"),
    (
        Kind::RestoreSession,
        "target.rules[].snapshots",
        "a database is restored from one snapshot, the first of the list",
    ),
    (
        Kind::AppBinding,
        "clientConfig.url",
        "only user, password, host and port of the URL count, not its path and query",
    ),
    (Kind::AppBinding, "clientConfig.serverName", "the server's name is verified only together with `caBundle`"),
];

const NAMED: &[Field] = &[Used("namespace"), Used("name")];
const PARAM: &[Field] = &[Used("name"), Used("value")];
const TASK_REF: &[Field] = &[Used("name"), Object("params", PARAM)];
const TARGET_REF: &[Field] = &[Used("apiVersion"), Used("kind"), Used("name"), Used("namespace")];
const RETRY: &[Field] = &[Used("maxRetry"), Used("delay")];
const RETENTION: &[Field] = &[
    Used("name"),
    Used("keepLast"),
    Used("keepHourly"),
    Used("keepDaily"),
    Used("keepWeekly"),
    Used("keepMonthly"),
    Used("keepYearly"),
    Used("keepTags"),
    Used("dryRun"),
    Ignored("prune", PRUNE),
];

const HEADER: &[Field] = &[Used("name"), Used("value")];
const HTTP_GET: &[Field] = &[Used("path"), Used("port"), Used("host"), Used("scheme"), Object("httpHeaders", HEADER)];
const HTTP_POST: &[Field] = &[
    Used("path"),
    Used("port"),
    Used("host"),
    Used("scheme"),
    Object("httpHeaders", HEADER),
    Used("body"),
    Object("form", &[Used("key"), Used("values")]),
];
const EXEC: Field = Object("exec", &[Used("command")]);
const TCP_SOCKET: Field = Object("tcpSocket", &[Used("port"), Used("host")]);
const HOOK: &[Field] =
    &[EXEC, Object("httpGet", HTTP_GET), Object("httpPost", HTTP_POST), TCP_SOCKET, Used("containerName")];
const POST_HOOK: &[Field] = &[
    EXEC,
    Object("httpGet", HTTP_GET),
    Object("httpPost", HTTP_POST),
    TCP_SOCKET,
    Used("containerName"),
    Used("executionPolicy"),
];
const BACKUP_HOOKS: &[Field] = &[Object("preBackup", HOOK), Object("postBackup", POST_HOOK)];
const RESTORE_HOOKS: &[Field] = &[Object("preRestore", HOOK), Object("postRestore", POST_HOOK)];

const LOCAL: &[Field] = &[
    Object("hostPath", &[Used("path"), Ignored("type", "the directory is made if it is missing")]),
    Ignored("persistentVolumeClaim", POOL),
    Ignored("nfs", POOL),
    Used("mountPath"),
    Used("subPath"),
];
const S3: &[Field] = &[Used("endpoint"), Used("bucket"), Used("prefix"), Used("region"), Used("insecureTLS")];
const BACKEND: &[Field] = &[Used("storageSecretName"), Object("local", LOCAL), Object("s3", S3)];
const SELECTOR: &[Field] =
    &[Used("matchLabels"), Object("matchExpressions", &[Used("key"), Used("operator"), Used("values")])];
const ALLOWED: &[Field] = &[Used("from"), Object("selector", SELECTOR)];
const USAGE_POLICY: &[Field] = &[Object("allowedNamespaces", ALLOWED), Object("crossNamespaceRestore", ALLOWED)];

const REPOSITORY: &[Field] =
    &[Object("backend", BACKEND), Used("wipeOut"), Object("usagePolicy", USAGE_POLICY), Used("maxConcurrent")];

const BACKUP_CONFIGURATION: &[Field] = &[
    Object("task", TASK_REF),
    Object("target", BACKUP_TARGET),
    Ignored("runtimeSettings", NO_POD),
    Ignored("tempDir", NO_SCRATCH),
    Ignored("interimVolumeTemplate", NO_SCRATCH),
    Object("hooks", BACKUP_HOOKS),
    Used("schedule"),
    Used("timeZone"),
    Used("jitter"),
    Used("startingDeadlineSeconds"),
    Used("concurrencyPolicy"),
    Used("priority"),
    Used("driver"),
    Object("repository", NAMED),
    Object("retentionPolicy", RETENTION),
    Used("paused"),
    Used("backupHistoryLimit"),
    Used("timeOut"),
    Object("retryConfig", RETRY),
];
const BACKUP_TARGET: &[Field] = &[
    Used("alias"),
    Object("ref", TARGET_REF),
    Ignored("paths", FILES),
    Ignored("volumeMounts", NO_POD),
    Ignored("replicas", ONE_HOST),
    Ignored("snapshotClassName", NO_SNAPSHOTTER),
    Ignored("exclude", FILES),
    Ignored("args", TASK_PARAMS),
];

const BACKUP_SESSION: &[Field] = &[
    Object("invoker", &[Used("apiGroup"), Used("kind"), Used("name")]),
    Ignored("retryLeft", "`retryConfig` of the BackupConfiguration counts the retries of a session"),
];

const RESTORE_SESSION: &[Field] = &[
    Object("task", TASK_REF),
    Object("target", RESTORE_TARGET),
    Ignored("runtimeSettings", NO_POD),
    Ignored("tempDir", NO_SCRATCH),
    Ignored("interimVolumeTemplate", NO_SCRATCH),
    Object("hooks", RESTORE_HOOKS),
    Used("driver"),
    Object("repository", NAMED),
    Object("rules", RESTORE_RULE),
    Used("timeOut"),
    Used("priority"),
    Object("configuration", NAMED),
    Used("overwrite"),
    Used("fromCluster"),
    Used("existing"),
    Used("databases"),
    Used("as"),
    Used("verify"),
    Used("dryRun"),
];
const RESTORE_TARGET: &[Field] = &[
    Used("alias"),
    Object("ref", TARGET_REF),
    Ignored("volumeMounts", NO_POD),
    Ignored("replicas", ONE_HOST),
    Ignored("volumeClaimTemplates", NO_POD),
    Object("rules", RESTORE_RULE),
    Ignored("args", TASK_PARAMS),
];
const RESTORE_RULE: &[Field] = &[
    Used("targetHosts"),
    Used("sourceHost"),
    Used("snapshots"),
    Ignored("paths", FILES),
    Ignored("exclude", FILES),
    Ignored("include", FILES),
];

const BACKUP_BLUEPRINT: &[Field] = &[
    Object("backend", BACKEND),
    Used("wipeOut"),
    Object("usagePolicy", USAGE_POLICY),
    Used("backupNamespace"),
    Used("repoNamespace"),
    Used("schedule"),
    Used("timeZone"),
    Object("task", TASK_REF),
    Object("retentionPolicy", RETENTION),
    Ignored("runtimeSettings", NO_POD),
    Ignored("tempDir", NO_SCRATCH),
    Ignored("interimVolumeTemplate", NO_SCRATCH),
    Object("hooks", BACKUP_HOOKS),
    Used("backupHistoryLimit"),
    Used("timeOut"),
    Object("retryConfig", RETRY),
];

const TASK: &[Field] = &[Object("steps", &[Used("name"), Object("params", PARAM)]), Ignored("volumes", NO_SCRATCH)];

const FUNCTION: &[Field] = &[
    Ignored("image", NO_CONTAINER),
    Used("command"),
    Used("args"),
    Used("extraArgs"),
    Used("database"),
    Object("stream", &[Used("stdout"), Used("stdin")]),
    Ignored("workingDir", NO_CONTAINER),
    Ignored("ports", NO_CONTAINER),
    Ignored("volumeMounts", NO_CONTAINER),
    Ignored("volumeDevices", NO_CONTAINER),
    Ignored("runtimeSettings", NO_CONTAINER),
    Ignored("podSecurityPolicyName", NO_CONTAINER),
];

const SERVICE: &[Field] = &[
    Ignored("scheme", ANY_SERVICE),
    Used("namespace"),
    Used("name"),
    Used("port"),
    Ignored("path", ANY_SERVICE),
    Ignored("query", ANY_SERVICE),
];
const CLIENT_CONFIG: &[Field] =
    &[Used("url"), Object("service", SERVICE), Used("insecureSkipTLSVerify"), Used("caBundle"), Used("serverName")];
const TRANSFORM: &[Field] = &[
    Object("addKey", &[Used("key"), Used("value"), Used("stringValue")]),
    Object("renameKey", &[Used("from"), Used("to")]),
    Object("addKeysFrom", &[Object("secretRef", &[Used("name")])]),
    Object("removeKey", &[Used("key")]),
];
const ADDON: &[Field] = &[Object("backupTask", TASK_REF), Object("restoreTask", TASK_REF)];

const APP_BINDING: &[Field] = &[
    Used("type"),
    Used("version"),
    Object("clientConfig", CLIENT_CONFIG),
    Shared("secret", &[Used("name")]),
    Object("secretTransforms", TRANSFORM),
    Shared("parameters", &[Shared("stash", &[Shared("addon", ADDON)])]),
    Shared("tlsSecret", &[Used("name")]),
    // KubeDB's reference to the database that it made the AppBinding for.
    Foreign("appRef"),
];
