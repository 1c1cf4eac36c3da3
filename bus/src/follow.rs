//! Follows a stream as it grows: all messages that match the filters, in order, without gaps or duplicates, across lost
//! connections and restarted servers. It acknowledges nothing and leaves no consumer behind.

mod level;

use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info, PullConsumer, pull};
use futures::{Stream, StreamExt};
use lagan_schemas::position::StoreId;
use lagan_schemas::subject::SESSIONS;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use self::level::Repeats;
use crate::connect::{Bus, Link};
use crate::error::{ApiError, EmptyRequest, api};
use crate::read::{Stored, store_of, stored};
use crate::{streams, tombstone};

const BATCH: usize = 500;
const IDLE_HEARTBEAT: Duration = Duration::from_secs(5);
const INACTIVE: Duration = Duration::from_secs(30);
/// Silence after which a view that is still catching up asks whether anything is left.
const QUIET: Duration = Duration::from_millis(500);
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// Start position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    All,
    /// After this sequence of this store. Another store is followed from its beginning.
    After(StoreId, u64),
    LastPerSubject,
    New,
}

#[derive(Debug, Clone)]
pub enum Followed {
    /// The store of all following messages. It is the first item. If it comes again, the stream was created again, lost
    /// messages or was not seen for too long, and everything read before is void.
    Store(StoreId),
    Message(Stored),
    /// All messages that were stored at the start have been read, up to this sequence, whose own message may be gone. It comes again
    /// after each reconnection. The stream's leader is asked, because a consumer may be on a replica that is behind. A connection
    /// that may not ask it relies on the consumer, and claims the last message that it has read.
    CaughtUp(u64),
}

/// Follows a stream. The result never ends and never fails: while the server is away it waits. Drop it to stop.
///
/// After an absence in which a tombstone may have come and gone, last values that are followed from the beginning are read anew,
/// as those of a stream that was created again.
pub fn follow(
    bus: &Bus,
    stream: &str,
    filters: Vec<String>,
    start: Start,
) -> impl Stream<Item = Followed> + Send + Unpin + use<> {
    follow_within(bus, stream, filters, start, tombstone::LONGEST_ABSENCE)
}

/// Follows a stream as `follow` does, with another limit of absence.
pub fn follow_within(
    bus: &Bus,
    stream: &str,
    filters: Vec<String>,
    start: Start,
    longest_absence: Duration,
) -> impl Stream<Item = Followed> + Send + Unpin + use<> {
    let follower = Follower {
        bus: bus.clone(),
        link: bus.link(),
        stream: stream.to_owned(),
        filters,
        start,
        store: None,
        position: 0,
        open: None,
        failures: 0,
        contact: Contact::now(),
        longest_absence,
        was_away: false,
    };
    Box::pin(futures::stream::unfold(follower, |mut follower| async move {
        let item = follower.next().await;
        Some((item, follower))
    }))
}

struct Follower {
    bus: Bus,
    link: watch::Receiver<Link>,
    stream: String,
    filters: Vec<String>,
    start: Start,
    store: Option<StoreId>,
    /// The last sequence that was returned or skipped.
    position: u64,
    open: Option<Open>,
    failures: u32,
    contact: Contact,
    longest_absence: Duration,
    was_away: bool,
}

/// The last sign of the server, by two clocks: one stands still while the machine sleeps, the other one may be set.
struct Contact {
    steady: Instant,
    wall: SystemTime,
}

