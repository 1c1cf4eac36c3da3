//! Asks the leader of SESSIONS for the last sequence of a filter by an append whose condition never holds: the refusal names the
//! sequence. It is the one question about sequences that permissions of NATS can tie to a pool, because it is asked by
//! publishing to a subject of the pool. Nothing is ever stored.

use std::time::Duration;

use async_nats::client::Request;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue, RequestErrorKind};
use serde::Deserialize;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::error::{ApiError, EmptyRequest, api, code};

pub(crate) const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// No message ever has this sequence.
const NEVER: u64 = u64::MAX;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Deserialize)]
struct Answer {
    error: Option<serde_json::Value>,
}

/// Reads the last sequence that matches the filter, 0 if there is none. `subject` is one that this connection may publish to.
pub(crate) async fn last_by_refusal(bus: &Bus, stream: &str, subject: &str, filter: &str) -> Result<u64, ApiError> {
    let deadline = Instant::now() + bus.answer_within();
    loop {
        let asked = Instant::now();
        let refused = ask(bus, stream, subject, filter).await.inspect_err(|error| {
            if error.is_silence() {
                bus.note_silence(asked);
            }
        })?;
        if refused.error_code().0 == code::TEMPORARILY_UNAVAILABLE {
            bus.note_silence(asked);
        }
        let text = refused.to_string();
        match (refused.error_code().0, sequence(&text)) {
            (code::WRONG_LAST_SEQUENCE, Some(sequence)) => return Ok(sequence),
            // Another write to the filter is in flight, or the leader has just been elected.
            (code::WRONG_LAST_SEQUENCE_CONSTANT | code::TEMPORARILY_UNAVAILABLE, _) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            _ => return Err(refused.into()),
        }
    }
}

/// Returns the sequence that a refusal names, such as `wrong last sequence: 12`. The answer has it in no other field.
fn sequence(refusal: &str) -> Option<u64> {
    let (_, after) = refusal.split_once("wrong last sequence: ")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn ask(bus: &Bus, stream: &str, subject: &str, filter: &str) -> Result<async_nats::jetstream::Error, ApiError> {
    if !bus.is_connected() {
        return Err(ApiError::NotConnected);
    }
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(NEVER));
    headers.insert(EXPECTED_SUBJECT, filter);
    let request = Request::new().headers(headers).payload(bytes::Bytes::new());
    let answer = match bus.client().send_request(subject.to_owned(), request).await {
        Ok(answer) => answer,
        Err(error) => {
            return Err(match error.kind() {
                RequestErrorKind::TimedOut => ApiError::TimedOut,
                RequestErrorKind::NoResponders => absent(bus, stream).await,
                _ => ApiError::Request(error.into()),
            });
        }
    };
    let unexpected = |error: async_nats::Error| ApiError::Request(error);
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| unexpected(error.into()))?;
    let refusal = answer.error.ok_or_else(|| unexpected("the server took an append that it must refuse".into()))?;
    serde_json::from_value(refusal).map_err(|error| unexpected(error.into()))
}

/// Tells a stream that does not exist from a server whose JetStream is still starting.
async fn absent(bus: &Bus, stream: &str) -> ApiError {
    let info = api::<serde_json::Value>(bus, format!("STREAM.INFO.{stream}"), &EmptyRequest {}).await;
    info.err().unwrap_or(ApiError::NoResponders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_sequence() {
        assert_eq!(sequence("error: wrong last sequence: 12, code: 400, error code: 10071"), Some(12));
        assert_eq!(sequence("wrong last sequence: 0"), Some(0));
        assert_eq!(sequence("wrong last sequence"), None);
    }
}
