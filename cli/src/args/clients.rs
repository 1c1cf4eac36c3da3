//! Options of the commands that people type.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lagan_schemas::subject::Cluster;

use super::Format;
use crate::human::parse_duration;

/// How a client finds the bus; by default through the data directory of a running `lagan up`. How it finds a cluster
/// is said by options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The NATS server [default: that of the running `lagan up`]; in a cluster: where facts are read
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: Option<String>,
    /// File that holds the token of the NATS server
    #[arg(long, value_name = "FILE")]
    pub nats_token_file: Option<PathBuf>,
    /// Name of the cluster [default: that of the running `lagan up`, else local]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<Cluster>,
}

#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// Tell how it goes, and end when it has ended
    #[arg(long)]
    pub wait: bool,
    /// Stop waiting after this; the operation goes on
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    #[command(flatten)]
    pub wait: Wait,
    /// How to print the session
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct TriggerArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    /// How to print the session
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
    /// Name of the BackupConfiguration
    pub name: String,
    /// How to print the BackupConfiguration
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct TreeArgs {
    /// plan, session or repository, or kind/name
    pub kind: String,
    /// Name, or @latest for a session
    pub name: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Name of the BackupConfiguration whose database comes back
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub name: Option<String>,
    /// Repository to restore from, without a BackupConfiguration
    #[arg(long, value_name = "REPOSITORY", requires = "to")]
    pub from: Option<String>,
    /// What to restore
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub snapshot: String,
    /// AppBinding to restore into [default: that of the configuration]
    #[arg(long, value_name = "APPBINDING")]
    pub to: Option<String>,
    /// With --from: the BackupConfiguration whose snapshots to choose from
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub configuration: Option<String>,
    /// Replace what the target holds
    #[arg(long)]
    pub overwrite: bool,
    /// Say what would be restored and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub wait: Wait,
    /// How to print the session
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// Kind, such as sessions, restoresessions, repositories, backupconfigurations, tasks
    pub kind: String,
    /// Name, or @latest for a session
    pub name: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Leave the line of headers out
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    /// Kind, or kind/name
    pub kind: String,
    /// Name, or @latest for a session
    pub name: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct SnapshotsArgs {
    /// Name of the repository [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    /// The folder of manifests that holds the repository's Secret [default: that of the running `lagan up`; in a
    /// cluster: the API server]
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Leave the line of headers out
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Go on telling
    #[arg(short, long)]
    pub follow: bool,
    /// Only what happened since then, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Only of this session: name, uid or @latest
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// Name or uid of the session, or @latest
    pub session: String,
    /// Why, for those who read it later
    #[arg(long, default_value = "")]
    pub reason: String,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Such as E0201; without it all are listed
    pub code: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Clone, Args)]
pub struct CrdArgs {
    /// Our own group, or the same types under Stash's
    #[arg(long, value_enum, default_value_t)]
    pub group: CrdGroup,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CrdGroup {
    #[default]
    Lagan,
    Stash,
    /// AppBinding, where nobody else brought it
    Appcatalog,
}

#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Type, such as dev.lagan.backup.succeeded.v1; without it all are listed
    #[arg(value_name = "TYPE")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct VersionArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}