impl Contact {
    fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    fn age(&self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// A consumer that exists on the server.
struct Open {
    messages: pull::Stream,
    name: String,
    delivered: u64,
    pending: u64,
    caught_up: bool,
    /// The last sequence of the stream before the consumer was created.
    last_sequence: u64,
    /// Number of looks in a row that found messages which the consumer has not delivered.
    behind: u32,
    repeats: Repeats,
}

impl Follower {
    async fn next(&mut self) -> Followed {
        loop {
            let Some(open) = &mut self.open else {
                match self.open().await {
                    Ok(Some(store)) => return Followed::Store(store),
                    Ok(None) => {}
                    Err(error) => self.pause(&error).await,
                }
                continue;
            };
            if open.repeats == Repeats::Unexplained {
                self.explain_repeats().await;
                continue;
            }
            if open.pending == 0 && !open.caught_up {
                let last_sequence = open.last_sequence;
                if let Some(end) = self.read_up_to(last_sequence).await {
                    return Followed::CaughtUp(end);
                }
            }
            let Some(open) = &mut self.open else { continue };
            let quiet = if open.caught_up && open.behind == 0 { IDLE_HEARTBEAT * 4 } else { QUIET };
            let received = tokio::select! {
                biased;
                _ = self.link.changed() => None,
                received = timeout(quiet, open.messages.next()) => Some(received),
            };
            match received {
                // A restarted server has lost the consumer. A new one at our position loses nothing.
                None => self.reopen(),
                Some(Err(_elapsed)) => self.look().await,
                Some(Ok(Some(Ok(message)))) => {
                    if let Some(stored) = self.accept(&message) {
                        return Followed::Message(stored);
                    }
                }
                Some(Ok(Some(Err(error)))) => {
                    tracing::debug!(stream = self.stream, %error, "consumer lost; creating a new one");
                    self.reopen();
                }
                Some(Ok(None)) => self.reopen(),
            }
        }
    }

    /// Returns the message if it follows the previous one. Otherwise the consumer is created again at our position.
    fn accept(&mut self, message: &async_nats::jetstream::Message) -> Option<Stored> {
        // It may have waited in a buffer while this process was suspended.
        if self.note_contact() {
            self.reopen();
            return None;
        }
        let open = self.open.as_mut()?;
        let (Ok(info), Ok(stored)) = (message.info(), stored(message)) else {
            self.reopen();
            return None;
        };
        if info.consumer_sequence != open.delivered + 1 {
            tracing::debug!(stream = self.stream, "messages were lost on the way; reading them again");
            self.reopen();
            return None;
        }
        open.delivered = info.consumer_sequence;
        open.pending = info.pending;
        open.behind = 0;
        self.failures = 0;
        if stored.sequence <= self.position {
            if open.repeats == Repeats::None {
                open.repeats = Repeats::Unexplained;
            }
            return None;
        }
        self.position = stored.sequence;
        Some(stored)
    }

    /// Checks the consumer after a silence: the awaited messages may have expired, or the stream may have been replaced.
    async fn look(&mut self) {
        let Some(open) = &mut self.open else { return };
        let info: Result<Info, _> =
            api(&self.bus, format!("CONSUMER.INFO.{}.{}", self.stream, open.name), &EmptyRequest {}).await;
        match info {
            Ok(info) if info.delivered.consumer_sequence == open.delivered => {
                open.pending = info.num_pending;
                // While it catches up, the leader is asked in any case.
                let is_idle = open.caught_up && open.pending == 0;
                if self.note_contact() {
                    self.reopen();
                } else if is_idle {
                    self.is_level_with(u64::MAX).await;
                }
            }
            // Messages are on their way, or were lost on it.
            Ok(_) => self.note_behind(),
            Err(error) if error.code().is_some() => self.reopen(),
            Err(_) => {}
        }
    }

    fn reopen(&mut self) {
        self.open = None;
    }

    async fn pause(&mut self, error: &ApiError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::info!(stream = self.stream, %error, "the stream can't be followed yet");
        }
        let delay = Duration::from_millis(50 * 2_u64.pow(self.failures.min(6))).min(SLOWEST_RETRY);
        // A new connection ends the pause early.
        let _ = timeout(delay, self.link.changed()).await;
    }

    /// Opens a consumer. Returns the store instead if it is not the one that was followed so far.
    async fn open(&mut self) -> Result<Option<StoreId>, ApiError> {
        self.link.mark_unchanged();
        let info = streams::leaders_info(&self.bus, &self.stream).await?;
        let store = store_of(&info);
        let lost = self.position > info.state.last_sequence;
        if self.was_absent() || self.store != Some(store) || lost {
            (self.was_away, self.contact) = (false, Contact::now());
            self.position = match self.start {
                Start::After(known, sequence) if known == store && sequence <= info.state.last_sequence => sequence,
                Start::New if self.store.is_none() => info.state.last_sequence,
                _ => 0,
            };
            if self.store.replace(store).is_some() {
                tracing::warn!(stream = self.stream, %store, "stream was created again, lost messages or was not seen for long; reading it from the start");
            }
            return Ok(Some(store));
        }
        let deliver_policy = match self.start {
            _ if self.position > 0 => DeliverPolicy::ByStartSequence { start_sequence: self.position + 1 },
            Start::LastPerSubject => DeliverPolicy::LastPerSubject,
            _ => DeliverPolicy::All,
        };
        let consumer = self.create(deliver_policy).await?;
        let pending = consumer.cached_info().num_pending;
        let name = consumer.cached_info().name.clone();
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .heartbeat(IDLE_HEARTBEAT)
            .messages()
            .await
            .map_err(|error| ApiError::Request(error.into()))?;
        let last_sequence = info.state.last_sequence;
        let (delivered, caught_up, behind, repeats) = (0, false, 0, Repeats::None);
        self.open = Some(Open { messages, name, delivered, pending, caught_up, last_sequence, behind, repeats });
        // Before, nothing could be read, however often the server answered.
        self.contact = Contact::now();
        Ok(None)
    }

    /// Notes a sign of the server from which we read. Returns whether tombstones may have come and gone before it.
    fn note_contact(&mut self) -> bool {
        let was_absent = self.was_absent();
        self.contact = Contact::now();
        was_absent
    }

    /// Whether tombstones may have come and gone since the last contact.
    fn was_absent(&mut self) -> bool {
        // Facts are never deleted one by one.
        let holds_last_values = self.stream != SESSIONS && matches!(self.start, Start::All | Start::LastPerSubject);
        self.was_away |= holds_last_values && self.contact.age() > self.longest_absence;
        self.was_away
    }

    async fn create(&self, deliver_policy: DeliverPolicy) -> Result<PullConsumer, ApiError> {
        let (filter_subject, filter_subjects) = match &self.filters[..] {
            [one] => (one.clone(), Vec::new()),
            many => (String::new(), many.to_vec()),
        };
        let name = format!("follow-{}", uuid::Uuid::new_v4().simple());
        let tail = if filter_subject.is_empty() { String::new() } else { format!(".{filter_subject}") };
        let config = Config {
            name: Some(name.clone()),
            deliver_policy,
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject,
            filter_subjects,
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let request = json!({ "stream_name": self.stream, "config": config, "action": "create" });
        let info: Info = api(&self.bus, format!("CONSUMER.CREATE.{}.{name}{tail}", self.stream), &request).await?;
        let config = pull::Config { name: Some(name), ack_policy: AckPolicy::None, ..pull::Config::default() };
        Ok(PullConsumer::new(config, info, self.bus.context().clone()))
    }
}
