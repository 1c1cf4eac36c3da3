//! The view of SESSIONS: every session that has not ended, folded, and the uids of those that have.

mod changes;
mod ended;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::session_log::recorded;
use lagan_bus::{Bus, Followed, Start, Stored, publish, read};
use lagan_schemas::error::chain;
use lagan_schemas::position::StoreId;
use lagan_schemas::session::{Recorded, RecordedContent, Session};
use lagan_schemas::subject::{Cluster, SESSIONS, SessionKey, SessionSubject, dead, stream_subjects};
use tokio::sync::watch;
use uuid::Uuid;

use self::changes::ChangeSender;
pub(crate) use self::changes::{Changes, ListenFor, SessionChange};
use self::ended::EndedUids;
use crate::error::EngineError;
use crate::metrics::EngineMetrics;

/// Interval at which sessions are forgotten that have left the log.
const FORGETS: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(crate) struct SessionsView {
    pub active: HashMap<Uuid, Arc<Session>>,
    ended: EndedUids,
    /// The reason why the message that was taken last is no fact.
    garbage: Option<String>,
    /// The store that was read.
    pub store: Option<StoreId>,
}

impl SessionsView {
    /// Takes in the next fact of the log, and returns the session after it. A session that has ended is not kept.
    fn take(&mut self, stored: &Stored) -> Option<Arc<Session>> {
        let Ok(subject) = stored.subject.parse::<SessionSubject>() else {
            self.garbage = Some("its subject is not that of a fact".to_owned());
            return None;
        };
        // An ended session is passed over unread.
        if self.is_over(subject.key.uid) {
            return None;
        }
        self.fold(subject.key, recorded(stored))
    }

    fn is_over(&self, uid: Uuid) -> bool {
        !self.active.contains_key(&uid) && self.ended.contains(uid)
    }

    fn fold(&mut self, key: SessionKey, recorded: Recorded) -> Option<Arc<Session>> {
        let uid = key.uid;
        if let RecordedContent::Garbage(why) = &recorded.content {
            self.garbage = Some(why.clone());
            if mutant!("garbage-not-followed") {
                return None;
            }
            // Garbage begins no session.
            if !self.active.contains_key(&uid) {
                return None;
            }
        }
        let session = self.active.entry(uid).or_insert_with(|| Arc::new(Session::new(key)));
        Arc::make_mut(session).apply(recorded);
        let session = Arc::clone(session);
        if session.phase.is_end() {
            self.active.remove(&uid);
            self.ended.insert(uid, session.last_sequence);
        }
        Some(session)
    }
}

#[derive(Clone)]
pub(crate) struct Sessions {
    view: Arc<RwLock<SessionsView>>,
    /// Sequence up to which listeners were told of every end.
    told: Arc<AtomicU64>,
    complete: watch::Sender<bool>,
    listeners: Arc<Vec<ChangeSender>>,
}

impl Sessions {
    /// Makes a view with a listener for each element. Listeners are told nothing before the log has been read to its end:
    /// then the view holds every session that is left to look at.
    pub fn new<const N: usize>(listening: [ListenFor; N]) -> (Self, [Changes; N]) {
        let mut senders = Vec::with_capacity(N);
        let receivers = listening.map(|listening| {
            let (sender, changes) = changes::channel(listening);
            senders.push(sender);
            changes
        });
        let (view, told) = (Arc::default(), Arc::default());
        (Self { view, told, complete: watch::Sender::default(), listeners: Arc::new(senders) }, receivers)
    }

    pub fn read(&self) -> RwLockReadGuard<'_, SessionsView> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, SessionsView> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn complete(&self) {
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    pub fn knows(&self, uid: Uuid) -> bool {
        let view = self.read();
        view.active.contains_key(&uid) || view.ended.contains(uid)
    }

    /// Whether the log says that a session has ended.
    pub fn has_ended(&self, uid: Uuid) -> bool {
        let view = self.read();
        !view.active.contains_key(&uid) && view.ended.contains(uid)
    }

