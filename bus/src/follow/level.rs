//! Compares a follower with the leader of the stream. A consumer has a single replica, which may be on a server that is behind, and
//! knows nothing of what that server lacks.

use super::Follower;
use crate::error::ApiError;
use crate::reach::ReadScope;
use crate::read::{self, store_of};
use crate::streams;

/// Number of looks in a row after which a consumer that stays behind the stream's leader is given up. The next one may be placed
/// on another server.
const PATIENT_LOOKS: u32 = 6;

/// What is known about messages that the consumer delivers although they were read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    None,
    /// The stream may have been made anew while the consumer was created.
    Unexplained,
    /// The replica of the consumer was behind, and the server began at its end instead of our position.
    OfThisStore,
}

impl Follower {
    /// Finds out whether messages come again because the stream is another one.
    pub(super) async fn explain_repeats(&mut self) {
        match streams::leaders_info(&self.bus, &self.stream).await {
            Ok(info) if self.store == Some(store_of(&info)) => {
                if let Some(open) = &mut self.open {
                    open.repeats = Repeats::OfThisStore;
                }
            }
            Ok(_) => self.reopen(),
            Err(error) => {
                self.reopen();
                self.pause(&error).await;
            }
        }
    }

    /// Returns the sequence up to which everything was read, if that is `end` at least.
    pub(super) async fn read_up_to(&mut self, end: u64) -> Option<u64> {
        if !self.is_level_with(end).await {
            return None;
        }
        self.open.as_mut()?.caught_up = true;
        Some(if self.may_ask_leader() { self.position.max(end) } else { self.position })
    }

    /// Asks the stream's leader whether it has a message for us up to `end` that the consumer, which has nothing more, did not deliver.
    /// The messages that we lack may not match the filters, or be gone.
    pub(super) async fn is_level_with(&mut self, end: u64) -> bool {
        match self.leader_is_ahead(end).await {
            Ok(true) => self.note_behind(),
            Ok(false) => {
                if let Some(open) = &mut self.open {
                    open.behind = 0;
                }
                return true;
            }
            Err(error) => tracing::debug!(stream = self.stream, %error, "the leader of the stream can't be asked"),
        }
        false
    }

    async fn leader_is_ahead(&self, end: u64) -> Result<bool, ApiError> {
        if self.position >= end || !self.may_ask_leader() {
            return Ok(false);
        }
        for filter in &self.filters {
            let next = read::next(&self.bus, &self.stream, filter, self.position + 1).await?;
            if next.is_some_and(|stored| stored.sequence <= end) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn note_behind(&mut self) {
        let Some(open) = &mut self.open else { return };
        open.behind += 1;
        if open.behind >= PATIENT_LOOKS {
            tracing::warn!(stream = self.stream, "consumer stays behind the stream; creating a new one");
            self.reopen();
        }
    }

    fn may_ask_leader(&self) -> bool {
        *self.bus.reach() == ReadScope::Everything
    }
}
