//! A private server per test, and the awkward network between.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lagan_bus::kv::Bucket;
use lagan_bus::server::{ServerOptions, SupervisedServer};
use lagan_bus::streams::{self, Sizes, StreamSpec};
use lagan_bus::{Append, Auth, Bus, Connect};
use lagan_schemas::subject::Cluster;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub const TTL: Duration = Duration::from_millis(1500);

pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LAGAN_NATS_SERVER") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file());
    found.expect("nats-server is needed: set LAGAN_NATS_SERVER or put it on the PATH")
}

pub struct Rig {
    pub server: SupervisedServer,
    pub specs: Vec<StreamSpec>,
    monitoring: u16,
    _dir: TempDir,
}

pub fn cluster() -> Cluster {
    "test".parse().unwrap()
}

pub fn sizes() -> Sizes {
    Sizes { heartbeat_ttl: TTL, ..Sizes::default() }
}

impl Rig {
    pub async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let monitoring = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut options = ServerOptions::new(binary(), dir.path());
        options.monitoring = Some(monitoring);
        let server = SupervisedServer::start(options).await.unwrap();
        Self { server, specs: streams::of_cluster(&cluster(), &sizes()), monitoring, _dir: dir }
    }

    /// Runs `work`, and counts the messages that the server got from all its clients meanwhile. The server counts a message a
    /// moment after it has acted on it, so the number may be off by a few.
    pub async fn messages_of<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.messages().await;
        let done = work.await;
        (done, self.messages().await - before)
    }

    async fn messages(&self) -> u64 {
        let mut page = TcpStream::connect(("127.0.0.1", self.monitoring)).await.unwrap();
        page.write_all(b"GET /varz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        page.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<serde_json::Value>(body).unwrap()["in_msgs"].as_u64().unwrap()
    }

    pub async fn start() -> (Self, Bus) {
        let rig = Self::empty().await;
        let bus = rig.bus().await;
        streams::ensure(&bus, &rig.specs).await.unwrap();
        (rig, bus)
    }

    pub fn options(&self) -> Connect {
        let mut connect = Connect::new(self.server.url(), "test");
        connect.auth = Auth::Token(self.server.token().clone());
        connect.answer_within = Duration::from_millis(700);
        connect
    }

    pub async fn bus(&self) -> Bus {
        Bus::connect(self.options()).await.unwrap()
    }

    pub fn bucket(&self, bus: &Bus, name: &str) -> Bucket {
        Bucket::of(bus, &self.specs, name).unwrap()
    }

    /// An administrator's own connection.
    pub async fn admin(&self) -> async_nats::jetstream::Context {
        use secrecy::ExposeSecret;
        let token = self.server.token().expose_secret().to_owned();
        let client = async_nats::ConnectOptions::with_token(token).connect(self.server.url()).await.unwrap();
        async_nats::jetstream::new(client)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.server.pid().borrow().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// kill -9, then waits until the supervisor has started it again.
    pub async fn kill(&self) {
        let mut pid = self.server.pid();
        let old = pid.borrow().unwrap();
        self.signal(nix::sys::signal::Signal::SIGKILL);
        pid.wait_for(|pid| pid.is_some_and(|pid| pid != old)).await.unwrap();
    }
}

/// A server of its own configuration.
pub struct PlainServer {
    _process: tokio::process::Child,
    _directory: TempDir,
    pub port: u16,
}

impl PlainServer {
    /// Starts a server with these options of JetStream and these lines.
    pub fn start(jetstream: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = directory.path().join("nats.conf");
        let store = directory.path().display();
        let text =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\"\n{jetstream} }}\n{more}\n");
        std::fs::write(&config, text).unwrap();
        let process = tokio::process::Command::new(binary())
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { _process: process, _directory: directory, port }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

pub fn filter(session: &str) -> String {
    format!("lagan.session.test.shop.backup.lagan_dev.nightly.{session}.>")
}

/// The subject of a fact of the engine, or of another one by its pool and name.
pub fn subject(session: &str, fact: &str) -> String {
    let pool = if fact.contains('.') { "" } else { "_." };
    format!("lagan.session.test.shop.backup.lagan_dev.nightly.{session}.{pool}{fact}")
}

pub fn fact(session: &str, fact: &str, expected: u64, id: impl std::fmt::Display) -> Append {
    Append {
        subject: subject(session, fact),
        session_filter: filter(session),
        expected_last_sequence: expected,
        message_id: format!("test.{session}.{id}"),
        event: format!("{{\"id\":\"{id}\"}}").into(),
    }
}

/// Forwards to a server, and can lose one answer. While it is closed it cuts and refuses connections.
pub struct LossyProxy {
    pub url: String,
    pub open: watch::Sender<bool>,
    pub lose_next_ack: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LossyProxy {
    pub async fn to(url: &str) -> Self {
        let upstream = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let lose_next_ack = Arc::new(AtomicBool::new(false));
        let lose = Arc::clone(&lose_next_ack);
        let (open, mut is_open) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut pairs = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if !*is_open.borrow_and_update() {
                    continue;
                }
                let server = TcpStream::connect(&upstream).await.unwrap();
                let (forwarded, mut is_open) = (forward(client, server, Arc::clone(&lose)), is_open.clone());
                pairs.spawn(async move {
                    tokio::select! {
                        () = forwarded => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { url, open, lose_next_ack, task }
    }
}

async fn forward(client: TcpStream, server: TcpStream, lose: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let chunk = String::from_utf8_lossy(&buffer[..read]);
            let is_ack = chunk.starts_with("MSG") && chunk.contains("\"seq\":") && chunk.contains("\"stream\":");
            if is_ack && lose.swap(false, Ordering::SeqCst) {
                continue;
            }
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    let _: Result<((), ()), std::io::Error> = tokio::try_join!(up, down);
}
