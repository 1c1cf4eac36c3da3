//! Changes to Kubernetes objects as values, on their way from the reporter to `apply`.

use std::collections::BTreeMap;

use lagan_schemas::resource::{ObjectRef, StatusDocument};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::stand_in;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::stored::StoredDocument;
use super::work::{Piece, WorkUrgency};
use crate::report::note::Note;

/// A pending change to one Kubernetes object.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingChange {
    pub action: Option<ObjectWrite>,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    pub events: Vec<PendingEvent>,
    pub finalizer: Option<FinalizerCheck>,
    pub urgency: WorkUrgency,
}

#[derive(Debug, Clone)]
pub(super) enum ObjectWrite {
    /// Applies the status of the document. The object of a scheduled session is created first if it is missing.
    ApplyStatus {
        document: StoredDocument,
        session: Option<Uuid>,
    },
    Delete(DeleteTarget),
}

/// The object to delete: a name can be used again.
#[derive(Debug, Clone, Copy)]
pub(super) enum DeleteTarget {
    Object(Uuid),
    /// The object that stands for this scheduled session.
    StandIn(Uuid),
}

#[derive(Debug, Clone)]
pub(super) struct PendingEvent {
    pub note: Note,
    /// The configuration of the session, whose failures are shown on it too.
    pub configuration: Option<ObjectRef>,
}

/// Looks whether the finalizer of a Repository must be added or removed.
#[derive(Debug, Clone)]
pub(super) struct FinalizerCheck {
    pub repository: Uuid,
    /// How the session ended that deletes the data, once it has.
    pub outcome: Option<Note>,
}

impl PendingChange {
    pub fn status(document: &StatusDocument) -> Self {
        let session = stand_in::session_of(&document.metadata.common);
        Self { action: Some(ObjectWrite::ApplyStatus { document: document.into(), session }), ..Self::default() }
    }

    /// A status in which nothing but the progress is new. All other changes come before it.
    pub fn progress(document: &StatusDocument) -> Self {
        Self { urgency: WorkUrgency::Idle, ..Self::status(document) }
    }

    pub fn with_event(mut self, note: Option<Note>, configuration: Option<ObjectRef>) -> Self {
        self.events.extend(note.map(|note| PendingEvent { note, configuration }));
        self
    }

    pub fn labels(labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..Self::default() }
    }

    pub fn finalizer(repository: Uuid, outcome: Option<Note>) -> Self {
        Self { finalizer: Some(FinalizerCheck { repository, outcome }), ..Self::default() }
    }

    pub fn delete(identity: DeleteTarget) -> Self {
        Self { action: Some(ObjectWrite::Delete(identity)), ..Self::default() }
    }

    /// The scheduled session whose object is changed.
    pub fn session(&self) -> Option<Uuid> {
        match &self.action {
            Some(ObjectWrite::ApplyStatus { session, .. }) => *session,
            Some(ObjectWrite::Delete(DeleteTarget::StandIn(session))) => Some(*session),
            Some(ObjectWrite::Delete(DeleteTarget::Object(_))) | None => None,
        }
    }

    pub fn deletes(&self) -> bool {
        matches!(self.action, Some(ObjectWrite::Delete(_)))
    }
}

impl Piece for PendingChange {
    /// Adds a later change of the same object. Of two actions only the later one is done: a status after a deletion is
    /// that of another object with the same name, so the object to delete is gone already.
    fn merge(&mut self, later: Self) {
        self.action = later.action.or_else(|| self.action.take());
        self.labels.extend(later.labels);
        self.events.extend(later.events);
        self.finalizer = later.finalizer.or_else(|| self.finalizer.take());
        if later.urgency == WorkUrgency::Now {
            self.urgency = WorkUrgency::Now;
        }
    }

    fn urgency(&self) -> WorkUrgency {
        self.urgency
    }
}

pub(super) type PendingChanges = mpsc::UnboundedReceiver<(ObjectKey, PendingChange)>;

/// Takes changes for `apply`. In folder mode there are no objects to change, and it drops them.
#[derive(Clone, Default)]
pub(super) struct StatusSink(Option<mpsc::UnboundedSender<(ObjectKey, PendingChange)>>);

impl StatusSink {
    pub fn channel() -> (Self, PendingChanges) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    pub fn send(&self, key: &ObjectKey, change: impl FnOnce() -> PendingChange) {
        if let Some(sender) = &self.0 {
            // The receiver is dropped only when this reporter stops.
            let _ = sender.send((key.clone(), change()));
        }
    }
}
