//! The entries of STATUS, with an index of the ended sessions of each configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use lagan_bus::Stored;
use lagan_schemas::error::chain;
use lagan_schemas::event::CloudEvent;
use lagan_schemas::resource::backup_session::BackupSessionSpec;
use lagan_schemas::resource::{Kind, StatusDocument};
use lagan_schemas::subject::ObjectKey;
use serde::Deserialize as _;

use crate::reporter::stored::StoredDocument;

#[derive(Default)]
pub(super) struct Entries {
    entries: BTreeMap<ObjectKey, Entry>,
    /// The ended sessions of each configuration.
    history: HashMap<ObjectKey, BTreeSet<SessionEnd>>,
}

/// The end of a session. Ends are ordered by time, in whole seconds, and within a second by the sequence of the last fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::reporter) struct SessionEnd {
    pub time: Timestamp,
    pub sequence: u64,
    pub key: ObjectKey,
}

struct Entry {
    /// Sequence in the stream, for compare-and-set.
    sequence: u64,
    /// `None` if the stream holds something that is not a document. The next write replaces it.
    document: Option<StoredDocument>,
    /// The configuration of an ended BackupSession, and its end.
    end: Option<(ObjectKey, SessionEnd)>,
}

fn end(key: &ObjectKey, document: &StatusDocument) -> Option<(ObjectKey, SessionEnd)> {
    if document.kind != Kind::BackupSession {
        return None;
    }
    let spec = BackupSessionSpec::deserialize(&document.spec).ok()?;
    let run = document.status.run()?;
    let configuration = ObjectKey { kind: Kind::BackupConfiguration, name: spec.invoker.name, ..key.clone() };
    Some((configuration, SessionEnd { time: run.completion_time?, sequence: run.folded_sequence, key: key.clone() }))
}

impl Entries {
    pub fn take(&mut self, stored: &Stored) {
        let Ok((_, key)) = ObjectKey::parse(&stored.subject) else { return };
        // A later version reports kinds that this one does not know.
        if matches!(key.kind, Kind::Other(_)) {
            return;
        }
        let event = CloudEvent::from_bytes(&stored.payload).map_err(|error| chain(&error));
        let document = event.and_then(|event| serde_json::from_value(event.data).map_err(|error| error.to_string()));
        match document {
            Ok(document) => self.insert(key, stored.sequence, &document),
            Err(error) => {
                tracing::warn!(object = %key, error, "status can't be read, it is made anew");
                self.remove(&key);
                self.entries.insert(key, Entry { sequence: stored.sequence, document: None, end: None });
            }
        }
    }

    pub fn insert(&mut self, key: ObjectKey, sequence: u64, document: &StatusDocument) {
        self.remove(&key);
        let end = end(&key, document);
        if let Some((configuration, end)) = &end {
            self.history.entry(configuration.clone()).or_default().insert(end.clone());
        }
        self.entries.insert(key, Entry { sequence, document: Some(document.into()), end });
    }

    pub fn remove(&mut self, key: &ObjectKey) {
        let Some((configuration, end)) = self.entries.remove(key).and_then(|entry| entry.end) else { return };
        if let Some(ends) = self.history.get_mut(&configuration) {
            ends.remove(&end);
            if ends.is_empty() {
                self.history.remove(&configuration);
            }
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    pub fn has(&self, key: &ObjectKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether it is known without a look at the document that it is of a backup that has ended.
    pub fn is_ended_backup(&self, key: &ObjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.end.is_some())
    }

    pub fn sequence(&self, key: &ObjectKey) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.sequence)
    }

    pub fn stored(&self, key: &ObjectKey) -> Option<&StoredDocument> {
        self.entries.get(key)?.document.as_ref()
    }

    pub fn ended_of(&self, configuration: &ObjectKey) -> Vec<SessionEnd> {
        self.history.get(configuration).into_iter().flat_map(|ends| ends.iter().rev().cloned()).collect()
    }
}
