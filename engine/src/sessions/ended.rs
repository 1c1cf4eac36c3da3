//! The uids of ended sessions: 16 bytes each, for as long as their last facts are in the log.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// Number of uids that are sorted and packed together.
const CHUNK: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct EndedUids {
    /// From the oldest to the newest.
    packed: VecDeque<Chunk>,
    newest: HashSet<Uuid>,
    /// Sequence of the last end in `newest`.
    last_sequence: u64,
}

#[derive(Debug)]
struct Chunk {
    /// Sorted.
    uids: Box<[Uuid]>,
    last_sequence: u64,
}

impl EndedUids {
    /// Adds a session whose last fact has this sequence. Ends arrive in the order of the log.
    pub fn insert(&mut self, uid: Uuid, sequence: u64) {
        self.newest.insert(uid);
        self.last_sequence = sequence;
        if self.newest.len() >= CHUNK {
            let mut uids: Box<[Uuid]> = self.newest.drain().collect();
            uids.sort_unstable();
            self.newest.shrink_to_fit();
            self.packed.push_back(Chunk { uids, last_sequence: sequence });
        }
    }

    pub fn contains(&self, uid: Uuid) -> bool {
        self.newest.contains(&uid) || self.packed.iter().any(|chunk| chunk.uids.binary_search(&uid).is_ok())
    }

    /// Forgets sessions whose facts all lie before the first one that the log still has.
    pub fn forget_before(&mut self, first_sequence: u64) {
        while self.packed.front().is_some_and(|chunk| chunk.last_sequence < first_sequence) {
            self.packed.pop_front();
        }
        if self.last_sequence < first_sequence {
            self.newest = HashSet::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_found_until_their_facts_have_left_the_log() {
        let uid = |n: usize| Uuid::from_u128(n as u128);
        let mut ended = EndedUids::default();
        for n in 0..CHUNK + 10 {
            ended.insert(uid(n), n as u64 + 1);
        }
        assert!([0, CHUNK - 1, CHUNK, CHUNK + 9].into_iter().all(|n| ended.contains(uid(n))));
        assert!(!ended.contains(uid(CHUNK + 10)));
        assert_eq!((ended.packed.len(), ended.newest.len()), (1, 10));
        ended.forget_before(CHUNK as u64);
        assert!(ended.contains(uid(0)), "the last of its chunk is in the log");
        ended.forget_before(CHUNK as u64 + 1);
        assert!(!ended.contains(uid(CHUNK - 1)) && ended.contains(uid(CHUNK)));
        ended.forget_before(CHUNK as u64 + 11);
        assert!(!ended.contains(uid(CHUNK)));
    }
}
