//! Reads stored messages. Decisions about writes depend on them, so a single message always comes from the stream's leader,
//! and many messages come from any replica that has everything that the leader knew when it was asked.
//! Following a stream as it grows is in `follow`.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessage};
use bytes::Bytes;
use jiff::Timestamp;
use lagan_schemas::position::StoreId;
use lagan_schemas::subject::{SESSIONS, question_subject, visible_to_pool};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::batch::{Complete, batch};
use crate::connect::Bus;
use crate::consumed::consumed;
use crate::error::{ApiError, api, code};
use crate::reach::ReadScope;
use crate::refusal::last_by_refusal;

const PAUSE: Duration = Duration::from_millis(20);

/// Returns the id of a stream's store.
pub(crate) fn store_of(info: &Info) -> StoreId {
    StoreId::created(timestamp(info.created.unix_timestamp_nanos()))
}

/// A stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    pub subject: String,
    pub sequence: u64,
    /// The time at which the server stored it. Deadlines count from here.
    pub time: Timestamp,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Stored {
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        self.headers.get(NATS_MESSAGE_ID).map(async_nats::HeaderValue::as_str)
    }

    pub fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

/// The facts of one session that this connection may read, in order.
#[derive(Debug, Clone, Default)]
pub struct SessionFacts {
    pub visible: Vec<Stored>,
    /// Sequence of the last one, visible or not, which the next append expects; 0 if there is none.
    pub last_sequence: u64,
}

impl SessionFacts {
    /// Returns whether the last fact is one that this connection may not read.
    #[must_use]
    pub fn is_last_hidden(&self) -> bool {
        self.visible.last().map_or(0, |stored| stored.sequence) < self.last_sequence
    }
}

/// Reads the facts of one session.
pub async fn session(bus: &Bus, filter: &str) -> Result<SessionFacts, ApiError> {
    let Some(pool) = bus.pool() else {
        let visible = all(bus, SESSIONS, filter, 1).await?;
        let last_sequence = visible.last().map_or(0, |stored| stored.sequence);
        return Ok(SessionFacts { visible, last_sequence });
    };
    Box::pin(session_of_pool(bus, filter, pool)).await
}

async fn session_of_pool(bus: &Bus, filter: &str, pool: &str) -> Result<SessionFacts, ApiError> {
    // The last sequence of all comes first: whatever is visible up to it is then certainly read.
    let last = newest(bus, SESSIONS, filter).await?;
    if last == 0 {
        return Ok(SessionFacts::default());
    }
    let [own, engine] = visible_to_pool(filter, pool);
    let (own, engine) = tokio::try_join!(all(bus, SESSIONS, &own, 1), all(bus, SESSIONS, &engine, 1))?;
    let mut visible = [own, engine].concat();
    visible.sort_by_key(|stored| stored.sequence);
    let last_sequence = visible.last().map_or(0, |stored| stored.sequence).max(last);
    Ok(SessionFacts { visible, last_sequence })
}

/// Reads the last sequence of a session, which its next append expects; 0 if it has no facts.
pub async fn last_sequence(bus: &Bus, filter: &str) -> Result<u64, ApiError> {
    newest(bus, SESSIONS, filter).await
}

/// Reads the last message that matches a subject or filter.
pub async fn last(bus: &Bus, stream: &str, filter: &str) -> Result<Option<Stored>, ApiError> {
    get(bus, stream, &json!({ "last_by_subj": filter })).await
}

/// Reads the first message at `sequence` or later that matches the filter.
pub async fn next(bus: &Bus, stream: &str, filter: &str, sequence: u64) -> Result<Option<Stored>, ApiError> {
    get(bus, stream, &json!({ "seq": sequence, "next_by_subj": filter })).await
}

