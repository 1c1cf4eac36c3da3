//! Deliveries: one message at a time from durable pull consumers, settled exactly once, by value.
//! An acknowledgement is no proof of ownership, because the server accepts one from a fenced worker too. The session's
//! facts decide what a worker may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::AckKind;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::connect::Bus;
use crate::consumers::{self, ConsumerError};
use crate::error::{ApiError, code};
use crate::read::{self, Stored};

const IDLE_HEARTBEAT: Duration = Duration::from_secs(2);
/// A message that no caller took for this long is given back instead of being handed out late.
const FRESH: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_millis(100);
/// Number of unanswered confirmations before giving up: a server that was killed may have forgotten the delivery.
const CONFIRMATIONS: u32 = 3;

/// The lane of a pull request and its result.
type PullResult = (usize, Result<Option<Delivery>, DeliveryError>);

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("not connected to NATS")]
    NotConnected,
    /// The caller creates it again with `consumers::ensure`.
    #[error("consumer `{consumer}` does not exist")]
    ConsumerGone { consumer: String },
    #[error("the server fell silent while `{consumer}` waited for work")]
    Silent { consumer: String },
    #[error("the server ended the request of `{consumer}`: {status} {description}")]
    Ended { consumer: String, status: u16, description: String },
    #[error("pulling from `{consumer}` failed")]
    Pull {
        consumer: String,
        #[source]
        source: async_nats::Error,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("the server did not confirm that the message was settled; it may be delivered again")]
pub struct SettleError(#[source] ApiError);

/// The decision about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// The message is done and is never delivered again.
    Ack,
    /// The message is delivered again after `delay`.
    Nak { delay: Duration },
    /// The message can never be handled and is never delivered again. The reason goes to the server's advisory.
    Term { reason: String },
}

/// A delivered message that has not been settled.
#[must_use = "settle it, or it is delivered again after ack_wait"]
pub struct Delivery {
    bus: Bus,
    reply: String,
    received: Instant,
    stored: Stored,
    deliveries: u64,
    lane: usize,
}

impl Delivery {
    #[must_use]
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Number of deliveries of this message, including this one. It is not the number of attempts: restarts deliver again.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Index in `Lanes::new` of the consumer that delivered the message.
    #[must_use]
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// Tells the server that the work goes on, which restarts `ack_wait`.
    pub async fn progress(&self) -> Result<(), ApiError> {
        self.confirm(AckKind::Progress.into()).await
    }

    /// Settles the message and waits for the server's confirmation, across a short loss of the connection. After an error
    /// the message may be delivered again, and the session's facts decide what happens then.
    pub async fn settle(self, settle: Settle) -> Result<(), SettleError> {
        let payload: Bytes = match settle {
            Settle::Ack => AckKind::Ack.into(),
            Settle::Nak { delay } if delay.is_zero() => AckKind::Nak(None).into(),
            Settle::Nak { delay } => AckKind::Nak(Some(delay)).into(),
            Settle::Term { reason } => format!("+TERM {}", reason.replace(['\r', '\n'], " ")).into(),
        };
        let deadline = self.bus.deadline();
        let mut unanswered = 0;
        loop {
            let failed = match self.confirm(payload.clone()).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            unanswered += u32::from(matches!(failed, ApiError::TimedOut));
            if unanswered >= CONFIRMATIONS
                || Instant::now() >= deadline
                || self.bus.connected_by(deadline).await.is_err()
            {
                return Err(SettleError(failed));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn confirm(&self, payload: Bytes) -> Result<(), ApiError> {
        if !self.bus.is_connected() {
            return Err(ApiError::NotConnected);
        }
        let asked = Instant::now();
        match self.bus.client().request(self.reply.clone(), payload).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                async_nats::RequestErrorKind::TimedOut => {
                    self.bus.note_silence(asked);
                    ApiError::TimedOut
                }
                async_nats::RequestErrorKind::NoResponders => ApiError::NoResponders,
                _ => ApiError::Request(error.into()),
            }),
        }
    }
}

/// Several durable consumers of one stream, the most urgent first. An idle caller waits on all of them and takes one
/// message. Messages that arrive from the other consumers meanwhile are given back at once.
pub struct Lanes {
    bus: Bus,
    stream: String,
    consumers: Vec<String>,
    pulls: JoinSet<PullResult>,
    waiting: Vec<bool>,
    /// True while a caller waits in `next`. Otherwise an open pull request gives back its message.
    idle: Arc<AtomicBool>,
}

impl Lanes {
    #[must_use]
    pub fn new(bus: &Bus, stream: &str, consumers: Vec<String>) -> Self {
        let waiting = vec![false; consumers.len()];
        let idle = Arc::new(AtomicBool::new(false));
        Self { bus: bus.clone(), stream: stream.to_owned(), consumers, pulls: JoinSet::new(), waiting, idle }
    }

