//! The sessions that a reporter still has to report.

use std::sync::Arc;

use lagan_schemas::session::Session;
use tokio::time::Instant;
use uuid::Uuid;

use super::missed::LoggedEnd;
use super::work::{KeyedWork, Piece};

/// Ended sessions that are kept whole. Of more than that only the names are kept, and the log is read again.
const KEPT: usize = 500;
/// Missed ends that wait beside others.
const MISSED: usize = 100;

/// A session to report.
#[derive(Debug, Clone)]
pub(super) enum Unreported {
    Fold(Arc<Session>),
    /// An end that is read from the log.
    Logged(LoggedEnd),
}

impl Unreported {
    fn sequence(&self) -> u64 {
        match self {
            Self::Fold(session) => session.last_sequence,
            Self::Logged(end) => end.sequence,
        }
    }

    fn end(&self) -> Option<u64> {
        match self {
            Self::Fold(session) => session.phase.is_end().then_some(session.last_sequence),
            Self::Logged(end) => Some(end.sequence),
        }
    }

    /// The remainder of an ended session when it must not be kept whole.
    fn reduced(self) -> Self {
        match self {
            Self::Fold(session) if session.phase.is_end() => {
                Self::Logged(LoggedEnd { key: session.key.clone(), sequence: session.last_sequence })
            }
            unreported => unreported,
        }
    }
}

impl Piece for Unreported {
    fn merge(&mut self, later: Self) {
        if later.sequence() > self.sequence() {
            *self = later;
        }
    }
}

#[derive(Default)]
pub(super) struct SessionQueue {
    work: KeyedWork<Uuid, Unreported>,
    /// Ends that are being reported.
    running: Vec<(Uuid, u64)>,
}

impl SessionQueue {
    pub fn add(&mut self, session: Arc<Session>) {
        let uid = session.key.uid;
        let unreported = Unreported::Fold(session);
        let is_long = self.work.in_line() >= KEPT;
        self.work.add(uid, if is_long { unreported.reduced() } else { unreported });
    }

    pub fn add_missed(&mut self, end: LoggedEnd) {
        self.work.add(end.key.uid, Unreported::Logged(end));
    }

    /// Whether missed ends may be added now.
    pub fn takes_missed(&self) -> bool {
        self.work.in_line() < MISSED
    }

    pub fn next(&mut self, now: Instant) -> Option<(Uuid, Unreported)> {
        let (uid, unreported) = self.work.next(now)?;
        self.running.extend(unreported.end().map(|sequence| (uid, sequence)));
        Some((uid, unreported))
    }

    pub fn done(&mut self, uid: Uuid) {
        self.running.retain(|(running, _)| *running != uid);
        self.work.done(&uid);
    }

    pub fn failed(&mut self, uid: Uuid, unreported: Unreported, now: Instant) {
        self.running.retain(|(running, _)| *running != uid);
        let pause = self.work.failed(uid, unreported.reduced(), now);
        tracing::debug!(session = %uid, pause_seconds = pause.as_secs(), "session was not reported yet");
    }

    pub fn next_retry(&self) -> Option<Instant> {
        self.work.next_retry()
    }

    /// The lowest sequence of the ends that are not reported.
    pub fn oldest_end(&self) -> Option<u64> {
        let running = self.running.iter().map(|(_, sequence)| *sequence);
        self.work.pending().filter_map(Unreported::end).chain(running).min()
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures::{Story, story};

    fn session(uid: u128, sequence: u64, told: Story) -> Arc<Session> {
        let mut session = told.end();
        (session.key.uid, session.last_sequence) = (Uuid::from_u128(uid), sequence);
        Arc::new(session)
    }

    fn ended(uid: u128, sequence: u64) -> Arc<Session> {
        session(uid, sequence, story(SessionKind::Backup).skipped(1))
    }

    #[test]
    fn the_position_stays_before_the_oldest_end_that_is_not_reported() {
        let now = Instant::now();
        let mut queue = SessionQueue::default();
        queue.add(session(1, 5, story(SessionKind::Backup)));
        assert_eq!(queue.oldest_end(), None, "it has not ended");
        queue.add(ended(2, 7));
        queue.add(ended(3, 9));
        assert_eq!(queue.oldest_end(), Some(7));
        let taken: Vec<(Uuid, Unreported)> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!((taken.len(), queue.oldest_end()), (3, Some(7)));
        let (uid, failed) = taken[1].clone();
        queue.failed(uid, failed, now);
        queue.done(Uuid::from_u128(3));
        assert_eq!(queue.oldest_end(), Some(7), "it failed");
        let later = queue.next_retry().expect("a time");
        let (uid, again) = queue.next(later).expect("it is tried again");
        assert!(matches!(again, Unreported::Logged(_)), "it is read from the log: {again:?}");
        queue.done(uid);
        assert_eq!(queue.oldest_end(), None);
    }

    #[test]
    fn of_a_long_line_of_ended_sessions_only_names_are_kept() {
        let mut queue = SessionQueue::default();
        for uid in 0..KEPT as u64 + 10 {
            queue.add(ended(u128::from(uid), uid + 1));
        }
        let whole = queue.work.pending().filter(|unreported| matches!(unreported, Unreported::Fold(_))).count();
        assert_eq!(whole, KEPT);
    }
}
