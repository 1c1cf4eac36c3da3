//! The reporter's copy of STATUS, and writes to STATUS with compare-and-set. It can be used by several tasks of a reporter
//! at the same time; a task that reads a status to change it holds the lock of its key.

mod entries;
mod locks;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_bus::follow::follow;
use lagan_bus::publish::{Publish, publish};
use lagan_bus::purge::purge_subject;
use lagan_bus::{Expect, Followed, HeaderMap, Start};
use lagan_schemas::error::chain;
use lagan_schemas::event::{CloudEvent, STATUS_CHANGED};
use lagan_schemas::position::StoreId;
use lagan_schemas::resource::{Kind, Status, StatusDocument};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{ObjectKey, STATUS, stream_subjects};
use serde_json::json;
use tokio::sync::MutexGuard as KeyGuard;
use uuid::Uuid;

use self::entries::Entries;
pub(super) use self::entries::SessionEnd;
use self::locks::KeyLocks;
use super::position::StoredPosition;
use crate::context::Context;

#[derive(Default)]
pub(super) struct Statuses {
    entries: Mutex<Entries>,
    locks: KeyLocks,
}

impl Statuses {
    /// Reads STATUS, and the position up to which the ends of sessions are in it.
    pub async fn load(context: &Context) -> (Self, StoredPosition) {
        let filter = vec![stream_subjects(STATUS, context.cluster())];
        let mut stream = follow(&context.bus, STATUS, filter, Start::LastPerSubject);
        let (mut entries, mut position) = (Entries::default(), StoredPosition::default());
        while let Some(item) = stream.next().await {
            match item {
                Followed::Message(stored) if position.take(context.cluster(), &stored) => {}
                Followed::Message(stored) => entries.take(&stored),
                Followed::CaughtUp(_) => break,
                Followed::Store(_) => (entries, position) = (Entries::default(), StoredPosition::default()),
            }
        }
        (Self { entries: Mutex::new(entries), locks: KeyLocks::default() }, position)
    }

