//! Runs the parts: `up`, `engine`, `worker`. The same functions run in one process or in several; `up` adds the NATS
//! server and the endpoint file by which other commands find it.

mod http;
mod parts;
mod programs;
mod source;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

use lagan_bus::Auth;
use lagan_bus::server::{ServerOptions, SupervisedServer};
use lagan_sources::Source;
use lagan_sources::endpoint::Endpoint;
use lagan_sources::kubernetes::StashCompat;
use lagan_workers::process::{Sandbox, guard};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use self::parts::{EnginePart, Operator, ProcessParts, WorkerPart};
use crate::args::{EngineArgs, Global, UpArgs, WorkerArgs};
use crate::error::{Exit, Problem};
use crate::glyph::Glyph;
use crate::login;

const DEFAULT_POOL: &str = "default";

pub async fn up(args: UpArgs, global: &Global) -> Result<Exit, Problem> {
    protect_memory()?;
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
        None => login::auth(&args.part.login)?,
    };
    let endpoint = Endpoint {
        nats_url: url.clone(),
        token: match &auth {
            Auth::Token(token) => Some(token.clone()),
            _ => None,
        },
        nats_domain: args.part.login.nats_domain.clone(),
        cluster: args.part.cluster.to_string(),
        manifests: local.folder.dirs().first().cloned().unwrap_or_default(),
        objects: local.objects.clone(),
        pid: std::process::id(),
    };
    endpoint.write(&local.data_dir).map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    let data_dir = local.data_dir.clone();
    eprintln!("{} reading {}", global.glyphs().of(Glyph::Action), endpoint.manifests.display());
    let parts = ProcessParts {
        operator: if server.is_some() { Operator::Lagan } else { Operator::Other },
        args: &args.part,
        engine: Some(EnginePart { flags: &args.engine, pools: vec![DEFAULT_POOL.to_owned()] }),
        worker: Some(WorkerPart { flags: &args.worker, pool: DEFAULT_POOL.to_owned() }),
        source: Source::from(local),
        url: &url,
        auth,
    };
    let ready = announce(global, url.clone(), args.worker.slots + 1);
    let result = parts.run(Box::new(ready)).await;
    Endpoint::remove(&data_dir);
    if let Some(server) = server {
        server.stop().await;
    }
    result
}

/// Tells the person at the terminal that everything runs.
fn announce(global: &Global, url: String, sessions: u16) -> impl FnOnce() + Send + use<> {
    let flag = global.data_dir.as_ref().map(|dir| format!(" --data-dir {}", dir.display())).unwrap_or_default();
    let glyphs = global.glyphs();
    move || {
        eprintln!("{} ready: NATS {url}, up to {sessions} sessions at once", glyphs.of(Glyph::Succeeded));
        let dot = glyphs.dot();
        eprintln!("  next: lagan{flag} get backupconfigurations {dot} lagan{flag} events --follow {dot} Ctrl-C stops");
    }
}

pub async fn engine(args: EngineArgs, global: &Global) -> Result<Exit, Problem> {
    protect_memory()?;
    let stash = if args.stash_compat { StashCompat::On } else { StashCompat::Off };
    let parts = ProcessParts {
        operator: Operator::Other,
        args: &args.part,
        engine: Some(EnginePart { flags: &args.engine, pools: args.pools.clone() }),
        worker: None,
        source: source::source(&args.source, stash, global).await?,
        url: &args.nats_url,
        auth: login::auth(&args.part.login)?,
    };
    parts.run(Box::new(|| tracing::info!("ready"))).await
}

pub async fn worker(args: WorkerArgs, global: &Global) -> Result<Exit, Problem> {
    protect_memory()?;
    let parts = ProcessParts {
        operator: Operator::Other,
        args: &args.part,
        engine: None,
        worker: Some(WorkerPart { flags: &args.worker, pool: args.pool.clone() }),
        // A worker runs the plans that it gets. Which API groups are handled is the engine's decision.
        source: source::source(&args.source, StashCompat::Off, global).await?,
        url: &args.nats_url,
        auth: login::auth(&args.part.login)?,
    };
    parts.run(Box::new(|| tracing::info!("ready"))).await
}

/// Replaces the process by a guarded program, before the first thread starts; returns only if that fails.
pub fn guard_exec(args: Vec<OsString>) -> ExitCode {
    let Err(error) = guard::exec(args);
    eprintln!("lagan: {}", lagan_schemas::error::chain(&error));
    ExitCode::from(u8::try_from(guard::EXIT_CODE).unwrap_or(1))
}

/// Keeps passwords and keys in memory from other processes.
fn protect_memory() -> Result<(), Problem> {
    guard::protect_memory().map_err(|error| Problem::from_error(Exit::Failed, &error))
}

/// Allows one `lagan up` per data directory.
fn lock(data_dir: &Path) -> Result<Flock<File>, Problem> {
    let path = data_dir.join("up.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file =
        file.map_err(|error| Problem::new(Exit::Failed, format!("`{}` can't be opened: {error}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        Problem::new(Exit::Failed, format!("another `lagan up` runs with data directory `{}`", data_dir.display()))
            .help("stop it, or give this one another --data-dir")
    })
}

async fn start_server(args: &UpArgs, data_dir: &Path) -> Result<SupervisedServer, Problem> {
    let binary = args.nats_server.clone().or_else(|| programs::on_path("nats-server")).ok_or_else(|| {
        Problem::new(Exit::Failed, "`nats-server` is not on PATH").help(
            "install nats-server 2.12 or newer, name its path with --nats-server, or name a running server with --nats-url",
        )
    })?;
    let mut options = ServerOptions::new(binary, data_dir.join("nats"));
    options.port = args.nats_port.unwrap_or(0);
    // Room for what the streams reserve, and for the files that replace others.
    options.max_file_bytes = options.max_file_bytes.max(args.engine.streams.limits().on_disk().saturating_mul(2));
    // The guard kills the server when this process dies, so that no server stays behind with the store open.
    let own = std::env::current_exe().map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    options.guard = vec![own.display().to_string(), guard::SUBCOMMAND.to_owned(), std::process::id().to_string()];
    options.guard.extend([Sandbox::Off.word().to_owned(), "--".to_owned()]);
    SupervisedServer::start(options).await.map_err(|error| Problem::from_error(Exit::Failed, &error))
}

/// Two tokens, cancelled by the first and by the second SIGINT or SIGTERM.
fn signals() -> Result<(CancellationToken, CancellationToken), Problem> {
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
