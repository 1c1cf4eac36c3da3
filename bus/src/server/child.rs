//! The lifecycle of the nats-server process: start, readiness, restart and stop.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::{READY_WITHIN, STOP_WITHIN, ServerError, ServerOptions};
use crate::connect;

const LOOK_AGAIN: Duration = Duration::from_millis(25);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A server that ran for this long was healthy, so the next restart is quick again.
const HEALTHY: Duration = Duration::from_secs(60);

pub(super) async fn check_version(binary: &Path) -> Result<(), ServerError> {
    let output = Command::new(binary).arg("--version").stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| ServerError::Run { binary: binary.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `nats-server: v2.15.1`
    let version = text.split_whitespace().last().unwrap_or_default().trim_start_matches('v').to_owned();
    if connect::is_new_enough(&version) {
        return Ok(());
    }
    Err(ServerError::TooOld { binary: binary.to_owned(), version })
}

/// Starts the process and waits until its greeting carries our server name.
pub(super) async fn start(options: &ServerOptions, config: &Config) -> Result<Child, ServerError> {
    let mut child = spawn(options, config)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ServerError::Ended { status, log: config.log.clone() });
        }
        if timeout(Duration::from_secs(1), greets(config)).await.unwrap_or(false) {
            return Ok(child);
        }
        if Instant::now() >= deadline {
            // Returning drops the child, which kills it.
            return Err(ServerError::NotReady { seconds: READY_WITHIN.as_secs(), log: config.log.clone() });
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Restarts the server whenever it dies, until `stop`.
pub(super) async fn keep(
    options: ServerOptions,
    config: Config,
    first: Child,
    pid: watch::Sender<Option<u32>>,
    stop: CancellationToken,
) {
    let mut child = first;
    let mut backoff = FIRST_BACKOFF;
    loop {
        let born = Instant::now();
        tokio::select! {
            () = stop.cancelled() => return end(child).await,
            status = child.wait() => tracing::error!(?status, "nats-server died; starting it again"),
        }
        pid.send_replace(None);
        if born.elapsed() > HEALTHY {
            backoff = FIRST_BACKOFF;
        }
        child = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
            tokio::select! {
                () = stop.cancelled() => return,
                started = start(&options, &config) => match started {
                    Ok(child) => break child,
                    Err(error) => tracing::error!(%error, "nats-server could not be started again"),
                },
            }
        };
        pid.send_replace(child.id());
    }
}

fn spawn(options: &ServerOptions, config: &Config) -> Result<Child, ServerError> {
    let mut argv = options.guard.iter().map(AsRef::as_ref).chain([options.binary.as_os_str()]);
    let program = argv.next().unwrap_or(options.binary.as_os_str());
    Command::new(program)
        .args(argv)
        .arg("--config")
        .arg(&config.path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal must reach only Lagan, which stops its server last.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ServerError::Run { binary: program.into(), source })
}

#[derive(Deserialize)]
struct Greeting {
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

async fn greets(config: &Config) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", config.port)).await else { return false };
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line).await.is_err() {
        return false;
    }
    let greeting = line.strip_prefix("INFO ").and_then(|json| serde_json::from_str::<Greeting>(json).ok());
    greeting.is_some_and(|greeting| greeting.server_name == config.name && greeting.jetstream)
}

async fn end(mut child: Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id
        && let Err(error) = kill(Pid::from_raw(id), Signal::SIGTERM)
    {
        tracing::debug!(%error, "nats-server was already gone");
    }
    if timeout(STOP_WITHIN, child.wait()).await.is_err() {
        tracing::warn!("nats-server did not end when asked; killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(%error, "nats-server could not be killed");
        }
    }
}
