//! The command tree: what people type. It must not do anything; `main` dispatches.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::error::EXIT_CODES;
use crate::glyph::Glyphs;
use crate::human::parse_duration;

/// Backs databases up and brings them back
#[derive(Debug, Parser)]
#[command(
    name = "lagan",
    version,
    disable_help_subcommand = true,
    after_long_help = EXIT_CODES,
    long_about = "Backs databases up and brings them back.\n\n\
        lagan up --manifests DIR        run everything on this machine\n\
        lagan backup NAME --wait        back a database up now\n\
        lagan get sessions              what happened\n\
        lagan restore NAME --dry-run    what would come back"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where `lagan up` keeps its state [default: $XDG_STATE_HOME/lagan, else ~/.local/state/lagan]
    #[arg(long, global = true, env = "LAGAN_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Letters instead of glyphs
    #[arg(long, global = true, env = "LAGAN_ASCII", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub ascii: bool,
    /// How to log; `auto` is text on a terminal and for clients, JSON for `engine` and `worker` elsewhere
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Say more; twice for all there is
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Namespace of the objects
    #[arg(short, long, global = true, default_value = "default")]
    pub namespace: String,
    /// Objects of all namespaces
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,
}

impl Global {
    #[must_use]
    pub fn glyphs(&self) -> Glyphs {
        if self.ascii { Glyphs::Ascii } else { Glyphs::Unicode }
    }

    /// The namespace to show, `None` for all of them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        (!self.all_namespaces).then_some(self.namespace.as_str())
    }

    /// ` -n NAMESPACE` for commands that we propose, nothing for the default.
    #[must_use]
    pub fn namespace_flag(&self) -> String {
        if self.namespace == "default" { String::new() } else { format!(" -n {}", self.namespace) }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    /// The table with more columns
    Wide,
    /// One document
    Json,
    Yaml,
    /// `kind/name` lines
    Name,
    /// One JSON document a line
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: NATS server, engine and a worker, on a folder of manifests
    Up(UpArgs),
    /// Run the engine alone
    Engine(EngineArgs),
    /// Run a worker alone
    Worker(WorkerArgs),
    /// Back up now what a BackupConfiguration describes
    Backup(BackupArgs),
    /// Bring a snapshot back
    Restore(RestoreArgs),
    /// List objects and their state
    Get(GetArgs),
    /// Tell everything about one object
    Describe(DescribeArgs),
    /// List what a repository holds
    Snapshots(SnapshotsArgs),
    /// Tell what happened in all sessions
    Events(EventsArgs),
    /// End a session that has not ended
    Cancel(CancelArgs),
    /// Say what an error code means
    Explain(ExplainArgs),
    /// Print the CustomResourceDefinitions
    Crd(CrdArgs),
    /// List the JSON schemas of events, or print one
    Schema(SchemaArgs),
    /// Print the version
    Version(VersionArgs),
    /// Write the generated files below the current directory
    #[command(hide = true)]
    Generate,
    /// Start a program that dies with us; for workers only
    #[command(hide = true, disable_help_flag = true)]
    GuardExec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// What `up`, `engine` and `worker` have in common.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The folder of manifests that people write
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// File that holds the token of the NATS server
    #[arg(long, value_name = "FILE")]
    pub nats_token_file: Option<PathBuf>,
    /// Monitoring address of an external NATS server, to check that it syncs what it stores
    #[arg(long, value_name = "URL")]
    pub nats_monitoring_url: Option<String>,
    /// Name of this cluster in subjects and events
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: lagan_schemas::subject::Cluster,
    /// Pool of workers
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub pool: String,
    /// Sessions that a worker runs at the same time
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub slots: u16,
    /// A silent worker is presumed dead after this
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_duration)]
    pub failover: Duration,
    /// Where a service of an AppBinding answers, as curl's (repeatable)
    #[arg(long, value_name = "HOST:PORT=HOST:PORT")]
    pub resolve: Vec<Resolve>,
    /// A program that workers may run besides the built-in ones (repeatable)
    #[arg(long, value_name = "PATH")]
    pub allow_program: Vec<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Use this NATS server instead of starting one
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: Option<String>,
    /// The nats-server program to start [default: the one on PATH]
    #[arg(long, value_name = "PATH", env = "LAGAN_NATS_SERVER", conflicts_with = "nats_url")]
    pub nats_server: Option<PathBuf>,
    /// Port of the NATS server that is started [default: a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "nats_url")]
    pub nats_port: Option<u16>,
}

#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// The NATS server
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: String,
}

#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// The NATS server
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: String,
}

/// How a client finds the bus; by default through the data directory of a running `lagan up`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The NATS server [default: that of the running `lagan up`]
    #[arg(long, value_name = "URL", env = "LAGAN_NATS_URL")]
    pub nats_url: Option<String>,
    /// File that holds the token of the NATS server
    #[arg(long, value_name = "FILE")]
    pub nats_token_file: Option<PathBuf>,
    /// Name of the cluster [default: that of the running `lagan up`, else local]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<lagan_schemas::subject::Cluster>,
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
    /// The folder of manifests that holds the repository's Secret [default: that of the running `lagan up`]
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

impl Command {
    /// How the command was asked to print, so that a failure is told the same way.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Backup(a) => a.output,
            Self::Restore(a) => a.output,
            Self::Get(a) => a.output,
            Self::Describe(a) => a.output,
            Self::Snapshots(a) => a.output,
            Self::Events(a) => a.output,
            Self::Cancel(a) => a.output,
            Self::Explain(a) => a.output,
            Self::Version(a) => a.output,
            _ => Format::Table,
        }
    }
}

/// Where something that is asked for under one address answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    pub from_host: String,
    pub from_port: u16,
    pub to_host: String,
    pub to_port: u16,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not HOST:PORT=HOST:PORT");
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!host.is_empty()).then_some(())?;
            Some((host.to_owned(), port.parse::<u16>().ok()?))
        };
        let (from, to) = text.split_once('=').ok_or_else(shape)?;
        let (from_host, from_port) = address(from).ok_or_else(shape)?;
        let (to_host, to_port) = address(to).ok_or_else(shape)?;
        Ok(Self { from_host, from_port, to_host, to_port })
    }
}
