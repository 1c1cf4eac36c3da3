//! Publishes what is not a fact of a session: last values, progress, and messages nobody could read.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lagan_schemas::subject::DEAD;

use crate::append::{AppendError, Outgoing, store};
use crate::connect::Bus;
use crate::read::Stored;
use crate::trace;

/// What must be true of a subject, or of all subjects a filter names, for a write to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Any,
    Last { filter: String, sequence: u64 },
}

impl Expect {
    pub(crate) fn filter(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Last { filter, .. } => Some(filter),
        }
    }
}

/// One value for a stream that keeps the last of each subject.
#[derive(Debug, Clone)]
pub struct Publish {
    pub subject: String,
    /// A value that comes back (A, B, A) needs a new id each time: within the stream's window the server drops an id
    /// it has seen.
    pub message_id: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// Publishes a value and gives its sequence.
pub async fn publish(bus: &Bus, stream: &str, value: Publish, expect: &Expect) -> Result<u64, AppendError> {
    let Publish { subject, message_id, headers: extra, payload } = value;
    store(bus, &[Outgoing { stream, subject, message_id, extra, payload }], expect).await
}

/// Progress is worth nothing late: while disconnected it is dropped, and nobody waits for an answer.
pub async fn progress(bus: &Bus, subject: String, payload: Bytes) {
    if !bus.is_connected() {
        return;
    }
    let mut headers = HeaderMap::new();
    trace::inject(&mut headers);
    if let Err(error) = bus.client().publish_with_headers(subject, headers, payload).await {
        tracing::debug!(%error, "progress was not published");
    }
}

/// Keeps a message that nobody could read, with the reason, under `subject` of the DEAD stream.
pub async fn dead(bus: &Bus, subject: String, message: &Stored, why: &str) -> Result<u64, AppendError> {
    let mut extra = HeaderMap::new();
    extra.insert("Lagan-Why", why.replace(['\r', '\n'], " ").as_str());
    extra.insert("Lagan-Subject", message.subject.as_str());
    extra.insert("Lagan-Sequence", HeaderValue::from(message.sequence));
    let message_id = format!("dead.{}.{}", message.subject, message.sequence);
    let payload = message.payload.clone();
    store(bus, &[Outgoing { stream: DEAD, subject, message_id, extra, payload }], &Expect::Any).await
}
