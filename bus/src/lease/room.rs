//! Waits for room in a scope by watching its keys, instead of reading them again and again.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::{Stream, StreamExt as _};

use crate::kv::{Bucket, Change};

/// The keys of a scope as the watch of them last saw them. The watch begins with the first wait.
pub(super) struct Room {
    bucket: Bucket,
    pattern: String,
    changes: Option<Pin<Box<dyn Stream<Item = Change> + Send>>>,
    present: BTreeSet<String>,
    seen: Seen,
}

/// How far the watch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Some of the keys that are present may be missing.
    Part,
    UpTo(u64),
}

impl Room {
    pub fn new(bucket: &Bucket, pattern: String) -> Self {
        Self { bucket: bucket.clone(), pattern, changes: None, present: BTreeSet::new(), seen: Seen::Part }
    }

    /// Waits until none of the keys that are in the way is present. `revision` is what the caller has read and decided on: an older
    /// state than that does not count.
    pub async fn free(&mut self, revision: u64, is_in_the_way: impl Fn(&str) -> bool) {
        let mut last = 0;
        loop {
            let up_to_date = matches!(self.seen, Seen::UpTo(seen) if seen >= revision);
            if up_to_date && !self.present.iter().any(|key| is_in_the_way(key)) {
                return;
            }
            let changes = self.changes.get_or_insert_with(|| Box::pin(self.bucket.watch(&self.pattern)));
            match changes.next().await {
                Some(Change::Key { key, entry, revision }) => {
                    last = revision.max(last);
                    if entry.is_some() {
                        self.present.insert(key)
                    } else {
                        self.present.remove(&key)
                    };
                    if let Seen::UpTo(seen) = self.seen {
                        self.seen = Seen::UpTo(revision.max(seen));
                    }
                }
                Some(Change::CaughtUp) => {
                    if self.seen == Seen::Part {
                        self.seen = Seen::UpTo(last);
                    }
                }
                // The bucket was created again or lost messages: the watch begins anew.
                Some(Change::Reset) => {
                    (self.seen, last) = (Seen::Part, 0);
                    self.present.clear();
                }
                None => std::future::pending().await,
            }
        }
    }
}
