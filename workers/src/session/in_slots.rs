//! The sessions that the slots of this worker have. The log names a worker as the holder of a session that it has lost to a
//! panic, or whose end could not be written; only the slots know that it is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

#[derive(Debug, Clone, Default)]
pub(crate) struct InSlots(Arc<Mutex<HashSet<Uuid>>>);

impl InSlots {
    /// Enters a session until the result is dropped, by a panic too.
    pub fn enter(&self, session: Uuid) -> Entered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session);
        Entered { slots: self.clone(), session }
    }

    pub fn has(&self, session: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }
}

#[derive(Debug)]
pub(crate) struct Entered {
    slots: InSlots,
    session: Uuid,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.slots.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}
