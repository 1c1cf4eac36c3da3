//! `lagan`: parses the command line, sets the process up and dispatches.
//! It must not hold any command's logic.

mod args;
mod client;
mod cluster;
mod commands;
mod cron;
mod description;
mod error;
mod facts;
mod glyph;
mod human;
mod invocation;
mod manifests;
mod narration;
mod objects;
mod outcome;
mod output;
mod preview;
mod reference;
mod repository;
mod run;
mod store;
mod table;
mod telemetry;
mod tree;
mod views;
mod wait;
mod world;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command, Global};
use crate::error::{Exit, Problem};
use crate::invocation::Invoked;
use crate::telemetry::Role;

/// The hidden command that must run before there is a thread: it changes the process and replaces it.
const GUARD_EXEC: &str = "guard-exec";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let invoked = Invoked::of(words.next().as_deref());
    if words.next().is_some_and(|word| word == GUARD_EXEC) {
        return run::guard_exec(words.collect());
    }
    // One TLS provider for everything; a second call would only say that there is one already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    opendal::install_default();
    let matches = Cli::command().bin_name(invoked.program()).get_matches();
    let Cli { mut global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    global.invoked = invoked;
    output::set_colour(global.color);
    let format = command.format();
    match execute(command, &global) {
        Ok(exit) => exit.into(),
        Err(problem) => {
            output::problem(&problem, format, &global);
            problem.exit.into()
        }
    }
}

fn execute(command: Command, global: &Global) -> Result<Exit, Problem> {
    let role = match command {
        Command::Up(_) => Role::Up,
        Command::Engine(_) | Command::Worker(_) => Role::Service,
        _ => Role::Client,
    };
    let _telemetry = telemetry::start(role, global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    runtime.block_on(dispatch(command, global))
}

async fn dispatch(command: Command, global: &Global) -> Result<Exit, Problem> {
    match command {
        Command::Up(args) => run::up(args, global).await,
        Command::Engine(args) => run::engine(args, global).await,
        Command::Worker(args) => run::worker(args, global).await,
        Command::Backup(args) => commands::backup::run(args, global).await,
        Command::Trigger(args) => commands::backup::trigger(args, global).await,
        Command::Restore(args) => commands::restore::run(args, global).await,
        Command::Pause(args) => commands::pause::pause(args, global).await,
        Command::Resume(args) => commands::pause::resume(args, global).await,
        Command::Tree(args) => commands::tree::run(args, global).await,
        Command::Get(args) => commands::get::run(args, global).await,
        Command::Describe(args) => commands::describe::run(args, global).await,
        Command::Snapshots(args) => commands::snapshots::run(args, global).await,
        Command::Events(args) => commands::events::run(args, global).await,
        Command::Cancel(args) => commands::cancel::run(args, global).await,
        Command::Explain(args) => commands::explain::run(&args, global),
        Command::Crd(args) => commands::crd::run(&args),
        Command::Schema(args) => commands::schema::run(&args),
        Command::Version(args) => commands::version::run(&args),
        Command::Generate => commands::generate::run(global),
        // Caught before anything else in `main`.
        Command::GuardExec { args } => {
            Err(Problem::new(Exit::Usage, format!("`{GUARD_EXEC}` takes no options before it: {args:?}")))
        }
    }
}
