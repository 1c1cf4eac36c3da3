//! Reads stored messages. Decisions about writes depend on them, so a single message always comes from the stream's leader,
//! and many messages come from any replica that has everything that the leader knew when it was asked.
//! Following a stream as it grows is in `follow`.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessage};
use bytes::Bytes;
use jiff::Timestamp;
use lagan_schemas::position::StoreId;
use lagan_schemas::subject::SESSIONS;
use serde::Deserialize;
use serde_json::json;

use crate::batch::{Complete, batch};
use crate::connect::Bus;
use crate::error::{ApiError, api, code};

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

/// Reads all facts of one session, in order.
pub async fn session(bus: &Bus, filter: &str) -> Result<Vec<Stored>, ApiError> {
    all(bus, SESSIONS, filter, 1).await
}

/// Reads the last sequence of a session, which its next append expects; 0 if it has no facts.
pub async fn last_sequence(bus: &Bus, filter: &str) -> Result<u64, ApiError> {
    Ok(last(bus, SESSIONS, filter).await?.map_or(0, |stored| stored.sequence))
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
