//! Changes of sessions on their way to a listener: of each session the newest fold only, so that a listener that is
//! slower than the log needs no more memory than the sessions that have changed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lagan_schemas::session::Session;
use tokio::sync::Notify;
use uuid::Uuid;

/// A change of the view of sessions.
#[derive(Debug, Clone)]
pub(crate) enum SessionChange {
    Folded(Arc<Session>),
    /// The log has been read to its end, and the view holds every active session. It comes again after a reconnection.
    CaughtUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenFor {
    Yes,
    /// Changes are dropped.
    No,
}

/// The end of the view.
#[derive(Debug)]
pub(super) struct ChangeSender(Arc<Shared>);

/// The end of the listener.
#[derive(Debug)]
pub(crate) struct Changes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug)]
struct Queue {
    order: VecDeque<Uuid>,
    newest: HashMap<Uuid, Arc<Session>>,
    is_caught_up: bool,
    listening: ListenFor,
    is_closed: bool,
}

pub(super) fn channel(listening: ListenFor) -> (ChangeSender, Changes) {
    let queue =
        Queue { order: VecDeque::new(), newest: HashMap::new(), is_caught_up: false, listening, is_closed: false };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Notify::new() });
    (ChangeSender(Arc::clone(&shared)), Changes(shared))
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeSender {
    pub fn send(&self, change: &SessionChange) {
        let mut queue = self.0.queue();
        if queue.listening == ListenFor::No {
            return;
        }
        match change {
            SessionChange::CaughtUp => queue.is_caught_up = true,
            SessionChange::Folded(session) => {
                let uid = session.key.uid;
                if queue.newest.insert(uid, Arc::clone(session)).is_none() {
                    queue.order.push_back(uid);
                }
            }
        }
        drop(queue);
        self.0.changed.notify_one();
    }
}

impl Drop for ChangeSender {
    fn drop(&mut self) {
        self.0.queue().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl Changes {
    /// Waits for the next change; `None` when the view is gone. It can be dropped at any time without loss.
    pub async fn recv(&mut self) -> Option<SessionChange> {
        loop {
            {
                let mut queue = self.0.queue();
                if let Some(change) = queue.take() {
                    return Some(change);
                }
                if queue.is_closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    #[cfg(test)]
    pub fn has_any(&self) -> bool {
        let queue = self.0.queue();
        queue.is_caught_up || !queue.order.is_empty()
    }

    /// The next change, if there is one now.
    #[cfg(test)]
    pub fn try_recv(&self) -> Option<SessionChange> {
        self.0.queue().take()
    }

    /// Starts to listen, or drops what has come and stops.
    pub fn listen(&self, listening: ListenFor) {
        let mut queue = self.0.queue();
        queue.listening = listening;
        queue.is_caught_up = false;
        (queue.order, queue.newest) = (VecDeque::new(), HashMap::new());
    }

    /// The lowest sequence of the ends that were not received yet.
    pub fn oldest_end(&self) -> Option<u64> {
        let queue = self.0.queue();
        queue.newest.values().filter(|session| session.phase.is_end()).map(|session| session.last_sequence).min()
    }
}

impl Queue {
    fn take(&mut self) -> Option<SessionChange> {
        // The view is never behind the changes that are told, so it makes no difference that this overtakes them.
        if std::mem::take(&mut self.is_caught_up) {
            return Some(SessionChange::CaughtUp);
        }
        let uid = self.order.pop_front()?;
        let session = self.newest.remove(&uid).expect("a session in the order has a fold");
        // A burst must not be kept for ever as an empty table.
        if self.order.is_empty() {
            (self.order, self.newest) = (VecDeque::new(), HashMap::new());
        }
        Some(SessionChange::Folded(session))
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures::story;

    fn fold(uid: u128, last_sequence: u64) -> SessionChange {
        let mut session = story(SessionKind::Backup).skipped(1).end();
        (session.key.uid, session.last_sequence) = (Uuid::from_u128(uid), last_sequence);
        SessionChange::Folded(Arc::new(session))
    }

    async fn received(changes: &mut Changes) -> Option<(u128, u64)> {
        match changes.recv().await? {
            SessionChange::Folded(session) => Some((session.key.uid.as_u128(), session.last_sequence)),
            SessionChange::CaughtUp => Some((0, 0)),
        }
    }

    #[tokio::test]
    async fn a_listener_receives_the_newest_fold_of_each_session_once() {
        let (sender, mut changes) = channel(ListenFor::Yes);
        for (uid, sequence) in [(1, 10), (2, 11), (1, 12), (1, 13)] {
            sender.send(&fold(uid, sequence));
        }
        sender.send(&SessionChange::CaughtUp);
        assert_eq!(changes.oldest_end(), Some(11));
        drop(sender);
        let mut all = Vec::new();
        while let Some(next) = received(&mut changes).await {
            all.push(next);
        }
        assert_eq!(all, [(0, 0), (1, 13), (2, 11)]);
    }

    #[tokio::test]
    async fn nothing_is_kept_for_a_listener_that_does_not_listen() {
        let (sender, mut changes) = channel(ListenFor::No);
        sender.send(&fold(1, 10));
        changes.listen(ListenFor::Yes);
        sender.send(&fold(2, 11));
        assert_eq!(received(&mut changes).await, Some((2, 11)));
        sender.send(&fold(3, 12));
        changes.listen(ListenFor::No);
        drop(sender);
        assert_eq!(received(&mut changes).await, None);
    }
}
