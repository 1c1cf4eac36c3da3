//! Leases: held while they are renewed, and taken over one TTL after their holder's last sign of life. A holder stops
//! trusting its lease well before another process may take it, and trusts it again once a renewal is confirmed. Leases keep
//! roles single and repositories safe; they do not fence writes.
//!
//! The server does not end leases: its keys live for a day, so an outage that everybody sees ends none. A process that finds
//! another's key in its way takes it over only after a full TTL in which it was connected, looked, and saw no renewal.
//! So the absence of a key always means that it was released or taken over, and a new process need not wait.
//!
//! An exclusive holder and shared ones exclude each other through one key, `exclusive`, that is written before anything is
//! held. A shared holder writes its own key on the condition that the exclusive one has not changed since it was seen absent. So
//! any number of shared holders come, renew and go without touching each other. An exclusive one first writes that it waits,
//! which admits no new shared holder from that write on, and holds the lease when those that were there have gone: its second
//! write is a compare-and-set over *the whole scope*, and is stored only in the state that was read. It always writes twice, so that
//! all that compete write under the condition of one and the same key. Keys leave the scope only by release or takeover,
//! which makes room and never takes it. A key is taken over by a compare-and-set on its last revision, so its holder either
//! renews it first or learns that it has lost.
//!
//! A process that waits watches the keys, and looks at them only as often as the proof of a silent holder needs.

mod room;
mod tenure;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use self::room::Room;
use self::tenure::Renewal;
pub use self::tenure::{Lease, Lost, Tenure};
use crate::kv::{self, Bucket, Entry, KvError, Slot, Written};
use crate::observer::{Liveness, Look, Watches};

