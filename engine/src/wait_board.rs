//! Notices about waiting sessions on their way from the planner to the reporter of the same process: of each session the
//! newest only, and not more at a time than may be written. Nothing is kept while nobody reports here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::waiting::{NOTICE_BATCH as BATCH, WaitNotice};

/// Pause between two batches of notices. Those that could not be written are given out again after those that were not tried yet.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(crate) struct WaitBoard(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notices: Mutex<Notices>,
    posted: Notify,
    wanted: watch::Sender<bool>,
}

/// Notices in the order in which they came. A newer one takes the place of an older one in the line.
#[derive(Debug, Default)]
struct Notices {
    of_session: HashMap<Uuid, WaitNotice>,
    line: VecDeque<Uuid>,
}

impl Notices {
    fn push(&mut self, notice: WaitNotice) {
        let session = notice.session;
        if self.of_session.insert(session, notice).is_none() {
            self.line.push_back(session);
        }
    }

    /// Keeps a notice that could not be written, unless a newer one has come.
    fn put_back(&mut self, notice: WaitNotice) {
        if !self.of_session.contains_key(&notice.session) {
            self.push(notice);
        }
    }

    fn take_batch(&mut self) -> Vec<WaitNotice> {
        let count = self.line.len().min(BATCH);
        self.line.drain(..count).filter_map(|session| self.of_session.remove(&session)).collect()
    }
}

impl WaitBoard {
    /// Asks for notices about all sessions that wait, until the value is dropped.
    pub fn listen(&self) -> BoardReader {
        self.0.wanted.send_replace(true);
        BoardReader { board: self.clone(), not_before: Instant::now() }
    }

    /// Whether notices are wanted, and changes of that.
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.0.wanted.subscribe()
    }

    pub fn post(&self, notices: Vec<WaitNotice>) {
        let mut posted = self.notices();
        notices.into_iter().for_each(|notice| posted.push(notice));
        drop(posted);
        self.0.posted.notify_one();
    }

    /// Keeps a notice that could not be written, unless a newer one has come.
    pub fn put_back(&self, notice: WaitNotice) {
        if *self.0.wanted.borrow() {
            self.notices().put_back(notice);
        }
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the reporter.
pub(crate) struct BoardReader {
    board: WaitBoard,
    not_before: Instant,
}

impl BoardReader {
    /// Waits for notices. It can be dropped at any time without loss.
    pub async fn next(&mut self) -> Vec<WaitNotice> {
        loop {
            if self.board.notices().line.is_empty() {
                self.board.0.posted.notified().await;
                continue;
            }
            tokio::time::sleep_until(self.not_before).await;
            self.not_before = Instant::now() + PAUSE;
            return self.board.notices().take_batch();
        }
    }
}

impl Drop for BoardReader {
    fn drop(&mut self) {
        self.board.0.wanted.send_replace(false);
        *self.board.notices() = Notices::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::WaitCause;

    fn notice(session: u128, sequence: u64) -> WaitNotice {
        let session = Uuid::from_u128(session);
        WaitNotice { session, sequence, cause: WaitCause::New, holder: None, ahead: None, limit: None }
    }

    #[test]
    fn a_notice_that_can_not_be_written_is_kept_and_never_takes_the_place_of_a_newer_one() {
        let mut notices = Notices::default();
        notices.push(notice(1, 1));
        notices.push(notice(2, 1));
        let given = notices.take_batch();
        assert_eq!(given, [notice(1, 1), notice(2, 1)]);
        notices.push(notice(1, 5));
        given.into_iter().for_each(|notice| notices.put_back(notice));
        notices.push(notice(2, 7));
        assert_eq!(notices.take_batch(), [notice(1, 5), notice(2, 7)]);
        assert!(notices.take_batch().is_empty());
    }

    #[test]
    fn notices_that_have_piled_up_are_given_out_in_batches_and_none_is_stuck_behind_those_that_can_not_be_written() {
        let mut notices = Notices::default();
        (0..250).for_each(|session| notices.push(notice(session, 1)));
        let first = notices.take_batch();
        first.iter().cloned().for_each(|notice| notices.put_back(notice));
        let sizes = std::iter::from_fn(|| Some(notices.take_batch().len()).filter(|size| *size > 0));
        assert_eq!((first.len(), sizes.collect::<Vec<_>>()), (100, vec![100, 50, 100]));
    }
}
