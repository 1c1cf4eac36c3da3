//! Leases: held while they are renewed, and gone one TTL after their holder. A holder stops trusting its lease well
//! before the server drops it. Leases keep roles single and repositories safe; they do not fence writes.
//!
//! An exclusive lease excludes all others for this reason: a process that wants a lease reads all keys of the scope,
//! decides, and writes its own key with a compare-and-set over *the whole scope*. The write is stored only in the state
//! that was decided on; of two processes that decided on the same state, one loses and reads again. Keys leave the scope
//! only by release or expiry, which makes room and never takes it.
//! Shared holders that come and go can't starve an exclusive one: it first writes that it waits, and from then on no new
//! holder is admitted.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::kv::{self, Bucket, Entry, KvError, Written};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Shared,
    Exclusive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Admits no new holders and waits for the shared ones to leave.
    Waiting,
    Held,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    owner: String,
    stage: Stage,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The owners that hold the lease or wait for it.
    #[error("held by {}", owners.join(", "))]
    Held { owners: Vec<String> },
    #[error("the leases can't be read or written")]
    Kv(#[from] KvError),
}

#[derive(Clone)]
pub struct Leases {
    bucket: Bucket,
}

impl Leases {
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    /// Tries to acquire a lease for up to `patience`. `scope` is a key made by `kv::key`. `owner` names one holder, such
    /// as an instance or a session, never a role.
    pub async fn acquire(&self, scope: &str, mode: Mode, owner: &str, patience: Duration) -> Result<Lease, LeaseError> {
        let deadline = Instant::now() + patience;
        match mode {
            Mode::Shared => self.shared(scope, owner, deadline).await,
            Mode::Exclusive => self.exclusive(scope, owner, deadline).await,
        }
    }

    async fn shared(&self, scope: &str, owner: &str, deadline: Instant) -> Result<Lease, LeaseError> {
        let exclusive = exclusive_key(scope);
        let key = format!("{scope}.shared.{}", kv::key(&[owner]));
        let claim = encode(owner, Stage::Held);
        loop {
            let (entries, revision) = self.bucket.below(scope).await?;
            let in_the_way = owners(entries.iter().filter(|e| e.key == exclusive))?;
            if in_the_way.is_empty() {
                let sent = Instant::now();
                match self.bucket.put_below(scope, revision, &key, claim.clone()).await? {
                    Written::At(revision) => return Ok(Lease::start(self.bucket.clone(), key, claim, revision, sent)),
                    Written::Lost => continue,
                }
            }
            wait_or_give_up(deadline, in_the_way).await?;
        }
    }

    async fn exclusive(&self, scope: &str, owner: &str, deadline: Instant) -> Result<Lease, LeaseError> {
        let key = exclusive_key(scope);
        let mut place: Option<(u64, Instant)> = None;
        loop {
            let (entries, revision) = self.bucket.below(scope).await?;
            let mut in_the_way = owners(entries.iter().filter(|e| e.key == key))?;
            in_the_way.retain(|other| other != owner);
            if in_the_way.is_empty() {
                in_the_way = owners(entries.iter().filter(|e| e.key != key))?;
                let stage = if in_the_way.is_empty() { Stage::Held } else { Stage::Waiting };
                let stale = place.is_none_or(|(_, written)| written.elapsed() > self.bucket.ttl() / 4);
                if stage == Stage::Held || stale {
                    let sent = Instant::now();
                    let claim = encode(owner, stage);
                    match self.bucket.put_below(scope, revision, &key, claim.clone()).await? {
                        Written::At(revision) if stage == Stage::Held => {
                            return Ok(Lease::start(self.bucket.clone(), key, claim, revision, sent));
                        }
                        Written::At(revision) => place = Some((revision, sent)),
                        Written::Lost => continue,
                    }
                }
            }
            if let Err(held) = wait_or_give_up(deadline, in_the_way).await {
                if let Some((revision, _)) = place {
                    self.bucket.delete_at(&key, revision).await?;
                }
                return Err(held);
            }
        }
    }
}

