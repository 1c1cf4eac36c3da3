//! Sessions and objects that are not reported yet, and what is known about objects beside the views. It outlives the
//! lease: a process that takes over starts from it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use crate::report::note::Note;
use crate::sessions::Change;

#[derive(Default)]
pub(super) struct Backlog {
    /// The newest fold of each session.
    pub sessions: HashMap<Uuid, Arc<Session>>,
    pub objects: BTreeSet<ObjectKey>,
    /// Objects to look at again after a pause: configurations that miss a Secret or that the source does not answer
    /// for, and deleted Repositories that are still there.
    pub waiting: BTreeSet<ObjectKey>,
    /// Restores that wait for a person (P5), by uid.
    pub unconfirmed: HashSet<Uuid>,
    /// How the sessions ended that deleted the data of Repositories, by the uid of the Repository.
    pub wipe_outcomes: HashMap<Uuid, Note>,
}

impl Backlog {
    pub fn take(&mut self, change: Change) {
        if let Change::Folded(session) = change {
            self.sessions.insert(session.key.uid, session);
        }
    }

    /// The sessions in the order of their last facts.
    pub fn sessions_in_order(&self) -> Vec<Arc<Session>> {
        let mut sessions: Vec<Arc<Session>> = self.sessions.values().cloned().collect();
        sessions.sort_by_key(|session| session.last_sequence);
        sessions
    }

    /// Whether something waits to be tried again. Sessions are left only if something could not be reached.
    pub fn needs_retry(&self) -> bool {
        !self.waiting.is_empty() || !self.sessions.is_empty()
    }

    pub fn retry(&mut self) {
        self.objects.append(&mut self.waiting);
    }
}
