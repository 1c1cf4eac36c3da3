//! Our copy of STATUS, and writing to it with compare-and-set.

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
use lagan_schemas::subject::{ObjectKey, STATUS, stream_subjects};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::document::Document;
use super::documents::has_ended;
use crate::context::Context;

pub(super) struct Statuses {
    entries: BTreeMap<ObjectKey, Entry>,
}

struct Entry {
    sequence: u64,
    document: Document,
    /// The configuration that a BackupSession names.
    invoker: Option<Box<str>>,
}

impl Entry {
    fn new(sequence: u64, document: &Value) -> Self {
        let invoker = document["spec"]["invoker"]["name"].as_str().map(Box::from);
        Self { sequence, document: document.into(), invoker }
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
    pub fn of(documents: impl IntoIterator<Item = (ObjectKey, Value)>) -> Self {
        let entry = |(key, document)| (key, Entry::new(1, &document));
        Self { entries: documents.into_iter().map(entry).collect() }
    }

    fn take(&mut self, stored: &Stored) {
        let (Ok((_, key)), Ok(event)) = (ObjectKey::parse(&stored.subject), CloudEvent::from_bytes(&stored.payload))
        else {
            return;
        };
        self.entries.insert(key, Entry::new(stored.sequence, &event.data));
    }

    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    pub fn has(&self, key: &ObjectKey) -> bool {
        self.entries.contains_key(key)
    }

    pub fn document(&self, key: &ObjectKey) -> Option<&Document> {
        self.entries.get(key).map(|entry| &entry.document)
    }

    pub fn value(&self, key: &ObjectKey) -> Option<Value> {
        self.document(key).map(Document::value)
    }

    /// Sessions of the configuration of this name.
    pub fn of_invoker(&self, name: &str) -> impl Iterator<Item = &ObjectKey> {
        self.entries.iter().filter(move |(_, entry)| entry.invoker.as_deref() == Some(name)).map(|(key, _)| key)
    }

    /// The status of an object, or an empty one.
    pub fn status<T: DeserializeOwned + Default>(&self, key: &ObjectKey) -> T {
        let status = self.value(key).map(|mut document| document["status"].take());
        status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default()
    }

    /// How far the status of this very session (a name can be used again) was folded.
    pub fn folded_sequence(&self, key: &ObjectKey, uid: Uuid) -> u64 {
        let Some(document) = self.value(key) else { return 0 };
        let same = document["metadata"]["uid"].as_str() == Some(uid.to_string().as_str());
        if same { document["status"]["foldedSequence"].as_u64().unwrap_or(0) } else { 0 }
    }

    /// The phase that is shown of this very session; empty if none is.
    pub fn phase_of(&self, key: &ObjectKey, uid: Uuid) -> String {
        let document = self.value(key).filter(|d| d["metadata"]["uid"].as_str() == Some(uid.to_string().as_str()));
        document.and_then(|document| document["status"]["phase"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub fn has_ended(&self, key: &ObjectKey) -> bool {
        self.value(key).is_some_and(|document| has_ended(&document))
    }

    /// Writes a document unless it stands there already; false if it could not be written.
    pub async fn write(&mut self, context: &Context, key: &ObjectKey, document: Value) -> bool {
        if self.document(key) == Some(&Document::from(&document)) {
            return true;
        }
        let entry = |sequence| Entry::new(sequence, &document);
        let cluster = context.cluster();
        let subject = key.status_subject(cluster);
        let message_id = format!("{cluster}.status.{}", Uuid::now_v7().simple());
        let source = format!("/lagan/{cluster}/reporter");
        let event =
            CloudEvent::new(message_id.clone(), source, STATUS_CHANGED.to_owned(), Timestamp::now(), document.clone())
                .about(key.to_string())
                .in_cluster(cluster.as_str());
        let sequence = self.entries.get(key).map_or(0, |entry| entry.sequence);
        let payload = Bytes::from(event.to_bytes());
        let value = Publish { subject: subject.clone(), message_id, headers: HeaderMap::new(), payload };
        match publish(&context.bus, STATUS, value, &Expect::Last { filter: subject.clone(), sequence }).await {
            Ok(sequence) => {
                self.entries.insert(key.clone(), entry(sequence));
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
            Err(error) => tracing::warn!(object = %key, error = chain(&error), "status of a gone object stays for now"),
        }
    }
}
