//! The view of RESOURCES: the last value of every object, and the position up to which the stream was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::{Bus, Followed, Start, Stored, tombstone};
use lagan_schemas::event::ResourceEvent;
use lagan_schemas::position::Position;
use lagan_schemas::resource::{Group, Kind, Metadata, Object};
use lagan_schemas::subject::{Cluster, ObjectKey, RESOURCES, dead, stream_subjects};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::error::EngineError;

/// Annotation of an object that the watcher keeps although its manifest can't be read now: the file and the position.
pub(crate) const UNREADABLE_MANIFEST: &str = "lagan.dev/unreadable-manifest";

/// The last value of every object. Values are shared, so cloning one is cheap.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// Objects that break a rule. Their statuses show the reason, and nothing runs by them.
    pub refused: BTreeMap<ObjectKey, Refused>,
    /// Last sequence of each subject but those with a tombstone: the watcher's compare-and-set expects it.
    pub sequences: BTreeMap<ObjectKey, u64>,
    pub lasting_tombstones: BTreeMap<ObjectKey, LastingTombstone>,
    /// Objects whose last message can't be read. The value before it stays, and the watcher publishes it again.
    pub unreadable: BTreeSet<ObjectKey>,
    /// Number of changes of objects that blueprints are about, or make.
    pub blueprint_changes: u64,
    /// The store that was read, and the last sequence of it.
    pub position: Option<Position>,
}

/// A tombstone of an earlier version, which does not expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastingTombstone {
    pub uid: Uuid,
    pub sequence: u64,
}

/// An invalid object: it breaks a rule that the API server does not check, or its manifest in a folder is refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub metadata: Metadata,
    pub api_version: String,
    pub problem: String,
}

/// The result of looking for an object by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lookup<'a> {
    Valid(&'a Arc<Object>),
    Invalid(&'a Refused),
    Absent,
}

impl<'a> Lookup<'a> {
    pub fn object(self) -> Option<&'a Arc<Object>> {
        match self {
            Self::Valid(object) => Some(object),
            Self::Invalid(_) | Self::Absent => None,
        }
    }
}

impl View {
    /// Finds a valid object by name in `group`, else in the other groups of its kind.
    pub fn find(&self, kind: Kind, group: Group, namespace: Option<&str>, name: &str) -> Option<&Arc<Object>> {
        self.look_up(kind, group, namespace, name).object()
    }

    /// Looks for an object by name in `group`, then in the other groups of its kind. An invalid object hides those of other
    /// groups: another place or another target must not silently take its part.
    pub fn look_up(&self, kind: Kind, group: Group, namespace: Option<&str>, name: &str) -> Lookup<'_> {
        let keys = [group, Group::Lagan, Group::Stash, Group::AppCatalog].map(|group| ObjectKey {
            group: group.as_str().to_owned(),
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        });
        let found = keys.iter().find_map(|key| {
            let valid = self.objects.get(key).map(Lookup::Valid);
            valid.or_else(|| self.refused.get(key).map(Lookup::Invalid))
        });
        found.unwrap_or(Lookup::Absent)
    }

    /// All valid objects of a kind. Keys are ordered by group and kind, so no others are visited.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        [Group::Lagan, Group::Stash, Group::AppCatalog].into_iter().flat_map(move |group| {
            let first = ObjectKey { group: group.as_str().to_owned(), kind, namespace: None, name: String::new() };
            let of_kind = self.objects.range(first..);
            of_kind
                .take_while(move |(key, _)| key.kind == kind && key.group == group.as_str())
                .map(|(_, object)| object)
        })
    }

    /// All objects, refused ones among them, with their uids.
    pub fn uids(&self) -> impl Iterator<Item = (&ObjectKey, Uuid)> {
        let valid = self.objects.iter().map(|(key, object)| (key, object.metadata.uid));
        let refused = self.refused.iter().map(|(key, refused)| (key, refused.metadata.uid));
        valid.chain(refused).map(|(key, uid)| (key, uid.unwrap_or_default()))
    }

    /// Takes in a message of RESOURCES and returns the object that changed. Kinds and groups of later versions pass by.
    fn take(&mut self, stored: &Stored) -> Result<Option<ObjectKey>, String> {
        if let Some(position) = &mut self.position {
            position.sequence = stored.sequence;
        }
        let (_, key) = ObjectKey::parse(&stored.subject).map_err(|error| error.to_string())?;
        // Also of a message that can't be read: the next one must expect it.
        self.sequences.insert(key.clone(), stored.sequence);
        self.unreadable.remove(&key);
        self.lasting_tombstones.remove(&key);
        let taken = self.take_event(&key, stored);
        if taken.is_err() {
            self.unreadable.insert(key);
        }
        taken
    }

    fn take_event(&mut self, key: &ObjectKey, stored: &Stored) -> Result<Option<ObjectKey>, String> {
        let event = ResourceEvent::from_bytes(&stored.payload).map_err(|error| lagan_schemas::error::chain(&error))?;
        if matches!(key.kind, Kind::Other(_)) || Group::of(&format!("{}/", key.group)) == Group::Other {
            return Ok(None);
        }
        match (event.object, event.problem) {
            (Some(value), Some(problem)) => {
                let metadata = serde_json::from_value(value["metadata"].clone()).map_err(|error| error.to_string())?;
                let api_version = value["apiVersion"].as_str().unwrap_or_default().to_owned();
                self.objects.remove(key);
                self.refused.insert(key.clone(), Refused { metadata, api_version, problem });
            }
            (Some(value), None) => {
                let mut object = Object::from_json(value).map_err(|error| lagan_schemas::error::chain(&error))?;
                object.ignored_fields = event.ignored_fields;
                self.refused.remove(key);
                self.objects.insert(key.clone(), Arc::new(object));
            }
            (None, _) => {
                self.objects.remove(key);
                self.refused.remove(key);
                self.sequences.remove(key);
                if !tombstone::expires(stored) {
                    let lasting = LastingTombstone { uid: event.uid, sequence: stored.sequence };
                    self.lasting_tombstones.insert(key.clone(), lasting);
                }
            }
        }
        if matches!(key.kind, Kind::AppBinding | Kind::BackupBlueprint | Kind::Repository | Kind::BackupConfiguration) {
            self.blueprint_changes += 1;
        }
        Ok(Some(key.clone()))
    }
}

