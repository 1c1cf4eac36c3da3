//! Requests of people and programs to the engine: JSON in, JSON out, over core NATS. Nothing is stored here; anything
//! that must last becomes a fact before the answer is sent.

use std::future::Future;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::connect::Bus;
use crate::trace;

// NATS services use these names, so `nats request` shows their values.
const ERROR: &str = "Nats-Service-Error";
const ERROR_CODE: &str = "Nats-Service-Error-Code";
/// Number of requests handled at once; further ones wait in the subscription.
const AT_ONCE: usize = 64;

/// The answer to a request that was understood and refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// A stable word for programs.
    pub code: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("no process answers `{subject}`: is the engine running?")]
    NoResponders { subject: String },
    #[error("no answer to `{subject}` in {timeout_s} s")]
    TimedOut { subject: String, timeout_s: u64 },
    #[error("not connected to NATS")]
    NotConnected,
    #[error("request `{subject}` could not be sent")]
    Send {
        subject: String,
        #[source]
        source: async_nats::Error,
    },
    #[error("request or answer of `{subject}` is not the JSON it should be")]
    Json {
        subject: String,
        #[source]
        source: serde_json::Error,
    },
}

pub async fn request<Q, A>(bus: &Bus, subject: &str, question: &Q, timeout: Duration) -> Result<A, RequestError>
where
    Q: Serialize + Sync,
    A: DeserializeOwned,
{
    if !bus.is_connected() {
        return Err(RequestError::NotConnected);
    }
    let json = |source| RequestError::Json { subject: subject.to_owned(), source };
    let mut headers = HeaderMap::new();
    trace::inject(&mut headers);
    let payload = serde_json::to_vec(question).map_err(json)?;
    let request = Request::new().headers(headers).payload(payload.into()).timeout(Some(timeout));
    let answer = match bus.client().send_request(subject.to_owned(), request).await {
        Ok(answer) => answer,
        Err(error) => {
            let subject = subject.to_owned();
            return Err(match error.kind() {
                RequestErrorKind::NoResponders => RequestError::NoResponders { subject },
                RequestErrorKind::TimedOut => RequestError::TimedOut { subject, timeout_s: timeout.as_secs() },
                _ => RequestError::Send { subject, source: error.into() },
            });
        }
    };
    let headers = answer.headers.unwrap_or_default();
    if let Some(code) = headers.get(ERROR_CODE) {
        let message = headers.get(ERROR).map(ToString::to_string).unwrap_or_default();
        return Err(Denied { code: code.to_string(), message }.into());
    }
    serde_json::from_slice(&answer.payload).map_err(json)
}

/// Answers requests until `stop`, then finishes those in progress. Each request reaches one process of the queue group.
pub async fn serve<Q, A, F>(
    bus: &Bus,
    subject: &str,
    queue: &str,
    stop: CancellationToken,
    handle: impl Fn(Q) -> F,
) -> Result<(), RequestError>
where
    Q: DeserializeOwned,
    A: Serialize + Send + 'static,
    F: Future<Output = Result<A, Denied>> + Send + 'static,
{
    let failed = |source: async_nats::Error| RequestError::Send { subject: subject.to_owned(), source };
    let subscribed = bus.client().queue_subscribe(subject.to_owned(), queue.to_owned()).await;
    let mut requests = subscribed.map_err(|error| failed(error.into()))?;
    // After the flush the server knows the subscription, so later requests reach it.
    bus.client().flush().await.map_err(|error| failed(error.into()))?;
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => {}
            message = requests.next(), if running.len() < AT_ONCE => {
                let Some(message) = message else { break };
                // A consumer may deliver what is stored elsewhere to this subject. Its message keeps the subject of its own.
                if message.subject.as_str() != subject {
                    continue;
                }
                let Some(reply) = message.reply.clone() else { continue };
                let span = tracing::info_span!("process request", subject);
                trace::continue_in(&span, &message.headers.clone().unwrap_or_default());
                let client = bus.client().clone();
                let answer = match serde_json::from_slice(&message.payload) {
                    Ok(question) => Ok(handle(question)),
                    Err(error) => Err(Denied { code: "InvalidRequest".to_owned(), message: error.to_string() }),
                };
                running.spawn(async move {
                    let answer = match answer {
                        Ok(handling) => handling.await,
                        Err(denied) => Err(denied),
                    };
                    reply_to(&client, reply, answer).await;
                }.instrument(span));
            }
        }
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn reply_to<A: Serialize + Send>(
    client: &async_nats::Client,
    reply: async_nats::Subject,
    answer: Result<A, Denied>,
) {
    let mut headers = HeaderMap::new();
    let encoded = answer.and_then(|answer| {
        serde_json::to_vec(&answer).map_err(|error| Denied { code: "Internal".to_owned(), message: error.to_string() })
    });
    let payload = encoded.unwrap_or_else(|denied| {
        headers.insert(ERROR_CODE, denied.code.as_str());
        headers.insert(ERROR, denied.message.replace(['\r', '\n'], " ").as_str());
        Vec::new()
    });
    if let Err(error) = client.publish_with_headers(reply, headers, payload.into()).await {
        tracing::warn!(%error, "an answer could not be sent");
    }
}
