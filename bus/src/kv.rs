//! Buckets: keys with a revision and compare-and-set, in the layout of all NATS tools (`KV_<bucket>`,
//! `$KV.<bucket>.<key>`). A write whose answer was lost is recognised by its message id.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_TTL;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use serde::Deserialize;

use crate::append::Expect;
use crate::append::{AppendError, Outgoing, store};
use crate::connect::Bus;
use crate::error::{ApiError, code};
use crate::follow::{Followed, Start, follow};
use crate::read::{self, Stored};
use crate::streams::{self, StreamSpec};

const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";
/// Time after which the server removes the marker of a deleted key, and the key is as if it had never been. A writer that saw the
/// marker then loses its compare-and-set and looks again.
const MARKER_LIFE: &str = "1h";

#[derive(Debug, thiserror::Error)]
pub enum KvError {
    #[error("can't read key `{key}`")]
    Read {
        key: String,
        #[source]
        source: ApiError,
    },
    #[error("can't write key `{key}`")]
    Write {
        key: String,
        #[source]
        source: AppendError,
    },
    #[error("the value of key `{key}` is not in the format of this version")]
    Value {
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

impl KvError {
    /// Returns whether NATS was away, so that the same request may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_transient(),
            Self::Write { source, .. } => source.is_outage(),
            Self::Value { .. } => false,
        }
    }
}

/// The result of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    At(u64),
    /// The key has another revision than expected.
    Lost,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub revision: u64,
    pub time: Timestamp,
    pub value: Bytes,
}

impl Entry {
    pub fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, KvError> {
        serde_json::from_slice(&self.value).map_err(|source| KvError::Value { key: self.key.clone(), source })
    }
}

/// A key's value and last revision. A deleted key has a revision too.
#[derive(Debug, Clone)]
pub struct Slot {
    pub entry: Option<Entry>,
    pub revision: u64,
}

/// A message of a watch of keys.
#[derive(Debug, Clone)]
pub enum Change {
    /// The bucket is read from its beginning. If it comes again, everything that was read before is void.
    Reset,
    Key {
        key: String,
        /// The value; `None` if the key was deleted.
        entry: Option<Entry>,
        revision: u64,
    },
    /// All keys that were present at the start have been read.
    CaughtUp,
}

/// Builds a key from several names. Every name becomes one token, so different lists never give the same key.
#[must_use]
pub fn key(names: &[&str]) -> String {
    names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(".")
}

