//! A lease that is held: its renewal, its standing for those who work under it, and its release.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::kv::{Bucket, KvError, Written};

/// The lease was taken over, or could not be renewed for half a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct Lost;

/// The standing of a lease, for those who work under it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Tenure {
    valid_until: watch::Receiver<Instant>,
    lost: CancellationToken,
}

impl Tenure {
    /// Returns whether the lease is confirmed, so that no other process can have it. It uses the monotonic clock, so a process
    /// that was paused notices at once.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < *self.valid_until.borrow()
    }

    /// Waits until the lease is confirmed, across an outage. Call it before anything that only the holder may do.
    pub async fn confirmed(&self) -> Result<(), Lost> {
        let mut valid_until = self.valid_until.clone();
        loop {
            valid_until.mark_unchanged();
            if self.is_held() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(Lost),
                changed = valid_until.changed() => if changed.is_err() { return Err(Lost) },
            }
        }
    }

    /// Waits until the lease is not confirmed any more. From then on another process may have it; it may also be confirmed
    /// again.
    pub async fn unconfirmed(&self) {
        while self.is_held() {
            let until = *self.valid_until.borrow();
            tokio::select! {
                () = self.lost.cancelled() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// A token that is cancelled once the lease is known to be lost. During an outage that everybody sees it is not.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

/// A held lease. Dropping it stops the renewal, and others take it over a TTL later; `release` frees it at once.
#[must_use = "a lease that is dropped is no longer renewed"]
pub struct Lease {
    bucket: Bucket,
    key: String,
    claim: Bytes,
    tenure: Tenure,
    renewal: AbortOnDropHandle<()>,
}

impl Lease {
    /// The standing of this lease, for a task that does not own it.
    #[must_use]
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Frees the lease at once. If the server can't be reached, others have to wait for a TTL.
    pub async fn release(self) {
        let Self { bucket, key, claim, renewal, .. } = self;
        renewal.abort();
        // The renewal may have written until now, so the revision must be read.
        let _ = renewal.await;
        let freed = async {
            match bucket.get(&key).await? {
                Some(entry) if entry.value == claim => bucket.delete_at(&key, entry.revision).await.map(drop),
                _ => Ok::<(), KvError>(()),
            }
        };
        if let Err(error) = freed.await {
            tracing::warn!(key, %error, "lease could not be released; others take it over after a while");
        }
    }
}

/// The task that renews a key of the bucket.
pub(super) struct Renewal {
    pub bucket: Bucket,
    pub ttl: Duration,
    pub key: String,
    pub claim: Bytes,
    pub revision: u64,
}

impl Renewal {
    /// Begins to renew a key that was written with a message sent at this moment.
    pub(super) fn start(mut self, sent: Instant) -> Lease {
        let (told, valid_until) = watch::channel(sent + trusted(self.ttl));
        let lost = CancellationToken::new();
        let (bucket, key, claim) = (self.bucket.clone(), self.key.clone(), self.claim.clone());
        let tenure = Tenure { valid_until, lost: lost.clone() };
        let renewal = AbortOnDropHandle::new(tokio::spawn(async move {
            self.run(sent, &told).await;
            // Before the channel closes with `told`: a waiter that sees it closed finds the lease lost.
            lost.cancel();
        }));
        Lease { bucket, key, claim, tenure, renewal }
    }

    /// Renews the lease and returns when it is lost.
    async fn run(&mut self, mut sent: Instant, told: &watch::Sender<Instant>) {
        loop {
            // Long before the server drops the key, because a dropped key looks like a free lease.
            let end = sent + self.bucket.ttl() / 2;
            sleep_until(sent + self.ttl / 4).await;
            let now = Instant::now();
            match timeout_at(end, self.renew()).await {
                Ok(Written::At(revision)) => {
                    self.revision = revision;
                    sent = now;
                    let _ = told.send(sent + trusted(self.ttl));
                }
                Ok(Written::Lost) => break tracing::error!(key = self.key, "lease was taken over"),
                Err(_elapsed) => break tracing::error!(key = self.key, "lease could not be renewed for too long"),
            }
        }
    }

    async fn renew(&mut self) -> Written {
        loop {
            match self.renew_once().await {
                Ok(Some(written)) => return written,
                Ok(None) => continue,
                Err(error) => tracing::warn!(key = self.key, %error, "lease not renewed yet"),
            }
            sleep(self.ttl / 20).await;
        }
    }

    /// Renews from the known revision. If the key has another one, it may be that of a renewal whose answer was lost: as long
    /// as the value is ours, nobody else has written in between. `None` asks for another try from that revision.
    async fn renew_once(&mut self) -> Result<Option<Written>, KvError> {
        if let written @ Written::At(_) = self.bucket.put_at(&self.key, self.revision, self.claim.clone()).await? {
            return Ok(Some(written));
        }
        match self.bucket.get(&self.key).await? {
            Some(entry) if entry.value == self.claim && entry.revision > self.revision => {
                self.revision = entry.revision;
                Ok(None)
            }
            _ => Ok(Some(Written::Lost)),
        }
    }
}

/// Time after the sending of a renewal during which the holder may rely on it. Others count from the moment at which they
/// saw it stored, which is later; the rest of the TTL covers clocks that differ in speed.
fn trusted(ttl: Duration) -> Duration {
    ttl * 3 / 4
}
