//! Leases: held while they are renewed, and taken over one TTL after their holder's last sign of life. A holder stops
//! trusting its lease well before another process may take it, and trusts it again once a renewal is confirmed. Leases keep
//! roles single and repositories safe; they do not fence writes.
//!
//! The server does not end leases: its keys live for a day, so an outage that everybody sees ends none. A process that finds
//! another's key in its way takes it over only after a full TTL in which it was connected, looked, and saw no renewal.
//! So the absence of a key always means that it was released or taken over, and a new process need not wait.
//!
//! An exclusive lease excludes all others for this reason: a process that wants a lease reads all keys of the scope,
//! decides, and writes its own key with a compare-and-set over *the whole scope*. The write is stored only in the state
//! that was decided on; of two processes that decided on the same state, one loses and reads again. Keys leave the scope
//! only by release or takeover, which makes room and never takes it. A key is taken over by a compare-and-set on its last
//! revision, so its holder either renews it first or learns that it has lost.
//! Shared holders that come and go can't starve an exclusive one: it first writes that it waits, and from then on no new
//! holder is admitted.

mod tenure;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use self::tenure::Renewal;
pub use self::tenure::{Lease, Lost, Tenure};
use crate::kv::{self, Bucket, Entry, KvError, Written};
use crate::observer::{Liveness, Look, Watches};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseMode {
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

impl LeaseError {
    /// Returns whether NATS was away, so that the same request may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Kv(error) if error.is_outage())
    }
}

#[derive(Clone)]
pub struct Leases {
    bucket: Bucket,
    ttl: Duration,
    /// Shared by all that wait in this process, so that a wait in several parts still sees a full TTL.
    watches: Arc<Mutex<Watches>>,
}

impl Leases {
    /// A holder without a sign of life for `ttl` loses its leases to others. The keys in the bucket live much longer.
    #[must_use]
    pub fn new(bucket: Bucket, ttl: Duration) -> Self {
        Self { bucket, ttl, watches: Arc::default() }
    }

    /// Tries to acquire a lease for up to `patience`, also across an outage. `scope` is a key made by `kv::key`. `owner` names one holder, such
    /// as an instance or a session, never a role.
    pub async fn acquire(
        &self,
        scope: &str,
        mode: LeaseMode,
        owner: &str,
        patience: Duration,
    ) -> Result<Lease, LeaseError> {
        let deadline = Instant::now() + patience;
        loop {
            let acquired = match mode {
                LeaseMode::Shared => Box::pin(self.shared(scope, owner, deadline)).await,
                LeaseMode::Exclusive => Box::pin(self.exclusive(scope, owner, deadline)).await,
            };
            match acquired {
                // Requests fail at once while the connection is lost. Without a pause a caller that tries again would spin.
                Err(error) if error.is_outage() && Instant::now() < deadline => {
                    tracing::debug!(scope, %error, "the lease can't be asked for yet");
                    sleep(LOOK_AGAIN).await;
                }
                acquired => return acquired,
            }
        }
    }

    async fn shared(&self, scope: &str, owner: &str, deadline: Instant) -> Result<Lease, LeaseError> {
        let exclusive = exclusive_key(scope);
        let key = format!("{scope}.shared.{}", kv::key(&[owner]));
        let claim = encode(owner, Stage::Held);
        loop {
            let (entries, revision) = self.living(scope, owner).await?;
            let in_the_way = owners(entries.iter().filter(|e| e.key == exclusive))?;
            if in_the_way.is_empty() {
                let sent = Instant::now();
                match self.bucket.put_below(scope, revision, &key, claim.clone()).await? {
                    Written::At(revision) => return Ok(self.held(key, claim, revision, sent)),
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
            let (entries, revision) = self.living(scope, owner).await?;
            let mut in_the_way = owners(entries.iter().filter(|e| e.key == key))?;
            in_the_way.retain(|other| other != owner);
            if in_the_way.is_empty() {
                in_the_way = owners(entries.iter().filter(|e| e.key != key))?;
                let stage = if in_the_way.is_empty() { Stage::Held } else { Stage::Waiting };
                let stale = place.is_none_or(|(_, written)| written.elapsed() > self.ttl / 4);
                if stage == Stage::Held || stale {
                    let sent = Instant::now();
                    let claim = encode(owner, stage);
                    match self.bucket.put_below(scope, revision, &key, claim.clone()).await? {
                        Written::At(revision) if stage == Stage::Held => {
                            return Ok(self.held(key, claim, revision, sent));
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

    /// Reads the keys of a scope, with the scope's last revision. The keys of dead holders are deleted first.
    async fn living(&self, scope: &str, owner: &str) -> Result<(Vec<Entry>, u64), LeaseError> {
        loop {
            let (found, look) = Look::during(self.bucket.bus(), self.bucket.below(scope)).await;
            let (entries, revision) = found?;
            let mut gone = Gone::Nobody;
            for entry in self.dead(scope, &entries, look) {
                let claim: Claim = entry.json()?;
                if claim.owner == owner {
                    continue;
                }
                // A renewal that came meanwhile wins, and the next look sees it.
                if let Written::At(_) = self.bucket.delete_at(&entry.key, entry.revision).await? {
                    tracing::warn!(key = entry.key, owner = claim.owner, "lease of a silent holder taken over");
                }
                gone = Gone::Somebody;
            }
            if gone == Gone::Nobody {
                return Ok((entries, revision));
            }
        }
    }

    /// Chooses the keys whose holders gave no sign of life for a full TTL of watching.
    fn dead<'e>(&self, scope: &str, entries: &'e [Entry], look: Option<Look>) -> Vec<&'e Entry> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let below = format!("{scope}.");
        let Some(look) = look else {
            watches.retain(|key| !key.starts_with(&below));
            return Vec::new();
        };
        watches.retain(|key| !key.starts_with(&below) || entries.iter().any(|entry| entry.key == key));
        let is_dead = |entry: &&Entry| watches.note(&entry.key, Some(entry.revision), look, self.ttl) == Liveness::Dead;
        entries.iter().filter(is_dead).collect()
    }

    fn held(&self, key: String, claim: Bytes, revision: u64, sent: Instant) -> Lease {
        let (bucket, ttl) = (self.bucket.clone(), self.ttl);
        Renewal { bucket, ttl, key, claim, revision }.start(sent)
    }
}

/// Whether a look found dead holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Nobody,
    Somebody,
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
