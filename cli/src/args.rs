//! The command tree: what people type. It must not do anything; `main` dispatches.

mod clients;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use self::clients::{
    BackupArgs, CancelArgs, Connection, CrdArgs, CrdGroup, DescribeArgs, EventsArgs, ExplainArgs, GetArgs, PauseArgs,
    RestoreArgs, SchemaArgs, SnapshotsArgs, TreeArgs, TriggerArgs, VersionArgs, Wait,
};
pub use self::run::{EngineArgs, RunArgs, SourceArgs, UpArgs, WorkerArgs};
use crate::error::EXIT_CODES;
use crate::glyph::Glyphs;
use crate::invocation::Invoked;

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
        lagan tree plan/NAME            how one database stands\n\
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
    /// Namespace of the objects [default: that of the kubeconfig's context in a cluster, else default]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,
    /// The cluster of this kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's own]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster of this context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// Under which name we run.
    #[arg(skip)]
    pub invoked: Invoked,
}

impl Global {
    #[must_use]
    pub fn glyphs(&self) -> Glyphs {
        if self.ascii { Glyphs::Ascii } else { Glyphs::Unicode }
    }

    /// Whether a cluster was asked for.
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
    /// Create a BackupSession and return, as `kubectl stash trigger` does
    Trigger(TriggerArgs),
    /// Bring a snapshot back
    Restore(RestoreArgs),
    /// Start no session by the schedule of a BackupConfiguration
    Pause(PauseArgs),
    /// Start sessions by its schedule again
    Resume(PauseArgs),
    /// List objects and their state
    Get(GetArgs),
    /// Tell everything about one object
    Describe(DescribeArgs),
    /// Show an object with what belongs to it
    Tree(TreeArgs),
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

impl Command {
    /// How the command was asked to print, so that a failure is told the same way.
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
            Self::Explain(a) => a.output,
            Self::Version(a) => a.output,
            _ => Format::Table,
        }
    }
}