    /// Waits for the next message, up to `wait`. This is safe to cancel: a message that arrives later is given back.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<Delivery>, DeliveryError> {
        let idle = Arc::clone(&self.idle);
        idle.store(true, Ordering::SeqCst);
        let _guard = Idle(&idle);
        let deadline = Instant::now() + wait;
        loop {
            self.pull_where_none_is_open(deadline.duration_since(Instant::now()));
            // The server ends the pull requests by the deadline; the grace period covers its answers' way.
            let Ok(Some(joined)) = tokio::time::timeout_at(deadline + GRACE, self.pulls.join_next()).await else {
                return Ok(None);
            };
            let Some(mut best) = self.ended(joined)? else {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                continue;
            };
            // Messages of other lanes may have arrived in the same moment. Keep the most urgent one.
            while let Some(joined) = self.pulls.try_join_next() {
                if let Ok(Some(other)) = self.ended(joined) {
                    let worse = if other.lane < best.lane { std::mem::replace(&mut best, other) } else { other };
                    give_back(worse).await;
                }
            }
            if best.received.elapsed() <= FRESH {
                return Ok(Some(best));
            }
            give_back(best).await;
        }
    }

    fn pull_where_none_is_open(&mut self, wait: Duration) {
        for lane in 0..self.consumers.len() {
            if std::mem::replace(&mut self.waiting[lane], true) {
                continue;
            }
            let pull = Pull {
                bus: self.bus.clone(),
                stream: self.stream.clone(),
                consumer: self.consumers[lane].clone(),
                lane,
                idle: Arc::clone(&self.idle),
            };
            self.pulls.spawn(async move { (lane, pull.run(wait.max(SHORTEST_WAIT)).await) });
        }
    }

    fn ended(&mut self, joined: Result<PullResult, JoinError>) -> Result<Option<Delivery>, DeliveryError> {
        match joined {
            Ok((lane, result)) => {
                self.waiting[lane] = false;
                result
            }
            // Only a panic ends a pull request without a result, and it must not look like an empty queue.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

struct Idle<'a>(&'a AtomicBool);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

async fn give_back(delivery: Delivery) {
    if let Err(error) = delivery.settle(Settle::Nak { delay: Duration::ZERO }).await {
        tracing::debug!(%error, "message could not be given back; it is delivered again after ack_wait");
    }
}

struct Pull {
    bus: Bus,
    stream: String,
    consumer: String,
    lane: usize,
    idle: Arc<AtomicBool>,
}

impl Pull {
    async fn run(self, wait: Duration) -> Result<Option<Delivery>, DeliveryError> {
        let found = self.pull(wait).await?;
        match found {
            Some(delivery) if !self.idle.load(Ordering::SeqCst) => {
                give_back(delivery).await;
                Ok(None)
            }
            found => Ok(found),
        }
    }

    /// Requests one message. The client library's `fetch` does not return a message that follows a heartbeat until its
    /// timeout, so this speaks the protocol itself.
    async fn pull(&self, wait: Duration) -> Result<Option<Delivery>, DeliveryError> {
        if !self.bus.is_connected() {
            return Err(DeliveryError::NotConnected);
        }
        let consumer = || self.consumer.clone();
        let failed = |source: async_nats::Error| DeliveryError::Pull { consumer: consumer(), source };
        let client = self.bus.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| failed(e.into()))?;
        let beats = wait > IDLE_HEARTBEAT * 2;
        let mut request = json!({ "batch": 1, "expires": nanos(wait) });
        if beats {
            request["idle_heartbeat"] = nanos(IDLE_HEARTBEAT).into();
        }
        let subject = self.bus.api_subject(&format!("CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer));
        client.publish_with_reply(subject, inbox, request.to_string().into()).await.map_err(|e| failed(e.into()))?;
        let silence = if beats { IDLE_HEARTBEAT * 3 } else { wait + IDLE_HEARTBEAT };
        loop {
            let asked = Instant::now();
            let Ok(answer) = timeout(silence, answers.next()).await else {
                self.bus.note_silence(asked);
                return Err(DeliveryError::Silent { consumer: consumer() });
            };
            let Some(message) = answer else { return Err(DeliveryError::NotConnected) };
            let description = message.description.clone().unwrap_or_default();
            match message.status.unwrap_or(StatusCode::OK) {
                StatusCode::OK => return self.delivery(message).map(Some).map_err(failed),
                StatusCode::IDLE_HEARTBEAT => {}
                StatusCode::TIMEOUT | StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::NO_RESPONDERS => return Err(self.unheard().await),
                // Only the text distinguishes this 409 from the others.
                StatusCode::REQUEST_TERMINATED if description == "Consumer Deleted" => {
                    return Err(DeliveryError::ConsumerGone { consumer: consumer() });
                }
                status => {
                    return Err(DeliveryError::Ended { consumer: consumer(), status: status.as_u16(), description });
                }
            }
        }
    }

    /// Tells a consumer that is gone from one whose leader is beyond the reach of this server: JetStream answers for the first.
    /// Without an answer it is the question that notes the silence.
    async fn unheard(&self) -> DeliveryError {
        let consumer = self.consumer.clone();
        match consumers::exists(&self.bus, &self.stream, &consumer).await {
            Ok(false) => DeliveryError::ConsumerGone { consumer },
            Err(ConsumerError::State { source, .. }) if source.code() == Some(code::STREAM_NOT_FOUND) => {
                DeliveryError::ConsumerGone { consumer }
            }
            Ok(true) | Err(_) => DeliveryError::Silent { consumer },
        }
    }

    fn delivery(&self, message: async_nats::Message) -> Result<Delivery, async_nats::Error> {
        let reply = message.reply.clone().ok_or("message without a reply subject")?.to_string();
        let message = async_nats::jetstream::Message { message, context: self.bus.context().clone() };
        let deliveries = u64::try_from(message.info()?.delivered).unwrap_or(1);
        let stored = read::stored(&message)?;
        let bus = self.bus.clone();
        Ok(Delivery { bus, reply, received: Instant::now(), stored, deliveries, lane: self.lane })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
