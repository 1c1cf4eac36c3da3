//! Reads the log of sessions from the server, without Lagan.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, consumer};
use async_nats::{ConnectOptions, ServerAddr};
use futures::StreamExt as _;
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(20);

/// A fact as it is stored, with what its subject says.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedFact {
    pub sequence: u64,
    pub uid: String,
    /// The last word of the type, such as `succeeded`.
    pub name: String,
    /// The pool of the worker that wrote it, or of the plan; `_` for other facts of the engine.
    pub pool: String,
    pub event: Value,
}

impl LoggedFact {
    /// Whether a session has ended with this fact.
    #[must_use]
    pub fn is_end(&self) -> bool {
        ["succeeded", "failed", "cancelled", "skipped"].contains(&self.name.as_str())
    }
}

/// Reads all facts from one of the servers, which are separated by commas.
pub fn read_log(urls: &str, token: Option<String>) -> Result<Vec<LoggedFact>> {
    let servers = urls.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>()?;
    let options = token.map_or_else(ConnectOptions::new, ConnectOptions::with_token);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let read = async {
            let client = options.connect(&servers).await.context("connecting to read the log")?;
            read_facts(&client).await
        };
        tokio::time::timeout(ANSWER, read).await.context("the log was not read in time")?
    })
}

/// Reads all facts. Messages that are no events are passed over, as the protocol wants it.
async fn read_facts(client: &async_nats::Client) -> Result<Vec<LoggedFact>> {
    let context = jetstream::new(client.clone());
    let stream = context.get_stream("SESSIONS").await.context("looking for the stream of sessions")?;
    let config = consumer::pull::Config {
        ack_policy: consumer::AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        ..consumer::pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let expected = consumer.cached_info().num_pending;
    let mut messages = consumer.stream().max_messages_per_batch(200).messages().await?;
    let mut facts = Vec::new();
    for _ in 0..expected {
        let next = tokio::time::timeout(ANSWER, messages.next()).await.context("a message of the log")?;
        let message = next.context("the end of the log")??;
        let sequence = message.info().map_err(|error| anyhow::anyhow!(error))?.stream_sequence;
        facts.extend(parse(sequence, &message.subject, &message.payload));
    }
    Ok(facts)
}

/// `lagan.session.<cluster>.<namespace>.<kind>.<group>.<invoker>.<uid>.<pool>.<fact>[.<lane>]`
pub(super) fn parse(sequence: u64, subject: &str, payload: &[u8]) -> Option<LoggedFact> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let (uid, pool, name) = (*tokens.get(7)?, *tokens.get(8)?, *tokens.get(9)?);
    let event: Value = serde_json::from_slice(payload).ok()?;
    let is_that_fact = event["type"].as_str()?.split('.').nth(3) == Some(name) && event["sessionuid"] == uid;
    let owned = str::to_owned;
    is_that_fact.then(|| LoggedFact { sequence, uid: owned(uid), name: owned(name), pool: owned(pool), event })
}
