//! Judges other executors' heartbeats. "Dead" needs proof: a full TTL in which this process was connected, looked, and
//! saw no change. Any disturbance restarts the watch, so a paused or disconnected observer never declares anyone dead.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::connect::Bus;
use crate::kv::Bucket;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// A beat was seen during the watch.
    Alive,
    /// No beat was seen in a full TTL of uninterrupted watching.
    Dead,
    /// The watch has not lasted long enough, or was disturbed.
    Unknown,
}

/// Observations of one key since the watch of it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watch {
    revision: Option<u64>,
    since: Instant,
    seen: Instant,
    generation: u64,
}

/// One read of the bucket through a connection that was up all the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    asked: Instant,
    answered: Instant,
    generation: u64,
}

impl Look {
    /// Reads, and tells whether the connection stood meanwhile: `None` if it did not, and the read proves nothing.
    pub async fn during<T>(bus: &Bus, read: impl Future<Output = T>) -> (T, Option<Self>) {
        let link = bus.link();
        let (before, asked) = (*link.borrow(), Instant::now());
        let found = read.await;
        let (after, answered) = (*link.borrow(), Instant::now());
        let stood = before == after && after.connected;
        (found, stood.then_some(Self { asked, answered, generation: after.generation }))
    }
}

/// The watches of any number of keys, from looks at them.
#[derive(Debug, Default)]
pub(crate) struct Watches(HashMap<String, Watch>);

impl Watches {
    /// Judges a key by the revision that a look found, and by earlier looks.
    pub fn note(&mut self, key: &str, revision: Option<u64>, look: Look, ttl: Duration) -> Liveness {
        // `since` is the time of the answer and `seen` the time of the request: both err on the cautious side.
        let fresh = Watch { revision, since: look.answered, seen: look.asked, generation: look.generation };
        let (watch, verdict) = judge(self.0.get(key).copied(), fresh, look.asked, ttl);
        self.0.insert(key.to_owned(), watch);
        verdict
    }

    /// Returns when a key that does not change is dead, if the watch of it lasts.
    pub fn dead_at(&self, key: &str, ttl: Duration) -> Option<Instant> {
        self.0.get(key).map(|watch| watch.since + ttl)
    }

    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}

/// Watches any number of heartbeats. Keep one per process: verdicts are quick because it remembers earlier looks.
pub struct Observer {
    bucket: Bucket,
    watches: Watches,
}

impl Observer {
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, watches: Watches::default() }
    }

    /// Looks at a key once. Call it more than twice per TTL, otherwise each call restarts the watch.
    pub async fn look(&mut self, key: &str) -> Liveness {
        match Look::during(self.bucket.bus(), Box::pin(self.bucket.get(key))).await {
            (Ok(entry), Some(look)) => {
                self.watches.note(key, entry.map(|entry| entry.revision), look, self.bucket.ttl())
            }
            _ => {
                self.forget(key);
                Liveness::Unknown
            }
        }
    }

    /// Looks until the verdict is known, for three TTLs at most.
    pub async fn settle(&mut self, key: &str) -> Liveness {
        let ttl = self.bucket.ttl();
        let deadline = Instant::now() + ttl * 3;
        loop {
            let verdict = self.look(key).await;
            if verdict != Liveness::Unknown || Instant::now() >= deadline {
                return verdict;
            }
            sleep((ttl / 10).max(Duration::from_millis(20))).await;
        }
    }

    /// Forgets a key that is no longer of interest.
    pub fn forget(&mut self, key: &str) {
        self.watches.0.remove(key);
    }
}

fn judge(known: Option<Watch>, fresh: Watch, asked: Instant, ttl: Duration) -> (Watch, Liveness) {
    let Some(known) = known else {
        return (fresh, Liveness::Unknown);
    };
    // A gap in the watch (a paused process, a new connection) proves nothing about the time in between.
    let watched = known.generation == fresh.generation && asked.duration_since(known.seen) <= ttl / 2;
    if known.revision != fresh.revision {
        // A heartbeat that disappeared has expired or was stopped; only a new one is a sign of life.
        let verdict = if fresh.revision.is_some() { Liveness::Alive } else { Liveness::Unknown };
        // The silence began with the last beat, so the expiry of a heartbeat does not restart the watch.
        let since = if fresh.revision.is_none() && watched { known.since } else { fresh.since };
        return (Watch { since, ..fresh }, verdict);
    }
    if !watched {
        return (fresh, Liveness::Unknown);
    }
    let silent = asked.duration_since(known.since) >= ttl;
    (Watch { since: known.since, ..fresh }, if silent { Liveness::Dead } else { Liveness::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(base: Instant, seconds: u64, revision: Option<u64>, generation: u64) -> Watch {
        let now = base + Duration::from_secs(seconds);
        Watch { revision, since: now, seen: now, generation }
    }

    fn run(steps: &[(u64, Option<u64>, u64)]) -> Liveness {
        let base = Instant::now();
        let mut known = None;
        let mut verdict = Liveness::Unknown;
        for (seconds, revision, generation) in steps {
            let fresh = at(base, *seconds, *revision, *generation);
            let (watch, v) = judge(known, fresh, fresh.seen, TTL);
            (known, verdict) = (Some(watch), v);
        }
        verdict
    }

    #[test]
    fn silence_for_a_full_ttl_is_death() {
        assert_eq!(run(&[(0, Some(1), 1), (10, Some(1), 1), (20, Some(1), 1), (29, Some(1), 1)]), Liveness::Unknown);
        assert_eq!(run(&[(0, Some(1), 1), (10, Some(1), 1), (20, Some(1), 1), (30, Some(1), 1)]), Liveness::Dead);
        assert_eq!(run(&[(0, None, 1), (10, None, 1), (20, None, 1), (30, None, 1)]), Liveness::Dead);
    }

    #[test]
    fn a_beat_is_life_and_starts_the_watch_anew() {
        assert_eq!(run(&[(0, Some(1), 1), (10, Some(2), 1)]), Liveness::Alive);
        assert_eq!(run(&[(0, Some(1), 1), (15, Some(2), 1), (30, Some(2), 1)]), Liveness::Unknown);
    }

    #[test]
    fn an_aged_heartbeat_does_not_start_the_watch_anew() {
        assert_eq!(run(&[(0, Some(1), 1), (15, Some(1), 1), (28, None, 1), (31, None, 1)]), Liveness::Dead);
    }

    #[test]
    fn a_gap_in_the_watch_buries_nobody() {
        assert_eq!(run(&[(0, Some(1), 1), (40, Some(1), 1)]), Liveness::Unknown);
        assert_eq!(run(&[(0, Some(1), 1), (10, Some(1), 1), (20, Some(1), 2), (30, Some(1), 2)]), Liveness::Unknown);
    }
}
