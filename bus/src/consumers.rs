//! Durable pull consumers as data, and the code that makes the server match. Pulling is in `delivery`.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info};
use serde::Serialize;

use crate::connect::Bus;
use crate::error::{ApiError, EmptyRequest, api, code};

/// Far more than workers ever hold: at this limit the server silently stops delivering.
const MAX_ACK_PENDING: i64 = 10_000;

/// Far more than a lane has idle slots: at this limit the server refuses pull requests. It can't be changed later.
const MAX_WAITING: i64 = 100_000;
/// Time without pull requests after which the server removes a consumer, such as that of a pool that was renamed. That of a
/// pool whose workers come back later is created again.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

/// Start position of a consumer that must be created. An existing consumer keeps its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Oldest,
    /// The position of the oldest session that has not ended, after a consumer was lost (P7).
    At(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    pub stream: String,
    pub name: String,
    pub filters: Vec<String>,
    /// A message is delivered again after this time without an acknowledgement of any kind.
    pub ack_wait: Duration,
    pub begin: Begin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    Created,
    Updated,
    Unchanged,
}

#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error("can't create or update consumer `{name}` of stream `{stream}`")]
    Ensure {
        stream: String,
        name: String,
        #[source]
        source: ApiError,
    },
    #[error("can't read the state of consumer `{name}` of stream `{stream}`")]
    State {
        stream: String,
        name: String,
        #[source]
        source: ApiError,
    },
}

/// Returns whether the consumer exists. If not, its creator must choose where it begins.
pub async fn exists(bus: &Bus, stream: &str, name: &str) -> Result<bool, ConsumerError> {
    let found = find(bus, stream, name).await;
    found.map(|info| info.is_some()).map_err(|source| ConsumerError::State {
        stream: stream.to_owned(),
        name: name.to_owned(),
        source,
    })
}

/// Counts the messages that wait in the consumer, delivered or not.
pub async fn waiting(bus: &Bus, stream: &str, name: &str) -> Result<u64, ConsumerError> {
    let failed = |source| ConsumerError::State { stream: stream.to_owned(), name: name.to_owned(), source };
    let info = find(bus, stream, name).await.map_err(failed)?;
    Ok(info.map_or(0, |info| info.num_pending + info.num_ack_pending as u64))
}

/// Creates the consumer, or updates it to match. Any number of processes may do this at once, and a deleted consumer is
/// created again.
pub async fn ensure(bus: &Bus, spec: &ConsumerSpec) -> Result<Ensured, ConsumerError> {
    let deadline = bus.deadline();
    loop {
        let source = match attempt(bus, spec).await {
            Ok(ensured) => return Ok(ensured),
            Err(source) => source,
        };
        // Another process created it between our look-up and our request, so look again.
        let raced = matches!(source.code(), Some(code::CONSUMER_EXISTS | code::CONSUMER_IN_USE));
        if !(raced || source.is_transient()) || tokio::time::Instant::now() >= deadline {
            return Err(ConsumerError::Ensure { stream: spec.stream.clone(), name: spec.name.clone(), source });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Serialize)]
struct CreateRequest<'a> {
    stream_name: &'a str,
    config: &'a Config,
    action: &'static str,
}

async fn find(bus: &Bus, stream: &str, name: &str) -> Result<Option<Info>, ApiError> {
    match api(bus, format!("CONSUMER.INFO.{stream}.{name}"), &EmptyRequest {}).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn attempt(bus: &Bus, spec: &ConsumerSpec) -> Result<Ensured, ApiError> {
    let existing = find(bus, &spec.stream, &spec.name).await?.map(|info| info.config);
    let (wanted, action, ensured) = match existing {
        None => {
            let deliver_policy = match spec.begin {
                Begin::Oldest => DeliverPolicy::All,
                Begin::At(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            };
            (
                overlay(spec, Config { deliver_policy, max_waiting: MAX_WAITING, ..Config::default() }),
                "create",
                Ensured::Created,
            )
        }
        Some(existing) => {
            let wanted = overlay(spec, existing.clone());
            if wanted == existing {
                return Ok(Ensured::Unchanged);
            }
            (wanted, "update", Ensured::Updated)
        }
    };
    let request = CreateRequest { stream_name: &spec.stream, config: &wanted, action };
    // A single filter is part of the request's subject, so that permissions can restrict it.
    let tail = if wanted.filter_subject.is_empty() { String::new() } else { format!(".{}", wanted.filter_subject) };
    let subject = format!("CONSUMER.CREATE.{}.{}{tail}", spec.stream, spec.name);
    let _: Info = api(bus, subject, &request).await?;
    tracing::info!(consumer = spec.name, action, "consumer written");
    Ok(ensured)
}

fn overlay(spec: &ConsumerSpec, base: Config) -> Config {
    let (filter_subject, filter_subjects) = match &spec.filters[..] {
        [one] => (one.clone(), Vec::new()),
        many => (String::new(), many.to_vec()),
    };
    Config {
        durable_name: Some(spec.name.clone()),
        name: Some(spec.name.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        // A message that reaches its delivery limit would stay in the stream and never be delivered again.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        inactive_threshold: UNUSED,
        filter_subject,
        filter_subjects,
        // With a back-off the server would ignore `ack_wait`.
        backoff: Vec::new(),
        ..base
    }
}
