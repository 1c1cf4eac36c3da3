//! The view of SESSIONS: every session that has not ended, folded, and the uids of those that have.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::session_log::recorded;
use lagan_bus::{Bus, Followed, Start};
use lagan_schemas::position::StoreId;
use lagan_schemas::session::Session;
use lagan_schemas::subject::{Cluster, SESSIONS, SessionSubject, stream_subjects};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::error::EngineError;

#[derive(Debug, Default)]
pub(crate) struct SessionsView {
    pub active: HashMap<Uuid, Session>,
    pub ended: HashSet<Uuid>,
    /// The store that was read.
    pub store: Option<StoreId>,
}

/// A change of the view, sent to listeners in the order of the log.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Folded(Arc<Session>),
    /// The log has been read to its end; changes after this are new.
    CaughtUp,
}

#[derive(Clone)]
pub(crate) struct Sessions {
    view: Arc<RwLock<SessionsView>>,
    complete: watch::Sender<bool>,
    listeners: Vec<mpsc::UnboundedSender<Change>>,
}

impl Sessions {
    pub fn new(listeners: Vec<mpsc::UnboundedSender<Change>>) -> Self {
        Self { view: Arc::default(), complete: watch::Sender::default(), listeners }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, SessionsView> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn complete(&self) {
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    pub fn knows(&self, uid: Uuid) -> bool {
        let view = self.read();
        view.active.contains_key(&uid) || view.ended.contains(&uid)
    }

    /// Follows the stream. It returns only when the stream under it was replaced.
    pub async fn follow(self, bus: Bus, cluster: Cluster) -> Result<(), EngineError> {
        let mut stream = follow(&bus, SESSIONS, vec![stream_subjects(SESSIONS, &cluster)], Start::All);
        let mut store = None;
        while let Some(item) = stream.next().await {
            let stored = match item {
                Followed::Store(found) if store.replace(found).is_some() => {
                    return Err(EngineError::StoreReplaced(SESSIONS));
                }
                Followed::Store(found) => {
                    self.view.write().unwrap_or_else(PoisonError::into_inner).store = Some(found);
                    continue;
                }
                Followed::CaughtUp => {
                    self.complete.send_replace(true);
                    self.tell(&Change::CaughtUp);
                    continue;
                }
                Followed::Message(stored) => stored,
            };
            let Ok(subject) = stored.subject.parse::<SessionSubject>() else {
                tracing::error!(subject = stored.subject, "not a fact's subject, ignored");
                continue;
            };
            let uid = subject.key.uid;
            let session = {
                let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
                if view.ended.contains(&uid) {
                    continue;
                }
                let session = view.active.entry(uid).or_insert_with(|| Session::new(subject.key));
                session.apply(recorded(&stored));
                let session = session.clone();
                if session.phase.is_end() {
                    view.active.remove(&uid);
                    view.ended.insert(uid);
                }
                session
            };
            self.tell(&Change::Folded(Arc::new(session)));
        }
        Ok(())
    }

    fn tell(&self, change: &Change) {
        for listener in &self.listeners {
            // A listener that is gone belongs to an engine that is stopping.
            let _ = listener.send(change.clone());
        }
    }
}
