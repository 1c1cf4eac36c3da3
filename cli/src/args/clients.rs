//! Options of the commands that talk to a running Lagan, and of those that only print.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use lagan_schemas::resource::restore_session;
use lagan_schemas::subject::Cluster;
use uuid::Uuid;

use super::Format;
use super::nats::NatsLogin;
use super::storage::StorageFlags;
use super::values;
use crate::human::parse_duration;

/// Options that lead to a NATS server. Without them a command finds the running `lagan up` by its data directory; the
/// options for a cluster are in `Global`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// Address of the NATS server, or several of one cluster, separated by commas [default: that of the running `lagan up`]; for a
    /// Lagan in a Kubernetes cluster it adds the facts of sessions
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: Option<String>,
    #[command(flatten)]
    pub login: NatsLogin,
    /// Name of the cluster in subjects [default: that of the running `lagan up`, else local]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<Cluster>,
}

#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// Show the progress of the session and return when it has ended
    #[arg(long, group = "waits")]
    pub wait: bool,
    /// Stop waiting after this time; the session goes on
    #[arg(long, value_name = "DURATION", requires = "waits", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    #[command(flatten)]
    pub wait: Wait,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct TriggerArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct TreeArgs {
    /// Kind (plan, session or repository), or KIND/NAME
    pub kind: String,
    /// Name of the object; @latest is the newest session
    pub name: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Name of the BackupConfiguration whose snapshot to restore
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub name: Option<String>,
    /// Repository to restore from, without a BackupConfiguration
    #[arg(long, value_name = "REPOSITORY", requires = "to")]
    pub from: Option<String>,
    /// Snapshot to restore: `latest`, or an id or the start of one
    #[arg(long, value_name = "ID", value_parser = values::snapshot, default_value = "latest")]
    pub snapshot: String,
    /// AppBinding to restore into [default: that of the BackupConfiguration]
    #[arg(long, value_name = "APPBINDING")]
    pub to: Option<String>,
    /// With --from: the BackupConfiguration whose snapshots to choose from
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub configuration: Option<String>,
    /// Cluster that wrote the snapshot, by its name or its identity [default: this one]
    #[arg(long, value_name = "CLUSTER")]
    pub from_cluster: Option<String>,
    /// Restore only this database of the snapshot; repeat it for several
    #[arg(long = "database", value_name = "NAME")]
    pub databases: Vec<String>,
    /// Restore the database under this name
    #[arg(long = "as", value_name = "NAME")]
    pub renamed: Option<String>,
    /// Drop the data of these databases in the target first, once the snapshot is known to be readable
    #[arg(long)]
    pub overwrite: bool,
    /// Comparison of the target with the snapshot after the last statement [default: objects]
    #[arg(long, value_enum, value_name = "DEPTH")]
    pub verify: Option<VerifyArg>,
    /// Do all that a restore does before its first statement, show what it would write, and change nothing
    #[arg(long, group = "waits")]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub wait: Wait,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    /// Compare nothing
    None,
    /// Fail if an object is missing
    Objects,
    /// Count the rows of every table, too
    Rows,
}

impl From<VerifyArg> for restore_session::Verify {
    fn from(verify: VerifyArg) -> Self {
        match verify {
            VerifyArg::None => Self::None,
            VerifyArg::Objects => Self::Objects,
            VerifyArg::Rows => Self::Rows,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// Kind, such as sessions, restoresessions, repositories, backupconfigurations or tasks
    pub kind: String,
    /// Name of the object; @latest is the newest session
    pub name: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Print tables without their header line
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    /// Kind, or KIND/NAME
    pub kind: String,
    /// Name of the object; @latest is the newest session
    pub name: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct SnapshotsArgs {
    /// Name of the Repository [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    /// Folder of manifests that holds the Repository's Secret [default: that of the running `lagan up`; in a cluster
    /// the API server]
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Print the table without its header line
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub storage: StorageFlags,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Keep printing events as they happen
    #[arg(short, long)]
    pub follow: bool,
    /// Print only events of this last time, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Print only events of this session: a name, a uid or @latest
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Output format
    #[arg(short, long, default_value = "table", value_parser = formats(&["table", "json", "jsonl", "yaml"]))]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// Name or uid of the session, or @latest
    pub session: String,
    /// Reason to record, for people who read the session later
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Output format
    #[arg(short, long, default_value = "table", value_parser = formats(&["table", "json", "jsonl", "yaml"]))]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    pub command: ClusterCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// Print the identity of this cluster, and the identities that it adopted
    Show(ClusterShowArgs),
    /// Take over the snapshots of a lost cluster: they count as this cluster's own from now on
    Adopt(ClusterAdoptArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ClusterShowArgs {
    /// Output format
    #[arg(short, long, default_value = "table", value_parser = formats(&["table", "json", "jsonl", "yaml"]))]
    pub output: Format,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct ClusterAdoptArgs {
    /// Identity of the lost cluster, as `lagan snapshots -o yaml` shows it
    pub identity: Uuid,
    #[command(flatten)]
    pub connection: NatsArgs,
}

#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Error code, such as E0201 [default: list all codes]
    pub code: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Clone, Args)]
pub struct CrdArgs {
    /// API group of the definitions
    #[arg(long, value_enum, default_value_t)]
    pub group: CrdGroupArg,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CrdGroupArg {
    /// Lagan's own kinds, lagan.dev
    #[default]
    Lagan,
    /// The same kinds in the group that Stash uses, stash.appscode.com
    Stash,
    /// AppBinding, for clusters that do not have it yet
    Appcatalog,
}

#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Event type, such as dev.lagan.backup.succeeded.v1 [default: list all types]
    #[arg(value_name = "TYPE")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, default_value = "table", value_parser = formats(&["table", "json", "jsonl", "yaml"]))]
    pub output: Format,
}

/// Accepts only the formats that a command has.
fn formats(names: &'static [&'static str]) -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(names).map(|name| Format::from_str(&name, false).expect("each name is a format's"))
}