/// A held lease. Dropping it stops the renewal, and it expires; `release` frees it at once.
#[must_use = "a lease that is dropped is no longer renewed"]
pub struct Lease {
    bucket: Bucket,
    key: String,
    claim: Bytes,
    valid_until: watch::Receiver<Instant>,
    lost: CancellationToken,
    renewal: AbortOnDropHandle<()>,
}

impl Lease {
    fn start(bucket: Bucket, key: String, claim: Bytes, revision: u64, sent: Instant) -> Self {
        let (told, valid_until) = watch::channel(sent + trusted(bucket.ttl()));
        let lost = CancellationToken::new();
        let renewal = Renewal { bucket: bucket.clone(), key: key.clone(), claim: claim.clone(), revision, told };
        let token = lost.clone();
        let renewal = tokio::spawn(async move {
            renewal.run(sent).await;
            token.cancel();
        });
        Self { bucket, key, claim, valid_until, lost, renewal: AbortOnDropHandle::new(renewal) }
    }

    /// Returns whether the lease is still held. Check it before anything that only the holder may do. It uses the monotonic
    /// clock, so a process that was paused notices the loss at once.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < *self.valid_until.borrow()
    }

    /// A token that is cancelled when the lease is lost, a quarter of the TTL before another process could get it.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Frees the lease at once. If the server can't be reached, the lease expires by itself.
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
            tracing::warn!(key, %error, "lease could not be released; it expires by itself");
        }
    }
}

struct Renewal {
    bucket: Bucket,
    key: String,
    claim: Bytes,
    revision: u64,
    told: watch::Sender<Instant>,
}

impl Renewal {
    /// Renews the lease and returns when it is lost.
    async fn run(mut self, mut sent: Instant) {
        let ttl = self.bucket.ttl();
        loop {
            let valid_until = sent + trusted(ttl);
            sleep_until(sent + ttl / 4).await;
            let now = Instant::now();
            match timeout_at(valid_until, self.renew(ttl)).await {
                Ok(Written::At(revision)) => {
                    self.revision = revision;
                    sent = now;
                    let _ = self.told.send(sent + trusted(ttl));
                }
                Ok(Written::Lost) => break tracing::error!(key = self.key, "lease was taken or has expired"),
                Err(_elapsed) => break tracing::error!(key = self.key, "lease could not be renewed in time"),
            }
        }
    }

    async fn renew(&self, ttl: Duration) -> Written {
        loop {
            match self.bucket.put_at(&self.key, self.revision, self.claim.clone()).await {
                Ok(written) => return written,
                Err(error) => tracing::warn!(key = self.key, %error, "lease not renewed yet"),
            }
            sleep(ttl / 20).await;
        }
    }
}

/// Time after the sending of a renewal during which the holder may rely on it. The server counts from the moment of
/// storage, which is later; the rest of the TTL covers clocks that differ in speed.
fn trusted(ttl: Duration) -> Duration {
    ttl * 3 / 4
}

fn exclusive_key(scope: &str) -> String {
    format!("{scope}.exclusive")
}

fn owners<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Vec<String>, KvError> {
    entries.map(|entry| entry.json::<Claim>().map(|claim| claim.owner)).collect()
}

async fn wait_or_give_up(deadline: Instant, owners: Vec<String>) -> Result<(), LeaseError> {
    if Instant::now() >= deadline {
        return Err(LeaseError::Held { owners });
    }
    sleep(LOOK_AGAIN).await;
    Ok(())
}

fn encode(owner: &str, stage: Stage) -> Bytes {
    serde_json::to_vec(&Claim { owner: owner.to_owned(), stage }).expect("a claim is plain JSON").into()
}

#[cfg(test)]
#[path = "../../schemas/fixtures/check.rs"]
mod check;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_leases_are_kept() {
        for (stage, name) in [(Stage::Waiting, "waiting"), (Stage::Held, "held")] {
            super::check::is_kept(&format!("kv/lease-{name}.json"), &Claim { owner: "worker-0".to_owned(), stage });
        }
    }
}