/// Reads all messages that match the filter, from `sequence` on.
///
/// The number of requests does not depend on the number of messages: one asks the leader for the last message, and
/// at the same time another asks any replica for all of them. Messages are only appended and never change, so a replica
/// that has the leader's last message has all before it. If the replica lags behind, or the stream offers no such answers,
/// the messages are read from the leader one by one.
pub(crate) async fn all(bus: &Bus, stream: &str, filter: &str, sequence: u64) -> Result<Vec<Stored>, ApiError> {
    if *bus.reach() != ReadScope::Everything {
        // Most callers read directly, and their futures stay small.
        return Box::pin(all_consumed(bus, stream, filter, sequence)).await;
    }
    let mut found: Vec<Stored> = Vec::new();
    let mut from = sequence;
    let (last, mut read) = tokio::join!(last(bus, stream, filter), batch(bus, stream, filter, from));
    let needed = last?.map_or(0, |stored| stored.sequence);
    loop {
        let (messages, complete) = match read {
            Ok(batch) => (batch.messages, batch.complete),
            Err(error) => {
                tracing::debug!(stream, %error, "no replica answers with many messages; reading them one by one");
                (Vec::new(), Complete::Yes)
            }
        };
        let progress = !messages.is_empty();
        found.extend(messages);
        from = found.last().map_or(from, |stored| stored.sequence + 1);
        if complete == Complete::Yes || !progress {
            break;
        }
        read = batch(bus, stream, filter, from).await;
    }
    if from <= needed {
        found.extend(one_by_one(bus, stream, filter, from).await?);
    }
    Ok(found)
}

/// Reads the same through a consumer. A replica that lags behind is asked again.
async fn all_consumed(bus: &Bus, stream: &str, filter: &str, sequence: u64) -> Result<Vec<Stored>, ApiError> {
    let deadline = Instant::now() + bus.answer_within();
    loop {
        let needed = newest(bus, stream, filter).await?;
        if needed < sequence {
            return Ok(Vec::new());
        }
        let found = consumed(bus, stream, filter, sequence).await?;
        let found: Vec<Stored> = found.iter().map(stored).collect::<Result<_, _>>().map_err(ApiError::Request)?;
        if found.last().is_some_and(|stored| stored.sequence >= needed) {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(ApiError::TimedOut);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks the leader for the last sequence that matches a filter; 0 if there is none.
async fn newest(bus: &Bus, stream: &str, filter: &str) -> Result<u64, ApiError> {
    match bus.pool() {
        Some(pool) if stream == SESSIONS => last_by_refusal(bus, stream, &question_subject(filter, pool), filter).await,
        _ => Ok(last(bus, stream, filter).await?.map_or(0, |stored| stored.sequence)),
    }
}

async fn one_by_one(bus: &Bus, stream: &str, filter: &str, mut from: u64) -> Result<Vec<Stored>, ApiError> {
    let mut found = Vec::new();
    while let Some(stored) = next(bus, stream, filter, from).await? {
        from = stored.sequence + 1;
        found.push(stored);
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Answer {
    message: RawMessage,
}

async fn get(bus: &Bus, stream: &str, request: &serde_json::Value) -> Result<Option<Stored>, ApiError> {
    match api::<Answer>(bus, format!("STREAM.MSG.GET.{stream}"), request).await {
        Ok(answer) => {
            let message = StreamMessage::try_from(answer.message).map_err(ApiError::Request)?;
            Ok(Some(from_stream(message)))
        }
        Err(error) if error.code() == Some(code::NO_MESSAGE) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn from_stream(message: StreamMessage) -> Stored {
    Stored {
        subject: message.subject.to_string(),
        sequence: message.sequence,
        time: timestamp(message.time.unix_timestamp_nanos()),
        headers: message.headers,
        payload: message.payload,
    }
}

pub(crate) fn timestamp(nanos: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::MIN)
}

pub(crate) fn stored(message: &async_nats::jetstream::Message) -> Result<Stored, async_nats::Error> {
    let info = message.info()?;
    Ok(Stored {
        subject: message.subject.to_string(),
        sequence: info.stream_sequence,
        time: timestamp(info.published.unix_timestamp_nanos()),
        headers: message.headers.clone().unwrap_or_default(),
        payload: message.payload.clone(),
    })
}
