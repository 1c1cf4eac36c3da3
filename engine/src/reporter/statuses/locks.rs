//! Locks of keys. Several keys share one, which costs them a short wait and no memory of keys.

use std::hash::{BuildHasher as _, RandomState};

use lagan_schemas::subject::ObjectKey;
use tokio::sync::{Mutex, MutexGuard};

const LOCKS: usize = 256;

pub(super) struct KeyLocks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for KeyLocks {
    fn default() -> Self {
        Self { locks: (0..LOCKS).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }
}

impl KeyLocks {
    pub async fn lock(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        let hash = usize::try_from(self.hasher.hash_one(key) % LOCKS as u64).unwrap_or_default();
        self.locks[hash].lock().await
    }
}
