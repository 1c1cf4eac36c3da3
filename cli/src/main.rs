//! `lagan`: parses the command line, prepares the process and dispatches. It must not hold any command's logic.

mod args;
mod client;
mod cluster;
mod commands;
mod cron;
mod description;
mod destination;
mod error;
mod facts;
mod forecast;
mod glyph;
mod human;
mod invocation;
mod login;
mod manifests;
mod narration;
mod objects;
mod outcome;
mod output;
mod reference;
mod repository;
mod run;
mod store;
mod streams;
mod table;
mod telemetry;
mod tree;
mod views;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command, Global, applies};
use crate::error::{Exit, Problem};
use crate::invocation::ProgramName;
use crate::telemetry::Role;

/// A hidden command that must run before the first thread starts: it changes the process and replaces it.
const GUARD_EXEC: &str = "guard-exec";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = ProgramName::of(words.next().as_deref());
    if words.next().is_some_and(|word| word == GUARD_EXEC) {
        return run::guard_exec(words.collect());
    }
    // One TLS provider for the whole process. The call fails only if one is installed already, which is as good.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    opendal::install_default();
    let Cli { global, command } = parse(program);
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

/// Parses the command line; ends the process with a usage error, or after help and version.
fn parse(program: ProgramName) -> Cli {
    let mut root = applies::hide_unused(Cli::command().bin_name(program.program()));
    let matches = root.get_matches_mut();
    applies::check(&mut root, &matches).unwrap_or_else(|error| error.exit());
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.global.program = program;
    cli.global.on_command_line = applies::on_command_line(&root, &matches);
    cli
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
        Command::Cluster(args) => commands::cluster::run(args, global).await,
        Command::Explain(args) => commands::explain::run(&args, global),
        Command::Crd(args) => commands::crd::run(&args),
        Command::Schema(args) => commands::schema::run(&args),
        Command::Version(args) => commands::version::run(&args),
        Command::Generate => commands::generate::run(global),
        // `main` has handled the command unless options precede it.
        Command::GuardExec { args } => {
            Err(Problem::new(Exit::Usage, format!("`{GUARD_EXEC}` takes no options before it: {args:?}")))
        }
    }
}
