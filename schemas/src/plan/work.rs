//! The work of a plan: exactly one of backup, restore and deletion, each with all that it needs and nothing else.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMore, PlanTarget};
use crate::consent::ConsentPolicy;
use crate::origin::ConfigurationKey;
use crate::resource::ObjectRef;
use crate::resource::repository::{Backend, RetentionPolicy};
pub use crate::resource::restore_session::{Existing, Verify};

/// Later versions add kinds of work. A reader that does not know one can't read the plan, and leaves it alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    Backup(Box<BackupWork>),
    Restore(Box<RestoreWork>),
    Wipe(Box<WipeWork>),
}

/// Dump a database into snapshots, then apply retention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupWork {
    pub target: PlanTarget,
    /// The program whose standard output becomes the snapshot.
    pub step: Step,
    /// restic host of the snapshots.
    pub host: String,
    /// Path of the dump in the snapshots, with a leading `/`.
    pub path: String,
    pub repositories: OneOrMore<PlanRepository>,
    pub retention: RetentionPolicy,
    /// Other namespaces that may restore the snapshots. The worker writes it into their tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub consent: Option<ConsentPolicy>,
}

/// Feed a snapshot to a database client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreWork {
    /// The RestoreSession that asked. The worker confirms its uid with the source of intent.
    pub object: ObjectRef,
    pub target: PlanTarget,
    /// The program that reads the snapshot from standard input.
    pub step: Step,
    pub repository: PlanRepository,
    pub source: SnapshotSource,
    /// Only these databases of the snapshot, and nothing else. Nothing: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// The name that the one database gets.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
    pub existing: Existing,
    /// Depth of the comparison after the last statement.
    pub verify: Verify,
    pub mode: RestoreMode,
}

/// How far a restore goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RestoreMode {
    /// To its last statement.
    Write,
    /// Up to its first statement, which it does not run.
    DryRun,
}

/// Delete the data of a Repository whose object was deleted with `wipeOut`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeWork {
    pub repository: PlanRepository,
    /// Namespaces whose snapshots may go with it. Nothing: those of the whole cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A program to run: its argv, with nothing left to substitute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub function: String,
    /// Name of a program on the worker's allow-list.
    pub program: String,
    pub args: Vec<String>,
    /// Arguments that the user added. The worker refuses forbidden options among them.
    pub user_args: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRepository {
    pub reference: ObjectRef,
    pub backend: Backend,
    /// The Secret with `RESTIC_PASSWORD` and the storage keys.
    pub secret: String,
}

/// The snapshot to restore, or the rules by which it is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSource {
    pub snapshot: SnapshotSelector,
    /// The BackupConfiguration whose snapshots count, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationKey>,
    /// Name or identity of another cluster, if the snapshot is to come from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_cluster: Option<String>,
    /// restic host, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path of the dump in the snapshot, with a leading `/`.
    pub path: String,
    /// `latest` means the latest at this time, whenever a worker runs the plan.
    #[schemars(with = "String")]
    pub not_after: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SnapshotSelector {
    Latest,
    Id(String),
}
