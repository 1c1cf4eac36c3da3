//! Runs a private nats-server: writes its configuration, starts it, waits until it serves, restarts it when it dies, and
//! stops it. It must not know streams.

mod child;
mod config;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connect::OLDEST_SERVER;

/// Program, directory and limits of a private nats-server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The nats-server program.
    pub binary: PathBuf,
    /// Directory of configuration, log and store, created if missing. The caller locks it: one server per directory.
    pub directory: PathBuf,
    /// TCP port; 0 picks a free one.
    pub port: u16,
    /// A program and its arguments that runs the server, such as one that ends it with this process. It must `exec`, so
    /// that the process id stays. A death signal is tied to the *thread* that starts the server: start it from the
    /// runtime's own threads, never from `spawn_blocking`.
    pub guard: Vec<String>,
    /// Loopback port of the monitoring page.
    pub monitoring: Option<u16>,
    /// Size limit of the file store. With their default limits the streams of a cluster reserve 3.2 GiB of it.
    pub max_file_bytes: u64,
    pub max_memory_bytes: u64,
}

impl ServerOptions {
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            directory: directory.into(),
            port: 0,
            guard: Vec::new(),
            monitoring: None,
            max_file_bytes: 8 << 30,
            max_memory_bytes: 256 << 20,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("can't run `{binary}`: is nats-server installed?")]
    Run {
        binary: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{binary}` is {version}; Lagan needs nats-server {}.{} or newer", OLDEST_SERVER.0, OLDEST_SERVER.1)]
    TooOld { binary: PathBuf, version: String },
    #[error("can't prepare `{path}` for nats-server")]
    Prepare {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no free port on 127.0.0.1")]
    Port(#[source] std::io::Error),
    #[error("nats-server ended with {status} before it served; see `{log}`")]
    Ended { status: std::process::ExitStatus, log: PathBuf },
    #[error("nats-server did not serve within {seconds} s; see `{log}`")]
    NotReady { seconds: u64, log: PathBuf },
}

/// A running server that is started again when it dies. Call `stop` to end it; dropping it kills it without grace.
#[must_use = "a server that is dropped is killed"]
pub struct SupervisedServer {
    url: String,
    token: SecretString,
    pid: watch::Receiver<Option<u32>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl SupervisedServer {
    /// Starts the server and waits until it serves.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        child::check_version(&options.binary).await?;
        let config = config::write(&options)?;
        let first = child::start(&options, &config).await?;
        let (pid_changes, pid) = watch::channel(first.id());
        let stop = CancellationToken::new();
        let (url, token) = (config.url(), config.token.clone());
        let task = tokio::spawn(child::keep(options, config, first, pid_changes, stop.clone()));
        tracing::info!(url, "nats-server serves");
        Ok(Self { url, token, pid, stop, task: Some(task) })
    }

    /// `nats://127.0.0.1:<port>`, without the token.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    #[must_use]
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// Subscribes to the process id; `None` while the server is being restarted.
    #[must_use]
    pub fn pid(&self) -> watch::Receiver<Option<u32>> {
        self.pid.clone()
    }

    /// Asks the server to end and waits for it. After 10 s it is killed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "supervision of nats-server failed");
        }
    }
}

impl Drop for SupervisedServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            // The child process is killed with the task that owns it.
            task.abort();
        }
    }
}

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(10);
