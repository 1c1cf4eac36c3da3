//! Permanent locks: a pointer from a target to the session that holds it. They have no TTL; whether a holder has
//! ended, and its lock is stale, is for the caller to find out from that session's facts.

use serde::{Deserialize, Serialize};

use crate::kv::{Bucket, KvError, Written};

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Identity: a session's uid.
    pub owner: String,
    /// What the caller needs to look the owner up, such as the session's key.
    #[serde(default)]
    pub detail: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// Ours, now or already before.
    Acquired,
    /// To take it over from an owner that has ended, pass the revision to `take_over`.
    HeldBy { holder: Holder, revision: u64 },
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

    pub async fn acquire(&self, key: &str, holder: &Holder) -> Result<Locked, KvError> {
        loop {
            let slot = self.bucket.slot(key).await?;
            if let Some(entry) = slot.entry {
                let found: Holder = entry.json()?;
                let ours = found.owner == holder.owner;
                return Ok(if ours {
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

    /// Takes the lock from the holder that was seen at `revision`. If somebody was faster, says who holds it now.
    pub async fn take_over(&self, key: &str, revision: u64, holder: &Holder) -> Result<Locked, KvError> {
        match self.bucket.put_at(key, revision, encode(holder)).await? {
            Written::At(_) => Ok(Locked::Acquired),
            Written::Lost => self.acquire(key, holder).await,
        }
    }

    pub async fn holder(&self, key: &str) -> Result<Option<Holder>, KvError> {
        self.bucket.get(key).await?.map(|entry| entry.json()).transpose()
    }

    /// Releases the lock if `owner` holds it; a lock of somebody else stays.
    pub async fn release(&self, key: &str, owner: &str) -> Result<(), KvError> {
        while let Some(entry) = self.bucket.get(key).await? {
            if entry.json::<Holder>()?.owner != owner {
                break;
            }
            if let Written::At(_) = self.bucket.delete_at(key, entry.revision).await? {
                break;
            }
        }
        Ok(())
    }
}

fn encode(holder: &Holder) -> bytes::Bytes {
    serde_json::to_vec(holder).expect("a holder is plain JSON").into()
}
