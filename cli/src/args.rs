//! The command tree: commands, arguments and their help. It must not act on them; `main` dispatches.

pub mod applies;
mod clients;
mod limits;
mod nats;
mod run;
mod storage;
mod streams;
mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use self::clients::{
    BackupArgs, CancelArgs, ClusterAdoptArgs, ClusterArgs, ClusterCommand, ClusterShowArgs, CrdArgs, CrdGroupArg,
    DescribeArgs, EventsArgs, ExplainArgs, GetArgs, NatsArgs, PauseArgs, RestoreArgs, SchemaArgs, SnapshotsArgs,
    TreeArgs, TriggerArgs, VersionArgs, Wait,
};
pub use self::nats::NatsLogin;
pub use self::run::{EngineArgs, EngineFlags, PartArgs, SourceArgs, UpArgs, WorkerArgs, WorkerFlags};
pub use self::storage::StorageFlags;
use crate::error::EXIT_CODES;
use crate::glyph::Glyphs;
use crate::invocation::ProgramName;

/// Back up databases and restore them
#[derive(Debug, Parser)]
#[command(
    name = "lagan",
    version,
    disable_help_subcommand = true,
    after_long_help = EXIT_CODES,
    long_about = "Back up databases and restore them.\n\n\
        lagan up --manifests DIR        run everything on this machine\n\
        lagan backup NAME --wait        back up a database now\n\
        lagan get sessions              list backups and how they ended\n\
        lagan tree plan/NAME            show one database's configuration, repository and sessions\n\
        lagan restore NAME --dry-run    show what a restore would do"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that may stand before or after a command. `applies` refuses them where they have no effect.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Use letters instead of glyphs
    #[arg(long, global = true, env = "LAGAN_ASCII", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub ascii: bool,
    /// Log format; `auto` is JSON for `engine` and `worker` unless they log to a terminal, else text
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Directory in which `lagan up` keeps its state [default: $XDG_STATE_HOME/lagan, else ~/.local/state/lagan]
    #[arg(long, global = true, env = "LAGAN_DATA_DIR", value_name = "DIR", help_heading = "Connection")]
    pub data_dir: Option<PathBuf>,
    /// Kubeconfig file that leads to a cluster [default: $KUBECONFIG, else ~/.kube/config, else the pod's own]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig that leads to a cluster
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// Namespace of the objects [default: that of the kubeconfig's context in a cluster, else default]
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "all_namespaces",
        help_heading = "Connection"
    )]
    pub namespace: Option<String>,
    /// Objects in all namespaces
    #[arg(short = 'A', long, global = true, help_heading = "Connection")]
    pub all_namespaces: bool,
    /// The name under which the program was started.
    #[arg(skip)]
    pub program: ProgramName,
    /// Ids of the options that were typed; values from the environment do not count.
    #[arg(skip)]
    pub on_command_line: BTreeSet<String>,
}

impl Global {
    #[must_use]
    pub fn glyphs(&self) -> Glyphs {
        if self.ascii { Glyphs::Ascii } else { Glyphs::Unicode }
    }

    /// Whether a cluster is named, by its kubeconfig or its context.
    #[must_use]
    pub fn names_cluster(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
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
    /// Text for people
    #[default]
    Table,
    /// The table with more columns
    Wide,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// One line KIND/NAME per object
    Name,
    /// One JSON document per line
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run NATS server, engine and a worker in one process, on a folder of manifests
    Up(UpArgs),
    /// Run the engine
    Engine(EngineArgs),
    /// Run a worker
    Worker(WorkerArgs),
    /// Back up a database now, as its BackupConfiguration says
    Backup(BackupArgs),
    /// Create a BackupSession and print its name, as `kubectl stash trigger` does
    Trigger(TriggerArgs),
    /// Restore a snapshot into a database
    Restore(RestoreArgs),
    /// Suspend the schedule of a BackupConfiguration
    Pause(PauseArgs),
    /// Resume the schedule of a BackupConfiguration
    Resume(PauseArgs),
    /// List objects and their state
    Get(GetArgs),
    /// Show everything about one object
    Describe(DescribeArgs),
    /// Show an object with the objects that belong to it
    Tree(TreeArgs),
    /// List the snapshots of a repository
    Snapshots(SnapshotsArgs),
    /// Show the events of sessions
    Events(EventsArgs),
    /// Cancel a session that has not ended
    Cancel(CancelArgs),
    /// Show the identity of this cluster, or take over that of a lost one
    Cluster(ClusterArgs),
    /// Explain an error code
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
    /// Start a program that is killed when its parent dies; workers use it
    #[command(hide = true, disable_help_flag = true)]
    GuardExec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

impl Command {
    /// The output format, so that a failure is printed in it too.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Backup(a) => a.output,
            Self::Trigger(a) => a.output,
            Self::Restore(a) => a.output,
            Self::Pause(a) | Self::Resume(a) => a.output,
            Self::Tree(a) => a.output,
            Self::Get(a) => a.output,
            Self::Describe(a) => a.output,
            Self::Snapshots(a) => a.output,
            Self::Events(a) => a.output,
            Self::Cancel(a) => a.output,
            Self::Cluster(ClusterArgs { command: ClusterCommand::Show(a) }) => a.output,
            Self::Explain(a) => a.output,
            Self::Version(a) => a.output,
            _ => Format::Table,
        }
    }
}
