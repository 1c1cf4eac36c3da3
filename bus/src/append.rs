//! Appends with compare-and-set. An append either is stored, lost its race, or could not be made; when the answer
//! of the server is lost, this module finds out by reading back, so callers never see "perhaps".

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID,
};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lagan_schemas::subject::SESSIONS;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::error::{ApiError, code};
use crate::publish::Expect;
use crate::{read, streams, trace};

const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const CONTENT_TYPE: &str = "Content-Type";
const CLOUDEVENT: &str = "application/cloudevents+json";
const PAUSE: Duration = Duration::from_millis(100);

/// One fact for one session.
#[derive(Debug, Clone)]
pub struct Append {
    pub subject: String,
    /// All subjects of the session: the identical text in every append to it, or the fence has a hole.
    pub session_filter: String,
    /// The session's last sequence as this writer knows it; 0 for a session without facts.
    pub expected_last_sequence: u64,
    /// Deterministic, so that the same fact sent twice is one fact. Contains the cluster.
    pub message_id: String,
    pub event: Bytes,
}

/// One fact of several that belong together.
#[derive(Debug, Clone)]
pub struct Part {
    pub subject: String,
    pub message_id: String,
    pub event: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Read the session again and decide anew.
    #[error("somebody else wrote to `{filter}` first")]
    Conflict { filter: String },
    #[error("stream of `{subject}` is full")]
    Full {
        subject: String,
        #[source]
        source: ApiError,
    },
    #[error("message for `{subject}` is larger than the server takes")]
    TooLarge { subject: String },
    #[error("no stream takes `{subject}`")]
    NoStream { subject: String },
    #[error("not connected to NATS; `{subject}` was not sent")]
    NotConnected { subject: String },
    #[error("could not learn whether `{subject}` was stored")]
    Unknown {
        subject: String,
        #[source]
        source: ApiError,
    },
    #[error("JetStream refuses `{subject}`")]
    Refused {
        subject: String,
        #[source]
        source: ApiError,
    },
}

impl AppendError {
    /// Whether the same append may succeed later without anybody's help. A conflict is not: it needs a new decision.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NotConnected { .. } | Self::Unknown { .. } | Self::Full { .. } | Self::NoStream { .. })
    }
}

/// Appends one fact and gives its sequence.
pub async fn append(bus: &Bus, append: Append) -> Result<u64, AppendError> {
    let Append { subject, session_filter: filter, expected_last_sequence: sequence, message_id, event } = append;
    let message = Outgoing { stream: SESSIONS, subject, message_id, extra: event_headers(), payload: event };
    store(bus, &[message], &Expect::Last { filter, sequence }).await
}

/// Appends several facts, all or none, and gives the sequence of the last; they are stored next to each other.
pub async fn append_batch(
    bus: &Bus,
    session_filter: &str,
    expected: u64,
    parts: Vec<Part>,
) -> Result<u64, AppendError> {
    let messages: Vec<_> = parts
        .into_iter()
        .map(|Part { subject, message_id, event }| Outgoing {
            stream: SESSIONS,
            subject,
            message_id,
            extra: event_headers(),
            payload: event,
        })
        .collect();
    store(bus, &messages, &Expect::Last { filter: session_filter.to_owned(), sequence: expected }).await
}

pub(crate) struct Outgoing<'a> {
    pub stream: &'a str,
    pub subject: String,
    pub message_id: String,
    pub extra: HeaderMap,
    pub payload: Bytes,
}

fn event_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, CLOUDEVENT);
    headers
}

/// The only place where the headers of a stored message are made.
fn headers(message: &Outgoing<'_>, expect: &Expect) -> HeaderMap {
    let mut headers = message.extra.clone();
    headers.insert(NATS_MESSAGE_ID, message.message_id.as_str());
    if let Expect::Last { filter, sequence } = expect {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(*sequence));
        headers.insert(EXPECTED_SUBJECT, filter.as_str());
    }
    trace::inject(&mut headers);
    headers
}

/// What one try came to.
enum Outcome {
    Stored(u64),
    Conflict,
    /// Surely not stored, and may be tried again.
    NotTaken(ApiError),
    /// Perhaps stored.
    Unknown(ApiError),
    Failed(AppendError),
}

/// Sends until the outcome is known. Sending again is safe: the server drops a message id it has seen, and after a
/// first try that was stored the compare-and-set fails and reading back finds it.
pub(crate) async fn store(bus: &Bus, messages: &[Outgoing<'_>], expect: &Expect) -> Result<u64, AppendError> {
    let Some(last) = messages.last() else {
        return Ok(0);
    };
    let subject = || last.subject.clone();
    let deadline = bus.deadline();
    let mut doubt: Option<ApiError> = None;
    loop {
        if let Err(error) = bus.connected_by(deadline).await {
            return Err(match doubt {
                Some(source) => AppendError::Unknown { subject: subject(), source },
                None if matches!(error, ApiError::NotConnected) => AppendError::NotConnected { subject: subject() },
                None => AppendError::Refused { subject: subject(), source: error },
            });
        }
        let outcome = match messages {
            [one] => send(bus, one, headers(one, expect)).await,
            many => send_batch(bus, many, expect).await,
        };
        match outcome {
            Outcome::Stored(sequence) => return Ok(sequence),
            Outcome::Failed(error) => return Err(error),
            Outcome::Conflict => {
                let found = find_own(bus, last, expect, deadline).await;
                return match found.map_err(|source| AppendError::Unknown { subject: subject(), source })? {
                    Some(sequence) => Ok(sequence),
                    None => Err(AppendError::Conflict { filter: expect.filter().unwrap_or(&last.subject).to_owned() }),
                };
            }
            Outcome::NotTaken(source) => {
                if stream_is_gone(bus, last.stream).await || Instant::now() >= deadline {
                    return Err(match doubt {
                        Some(source) => AppendError::Unknown { subject: subject(), source },
                        None => AppendError::NoStream { subject: subject() },
                    });
                }
                tracing::debug!(subject = last.subject, error = %source, "nobody took the message yet");
                tokio::time::sleep(PAUSE).await;
            }
            Outcome::Unknown(source) => {
                tracing::warn!(subject = last.subject, error = %source, "outcome of a write is unknown, reading back");
                match find_own(bus, last, expect, deadline).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) if Instant::now() < deadline => doubt = Some(source),
                    Ok(None) | Err(_) => return Err(AppendError::Unknown { subject: subject(), source }),
                }
            }
        }
    }
}