/// Pause between two requests while the server is away.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

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
    /// The bucket was lost. Those who held leases in it may rely on them for a while without knowing.
    #[error("the leases were lost and made again; the first ones are granted in {seconds} s")]
    MadeAgain { seconds: u64 },
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
            let acquired = match acquired {
                Ok(lease) => Box::pin(self.granted(lease, deadline)).await,
                Err(error) => Err(error),
            };
            match acquired {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) => {}
                // Requests fail at once while the connection is lost. Without a pause a caller that tries again would spin.
                Err(error) if error.is_outage() && Instant::now() < deadline => {
                    tracing::debug!(scope, %error, "the lease can't be asked for yet");
                    sleep(ASK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Grants a lease that was written, unless the bucket was lost and made again less than a TTL ago: those who held leases in the
    /// lost one may still rely on them. Then it is given back, and `None` asks for another try when the bucket is old enough.
    /// The look comes after the write, because a bucket may be lost while its leases are waited for.
    async fn granted(&self, lease: Lease, deadline: Instant) -> Result<Option<Lease>, LeaseError> {
        let left = match self.bucket.untrusted_for(self.ttl).await {
            Ok(None) => return Ok(Some(lease)),
            left => left,
        };
        lease.release().await;
        if let Some(left) = left? {
            tracing::info!(
                seconds = left.as_secs(),
                "the leases were lost and made again; waiting until nobody relies on lost ones"
            );
            if Instant::now() + left > deadline {
                return Err(LeaseError::MadeAgain { seconds: left.as_secs() });
            }
            sleep(left).await;
        }
        Ok(None)
    }

    async fn shared(&self, scope: &str, owner: &str, deadline: Instant) -> Result<Lease, LeaseError> {
        let exclusive = exclusive_key(scope);
        let key = format!("{scope}.shared.{}", kv::key(&[owner]));
        let claim = encode(owner, Stage::Held);
        let mut room = Room::new(&self.bucket, exclusive.clone());
        loop {
            let slot = self.living_slot(&exclusive, owner).await?;
            let Some(held) = slot.entry else {
                let sent = Instant::now();
                let written = self.bucket.put_guarded(&key, claim.clone(), &exclusive, slot.revision).await?;
                match written {
                    Written::At(revision) => return Ok(self.held(key, claim, revision, sent)),
                    Written::Lost => continue,
                }
            };
            self.wait(deadline, &[held], room.free(slot.revision, |_| true)).await?;
        }
    }

    async fn exclusive(&self, scope: &str, owner: &str, deadline: Instant) -> Result<Lease, LeaseError> {
        let key = exclusive_key(scope);
        let mut room = Room::new(&self.bucket, format!("{scope}.>"));
        loop {
            let slot = self.living_slot(&key, owner).await?;
            let other = slot.entry.filter(|entry| entry.json::<Claim>().map_or(true, |claim| claim.owner != owner));
            if let Some(other) = other {
                self.wait(deadline, &[other], room.free(slot.revision, |present| present == key)).await?;
                continue;
            }
            let waiting = encode(owner, Stage::Waiting);
            if let Written::At(place) = self.bucket.put_at(&key, slot.revision, waiting).await?
                && let Some(lease) = self.promoted(scope, owner, (place, deadline), &mut room).await?
            {
                return Ok(lease);
            }
        }
    }

    /// Waits in the place of the next exclusive holder until the shared ones have gone. `None` if another process has taken the
    /// place.
    async fn promoted(
        &self,
        scope: &str,
        owner: &str,
        (mut place, deadline): (u64, Instant),
        room: &mut Room,
    ) -> Result<Option<Lease>, LeaseError> {
        let key = exclusive_key(scope);
        let mut written = Instant::now();
        loop {
            let (entries, revision) = self.living(scope, owner).await?;
            if !entries.iter().any(|entry| entry.key == key && entry.revision == place) {
                return Ok(None);
            }
            let shared: Vec<Entry> = entries.into_iter().filter(|entry| entry.key != key).collect();
            if shared.is_empty() {
                let (claim, sent) = (encode(owner, Stage::Held), Instant::now());
                match self.bucket.put_below(scope, revision, &key, claim.clone()).await? {
                    Written::At(revision) => return Ok(Some(self.held(key, claim, revision, sent))),
                    Written::Lost => continue,
                }
            }
            if written.elapsed() >= self.ttl / 4 {
                written = Instant::now();
                match self.bucket.put_at(&key, place, encode(owner, Stage::Waiting)).await? {
                    Written::At(revision) => place = revision,
                    Written::Lost => return Ok(None),
                }
            }
            let free = room.free(revision, |present| present != key);
            if let Err(held) = self.wait(deadline, &shared, free).await {
                self.bucket.delete_at(&key, place).await?;
                return Err(held);
            }
        }
    }

    /// Waits until `free` says that the keys in the way may be gone, or until they must be looked at for their holders' signs
    /// of life. It fails at the deadline.
    async fn wait(
        &self,
        deadline: Instant,
        in_the_way: &[Entry],
        free: impl Future<Output = ()>,
    ) -> Result<(), LeaseError> {
        let now = Instant::now();
        if now >= deadline {
            return Err(LeaseError::Held { owners: owners(in_the_way)? });
        }
        let _ = timeout_at(deadline.min(self.next_look(in_the_way, now)), free).await;
        Ok(())
    }

    /// Returns the time of the next look: often enough that the watch of the holders has no gap, and at the moment at which one
    /// of them is dead.
    fn next_look(&self, in_the_way: &[Entry], now: Instant) -> Instant {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = in_the_way.iter().filter_map(|entry| watches.dead_at(&entry.key, self.ttl)).min();
        let often = now + self.ttl / 4;
        dead.map_or(often, |dead| dead.min(often)).max(now + SHORTEST_WAIT)
    }

    /// Reads one key. That of a dead holder is deleted first.
    async fn living_slot(&self, key: &str, owner: &str) -> Result<Slot, LeaseError> {
        loop {
            let (found, look) = Look::during(self.bucket.bus(), self.bucket.slot(key)).await;
            let slot = found?;
            let gone = match &slot.entry {
                Some(entry) => self.bury(&self.dead(key, std::slice::from_ref(entry), look), owner).await?,
                None => {
                    self.dead(key, &[], look);
                    Gone::Nobody
                }
            };
            if gone == Gone::Nobody {
                return Ok(slot);
            }
        }
    }

    /// Reads the keys of a scope, with the scope's last revision. The keys of dead holders are deleted first.
    async fn living(&self, scope: &str, owner: &str) -> Result<(Vec<Entry>, u64), LeaseError> {
        loop {
            let (found, look) = Look::during(self.bucket.bus(), self.bucket.below(scope)).await;
            let (entries, revision) = found?;
            if self.bury(&self.dead(&format!("{scope}."), &entries, look), owner).await? == Gone::Nobody {
                return Ok((entries, revision));
            }
        }
    }

    /// Deletes the keys of dead holders other than `owner`.
    async fn bury(&self, dead: &[&Entry], owner: &str) -> Result<Gone, LeaseError> {
        let mut gone = Gone::Nobody;
        for entry in dead {
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
        Ok(gone)
    }

    /// Chooses the keys whose holders gave no sign of life for a full TTL of watching. The entries are all that begin with
    /// `prefix`.
    fn dead<'e>(&self, prefix: &str, entries: &'e [Entry], look: Option<Look>) -> Vec<&'e Entry> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(look) = look else {
            watches.retain(|key| !key.starts_with(prefix));
            return Vec::new();
        };
        watches.retain(|key| !key.starts_with(prefix) || entries.iter().any(|entry| entry.key == key));
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

fn owners(entries: &[Entry]) -> Result<Vec<String>, KvError> {
    entries.iter().map(|entry| entry.json::<Claim>().map(|claim| claim.owner)).collect()
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
