//! The reporter's copy of STATUS, and writes to STATUS with compare-and-set.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_bus::follow::follow;
use lagan_bus::publish::{Publish, publish};
use lagan_bus::purge::purge_subject;
use lagan_bus::{Expect, Followed, HeaderMap, Start, Stored};
use lagan_schemas::error::chain;
use lagan_schemas::event::{CloudEvent, STATUS_CHANGED};
use lagan_schemas::position::StoreId;
use lagan_schemas::resource::backup_session::BackupSessionSpec;
use lagan_schemas::resource::{Kind, Status, StatusDocument};
use lagan_schemas::subject::{ObjectKey, STATUS, stream_subjects};
use serde::Deserialize as _;
use serde_json::json;
use uuid::Uuid;

use super::stored::StoredDocument;
use crate::context::Context;

pub(super) struct Statuses {
    entries: BTreeMap<ObjectKey, Entry>,
}

struct Entry {
    /// Sequence in the stream, for compare-and-set.
    sequence: u64,
    /// `None` if the stream holds something that is not a document. The next write replaces it.
    document: Option<StoredDocument>,
    /// Name of the configuration that a BackupSession names.
    invoker: Option<Box<str>>,
}

impl Entry {
    fn new(sequence: u64, document: &StatusDocument) -> Self {
        let spec = (document.kind == Kind::BackupSession).then(|| BackupSessionSpec::deserialize(&document.spec));
        let invoker = spec.and_then(Result::ok).map(|spec| spec.invoker.name.into());
        Self { sequence, document: Some(document.into()), invoker }
    }
}

impl Statuses {
    pub async fn load(context: &Context) -> Self {
        let filter = vec![stream_subjects(STATUS, context.cluster())];
        let mut stream = follow(&context.bus, STATUS, filter, Start::LastPerSubject);
        let mut statuses = Self { entries: BTreeMap::new() };
        while let Some(item) = stream.next().await {
            match item {
                Followed::Message(stored) => statuses.take(&stored),
                Followed::CaughtUp => break,
                Followed::Store(_) => statuses.entries.clear(),
            }
        }
        statuses
    }

    #[cfg(test)]
    pub fn of(documents: impl IntoIterator<Item = (ObjectKey, StatusDocument)>) -> Self {
        let entry = |(key, document)| (key, Entry::new(1, &document));
        Self { entries: documents.into_iter().map(entry).collect() }
    }

    fn take(&mut self, stored: &Stored) {
        let Ok((_, key)) = ObjectKey::parse(&stored.subject) else { return };
        // A later version reports kinds that this one does not know.
        if matches!(key.kind, Kind::Other(_)) {
            return;
        }
        let event = CloudEvent::from_bytes(&stored.payload).map_err(|error| chain(&error));
        let document = event.and_then(|event| serde_json::from_value(event.data).map_err(|error| error.to_string()));
        let entry = match document {
            Ok(document) => Entry::new(stored.sequence, &document),
            Err(error) => {
                tracing::warn!(object = %key, error, "status can't be read, it is made anew");
                Entry { sequence: stored.sequence, document: None, invoker: None }
            }
        };
        self.entries.insert(key, entry);
    }

    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    pub fn has(&self, key: &ObjectKey) -> bool {
        self.entries.contains_key(key)
    }

    fn stored(&self, key: &ObjectKey) -> Option<&StoredDocument> {
        self.entries.get(key)?.document.as_ref()
    }

    pub fn document(&self, key: &ObjectKey) -> Option<StatusDocument> {
        self.stored(key).map(StoredDocument::read)
    }

    /// The document under `key`, if it is about the object or session of this uid.
    pub fn document_of(&self, key: &ObjectKey, uid: Uuid) -> Option<StatusDocument> {
        self.document(key).filter(|document| document.is_of(uid))
    }

    pub fn has_same(&self, key: &ObjectKey, document: &StatusDocument) -> bool {
        self.stored(key) == Some(&document.into())
    }

    /// Sessions of configurations of this name.
    pub fn of_invoker(&self, name: &str) -> impl Iterator<Item = &ObjectKey> {
        self.entries.iter().filter(move |(_, entry)| entry.invoker.as_deref() == Some(name)).map(|(key, _)| key)
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

    /// The phase that the status of this session shows; empty without a status.
    pub fn phase_of(&self, key: &ObjectKey, uid: Uuid) -> String {
        self.document_of(key, uid).map(|document| document.status.session_phase().to_owned()).unwrap_or_default()
    }

    pub fn has_ended(&self, key: &ObjectKey) -> bool {
        self.document(key).is_some_and(|document| document.status.has_ended())
    }

    /// Writes a document unless the stream holds it already; false if it could not be written.
    pub async fn write(&mut self, context: &Context, key: &ObjectKey, document: &StatusDocument) -> bool {
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
        let sequence = self.entries.get(key).map_or(0, |entry| entry.sequence);
        let payload = Bytes::from(event.to_bytes());
        let value = Publish { subject: subject.clone(), message_id, headers: HeaderMap::new(), payload };
        match publish(&context.bus, STATUS, value, &Expect::Last { filter: subject.clone(), sequence }).await {
            Ok(sequence) => {
                self.entries.insert(key.clone(), Entry::new(sequence, document));
                true
            }
            Err(error) => {
                tracing::warn!(object = %key, error = chain(&error), "status was not written, it is tried again");
                self.reload(context, key, &subject).await;
                false
            }
        }
    }

    async fn reload(&mut self, context: &Context, key: &ObjectKey, subject: &str) {
        match lagan_bus::read::last(&context.bus, STATUS, subject).await {
            Ok(Some(stored)) => self.take(&stored),
            Ok(None) => drop(self.entries.remove(key)),
            Err(error) => tracing::debug!(error = chain(&error), "status can't be read back"),
        }
    }

    pub async fn remove(&mut self, context: &Context, key: &ObjectKey) {
        match purge_subject(&context.bus, STATUS, &key.status_subject(context.cluster())).await {
            Ok(()) => drop(self.entries.remove(key)),
            Err(error) => {
                tracing::warn!(object = %key, error = chain(&error), "status of a deleted object can't be removed yet");
            }
        }
    }
}
