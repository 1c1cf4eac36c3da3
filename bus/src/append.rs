//! Appends with compare-and-set. An append is stored, loses its race, or fails. When the server's answer is lost, this
//! module reads the stream to learn the outcome, so callers rarely have to deal with an unknown one.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use lagan_schemas::subject::SESSIONS;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::error::{ApiError, code};
use crate::refusal::EXPECTED_SUBJECT;
use crate::{read, streams, trace};

const CONTENT_TYPE: &str = "Content-Type";
const CLOUDEVENT: &str = "application/cloudevents+json";
const PAUSE: Duration = Duration::from_millis(100);

/// The condition under which the server stores a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Any,
    /// The last message that matches the filter has this sequence. The message itself matches it too.
    Last {
        filter: String,
        sequence: u64,
    },
    /// The last message of another subject has this sequence. Nobody else writes the message's own subject.
    Guarded {
        by: String,
        sequence: u64,
    },
}

impl Expect {
    fn filter(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Last { filter, .. } | Self::Guarded { by: filter, .. } => Some(filter),
        }
    }
}

/// One fact for one session.
#[derive(Debug, Clone)]
pub struct Append {
    pub subject: String,
    /// A filter for all subjects of the session. Every append must use the identical text: the server compares sequences
    /// per filter.
    pub session_filter: String,
    /// The session's last sequence as this writer knows it, or 0 if the session has no facts.
    pub expected_last_sequence: u64,
    /// Unique within the cluster and kept across retries, so that the same append sent twice is stored once.
    pub message_id: String,
    pub event: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The caller reads the session again and decides again.
    #[error("another writer changed `{filter}` first")]
    Conflict { filter: String },
    #[error("the stream of `{subject}` is full")]
    Full {
        subject: String,
        #[source]
        source: ApiError,
    },
    #[error("the message for `{subject}` is larger than the server accepts")]
    TooLarge { subject: String },
    #[error("no stream stores `{subject}`")]
    NoStream { subject: String },
    #[error("not connected to NATS; `{subject}` was not sent")]
    NotConnected { subject: String },
    #[error("it is unknown whether `{subject}` was stored")]
    Unknown {
        subject: String,
        #[source]
        source: ApiError,
    },
    /// A value that only the holder of a lease may write was not sent.
    #[error("the lease is not confirmed; `{subject}` was not sent")]
    NoLease { subject: String },
    #[error("JetStream refuses `{subject}`")]
    Refused {
        subject: String,
        #[source]
        source: ApiError,
    },
}

impl AppendError {
    /// Returns whether NATS was away, so that the same append may succeed later. A stream that does not exist counts, because
    /// a server that starts has none for a moment.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::NotConnected { .. } | Self::Unknown { .. } | Self::NoStream { .. })
    }
}

/// Appends one fact and returns its sequence.
pub async fn append(bus: &Bus, append: Append) -> Result<u64, AppendError> {
    let Append { subject, session_filter: filter, expected_last_sequence: sequence, message_id, event } = append;
    let message = Outgoing { stream: SESSIONS, subject, message_id, extra: event_headers(), payload: event };
    store(bus, &message, &Expect::Last { filter, sequence }).await
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

/// Builds the headers of a stored message. Every write uses this function, so all compare-and-sets agree.
fn headers(message: &Outgoing<'_>, expect: &Expect) -> HeaderMap {
    let mut headers = message.extra.clone();
    headers.insert(NATS_MESSAGE_ID, message.message_id.as_str());
    if let Expect::Last { filter, sequence } | Expect::Guarded { by: filter, sequence } = expect {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(*sequence));
        headers.insert(EXPECTED_SUBJECT, filter.as_str());
    }
    trace::inject(&mut headers);
    headers
}

/// The result of one attempt to store a message.
enum Sent {
    Stored(u64),
    Conflict,
    /// Certainly not stored; the message may be sent again.
    NotTaken(ApiError),
    /// Possibly stored.
    Unknown(ApiError),
    Failed(AppendError),
}

/// Sends a message until its outcome is known. Sending again is safe: the server drops a message id that it has seen, and
/// if the first message was stored, the second one fails its compare-and-set and the first is found by reading.
pub(crate) async fn store(bus: &Bus, message: &Outgoing<'_>, expect: &Expect) -> Result<u64, AppendError> {
    store_while(bus, message, expect, || true).await
}

/// Stores a message like `store`, and sends it only while `may_send` says so.
pub(crate) async fn store_while(
    bus: &Bus,
    message: &Outgoing<'_>,
    expect: &Expect,
    may_send: impl Fn() -> bool,
) -> Result<u64, AppendError> {
    let subject = || message.subject.clone();
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
        if !may_send() {
            return Err(match doubt {
                Some(source) => AppendError::Unknown { subject: subject(), source },
                None => AppendError::NoLease { subject: subject() },
            });
        }
        match send(bus, message, headers(message, expect)).await {
            Sent::Stored(sequence) => return Ok(sequence),
            Sent::Failed(error) => return Err(error),
            Sent::Conflict => {
                let found = find_own(bus, message, expect, deadline).await;
                return match found.map_err(|source| AppendError::Unknown { subject: subject(), source })? {
                    Some(sequence) => Ok(sequence),
                    None => {
                        Err(AppendError::Conflict { filter: expect.filter().unwrap_or(&message.subject).to_owned() })
                    }
                };
            }
            Sent::NotTaken(source) => {
                if stream_is_gone(bus, message.stream).await || Instant::now() >= deadline {
                    return Err(match doubt {
                        Some(source) => AppendError::Unknown { subject: subject(), source },
                        // Its first copy, of an earlier call, may be stored yet.
                        None if source.code() == Some(code::DUPLICATE_IN_PROCESS) => {
                            AppendError::Unknown { subject: subject(), source }
                        }
                        None => AppendError::NoStream { subject: subject() },
                    });
                }
                tracing::debug!(subject = message.subject, error = %source, "no server accepted the message yet");
                tokio::time::sleep(PAUSE).await;
            }
            Sent::Unknown(source) => {
                tracing::warn!(subject = message.subject, error = %source, "outcome of a write is unknown, reading back");
                match find_own(bus, message, expect, deadline).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) if Instant::now() < deadline => doubt = Some(source),
                    Ok(None) | Err(_) => return Err(AppendError::Unknown { subject: subject(), source }),
                }
            }
        }
    }
}

