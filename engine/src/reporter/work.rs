//! Work by key: at most one piece of each key is being done, and a key that fails waits for a time of its own, so that
//! it delays no other. Work that arrives for a key meanwhile is merged with what waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Idle pieces that are done at the same time, so that others need not wait for many of them to end.
const IDLE_LIMIT: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WorkUrgency {
    #[default]
    Now,
    /// Done when nothing else is left to do.
    Idle,
}

pub(super) trait Piece {
    /// Adds work that came later.
    fn merge(&mut self, later: Self);

    fn urgency(&self) -> WorkUrgency {
        WorkUrgency::Now
    }
}

pub(super) struct KeyedWork<K, V> {
    pending: HashMap<K, V>,
    /// Keys to look at next. A key may be there that has nothing pending, or that waits.
    ready: VecDeque<K>,
    idle: VecDeque<K>,
    running: HashMap<K, WorkUrgency>,
    failures: HashMap<K, Failure>,
    waiting: BTreeSet<(Instant, K)>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    times: u32,
    until: Instant,
}

impl<K, V> Default for KeyedWork<K, V> {
    fn default() -> Self {
        Self {
            pending: HashMap::new(),
            ready: VecDeque::new(),
            idle: VecDeque::new(),
            running: HashMap::new(),
            failures: HashMap::new(),
            waiting: BTreeSet::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, V: Piece> KeyedWork<K, V> {
    pub fn add(&mut self, key: K, piece: V) {
        let urgency = match self.pending.get_mut(&key) {
            Some(pending) => {
                let before = pending.urgency();
                pending.merge(piece);
                if pending.urgency() == before {
                    return;
                }
                pending.urgency()
            }
            None => {
                let urgency = piece.urgency();
                self.pending.insert(key.clone(), piece);
                urgency
            }
        };
        if !self.running.contains_key(&key) && !self.failures.contains_key(&key) {
            self.queue(key, urgency);
        }
    }

    fn queue(&mut self, key: K, urgency: WorkUrgency) {
        match urgency {
            WorkUrgency::Now => self.ready.push_back(key),
            WorkUrgency::Idle => self.idle.push_back(key),
        }
    }

    /// Takes the next piece of work, of a key that nothing is being done for.
    pub fn next(&mut self, now: Instant) -> Option<(K, V)> {
        while let Some((until, key)) = self.waiting.first().cloned()
            && until <= now
        {
            self.waiting.pop_first();
            if let Some(piece) = self.pending.get(&key) {
                let urgency = piece.urgency();
                self.queue(key, urgency);
            }
        }
        while let Some(key) = self.next_key() {
            let waits = self.failures.get(&key).is_some_and(|failure| failure.until > now);
            if waits || self.running.contains_key(&key) {
                continue;
            }
            if let Some(piece) = self.pending.remove(&key) {
                self.running.insert(key.clone(), piece.urgency());
                return Some((key, piece));
            }
        }
        self.shrink();
        None
    }

    fn next_key(&mut self) -> Option<K> {
        self.ready.pop_front().or_else(|| {
            let idle = self.running.values().filter(|urgency| **urgency == WorkUrgency::Idle).count();
            if idle < IDLE_LIMIT { self.idle.pop_front() } else { None }
        })
    }

    /// Notes that the piece of a key was done.
    pub fn done(&mut self, key: &K) {
        self.running.remove(key);
        self.failures.remove(key);
        self.queue_again(key);
    }

    /// Notes that the piece of a key failed, and puts it back under what came since.
    pub fn failed(&mut self, key: K, mut piece: V, now: Instant) -> Duration {
        self.running.remove(&key);
        if let Some(later) = self.pending.remove(&key) {
            piece.merge(later);
        }
        self.pending.insert(key.clone(), piece);
        let times = self.failures.get(&key).map_or(0, |failure| failure.times);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_PAUSE);
        let until = now + pause;
        self.failures.insert(key.clone(), Failure { times: times.saturating_add(1), until });
        self.waiting.insert((until, key));
        pause
    }

    fn queue_again(&mut self, key: &K) {
        if let Some(piece) = self.pending.get(key) {
            let urgency = piece.urgency();
            self.queue(key.clone(), urgency);
        }
    }

    /// Number of failures of a key since its last success.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).map_or(0, |failure| failure.times)
    }

    /// When the next key that failed is tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Number of keys with work that waits for its turn, or that is being done. Keys that failed do not count.
    pub fn in_line(&self) -> usize {
        self.pending.len() + self.running.len() - self.waiting.len().min(self.pending.len())
    }

    /// All pieces that wait.
    pub fn pending(&self) -> impl Iterator<Item = &V> {
        self.pending.values()
    }

    /// A burst must not be kept for ever as empty tables.
    fn shrink(&mut self) {
        if self.pending.is_empty() && self.pending.capacity() > 1024 {
            (self.pending, self.ready, self.idle) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Clone)]
    struct Text(&'static str, WorkUrgency);

    impl Piece for Text {
        fn merge(&mut self, later: Self) {
            *self = later;
        }

        fn urgency(&self) -> WorkUrgency {
            self.1
        }
    }

    fn now(text: &'static str) -> Text {
        Text(text, WorkUrgency::Now)
    }

    #[test]
    fn a_key_that_always_fails_delays_no_other() {
        let start = Instant::now();
        let mut work = KeyedWork::default();
        for key in 0..8 {
            work.add(key, now("bad"));
        }
        for _ in 0..8 {
            let (key, piece) = work.next(start).unwrap();
            work.failed(key, piece, start);
        }
        work.add(9, now("good"));
        assert_eq!(work.next(start), Some((9, now("good"))));
        assert_eq!((work.next(start), work.in_line()), (None, 1));
        assert_eq!(work.next_retry(), Some(start + FIRST_PAUSE));
    }

    #[test]
    fn each_failure_of_a_key_doubles_its_pause_and_a_success_ends_it() {
        let mut at = Instant::now();
        let mut work = KeyedWork::default();
        work.add(1, now("first"));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let (key, piece) = work.next(at).unwrap();
            let pause = work.failed(key, piece, at);
            assert_eq!(work.next(at + pause - Duration::from_millis(1)), None);
            pauses.push(pause.as_secs());
            at += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        work.add(1, now("newer"));
        assert_eq!(work.next(at), Some((1, now("newer"))));
        work.done(&1);
        work.add(1, now("again"));
        assert_eq!(work.next(at), Some((1, now("again"))));
    }

    #[test]
    fn work_of_a_key_is_merged_while_it_is_being_done_and_comes_after_it() {
        let start = Instant::now();
        let mut work = KeyedWork::default();
        work.add(1, now("a"));
        assert_eq!(work.next(start), Some((1, now("a"))));
        work.add(1, now("b"));
        work.add(1, now("c"));
        assert_eq!(work.next(start), None);
        work.done(&1);
        assert_eq!(work.next(start), Some((1, now("c"))));
        work.done(&1);
        assert_eq!((work.next(start), work.in_line()), (None, 0));
    }

    #[test]
    fn idle_work_waits_for_all_other_and_becomes_urgent_by_what_is_merged() {
        let start = Instant::now();
        let mut work = KeyedWork::default();
        work.add(1, Text("progress", WorkUrgency::Idle));
        work.add(2, Text("progress", WorkUrgency::Idle));
        work.add(3, now("status"));
        work.add(2, now("end"));
        let order: Vec<i32> = std::iter::from_fn(|| work.next(start).map(|(key, _)| key)).collect();
        assert_eq!(order, [3, 2, 1]);
    }
}
