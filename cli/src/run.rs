//! Runs the parts: `up`, `engine`, `worker`. The same functions run in one process or in several; `up` only adds
//! the NATS server and the endpoint file by which other commands find it.

mod http;
mod parts;
mod programs;
mod source;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

use lagan_bus::Auth;
use lagan_bus::server::{Server, ServerOptions};
use lagan_sources::Source;
use lagan_sources::endpoint::Endpoint;
use lagan_sources::kubernetes::StashCompat;
use lagan_workers::process::guard;
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use self::parts::{Parts, Server as Whose, Which};
use crate::args::{EngineArgs, Global, RunArgs, UpArgs, WorkerArgs};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;

const DEFAULT_POOL: &str = "default";

pub async fn up(args: UpArgs, global: &Global) -> Result<Exit, Problem> {
    let local = source::folder(&args.manifests, global)?;
    let _alone = lock(&local.data_dir)?;
    let server = match &args.nats_url {
        Some(_) => None,
        None => Some(start_server(&args, &local.data_dir).await?),
    };
    let url =
        server.as_ref().map_or_else(|| args.nats_url.clone().unwrap_or_default(), |server| server.url().to_owned());
    let auth = match &server {
        Some(server) => Auth::Token(server.token().clone()),
        None => parts::auth(&args.run)?,
    };
    let endpoint = Endpoint {
        nats_url: url.clone(),
        token: match &auth {
            Auth::Token(token) => Some(token.clone()),
            _ => None,
        },
        cluster: args.run.cluster.to_string(),
        manifests: local.folder.dirs().first().cloned().unwrap_or_default(),
        objects: local.objects.clone(),
        pid: std::process::id(),
    };
    endpoint.write(&local.data_dir).map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    let whose = if server.is_some() { Whose::Ours } else { Whose::External };
    let (data_dir, manifests) = (local.data_dir.clone(), endpoint.manifests.clone());
    let pool = DEFAULT_POOL.to_owned();
    let which = Which::Both { pool: pool.clone(), pools: vec![pool] };
    let parts = Parts { server: whose, args: &args.run, source: Source::from(local), url: &url, auth };
    let flag = global.data_dir.as_ref().map(|dir| format!(" --data-dir {}", dir.display())).unwrap_or_default();
    let glyphs = global.glyphs();
    let shown = url.clone();
    let slots = args.run.slots + 1;
    let ready = move || {
        eprintln!("{} ready: NATS {shown}, {slots} sessions at once", glyphs.of(Glyph::Succeeded));
        eprintln!("  next: lagan{flag} get backupconfigurations · lagan{flag} events --follow · Ctrl-C stops");
    };
    eprintln!("{} reading {}", global.glyphs().of(Glyph::Action), manifests.display());
    let result = parts.run(which, Box::new(ready)).await;
    Endpoint::remove(&data_dir);
    if let Some(server) = server {
        server.stop().await;
    }
    result
}

pub async fn engine(args: EngineArgs, global: &Global) -> Result<Exit, Problem> {
    let which = Which::Engine { pools: args.pools.clone() };
    let stash = if args.stash_compat { StashCompat::On } else { StashCompat::Off };
    let source = source::source(&args.source, stash, global).await?;
    alone(&args.run, source, &args.nats_url, which).await
}

pub async fn worker(args: WorkerArgs, global: &Global) -> Result<Exit, Problem> {
    let which = Which::Worker { pool: args.pool.clone() };
    // A worker is told what to do; whose groups are run is the engine's to know.
    let source = source::source(&args.source, StashCompat::Off, global).await?;
    alone(&args.run, source, &args.nats_url, which).await
}

async fn alone(args: &RunArgs, source: Source, url: &str, which: Which) -> Result<Exit, Problem> {
    let parts = Parts { server: Whose::External, args, source, url, auth: parts::auth(args)? };
    parts.run(which, Box::new(|| tracing::info!("ready"))).await
}

/// Runs before there is a thread; returns only if the program could not be started.
pub fn guard_exec(args: Vec<OsString>) -> ExitCode {
    let Err(error) = guard::exec(args);
    eprintln!("lagan: {}", lagan_schemas::error::chain(&error));
    ExitCode::from(u8::try_from(guard::EXIT_CODE).unwrap_or(1))
}

/// One `lagan up` for each data directory.
fn lock(data_dir: &Path) -> Result<Flock<File>, Problem> {
    let path = data_dir.join("up.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Problem::new(Exit::Failed, format!("`{}`: {error}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        Problem::new(Exit::Failed, format!("another `lagan up` runs with data directory `{}`", data_dir.display()))
            .help("stop it, or give this one another --data-dir")
    })
}

async fn start_server(args: &UpArgs, data_dir: &Path) -> Result<Server, Problem> {
    let binary = args.nats_server.clone().or_else(|| programs::on_path("nats-server")).ok_or_else(|| {
        Problem::new(Exit::Failed, "nats-server is not on PATH")
            .help("install nats-server 2.12 or newer, or give its path with --nats-server, or use a server that runs with --nats-url")
    })?;
    let mut options = ServerOptions::new(binary, data_dir.join("nats"));
    options.port = args.nats_port.unwrap_or(0);
    // If we are killed, the server must not stay behind with the store open.
    let own = std::env::current_exe().map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    options.guard =
        vec![own.display().to_string(), guard::SUBCOMMAND.to_owned(), std::process::id().to_string(), "--".to_owned()];
    Server::start(options).await.map_err(|error| Problem::from_error(Exit::Failed, &error))
}

/// Cancelled by the first and by the second SIGINT or SIGTERM.
pub(crate) fn signals() -> Result<(CancellationToken, CancellationToken), Problem> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Problem::from_error(Exit::Failed, &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let tokens = (first.clone(), second.clone());
    tokio::spawn(async move {
        for token in [first, second] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(tokens)
}
