//! One nats-server, or three that replicate every stream over direct routes: the proxies of `nats_cluster` would be measured
//! too. All sync every write.

use std::{fs, thread};

use anyhow::{Context as _, Result, anyhow};

use crate::nats::{NatsOptions, NatsServer, SyncInterval};
use crate::ports::ReservedPort;

pub(super) struct Nats {
    servers: Vec<NatsServer>,
    _routes: Vec<ReservedPort>,
}

impl Nats {
    pub fn one(sync: SyncInterval) -> Result<Self> {
        let server = NatsServer::start_with(NatsOptions { sync, ..NatsOptions::default() })?;
        Ok(Self { servers: vec![server], _routes: Vec::new() })
    }

    /// Starts all three at once: alone none of them is healthy.
    pub fn three() -> Result<Self> {
        let routes: Vec<ReservedPort> = (0..3).map(|_| ReservedPort::reserve()).collect::<Result<_>>()?;
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{}\"", port.number())).collect();
        let options = |port: &ReservedPort| NatsOptions {
            more: format!(
                "cluster {{ name: bench, listen: \"127.0.0.1:{}\", routes: [{}] }}",
                port.number(),
                urls.join(", ")
            ),
            ..NatsOptions::default()
        };
        let options: Vec<NatsOptions> = routes.iter().map(options).collect();
        let servers = thread::scope(|scope| {
            let starting: Vec<_> =
                options.into_iter().map(|options| scope.spawn(|| NatsServer::start_with(options))).collect();
            let started = starting.into_iter().map(|one| one.join().map_err(|_| anyhow!("a server panicked"))?);
            started.collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { servers, _routes: routes })
    }

    pub fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    pub fn replicas(&self) -> usize {
        self.servers.len()
    }

    /// Bytes of the folders of a stream, on the first server.
    pub fn bytes_on_disk(&self, stream: &str) -> Result<u64> {
        let store = self.servers.first().map(NatsServer::store_dir).unwrap_or_default();
        let folder = store.join("jetstream/$G/streams").join(stream).join("msgs");
        let files = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        files.map(|file| Ok(file?.metadata()?.len())).sum()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(NatsServer::pid).collect()
    }

    /// Kills the first server and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.servers.first_mut().map_or(Ok(()), NatsServer::restart)
    }

    pub async fn connect(&self) -> Result<async_nats::Client> {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        Ok(async_nats::connect(urls).await?)
    }
}