fn escape(name: &str) -> String {
    if name.is_empty() {
        // No escaped byte looks like this.
        return "=".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            token.push(char::from(byte));
        } else {
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

#[derive(Clone)]
pub struct Bucket {
    bus: Bus,
    spec: StreamSpec,
    prefix: String,
}

impl Bucket {
    /// Opens the bucket of a stream of `streams::of_cluster`. A memory bucket is created again after a server restart.
    #[must_use]
    pub fn new(bus: &Bus, spec: StreamSpec) -> Self {
        let prefix = format!("$KV.{}.", spec.name.trim_start_matches("KV_"));
        Self { bus: bus.clone(), spec, prefix }
    }

    /// Opens a bucket of `streams::of_cluster` by its name.
    #[must_use]
    pub fn of(bus: &Bus, specs: &[StreamSpec], bucket: &str) -> Option<Self> {
        let name = format!("KV_{bucket}");
        specs.iter().find(|spec| spec.name == name).map(|spec| Self::new(bus, spec.clone()))
    }

    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Lifetime of an entry that is not written again; zero means forever.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.spec.max_age
    }

    /// Returns for how long the absence of a key proves nothing, because the bucket was lost and made again less than `trusted_after` ago.
    pub(crate) async fn untrusted_for(&self, trusted_after: Duration) -> Result<Option<Duration>, KvError> {
        let read = streams::untrusted_for(&self.bus, &self.spec.name, trusted_after).await;
        // Whoever writes next makes the bucket again.
        let lost = matches!(&read, Err(error) if error.code() == Some(code::STREAM_NOT_FOUND));
        let read = if lost { Ok(Some(Duration::ZERO)) } else { read };
        read.map_err(|source| KvError::Read { key: self.prefix.clone(), source })
    }

    pub async fn get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        Ok(self.slot(key).await?.entry)
    }

    pub async fn slot(&self, key: &str) -> Result<Slot, KvError> {
        let found = read::last(&self.bus, &self.spec.name, &self.subject(key)).await;
        let found = self.or_absent(key, found).await?;
        Ok(found.map_or(Slot { entry: None, revision: 0 }, |stored| self.to_slot(stored)))
    }

    /// Reads all keys below `prefix`, and the last revision below it, deletions included. Expecting that revision in
    /// `put_below` makes a decision about all of them atomic.
    pub async fn below(&self, prefix: &str) -> Result<(Vec<Entry>, u64), KvError> {
        let filter = self.subject(&format!("{prefix}.>"));
        let found = read::all(&self.bus, &self.spec.name, &filter, 1).await;
        let found = self.or_absent(prefix, found.map(Some)).await?.unwrap_or_default();
        let revision = found.last().map_or(0, |stored| stored.sequence);
        // A key that is written during the read may come twice; its last value counts.
        let latest: BTreeMap<String, Stored> =
            found.into_iter().map(|stored| (stored.subject.clone(), stored)).collect();
        Ok((latest.into_values().filter_map(|stored| self.to_slot(stored).entry).collect(), revision))
    }

    /// Writes unconditionally.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        let written = self.write(key, value, HeaderMap::new(), Expect::Any).await;
        written.map_err(|source| KvError::Write { key: key.to_owned(), source })
    }

    /// Writes if the key has this revision; 0 means that the key never existed or has expired.
    pub async fn put_at(&self, key: &str, revision: u64, value: Bytes) -> Result<Written, KvError> {
        let expect = Expect::Last { filter: self.subject(key), sequence: revision };
        settled(key, self.write(key, value, HeaderMap::new(), expect).await)
    }

    /// Writes if nothing below `prefix` has changed since `revision`. The key lies below the prefix.
    pub async fn put_below(&self, prefix: &str, revision: u64, key: &str, value: Bytes) -> Result<Written, KvError> {
        let expect = Expect::Last { filter: self.subject(&format!("{prefix}.>")), sequence: revision };
        settled(key, self.write(key, value, HeaderMap::new(), expect).await)
    }

    /// Writes if another key, `guard`, has this revision. Only the caller writes `key`.
    pub async fn put_guarded(&self, key: &str, value: Bytes, guard: &str, revision: u64) -> Result<Written, KvError> {
        let expect = Expect::Guarded { by: self.subject(guard), sequence: revision };
        settled(key, self.write(key, value, HeaderMap::new(), expect).await)
    }

    /// Follows the keys that match a pattern: their present values, and each change.
    pub fn watch(&self, pattern: &str) -> impl Stream<Item = Change> + Send + Unpin + use<> {
        let followed = follow(&self.bus, &self.spec.name, vec![self.subject(pattern)], Start::LastPerSubject);
        let bucket = self.clone();
        followed.map(move |item| match item {
            Followed::Store(_) => Change::Reset,
            Followed::CaughtUp(_) => Change::CaughtUp,
            Followed::Message(stored) => {
                let key = bucket.key_of(&stored).to_owned();
                let Slot { entry, revision } = bucket.to_slot(stored);
                Change::Key { key, entry, revision }
            }
        })
    }

    /// Deletes if the key has this revision.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<Written, KvError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, DELETED);
        headers.insert(NATS_MESSAGE_TTL, MARKER_LIFE);
        let expect = Expect::Last { filter: self.subject(key), sequence: revision };
        settled(key, self.write(key, Bytes::new(), headers, expect).await)
    }

    async fn write(&self, key: &str, payload: Bytes, extra: HeaderMap, expect: Expect) -> Result<u64, AppendError> {
        // A new id for each write identifies it if its answer is lost.
        let message_id = uuid::Uuid::new_v4().to_string();
        let message = Outgoing { stream: &self.spec.name, subject: self.subject(key), message_id, extra, payload };
        let first = store(&self.bus, &message, &expect).await;
        if !matches!(first, Err(AppendError::NoStream { .. })) || !self.create_again().await {
            return first;
        }
        store(&self.bus, &message, &expect).await
    }

    /// Treats a bucket that does not exist as empty, and creates it.
    async fn or_absent<T>(&self, key: &str, found: Result<Option<T>, ApiError>) -> Result<Option<T>, KvError> {
        match found {
            Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) && self.create_again().await => Ok(None),
            found => found.map_err(|source| KvError::Read { key: key.to_owned(), source }),
        }
    }

    async fn create_again(&self) -> bool {
        match streams::ensure_one(&self.bus, &self.spec).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(bucket = self.spec.name, %error, "bucket is gone and could not be created again");
                false
            }
        }
    }

    fn to_slot(&self, stored: Stored) -> Slot {
        let revision = stored.sequence;
        let deleted = stored.headers.get(OPERATION).is_some();
        let key = self.key_of(&stored).to_owned();
        let entry = (!deleted).then_some(Entry { key, revision, time: stored.time, value: stored.payload });
        Slot { entry, revision }
    }

    fn key_of<'s>(&self, stored: &'s Stored) -> &'s str {
        stored.subject.strip_prefix(&self.prefix).unwrap_or(&stored.subject)
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

fn settled(key: &str, written: Result<u64, AppendError>) -> Result<Written, KvError> {
    match written {
        Ok(revision) => Ok(Written::At(revision)),
        Err(AppendError::Conflict { .. }) => Ok(Written::Lost),
        Err(source) => Err(KvError::Write { key: key.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn different_names_never_give_one_key() {
        let lists: [&[&str]; 9] =
            [&["a", "b"], &["a.b"], &["a_b"], &["a=2Eb"], &["", "a"], &["a", ""], &["="], &["a b"], &["*"]];
        let keys: HashSet<String> = lists.iter().map(|names| key(names)).collect();
        assert_eq!(keys.len(), lists.len());
        for key in keys {
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-=.".contains(&b)), "{key}");
            assert!(key.split('.').all(|token| !token.is_empty()), "{key}");
        }
    }
}