/// Looks for our own message after the expected sequence. Other writers may have appended after it.
async fn find_own(
    bus: &Bus,
    message: &Outgoing<'_>,
    expect: &Expect,
    deadline: Instant,
) -> Result<Option<u64>, ApiError> {
    let from = match expect {
        Expect::Any | Expect::Guarded { .. } => None,
        Expect::Last { sequence, .. } => Some(sequence + 1),
    };
    loop {
        let found = match from {
            Some(from) => read::all(bus, message.stream, &message.subject, from).await,
            None => read::last(bus, message.stream, &message.subject).await.map(|last| last.into_iter().collect()),
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

/// Returns whether the stream does not exist. A server whose JetStream is still starting answers a write the same way as
/// one without the stream; only the API tells the two apart.
async fn stream_is_gone(bus: &Bus, stream: &str) -> bool {
    let info = streams::raw_info(bus, stream).await;
    matches!(info, Err(error) if error.code() == Some(code::STREAM_NOT_FOUND))
}

async fn send(bus: &Bus, message: &Outgoing<'_>, headers: HeaderMap) -> Sent {
    let asked = Instant::now();
    let sent = send_once(bus, message, headers).await;
    match &sent {
        Sent::Stored(_) => bus.note_stored(),
        Sent::NotTaken(source) | Sent::Unknown(source) if source.is_silence() => bus.note_silence(asked),
        // A leader that has lost its followers without knowing it refuses messages too.
        Sent::NotTaken(_) | Sent::Unknown(_) | Sent::Conflict | Sent::Failed(_) => {}
    }
    sent
}

async fn send_once(bus: &Bus, message: &Outgoing<'_>, headers: HeaderMap) -> Sent {
    let request = Request::new().headers(headers).payload(message.payload.clone());
    let mut denials = bus.denials();
    let answer = tokio::select! {
        answer = bus.client().send_request(message.subject.clone(), request) => answer,
        () = denials.denied(&message.subject) => {
            return Sent::Failed(AppendError::Refused { subject: message.subject.clone(), source: ApiError::Denied });
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let subject = message.subject.clone();
            return match error.kind() {
                RequestErrorKind::NoResponders => Sent::NotTaken(ApiError::NoResponders),
                RequestErrorKind::TimedOut => Sent::Unknown(ApiError::TimedOut),
                RequestErrorKind::MaxPayloadExceeded => Sent::Failed(AppendError::TooLarge { subject }),
                RequestErrorKind::InvalidSubject => {
                    Sent::Failed(AppendError::Refused { subject, source: ApiError::Request(error.into()) })
                }
                RequestErrorKind::Other => Sent::Unknown(ApiError::Request(error.into())),
            };
        }
    };
    match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
        Ok(Response::Ok(ack)) => Sent::Stored(ack.sequence),
        Ok(Response::Err { error }) => refusal(&message.subject, error.into()),
        Err(error) => Sent::Unknown(ApiError::Request(error.into())),
    }
}

fn refusal(subject: &str, source: ApiError) -> Sent {
    let subject = subject.to_owned();
    match source.code() {
        Some(code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT) => Sent::Conflict,
        Some(code::TEMPORARILY_UNAVAILABLE | code::DUPLICATE_IN_PROCESS) => Sent::NotTaken(source),
        Some(code::MESSAGE_TOO_LARGE) => Sent::Failed(AppendError::TooLarge { subject }),
        Some(
            code::STORE_FAILED
            | code::STREAM_BYTES
            | code::STORAGE_RESOURCES
            | code::INSUFFICIENT_RESOURCES
            | code::MEMORY_RESOURCES
            | code::ACCOUNT_RESOURCES,
        ) => Sent::Failed(AppendError::Full { subject, source }),
        _ => Sent::Failed(AppendError::Refused { subject, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn refused(code: u64) -> Sent {
        let error = serde_json::json!({ "code": 409, "err_code": code, "description": "told by a test" });
        refusal("s", serde_json::from_value::<async_nats::jetstream::Error>(error).unwrap().into())
    }

    #[test]
    fn a_message_whose_first_copy_is_on_its_way_may_be_stored_yet() {
        assert!(matches!(refused(code::DUPLICATE_IN_PROCESS), Sent::NotTaken(_)));
        assert!(matches!(refused(code::TEMPORARILY_UNAVAILABLE), Sent::NotTaken(_)));
        assert!(matches!(refused(code::WRONG_LAST_SEQUENCE), Sent::Conflict));
        assert!(matches!(refused(10_109), Sent::Failed(AppendError::Refused { .. })), "a sealed stream");
    }
}
