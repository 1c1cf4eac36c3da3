//! Packs on their way to the storage, a few at a time and within a memory budget. A failure poisons everything after
//! it: no later pack, index or snapshot is written. It must not report an upload as done before its length was checked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::store::Store;
use super::store_error::{StoreError, StoreErrorKind};

const AT_ONCE: usize = 4;
const BUDGET: usize = 64 << 20;

pub(super) struct Uploads {
    store: Arc<Store>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    bytes: usize,
    total: u64,
    failed: Option<StoreError>,
}

impl Uploads {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, shared: Arc::default() }
    }

    /// Waits for room, then returns while the upload goes on.
    pub(super) fn start(&self, path: String, content: Vec<Bytes>) -> Result<(), StoreError> {
        let size = content.iter().map(Bytes::len).sum();
        let mut state = self.shared.wait(|state| {
            state.failed.is_none() && state.running > 0 && (state.running >= AT_ONCE || state.bytes + size > BUDGET)
        });
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.running += 1;
        state.bytes += size;
        drop(state);
        let mut upload = Upload { shared: self.shared.clone(), path, size, outcome: None };
        let store = self.store.clone();
        // Dropped unrun when the runtime goes down; the guard then counts it as failed.
        drop(self.store.handle().spawn_blocking(move || {
            let outcome = store.write(&upload.path, content);
            upload.settle(outcome);
        }));
        Ok(())
    }

    /// Everything started is stored, or an error. After an error every call fails.
    pub(super) fn barrier(&self) -> Result<(), StoreError> {
        let state = self.shared.wait(|state| state.running > 0);
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// A file that must come after everything before it.
    pub(super) fn write_after_all(&self, path: &str, content: Vec<Bytes>) -> Result<(), StoreError> {
        self.barrier()?;
        let size: u64 = content.iter().map(|part| part.len() as u64).sum();
        let result = self.store.write(path, content);
        let mut state = self.shared.lock();
        match &result {
            Ok(()) => state.total += size,
            Err(error) => state.failed = Some(error.clone()),
        }
        result
    }

    pub(super) fn failure(&self) -> Option<StoreError> {
        self.shared.lock().failed.clone()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.shared.lock().total
    }
}

/// No upload outlives the backup that started it.
impl Drop for Uploads {
    fn drop(&mut self) {
        drop(self.shared.wait(|state| state.running > 0));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, while_true: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| while_true(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

struct Upload {
    shared: Arc<Shared>,
    path: String,
    size: usize,
    outcome: Option<Result<(), StoreError>>,
}

impl Upload {
    fn settle(&mut self, outcome: Result<(), StoreError>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running -= 1;
        state.bytes -= self.size;
        match self.outcome.take() {
            Some(Ok(())) => state.total += self.size as u64,
            Some(Err(error)) => state.failed = state.failed.take().or(Some(error)),
            None => {
                let lost = StoreError::new(StoreErrorKind::Unreachable, "write", &self.path, "the upload was dropped");
                state.failed = state.failed.take().or(Some(lost));
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}
