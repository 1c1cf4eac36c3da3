//! Notices about waiting sessions on their way from the planner to the reporter of the same process: of each session the
//! newest only. Nothing is kept while nobody reports here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::waiting::WaitNotice;

/// Pause after which notices are given out again that could not be written.
const AGAIN: Duration = Duration::from_secs(1);
/// Age at which such a notice is dropped.
const TOO_OLD: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub(crate) struct WaitBoard(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notices: Mutex<HashMap<Uuid, PostedNotice>>,
    posted: Notify,
    wanted: watch::Sender<bool>,
}

/// A notice, and when it was made.
#[derive(Debug, Clone)]
pub(crate) struct PostedNotice {
    pub notice: WaitNotice,
    at: Instant,
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
        let at = Instant::now();
        let posted = notices.into_iter().map(|notice| (notice.session, PostedNotice { notice, at }));
        self.notices().extend(posted);
        self.0.posted.notify_one();
    }

    /// Keeps a notice that could not be written, unless a newer one has come.
    pub fn put_back(&self, posted: PostedNotice) {
        if posted.at.elapsed() < TOO_OLD && *self.0.wanted.borrow() {
            self.notices().entry(posted.notice.session).or_insert(posted);
        }
    }

    fn notices(&self) -> MutexGuard<'_, HashMap<Uuid, PostedNotice>> {
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
    pub async fn next(&mut self) -> Vec<PostedNotice> {
        loop {
            if self.board.notices().is_empty() {
                self.board.0.posted.notified().await;
                continue;
            }
            tokio::time::sleep_until(self.not_before).await;
            self.not_before = Instant::now() + AGAIN;
            return std::mem::take(&mut *self.board.notices()).into_values().collect();
        }
    }
}

impl Drop for BoardReader {
    fn drop(&mut self) {
        self.board.0.wanted.send_replace(false);
        self.board.notices().clear();
    }
}
