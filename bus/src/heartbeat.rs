//! Heartbeats: an executor publishes that it lives, and knows for how long it has not been able to.
//! Judging other executors' heartbeats is in `observer`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::kv::Bucket;

/// The key of one holder's heartbeat for one session. No two executors ever write the same key.
#[must_use]
pub fn key(session: Uuid, holder: Uuid) -> String {
    format!("{session}.{holder}")
}

/// The value of a heartbeat key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub instance: String,
    pub count: u64,
}

/// The stored beats of a heartbeat, as their sender knows them.
#[derive(Debug, Clone, Copy)]
pub struct Beats {
    /// Time at which the last stored beat was sent.
    pub sent: Instant,
    /// Number of times that half the TTL or more lay between two of them. In such a gap others may have seen a full TTL of
    /// silence.
    pub gaps: u64,
}

/// A running heartbeat: one beat every third of the TTL until it is stopped or dropped.
#[must_use = "a heartbeat that is dropped stops"]
pub struct Heartbeat {
    bucket: Bucket,
    key: String,
    last: watch::Receiver<Beats>,
    task: AbortOnDropHandle<()>,
}

impl Heartbeat {
    /// Starts the heartbeat. Only this executor may write the key.
    pub fn start(bucket: Bucket, key: String, instance: String) -> Self {
        // Until the first beat is stored, the age counts from here.
        let (sent, last) = watch::channel(Beats { sent: Instant::now(), gaps: 0 });
        let task = tokio::spawn(beat(bucket.clone(), key.clone(), instance, sent));
        Self { bucket, key, last, task: AbortOnDropHandle::new(task) }
    }

    /// Time since the last stored beat was sent. At half the TTL a restore feeds nothing more (P12); at the full TTL other
    /// workers may consider this one dead.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last.borrow().sent.elapsed()
    }

    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.bucket.ttl()
    }

    /// Subscribes to beats.
    #[must_use]
    pub fn beats(&self) -> watch::Receiver<Beats> {
        self.last.clone()
    }

    /// Stops and deletes the heartbeat, so that other workers need not wait for it to expire.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
        let gone = async {
            match self.bucket.get(&self.key).await? {
                Some(entry) => self.bucket.delete_at(&self.key, entry.revision).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = gone.await {
            tracing::debug!(key = self.key, %error, "heartbeat could not be deleted; it expires by itself");
        }
    }
}

async fn beat(bucket: Bucket, key: String, instance: String, last: watch::Sender<Beats>) {
    let ttl = bucket.ttl();
    let mut ticks = interval(ttl / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    loop {
        ticks.tick().await;
        count += 1;
        let sent = Instant::now();
        let value = serde_json::to_vec(&Beat { instance: instance.clone(), count }).expect("a beat is plain JSON");
        // A beat that takes longer is abandoned: the next one carries more recent news.
        match tokio::time::timeout(ttl / 3, bucket.put(&key, value.into())).await {
            Ok(Ok(_)) => last.send_modify(|beats| {
                let is_gap = sent.duration_since(beats.sent) >= ttl / 2;
                *beats = Beats { sent, gaps: beats.gaps + u64::from(is_gap) };
            }),
            Ok(Err(error)) => tracing::warn!(key, %error, "heartbeat not stored"),
            Err(_elapsed) => {
                // The put was dropped before its own request could give up.
                bucket.bus().note_silence(sent);
                tracing::warn!(key, "heartbeat not stored in time");
            }
        }
    }
}
