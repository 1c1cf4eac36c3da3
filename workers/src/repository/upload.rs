//! Uploads packs in the background, a few at a time and within a memory budget. After a failed upload no later pack,
//! index or snapshot is written. It must not count an upload as done before its length was compared.

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

    /// Waits for room, starts an upload and returns while it is in flight.
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
        let upload = Upload { shared: self.shared.clone(), path, size, result: None };
        let store = self.store.clone();
        // A runtime that shuts down drops the closure without running it; `Upload::drop` then counts a failure.
        drop(self.store.handle().spawn_blocking(move || {
            let result = store.write(&upload.path, content);
            upload.settle(result);
        }));
        Ok(())
    }

    /// Waits until every started upload is stored. After an error every call fails.
    pub(super) fn barrier(&self) -> Result<(), StoreError> {
        let state = self.shared.wait(|state| state.running > 0);
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Writes a file once all uploads before it are stored.
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

/// Waits for the uploads in flight: none may outlive its backup.
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
    result: Option<Result<(), StoreError>>,
}

impl Upload {
    fn settle(mut self, result: Result<(), StoreError>) {
        self.result = Some(result);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running -= 1;
        state.bytes -= self.size;
        match self.result.take() {
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
