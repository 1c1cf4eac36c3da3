//! Reads many stored messages with one request, which any replica of the stream may answer. A replica may lag behind, so the
//! caller compares the answer with what the stream's leader knows.

use async_nats::StatusCode;
use async_nats::header::{NATS_LAST_SEQUENCE, NATS_SEQUENCE, NATS_STREAM, NATS_SUBJECT, NATS_TIME_STAMP};
use async_nats::jetstream::message::StreamMessage;
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use crate::connect::Bus;
use crate::error::ApiError;
use crate::read::{Stored, from_stream};

/// Number of messages in one answer. The server ends an answer earlier if it grows large.
const BATCH: u32 = 1000;
const PENDING: &str = "Nats-Num-Pending";

/// The messages that one replica had.
pub(crate) struct Batch {
    pub messages: Vec<Stored>,
    pub complete: Complete,
}

/// Whether a batch ended because the replica had no more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complete {
    Yes,
    /// The connection was lost on the way, or the answer reached its largest size.
    No,
}

/// Reads the messages of a stream that match the filter, from `sequence` on, as one of its replicas has them.
pub(crate) async fn batch(bus: &Bus, stream: &str, filter: &str, sequence: u64) -> Result<Batch, ApiError> {
    if !bus.is_connected() {
        return Err(ApiError::NotConnected);
    }
    let client = bus.client();
    let inbox = client.new_inbox();
    let failed = |error: async_nats::Error| ApiError::Request(error);
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    let request = json!({ "seq": sequence, "next_by_subj": filter, "batch": BATCH }).to_string();
    let subject = bus.api_subject(&format!("DIRECT.GET.{stream}"));
    client.publish_with_reply(subject, inbox, request.into()).await.map_err(|error| failed(error.into()))?;
    let mut batch = Batch { messages: Vec::new(), complete: Complete::No };
    // Each message names the one before it, so that a gap shows.
    let mut previous = 0;
    loop {
        let answer = timeout(bus.answer_within(), answers.next()).await.map_err(|_elapsed| ApiError::TimedOut)?;
        let Some(message) = answer else { return Err(ApiError::NotConnected) };
        let number = |name: &str| -> Option<u64> {
            message.headers.as_ref().and_then(|headers| headers.get_last(name)?.as_str().parse().ok())
        };
        match message.status {
            None | Some(StatusCode::OK) if number(NATS_LAST_SEQUENCE.as_ref()) == Some(previous) => {
                let stored = stored(message)?;
                previous = stored.sequence;
                batch.messages.push(stored);
            }
            None | Some(StatusCode::OK) => return Ok(batch),
            Some(StatusCode::NO_RESPONDERS) => return Err(ApiError::NoResponders),
            Some(StatusCode::NOT_FOUND) => return Ok(Batch { complete: Complete::Yes, ..batch }),
            // The end of the batch, in the words of the server: 204 EOB.
            Some(status) if status.as_u16() == 204 => {
                let whole = number(PENDING) == Some(0) && number(NATS_LAST_SEQUENCE.as_ref()) == Some(previous);
                return Ok(Batch { complete: if whole { Complete::Yes } else { Complete::No }, ..batch });
            }
            Some(status) => {
                let description = message.description.unwrap_or_default();
                return Err(failed(format!("the server ended the batch: {status} {description}").into()));
            }
        }
    }
}

/// Returns a message as every other way of reading returns it, without the headers that only describe the answer.
fn stored(message: async_nats::Message) -> Result<Stored, ApiError> {
    let mut message = StreamMessage::try_from(message).map_err(|error| ApiError::Request(error.into()))?;
    let mut headers = async_nats::HeaderMap::new();
    let describing = [NATS_STREAM, NATS_SUBJECT, NATS_SEQUENCE, NATS_TIME_STAMP, NATS_LAST_SEQUENCE];
    for (name, values) in message.headers.iter() {
        if describing.iter().all(|other| other != name) && AsRef::<str>::as_ref(name) != PENDING {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    message.headers = headers;
    Ok(from_stream(message))
}
