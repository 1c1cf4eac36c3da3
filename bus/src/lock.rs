//! Permanent locks: a pointer from a target to the session that holds it. They have no TTL. The caller decides from the
//! holding session's facts whether a lock is stale.

use serde::{Deserialize, Serialize};

use crate::kv::{Bucket, Entry, KvError, Written};

/// The holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The holder's identity: a session's uid.
    pub owner: String,
    /// Data that the caller needs to look the owner up, such as the session's key.
    #[serde(default)]
    pub detail: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// The lock is ours, and may have been before.
    Acquired,
    /// The lock is another owner's. If that owner has ended, pass the revision to `take_over`.
    HeldBy { holder: LockHolder, revision: u64 },
}

#[derive(Clone)]
pub struct Locks {
    bucket: Bucket,
}

impl Locks {
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    pub async fn acquire(&self, key: &str, holder: &LockHolder) -> Result<Locked, KvError> {
        match self.acquire_anew(key, holder).await? {
            Locked::HeldBy { holder: found, .. } if found.owner == holder.owner => Ok(Locked::Acquired),
            locked => Ok(locked),
        }
    }

    /// Acquires a lock. One that is ours with another detail counts as held: the caller decides which detail stands, and
    /// writes it with `take_over`, so that others who took the old one for stale lose the revision that they saw.
    pub async fn acquire_anew(&self, key: &str, holder: &LockHolder) -> Result<Locked, KvError> {
        loop {
            let slot = self.bucket.slot(key).await?;
            if let Some(entry) = slot.entry {
                let found = holder_of(&entry);
                let is_same = found == *holder;
                return Ok(if is_same {
                    Locked::Acquired
                } else {
                    Locked::HeldBy { holder: found, revision: entry.revision }
                });
            }
            if let Written::At(_) = self.bucket.put_at(key, slot.revision, encode(holder)).await? {
                return Ok(Locked::Acquired);
            }
        }
    }

    /// Takes the lock over from the holder that was seen at `revision`. If another process was faster, returns the current
    /// holder.
    pub async fn take_over(&self, key: &str, revision: u64, holder: &LockHolder) -> Result<Locked, KvError> {
        match self.bucket.put_at(key, revision, encode(holder)).await? {
            Written::At(_) => Ok(Locked::Acquired),
            Written::Lost => self.acquire_anew(key, holder).await,
        }
    }

    pub async fn holder(&self, key: &str) -> Result<Option<LockHolder>, KvError> {
        Ok(self.bucket.get(key).await?.map(|entry| holder_of(&entry)))
    }

    /// Releases the lock if `owner` holds it.
    pub async fn release(&self, key: &str, owner: &str) -> Result<(), KvError> {
        while let Some(entry) = self.bucket.get(key).await? {
            if holder_of(&entry).owner != owner {
                break;
            }
            if let Written::At(_) = self.bucket.delete_at(key, entry.revision).await? {
                break;
            }
        }
        Ok(())
    }
}

/// Reads the holder of a lock. A value that is no holder, such as an answer that a client let the server send here, is a holder that
/// nobody knows: whoever needs the lock takes it over.
fn holder_of(entry: &Entry) -> LockHolder {
    entry.json().unwrap_or_else(|error| {
        tracing::warn!(key = entry.key, %error, "the holder of a lock can't be read; it counts as unknown");
        LockHolder { owner: String::new(), detail: serde_json::Value::Null }
    })
}

fn encode(holder: &LockHolder) -> bytes::Bytes {
    serde_json::to_vec(holder).expect("a holder is plain JSON").into()
}
