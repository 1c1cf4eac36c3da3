//! Heartbeats: an executor says that it lives, and knows for how long it has not been able to say so.
//! Judging the heartbeats of others is in `observer`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::kv::Bucket;

/// The key of one holder's heartbeat for one session: no two executors ever write the same one.
#[must_use]
pub fn key(session: Uuid, holder: Uuid) -> String {
    format!("{session}.{holder}")
}

/// What a heartbeat holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub instance: String,
    pub count: u64,
}

/// Beats every third of the TTL until it is stopped or dropped.
#[must_use = "a heartbeat that is dropped stops"]
pub struct Heartbeat {
    bucket: Bucket,
    key: String,
    last: watch::Receiver<Instant>,
    task: AbortOnDropHandle<()>,
}

impl Heartbeat {
    /// Starts beating. The key is one that only this executor writes.
    pub fn start(bucket: Bucket, key: String, instance: String) -> Self {
        // Until the first beat is out, the age counts from here.
        let (told, last) = watch::channel(Instant::now());
        let task = tokio::spawn(beat(bucket.clone(), key.clone(), instance, told));
        Self { bucket, key, last, task: AbortOnDropHandle::new(task) }
    }

    /// How long ago the last beat that the server took was sent. At half the TTL a restore kills its client (P12);
    /// at the full TTL others may believe us dead.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last.borrow().elapsed()
    }

    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.bucket.ttl()
    }

    /// For whoever wants to be woken by beats, or by their absence. Holds when the last beat was sent.
    #[must_use]
    pub fn beats(&self) -> watch::Receiver<Instant> {
        self.last.clone()
    }

    /// Stops, and takes the heartbeat away, so that others need not wait for it to age.
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
            tracing::debug!(key = self.key, %error, "heartbeat was not taken away, it ages");
        }
    }
}

async fn beat(bucket: Bucket, key: String, instance: String, told: watch::Sender<Instant>) {
    let ttl = bucket.ttl();
    let mut ticks = interval(ttl / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    loop {
        ticks.tick().await;
        count += 1;
        let sent = Instant::now();
        let value = serde_json::to_vec(&Beat { instance: instance.clone(), count }).expect("a beat is plain JSON");
        // A beat that takes longer than this is not worth waiting for: the next one says more.
        match tokio::time::timeout(ttl / 3, bucket.put(&key, value.into())).await {
            Ok(Ok(_)) => drop(told.send(sent)),
            Ok(Err(error)) => tracing::warn!(key, %error, "heartbeat not taken"),
            Err(_elapsed) => tracing::warn!(key, "heartbeat not taken in time"),
        }
    }
}