    /// Every session that has not ended, in the order of their last facts.
    pub fn active(&self) -> Vec<Arc<Session>> {
        let mut active: Vec<Arc<Session>> = self.read().active.values().cloned().collect();
        active.sort_by_key(|session| session.last_sequence);
        active
    }

    /// Sequence up to which listeners were told of every end.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Follows the stream. It returns only when the stream under it was replaced.
    pub async fn follow(self, bus: Bus, cluster: Cluster, metrics: EngineMetrics) -> Result<(), EngineError> {
        let filter = stream_subjects(SESSIONS, &cluster);
        let mut stream = follow(&bus, SESSIONS, vec![filter.clone()], Start::All);
        let mut forgets = tokio::time::interval_at(tokio::time::Instant::now() + FORGETS, FORGETS);
        let mut store = None;
        let mut is_complete = false;
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                _ = forgets.tick() => {
                    self.forget_expired(&bus, &filter).await;
                    continue;
                }
            };
            match item {
                None => return Ok(()),
                Some(Followed::Store(found)) if store.replace(found).is_some() => {
                    return Err(EngineError::StoreReplaced(SESSIONS));
                }
                Some(Followed::Store(found)) => self.write().store = Some(found),
                Some(Followed::CaughtUp(_)) => {
                    is_complete = true;
                    self.caught_up();
                }
                Some(Followed::Message(stored)) => {
                    let (changed, garbage) = {
                        let mut view = self.write();
                        (view.take(&stored), view.garbage.take())
                    };
                    if let Some(why) = garbage {
                        unreadable(&bus, &cluster, &metrics, &stored, &why).await;
                    }
                    if let Some(session) = changed.filter(|_| is_complete) {
                        self.tell(&SessionChange::Folded(session));
                    }
                    self.told.store(stored.sequence, Ordering::Release);
                }
            }
        }
    }

    fn caught_up(&self) {
        self.complete.send_replace(true);
        self.tell(&SessionChange::CaughtUp);
    }

    async fn forget_expired(&self, bus: &Bus, filter: &str) {
        match read::next(bus, SESSIONS, filter, 1).await {
            Ok(first) => {
                let first = first.map_or(u64::MAX, |stored| stored.sequence);
                self.write().ended.forget_before(first);
            }
            Err(error) => tracing::debug!(error = chain(&error), "the first fact of the log can't be read"),
        }
    }

    fn tell(&self, change: &SessionChange) {
        for listener in self.listeners.iter() {
            listener.send(change);
        }
    }
}

/// Keeps a message that is no fact under `lagan.dead`. Of all engines, the one that stores it counts it.
async fn unreadable(bus: &Bus, cluster: &Cluster, metrics: &EngineMetrics, stored: &Stored, why: &str) {
    match publish::dead(bus, &dead(cluster, &stored.subject), stored, why).await {
        Ok(Some(_)) => {
            let subject = &stored.subject;
            tracing::error!(subject, why, "message is no fact of a session, it is kept under lagan.dead");
            metrics.unreadable_message();
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(subject = stored.subject, error = chain(&error), "unreadable message was not kept");
        }
    }
}

/// Takes the messages of a simulated stream, as `follow` does with those of a real one.
#[cfg(test)]
impl Sessions {
    pub fn simulate_fact(&self, key: SessionKey, recorded: Recorded, is_complete: bool) {
        let sequence = recorded.sequence;
        let changed = {
            let mut view = self.write();
            if view.is_over(key.uid) { None } else { view.fold(key, recorded) }
        };
        if let Some(session) = changed.filter(|_| is_complete) {
            self.tell(&SessionChange::Folded(session));
        }
        self.told.store(sequence, Ordering::Release);
    }

    pub fn simulate_caught_up(&self, store: StoreId) {
        self.write().store = Some(store);
        self.caught_up();
    }
}

#[cfg(test)]
mod tests;
