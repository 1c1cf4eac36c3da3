//! A private nats-server with JetStream on stable ports. It must not create streams: Lagan does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::http;
use crate::ports::ReservedPort;
use crate::process::{Process, guarded, run};
use crate::scratch::Scratch;
use crate::tools;

const START: Duration = Duration::from_secs(20);

/// The moment at which JetStream acknowledges a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncInterval {
    /// After it is on disk (`sync_interval: always`), as with the server that `lagan up` starts.
    #[default]
    Always,
    /// Before it is on disk, as is the server's default.
    ServerDefault,
}

#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    pub sync: SyncInterval,
    /// Token that clients must send; it is part of [`NatsServer::url`].
    pub token: Option<String>,
    /// More lines of the configuration, such as accounts.
    pub more: String,
}

pub struct NatsServer {
    // Dropped first: a server must not write into a folder that is being removed.
    process: Process,
    port: ReservedPort,
    monitor: ReservedPort,
    options: NatsOptions,
    scratch: Scratch,
}

impl NatsServer {
    pub fn start() -> Result<Self> {
        Self::start_with(NatsOptions::default())
    }

    pub fn start_with(options: NatsOptions) -> Result<Self> {
        let scratch = Scratch::new("nats")?;
        let (port, monitor) = (ReservedPort::reserve()?, ReservedPort::reserve()?);
        write_config(&scratch, &options, port.number(), monitor.number())?;
        let process = launch(&scratch, monitor.number())?;
        Ok(Self { process, port, monitor, options, scratch })
    }

    #[must_use]
    pub fn url(&self) -> String {
        let token = self.options.token.as_ref();
        let token = token.map_or_else(String::new, |token| format!("{token}@"));
        format!("nats://{token}127.0.0.1:{}", self.port.number())
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[must_use]
    pub fn monitoring_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor.number())
    }

    /// Reads an endpoint of the monitoring port, such as `/jsz?streams=true`.
    pub fn monitoring(&self, path: &str) -> Result<serde_json::Value> {
        let answer = http::request("GET", self.monitor.number(), path)?;
        serde_json::from_str(&answer.body).with_context(|| format!("reading `{path}`"))
    }

    pub async fn connect(&self) -> Result<async_nats::Client> {
        let address = format!("nats://127.0.0.1:{}", self.port.number());
        let client = match &self.options.token {
            Some(token) => {
                let options = async_nats::ConnectOptions::with_token(token.clone());
                options.connect(address).await
            }
            None => async_nats::connect(address).await,
        };
        client.context("connecting to the private nats-server")
    }

    /// The process, for signals and log lines.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Starts the server again with the same ports and store; kills it first if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.exit_status().is_none() {
            self.kill9()?;
        }
        self.process = launch(&self.scratch, self.monitor.number())?;
        Ok(())
    }

    /// Deletes all data of JetStream while the server is stopped; `restart` starts an empty one.
    pub fn delete_store(&mut self) -> Result<()> {
        if self.process.exit_status().is_none() {
            self.kill9()?;
        }
        fs::remove_dir_all(self.store_dir()).context("deleting the JetStream store")
    }

    /// Copies the store. The server is restarted for that.
    pub fn copy_store(&mut self, to: &Path) -> Result<()> {
        self.kill9()?;
        copy_tree(&self.store_dir(), to)?;
        self.restart()
    }

    /// Sets streams back to what they were in a copy of the store, and restarts the server.
    pub fn set_back(&mut self, copy: &Path, streams: &[&str]) -> Result<()> {
        self.kill9()?;
        for stream in streams {
            let of_stream = format!("jetstream/$G/streams/{stream}");
            let there = self.store_dir().join(&of_stream);
            fs::remove_dir_all(&there)?;
            copy_tree(&copy.join(&of_stream), &there)?;
        }
        self.restart()
    }

    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.scratch.join("store")
    }

    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.scratch)
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut command = guarded(Path::new("cp"));
    command.arg("-a").arg(from).arg(to);
    run(command, START)?.success().map(drop).context("copying a store")
}

fn log_path(scratch: &Scratch) -> PathBuf {
    scratch.join("nats.log")
}

fn write_config(scratch: &Scratch, options: &NatsOptions, port: u16, monitor: u16) -> Result<()> {
    let store = scratch.join("store");
    let sync = match options.sync {
        SyncInterval::Always => "sync_interval: always",
        SyncInterval::ServerDefault => "",
    };
    let auth =
        options.token.as_ref().map_or_else(String::new, |token| format!("authorization {{ token: {token:?} }}\n"));
    let config = format!(
        "server_name: lagan-tests-{port}\nlisten: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\n\
         jetstream {{ store_dir: \"{}\"\n {sync} }}\n{auth}{}\n",
        store.display(),
        options.more
    );
    scratch.private_file("nats.conf", &config).map(drop)
}

fn launch(scratch: &Scratch, monitor: u16) -> Result<Process> {
    let mut command = guarded(&tools::find("nats-server")?);
    command.arg("-c").arg(scratch.join("nats.conf"));
    let mut process = Process::spawn("nats-server", command, &log_path(scratch))?;
    process
        .until("nats-server is healthy", START, || {
            let answer = http::request("GET", monitor, "/healthz").ok()?;
            (answer.status == 200).then_some(())
        })
        .map_err(|error| anyhow!(error).context("starting a private nats-server"))?;
    Ok(process)
}