/// A shared handle to the view, to read it or to wait for changes.
#[derive(Clone)]
pub(crate) struct Resources {
    view: Arc<RwLock<View>>,
    progress: watch::Sender<ReadProgress>,
    /// Each receives the key of every object that changed.
    listeners: Vec<mpsc::UnboundedSender<ObjectKey>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadProgress {
    pub position: Option<Position>,
    pub complete: bool,
}

impl ReadProgress {
    /// The last sequence that was read in the current store.
    pub fn sequence(self) -> u64 {
        self.position.map_or(0, |position| position.sequence)
    }

    /// Returns whether everything up to a position has been read. The position may be of an older store, which has no
    /// order with this one; then the view must be complete.
    pub fn has_reached(self, wanted: Position) -> bool {
        if mutant!("other-store-compared") {
            return self.sequence() >= wanted.sequence;
        }
        match self.position {
            Some(position) if position.store == wanted.store => position >= wanted,
            _ => self.complete,
        }
    }
}

impl Resources {
    pub fn new(listeners: Vec<mpsc::UnboundedSender<ObjectKey>>) -> Self {
        Self { view: Arc::default(), progress: watch::Sender::default(), listeners }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changes(&self) -> watch::Receiver<ReadProgress> {
        self.progress.subscribe()
    }

    /// Does with objects what `follow` does with the messages of a stream.
    #[cfg(test)]
    pub fn simulate(&self, change: impl FnOnce(&mut View), progress: ReadProgress) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut view);
        view.position = progress.position;
        drop(view);
        self.progress.send_replace(progress);
    }

    fn notify(&self, key: &ObjectKey) {
        for listener in &self.listeners {
            // A receiver is dropped only when the engine stops.
            let _ = listener.send(key.clone());
        }
    }

    /// Everything up to a sequence was read. The last messages may have expired, and a session may wait for their sequence.
    fn caught_up(&self, sequence: u64) {
        let advance = |position: &mut Option<Position>| {
            if let Some(position) = position {
                position.sequence = position.sequence.max(sequence);
            }
        };
        advance(&mut self.view.write().unwrap_or_else(PoisonError::into_inner).position);
        self.progress.send_modify(|progress| {
            advance(&mut progress.position);
            progress.complete = true;
        });
    }

    /// Waits until the stream has been read to its end once.
    pub async fn complete(&self) {
        let _ = self.changes().wait_for(|progress| progress.complete).await;
    }

    /// Follows the stream. It ends only with an error, when the store of the stream was replaced.
    pub async fn follow(self, bus: Bus, cluster: Cluster) -> Result<(), EngineError> {
        let mut stream = follow(&bus, RESOURCES, vec![stream_subjects(RESOURCES, &cluster)], Start::All);
        let mut store = None;
        while let Some(item) = stream.next().await {
            match item {
                Followed::Store(found) if store.replace(found).is_some() => {
                    return Err(EngineError::StoreReplaced(RESOURCES));
                }
                Followed::Store(store) => {
                    let position = Some(Position { store, sequence: 0 });
                    self.view.write().unwrap_or_else(PoisonError::into_inner).position = position;
                    self.progress.send_modify(|progress| progress.position = position);
                }
                Followed::CaughtUp(sequence) => self.caught_up(sequence),
                Followed::Message(stored) => {
                    let taken = self.view.write().unwrap_or_else(PoisonError::into_inner).take(&stored);
                    let why = match taken {
                        Ok(changed) => {
                            if let Some(key) = &changed {
                                self.notify(key);
                            }
                            None
                        }
                        Err(why) => Some(why),
                    };
                    if let Some(why) = why {
                        tracing::error!(
                            subject = stored.subject,
                            why,
                            "message can't be read, it is kept under lagan.dead"
                        );
                        let subject = dead(&cluster, &stored.subject);
                        if let Err(error) = lagan_bus::publish::dead(&bus, &subject, &stored, &why).await {
                            tracing::warn!(%error, "unreadable message was not kept");
                        }
                    }
                    self.progress.send_modify(|progress| {
                        if let Some(position) = &mut progress.position {
                            position.sequence = stored.sequence;
                        }
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
