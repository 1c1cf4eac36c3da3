//! A tap on the log of sessions that runs beside a test. What it has seen was acknowledged by the server, so it must still
//! be in the log at the end, whatever was killed meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::ServerAddr;
use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use tokio::runtime::Runtime;

use super::log::{LoggedFact, parse};

/// The pause before a reader that lost its connection begins anew.
const PAUSE: Duration = Duration::from_millis(200);

pub struct LogRecorder {
    seen: Arc<Mutex<Vec<LoggedFact>>>,
    _runtime: Runtime,
}

impl LogRecorder {
    /// Begins to follow the log at `urls`, which are separated by commas.
    pub fn start(urls: &str) -> Result<Self> {
        let servers = urls.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seen: Arc<Mutex<Vec<LoggedFact>>> = Arc::default();
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            loop {
                // An outage of the server is what tests are about.
                let _ = follow(&servers, &shared).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { seen, _runtime: runtime })
    }

    /// The facts so far, in the order of the log.
    pub fn facts(&self) -> MutexGuard<'_, Vec<LoggedFact>> {
        lock(&self.seen)
    }

    /// The uid of the session with this name, once it was requested.
    #[must_use]
    pub fn uid(&self, name: &str) -> Option<String> {
        let facts = self.facts();
        let request = facts.iter().find(|fact| fact.name == "requested" && fact.event["data"]["name"] == name);
        request.map(|fact| fact.uid.clone())
    }

    /// The end of the session with this name.
    #[must_use]
    pub fn end(&self, name: &str) -> Option<LoggedFact> {
        let uid = self.uid(name)?;
        self.facts().iter().find(|fact| fact.uid == uid && fact.is_end()).cloned()
    }

    /// Number of facts with this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.facts().iter().filter(|fact| fact.name == name).count()
    }

    /// The facts that were seen and are not in the log, which is the whole log as the server has it now.
    #[must_use]
    pub fn lost(&self, log: &[LoggedFact]) -> Vec<LoggedFact> {
        let is_there = |seen: &LoggedFact| log.iter().any(|fact| fact == seen);
        self.facts().iter().filter(|seen| !is_there(seen)).cloned().collect()
    }
}

fn lock(seen: &Mutex<Vec<LoggedFact>>) -> MutexGuard<'_, Vec<LoggedFact>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(servers: &[ServerAddr], seen: &Mutex<Vec<LoggedFact>>) -> Result<()> {
    let client = async_nats::connect(servers).await.context("connecting")?;
    let stream = jetstream::new(client).get_stream("SESSIONS").await?;
    let next = lock(seen).last().map_or(1, |fact| fact.sequence + 1);
    let config = consumer::pull::OrderedConfig {
        deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: next },
        ..consumer::pull::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let sequence = message.info().map_err(|error| anyhow::anyhow!(error))?.stream_sequence;
        lock(seen).extend(parse(sequence, &message.subject, &message.payload));
    }
    Ok(())
}