    #[cfg(test)]
    pub fn of(documents: impl IntoIterator<Item = (ObjectKey, StatusDocument)>) -> Self {
        let mut entries = Entries::default();
        for (key, document) in documents {
            entries.insert(key, 1, &document);
        }
        Self { entries: Mutex::new(entries), locks: KeyLocks::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other task changes the status of this key. A task holds one such lock at a time.
    pub async fn lock(&self, key: &ObjectKey) -> KeyGuard<'_, ()> {
        self.locks.lock(key).await
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        self.entries().keys().cloned().collect()
    }

    pub fn has(&self, key: &ObjectKey) -> bool {
        self.entries().has(key)
    }

    pub fn document(&self, key: &ObjectKey) -> Option<StatusDocument> {
        let stored = self.entries().stored(key).cloned();
        stored.map(|stored| stored.read())
    }

    /// The document under `key`, if it is about the object or session of this uid.
    pub fn document_of(&self, key: &ObjectKey, uid: Uuid) -> Option<StatusDocument> {
        self.document(key).filter(|document| document.is_of(uid))
    }

    pub fn has_same(&self, key: &ObjectKey, document: &StatusDocument) -> bool {
        let stored = self.entries().stored(key).cloned();
        stored == Some(document.into())
    }

    /// The ended sessions of a configuration, newest first.
    pub fn ended_of(&self, configuration: &ObjectKey) -> Vec<SessionEnd> {
        self.entries().ended_of(configuration)
    }

    /// The uids of all sessions whose statuses were folded from `store`, with the sequences up to which they were.
    pub fn folded_from(&self, store: StoreId) -> Vec<(Uuid, u64)> {
        let sessions: Vec<_> = {
            let entries = self.entries();
            let is_session = |key: &&ObjectKey| matches!(key.kind, Kind::BackupSession | Kind::RestoreSession);
            entries.keys().filter(is_session).filter_map(|key| entries.stored(key).cloned()).collect()
        };
        let folded = sessions.into_iter().filter_map(|stored| {
            let document = stored.read();
            let run = document.status.run().filter(|run| run.folded_store == Some(store))?;
            Some((document.metadata.common.uid?, run.folded_sequence))
        });
        folded.collect()
    }

    /// The uids of the sessions whose statuses say that they have not ended.
    pub fn not_ended(&self) -> Vec<Uuid> {
        let sessions: Vec<_> = {
            let entries = self.entries();
            let may_run = |key: &&ObjectKey| {
                matches!(key.kind, Kind::BackupSession | Kind::RestoreSession) && !entries.is_ended_backup(key)
            };
            entries.keys().filter(may_run).filter_map(|key| entries.stored(key).cloned()).collect()
        };
        let documents = sessions.into_iter().map(|stored| stored.read());
        documents.filter(|document| !document.status.has_ended()).filter_map(|one| one.metadata.common.uid).collect()
    }

    /// The status of an object, or an empty one.
    pub fn status<T: TryFrom<Status> + Default>(&self, key: &ObjectKey) -> T {
        self.document(key).and_then(|document| T::try_from(document.status).ok()).unwrap_or_default()
    }

    /// Returns the last sequence of `store` that the status of this session was folded from; 0 without such a status.
    pub fn folded_sequence(&self, key: &ObjectKey, uid: Uuid, store: Option<StoreId>) -> u64 {
        let document = self.document_of(key, uid);
        let run = document.as_ref().and_then(|document| document.status.run());
        run.filter(|run| run.folded_store == store).map_or(0, |run| run.folded_sequence)
    }

    /// Whether the status of this session says at least as much as its log. A log that was set back or made anew may let a
    /// session go on that had ended: an end is never replaced by what is none, and that of a restore by no other.
    pub fn says_as_much(&self, key: &ObjectKey, session: &Session, store: Option<StoreId>) -> bool {
        let Some(document) = self.document_of(key, session.key.uid) else { return false };
        match (document.status.has_ended(), session.phase.is_end()) {
            (true, false) => true,
            (false, true) => false,
            (true, true) if key.kind == Kind::RestoreSession => true,
            _ => document
                .status
                .run()
                .is_some_and(|run| run.folded_store == store && run.folded_sequence >= session.last_sequence),
        }
    }

    /// The phase that the status of this session shows; empty without a status.
    pub fn phase_of(&self, key: &ObjectKey, uid: Uuid) -> String {
        self.document_of(key, uid).map(|document| document.status.session_phase().to_owned()).unwrap_or_default()
    }

    pub fn has_ended(&self, key: &ObjectKey) -> bool {
        self.document(key).is_some_and(|document| document.status.has_ended())
    }

    /// Writes a document unless the stream holds it already; false if it could not be written.
    pub async fn write(&self, context: &Context, key: &ObjectKey, document: &StatusDocument) -> bool {
        if self.has_same(key, document) {
            return true;
        }
        let cluster = context.cluster();
        let subject = key.status_subject(cluster);
        let message_id = format!("{cluster}.status.{}", Uuid::now_v7().simple());
        let source = format!("/lagan/{cluster}/reporter");
        let (kind, now) = (STATUS_CHANGED.to_owned(), Timestamp::now());
        let event = CloudEvent::new(message_id.clone(), source, kind, now, json!(document))
            .about(key.to_string())
            .in_cluster(cluster.as_str());
        let sequence = self.entries().sequence(key);
        let payload = Bytes::from(event.to_bytes());
        let value = Publish { subject: subject.clone(), message_id, headers: HeaderMap::new(), payload };
        match publish(&context.bus, STATUS, value, &Expect::Last { filter: subject.clone(), sequence }).await {
            Ok(sequence) => {
                self.entries().insert(key.clone(), sequence, document);
                true
            }
            Err(error) => {
                tracing::warn!(object = %key, error = chain(&error), "status was not written, it is tried again");
                self.reload(context, key, &subject).await;
                false
            }
        }
    }

    async fn reload(&self, context: &Context, key: &ObjectKey, subject: &str) {
        match lagan_bus::read::last(&context.bus, STATUS, subject).await {
            Ok(Some(stored)) => self.entries().take(&stored),
            Ok(None) => self.entries().remove(key),
            Err(error) => tracing::debug!(error = chain(&error), "status can't be read back"),
        }
    }

    /// Removes a status; false if that has to be tried again.
    pub async fn remove(&self, context: &Context, key: &ObjectKey) -> bool {
        match purge_subject(&context.bus, STATUS, &key.status_subject(context.cluster())).await {
            Ok(()) => {
                self.entries().remove(key);
                true
            }
            Err(error) => {
                tracing::warn!(object = %key, error = chain(&error), "status of a deleted object can't be removed yet");
                false
            }
        }
    }
}
