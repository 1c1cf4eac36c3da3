//! The view of RESOURCES: the last value of every object, and how far it has been read.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::{Bus, Followed, Start, Stored};
use lagan_schemas::event::ResourceEvent;
use lagan_schemas::resource::{Group, Kind, Object};
use lagan_schemas::subject::{Cluster, ObjectKey, RESOURCES, dead, stream_subjects};
use tokio::sync::watch;

use crate::run::EngineError;

/// The last value of every object. Values are shared, so a snapshot of one is cheap.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// Last sequence of each subject, tombstones too: what the watcher's compare-and-set expects.
    pub sequences: BTreeMap<ObjectKey, u64>,
    /// Everything up to this sequence has been taken in.
    pub position: u64,
}

impl View {
    /// Finds an object by name in `group`, else in the other groups of its kind.
    pub fn find(&self, kind: Kind, group: Group, namespace: Option<&str>, name: &str) -> Option<&Arc<Object>> {
        let groups = [group, Group::Lagan, Group::Stash, Group::AppCatalog];
        groups.into_iter().find_map(|group| {
            self.objects.get(&ObjectKey {
                group: group.as_str().to_owned(),
                kind,
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
            })
        })
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values().filter(move |object| object.kind() == kind)
    }

    fn take(&mut self, stored: &Stored) -> Result<(), String> {
        self.position = stored.sequence;
        let (_, key) = ObjectKey::parse(&stored.subject).map_err(|error| error.to_string())?;
        let event = ResourceEvent::from_bytes(&stored.payload).map_err(|error| lagan_schemas::error::chain(&error))?;
        self.sequences.insert(key.clone(), stored.sequence);
        match event.object {
            Some(value) => {
                let object = Object::from_json(value).map_err(|error| lagan_schemas::error::chain(&error))?;
                self.objects.insert(key, Arc::new(object));
            }
            None => drop(self.objects.remove(&key)),
        }
        Ok(())
    }
}

/// Shared handle: read it, or wait for it to change.
#[derive(Clone)]
pub(crate) struct Resources {
    view: Arc<RwLock<View>>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub position: u64,
    pub complete: bool,
}

impl Resources {
    pub fn new() -> Self {
        Self { view: Arc::default(), progress: watch::Sender::default() }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changes(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Wakes whoever waits for a change: something beside the objects themselves has become known about one.
    pub fn poke(&self) {
        self.progress.send_modify(|_| {});
    }

    pub async fn complete(&self) {
        let _ = self.changes().wait_for(|progress| progress.complete).await;
    }

    /// Follows the stream for ever; ends when the store under it was replaced.
    pub async fn follow(self, bus: Bus, cluster: Cluster) -> Result<(), EngineError> {
        let mut stream = follow(&bus, RESOURCES, vec![stream_subjects(RESOURCES, &cluster)], Start::All);
        let mut store = None;
        while let Some(item) = stream.next().await {
            match item {
                Followed::Store(found) if store.replace(found).is_some() => {
                    return Err(EngineError::StoreReplaced(RESOURCES));
                }
                Followed::Store(_) => {}
                Followed::CaughtUp => self.progress.send_modify(|progress| progress.complete = true),
                Followed::Message(stored) => {
                    let taken = self.view.write().unwrap_or_else(PoisonError::into_inner).take(&stored);
                    if let Err(why) = taken {
                        tracing::error!(
                            subject = stored.subject,
                            why,
                            "object can't be read, it is kept under lagan.dead"
                        );
                        let subject = dead(&cluster, &stored.subject);
                        if let Err(error) = lagan_bus::publish::dead(&bus, subject, &stored, &why).await {
                            tracing::warn!(%error, "dead message was not kept");
                        }
                    }
                    self.progress.send_modify(|progress| progress.position = stored.sequence);
                }
            }
        }
        Ok(())
    }
}