/// Looks for our own message behind the sequence we expected; others may have written after it.
async fn find_own(
    bus: &Bus,
    message: &Outgoing<'_>,
    expect: &Expect,
    deadline: Instant,
) -> Result<Option<u64>, ApiError> {
    let (filter, from) = match expect {
        Expect::Any => (message.subject.as_str(), None),
        Expect::Last { filter, sequence } => (filter.as_str(), Some(sequence + 1)),
    };
    loop {
        let found = match from {
            Some(from) => read::all(bus, message.stream, filter, from).await,
            None => read::last(bus, message.stream, filter).await.map(|last| last.into_iter().collect()),
        };
        match found {
            Ok(found) => {
                let own = found.iter().find(|stored| stored.message_id() == Some(&message.message_id));
                return Ok(own.map(|stored| stored.sequence));
            }
            Err(error) if !error.is_transient() || Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// "Nobody answers" is also what a server says whose JetStream is still starting; only this tells them apart.
async fn stream_is_gone(bus: &Bus, stream: &str) -> bool {
    let info = streams::raw_info(bus, stream).await;
    matches!(info, Err(error) if error.code() == Some(code::STREAM_NOT_FOUND))
}

async fn send(bus: &Bus, message: &Outgoing<'_>, headers: HeaderMap) -> Outcome {
    let request = Request::new().headers(headers).payload(message.payload.clone());
    let answer = match bus.client().send_request(message.subject.clone(), request).await {
        Ok(answer) => answer,
        Err(error) => {
            let subject = message.subject.clone();
            return match error.kind() {
                RequestErrorKind::NoResponders => Outcome::NotTaken(ApiError::NoResponders),
                RequestErrorKind::TimedOut => Outcome::Unknown(ApiError::TimedOut),
                RequestErrorKind::MaxPayloadExceeded => Outcome::Failed(AppendError::TooLarge { subject }),
                RequestErrorKind::InvalidSubject => {
                    Outcome::Failed(AppendError::Refused { subject, source: ApiError::Request(error.into()) })
                }
                RequestErrorKind::Other => Outcome::Unknown(ApiError::Request(error.into())),
            };
        }
    };
    // The first messages of a batch are taken with an empty answer.
    if answer.payload.is_empty() {
        return Outcome::Stored(0);
    }
    match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
        Ok(Response::Ok(ack)) => Outcome::Stored(ack.sequence),
        Ok(Response::Err { error }) => refusal(&message.subject, error.into()),
        Err(error) => Outcome::Unknown(ApiError::Request(error.into())),
    }
}

fn refusal(subject: &str, source: ApiError) -> Outcome {
    let subject = subject.to_owned();
    match source.code() {
        // A batch with a known id is one we sent before, so reading back decides as it does for a lost race.
        Some(code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT | code::BATCH_DUPLICATE_ID) => {
            Outcome::Conflict
        }
        Some(code::TEMPORARILY_UNAVAILABLE | code::BATCH_INCOMPLETE | code::BATCHES_IN_FLIGHT) => {
            Outcome::NotTaken(source)
        }
        Some(code::MESSAGE_TOO_LARGE) => Outcome::Failed(AppendError::TooLarge { subject }),
        Some(
            code::STORE_FAILED
            | code::STREAM_BYTES
            | code::STORAGE_RESOURCES
            | code::INSUFFICIENT_RESOURCES
            | code::MEMORY_RESOURCES
            | code::ACCOUNT_RESOURCES,
        ) => Outcome::Failed(AppendError::Full { subject, source }),
        _ => Outcome::Failed(AppendError::Refused { subject, source }),
    }
}

/// An atomic batch: nothing is stored before the last message commits it. The first carries the compare-and-set.
async fn send_batch(bus: &Bus, messages: &[Outgoing<'_>], expect: &Expect) -> Outcome {
    let batch = uuid::Uuid::new_v4().to_string();
    let mut outcome = Outcome::Stored(0);
    for (index, message) in messages.iter().enumerate() {
        let mut headers = headers(message, if index == 0 { expect } else { &Expect::Any });
        headers.insert(NATS_BATCH_ID, batch.as_str());
        headers.insert(NATS_BATCH_SEQUENCE, HeaderValue::from(index as u64 + 1));
        if index + 1 == messages.len() {
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        }
        outcome = send(bus, message, headers).await;
        if !matches!(outcome, Outcome::Stored(_)) {
            break;
        }
    }
    outcome
}
