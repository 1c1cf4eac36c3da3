//! Publishes everything except facts of sessions: last values, progress, and unreadable messages.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lagan_schemas::subject::DEAD;

use crate::append::{AppendError, Expect, Outgoing, store, store_while};
use crate::connect::Bus;
use crate::lease::Tenure;
use crate::read::Stored;
use crate::trace;

/// One value for a stream that keeps the last of each subject.
#[derive(Debug, Clone)]
pub struct Publish {
    pub subject: String,
    /// A value that recurs (A, B, A) needs a new id each time: within the stream's window the server drops a known id.
    pub message_id: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// Publishes a value and returns its sequence.
pub async fn publish(bus: &Bus, stream: &str, value: Publish, expect: &Expect) -> Result<u64, AppendError> {
    let Publish { subject, message_id, headers: extra, payload } = value;
    store(bus, &Outgoing { stream, subject, message_id, extra, payload }, expect).await
}

/// Publishes a value that only the holder of a lease may write. It is sent, and sent again, only while the lease is confirmed: a
/// process that was suspended finds at once that it is not.
pub async fn publish_under(
    bus: &Bus,
    tenure: &Tenure,
    stream: &str,
    value: Publish,
    expect: &Expect,
) -> Result<u64, AppendError> {
    let Publish { subject, message_id, headers: extra, payload } = value;
    let message = Outgoing { stream, subject, message_id, extra, payload };
    store_while(bus, &message, expect, || tenure.is_held()).await
}

/// Publishes progress without waiting for an answer. Late progress is worthless, so it is dropped while disconnected.
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

/// Keeps an unreadable message and the reason, under `subject` of the DEAD stream, once: `None` if it is there already.
pub async fn dead(bus: &Bus, subject: &str, message: &Stored, why: &str) -> Result<Option<u64>, AppendError> {
    // Every engine reads the message, and again after each start.
    let subject = format!("{subject}.{}", message.sequence);
    let mut extra = HeaderMap::new();
    extra.insert("Lagan-Why", why.replace(['\r', '\n'], " ").as_str());
    extra.insert("Lagan-Subject", message.subject.as_str());
    extra.insert("Lagan-Sequence", HeaderValue::from(message.sequence));
    let message_id = format!("dead.{}.{}", message.subject, message.sequence);
    let payload = message.payload.clone();
    let expect = Expect::Last { filter: subject.clone(), sequence: 0 };
    match store(bus, &Outgoing { stream: DEAD, subject, message_id, extra, payload }, &expect).await {
        Ok(sequence) => Ok(Some(sequence)),
        Err(AppendError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
