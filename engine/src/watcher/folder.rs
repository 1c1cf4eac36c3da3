//! The watcher of a folder: gives objects their uids, publishes changed ones and the heads of refused ones, and publishes
//! tombstones for those whose deletion is confirmed. It must not validate references or start anything.
//!
//! A refused object that was valid before keeps its last valid form, so its head is published only if the bus has no such
//! form of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_schemas::manifest::update_problems;
use lagan_schemas::position::Position;
use lagan_schemas::resource::{Kind, Metadata, Object};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::folder::{Folder, FolderProblem, ManifestObject, Scan};
use lagan_sources::ledger::{Identity, LedgerEntry, State};
use lagan_sources::source::FolderSource;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::publish::{Publisher, bury, publish_if_new, publish_refused};
use crate::error::EngineError;
use crate::view::{Refused, UNREADABLE_MANIFEST, View};

/// Delay after a change: editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// Interval of looks without a change: inotify loses events on some filesystems.
const RESCAN: Duration = Duration::from_secs(60);
/// Delay of the next look when something could not be published. It doubles while that goes on.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
/// Limit of objects that are being published at the same time. The server syncs its disk for many at once.
const PUBLISHING: usize = 64;
/// Name space of the UUIDs that stand for refused objects. The ledger gives an object its own uid once it is valid.
const REFUSED: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0004);

pub(super) async fn watch(
    publisher: Publisher<'_>,
    local: &FolderSource,
    intent: &watch::Sender<bool>,
) -> Result<(), EngineError> {
    let (wake, mut woken) = mpsc::channel(1);
    let mut notifier = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // If the channel is full, a look is due already.
            let _ = wake.try_send(());
        }
    })?;
    for dir in local.folder.dirs() {
        notifier.watch(dir, RecursiveMode::Recursive)?;
    }
    let mut memory = Memory::default();
    loop {
        let looked = look(publisher, local, &mut memory).await?;
        intent.send_replace(true);
        let wait = memory.wait(&looked, Instant::now());
        tokio::select! {
            _ = woken.recv() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(wait) => {}
        }
        while woken.try_recv().is_ok() {}
    }
}

#[derive(Default)]
struct Memory {
    /// The file in which each object was last seen.
    files: HashMap<ObjectKey, Arc<Path>>,
    /// The time at which each missing object was first missed.
    missing: HashMap<ObjectKey, Instant>,
    told: Vec<String>,
    /// Number of looks in a row that left something unpublished.
    failures: u32,
    /// The folder and the bus as they agreed at the last look.
    agreed: Option<Agreed>,
    /// The last scan of which everything was published.
    published: Option<Arc<Scan>>,
}

/// A scan, and the position on the bus up to which it was compared with the objects there.
struct Agreed {
    scan: Arc<Scan>,
    position: Option<Position>,
}

/// The result of a look.
struct Looked {
    /// The time at which a missing object may be buried.
    burial: Option<Instant>,
    all_published: bool,
}

impl Memory {
    /// The time until the next look, if no file changes before.
    fn wait(&mut self, looked: &Looked, now: Instant) -> Duration {
        self.failures = if looked.all_published { 0 } else { self.failures.saturating_add(1) };
        let again = FIRST_AGAIN.saturating_mul(2_u32.saturating_pow(self.failures.saturating_sub(1)));
        let due = if self.failures == 0 { RESCAN } else { again.min(RESCAN) };
        looked.burial.map_or(due, |at| at.saturating_duration_since(now).min(due))
    }

    fn remember(&mut self, scan: &Scan) {
        let refused = scan.refused.iter().map(|(key, refused)| (key, &refused.file));
        let found = scan.objects.iter().map(|(key, found)| (key, &found.file)).chain(refused);
        self.files.extend(found.map(|(key, file)| (key.clone(), Arc::clone(file))));
    }

    /// The file that may hold a missing object and can't be read now.
    fn hidden_by<'s>(&self, key: &ObjectKey, scan: &'s Scan) -> Option<&'s FolderProblem> {
        scan.hidden_by(self.files.get(key).map(|file| &**file))
    }

    /// Lists the missing objects whose deletion is confirmed (P17): an earlier scan, `confirmed_after` ago, missed them too.
    /// An object is not missing if a file that can't be read now may hold it.
    fn confirmed(
        &mut self,
        scan: &Scan,
        mut gone: BTreeMap<ObjectKey, Uuid>,
        (now, confirmed_after): (Instant, Duration),
    ) -> Vec<(ObjectKey, Uuid)> {
        gone.retain(|key, _| self.hidden_by(key, scan).is_none());
        self.missing.retain(|key, _| gone.contains_key(key));
        for key in gone.keys() {
            self.missing.entry(key.clone()).or_insert(now);
        }
        gone.retain(|key, _| now.saturating_duration_since(self.missing[key]) >= confirmed_after);
        for key in gone.keys() {
            self.missing.remove(key);
            self.files.remove(key);
        }
        gone.into_iter().collect()
    }
}

/// Scans the folder, assigns identities and publishes.
async fn look(publisher: Publisher<'_>, local: &FolderSource, memory: &mut Memory) -> Result<Looked, EngineError> {
    let scan = scan(Arc::clone(&local.folder)).await?;
    let position = publisher.context.resources.changes().borrow().position;
    if memory.agreed.as_ref().is_some_and(|agreed| Arc::ptr_eq(&agreed.scan, &scan) && agreed.position == position) {
        return Ok(Looked { burial: None, all_published: true });
    }
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let assigned = local.ledger.update(|state| {
        let assigned = assign(&scan, state, now);
        (assigned.entries.clone(), assigned)
    })?;
    tell_problems(&scan, &assigned.changed, &mut memory.told);
    memory.remember(&scan);
    let refused = without_valid_form(&publisher.view(), assigned.refused);
    let left = AtomicBool::new(false);
    let mut all_published = true;
    // Sessions that name them find the reason at once.
    for (key, refused) in &refused {
        all_published &= publish_refused(publisher, key, refused).await;
    }
    // A session finds the objects that stand beside it in the folder.
    let news = news(&publisher.view(), &assigned.objects, memory.published.as_deref());
    let (sessions, others): (Vec<_>, Vec<_>) = news.into_iter().partition(|one| is_session(one.found.key().kind));
    for group in [others, sessions] {
        let left = &left;
        let publish = |one: &Identified<'_>| {
            let object = one.object();
            async move {
                let is_published = match object {
                    Ok(object) => publish_changed(publisher, &object).await,
                    Err(problem) => {
                        tracing::error!(%problem, "manifest can't be read again");
                        false
                    }
                };
                left.fetch_or(!is_published, Ordering::Relaxed);
            }
        };
        futures::stream::iter(group).for_each_concurrent(PUBLISHING, publish).await;
    }
    let (kept, gone) = {
        let view = publisher.view();
        (kept(&view, &scan, memory), gone(&view, &scan))
    };
    for object in kept {
        all_published &= publish_if_new(publisher, &object, None).await;
    }
    let confirmed_after = publisher.context.timing().deletion_confirmed_after();
    for (key, uid) in memory.confirmed(&scan, gone, (Instant::now(), confirmed_after)) {
        // The next look misses the object again.
        if !publisher.tenure.is_held() {
            break;
        }
        local.ledger.update(|_| (vec![LedgerEntry::Deleted { key: key.clone() }], ()))?;
        // If that failed, the next look misses the object again.
        all_published &= bury(publisher, &key, uid).await;
    }
    all_published &= !left.load(Ordering::Relaxed);
    let burial = memory.missing.values().min().map(|since| *since + confirmed_after);
    let agrees = all_published && burial.is_none() && scan.problems.is_empty();
    memory.published = all_published.then(|| Arc::clone(&scan));
    memory.agreed = agrees.then_some(Agreed { scan, position });
    Ok(Looked { burial, all_published })
}

/// Publishes an object unless its change is refused. Returns false if it has to be tried again.
async fn publish_changed(publisher: Publisher<'_>, object: &Object) -> bool {
    let problems = {
        let view = publisher.view();
        let known = view.objects.get(&object.key()).filter(|known| known.metadata.uid == object.metadata.uid);
        // Compared in today's published form: an earlier version may have published more of the object.
        known.map(|known| update_problems(&Object::clone(known).published(), object)).unwrap_or_default()
    };
    match &problems[..] {
        [] => publish_if_new(publisher, object, None).await,
        [problem, ..] => {
            tracing::error!(object = %object.key(), problem, "change refused");
            true
        }
    }
}

async fn scan(folder: Arc<Folder>) -> Result<Arc<Scan>, EngineError> {
    tokio::task::spawn_blocking(move || folder.scan()).await.map_err(EngineError::Panicked)
}

/// Logs each problem once, and again only after it was gone in between.
fn tell_problems(scan: &Scan, changed: &[String], told: &mut Vec<String>) {
    let problems: Vec<String> = scan.problems.iter().map(ToString::to_string).chain(changed.iter().cloned()).collect();
    for problem in problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::error!(problem, "manifest refused; an object that was valid stays as it was");
    }
    *told = problems;
}

#[derive(Debug, Default)]
struct Assigned<'s> {
    objects: BTreeMap<&'s ObjectKey, Identified<'s>>,
    entries: Vec<LedgerEntry>,
    refused: BTreeMap<ObjectKey, Refused>,
    /// Problems of sessions that were changed.
    changed: Vec<String>,
}

/// An object of the folder, and its identity.
#[derive(Debug, Clone, Copy)]
struct Identified<'s> {
    found: &'s ManifestObject,
    identity: Identity,
}

impl Identified<'_> {
    /// The object as it is published.
    fn object(&self) -> Result<Object, Box<FolderProblem>> {
        let mut object = self.found.object()?;
        object.metadata.uid = Some(self.identity.uid);
        object.metadata.generation = self.identity.generation;
        object.metadata.creation_timestamp = Some(self.identity.created);
        Ok(object.published())
    }

    /// Whether the bus still has what was published of the same document before.
    fn is_on(&self, view: &View, published: Option<&Scan>) -> bool {
        let before = published.and_then(|scan| scan.objects.get(self.found.key()));
        let known = view.objects.get(self.found.key()).map(|known| &known.metadata);
        before.is_some_and(|before| before.is_same(self.found))
            && known.is_some_and(|known| {
                known.uid == Some(self.identity.uid) && known.generation == self.identity.generation
            })
    }
}

/// The objects that may have to be published.
fn news<'a, 's>(
    view: &View,
    objects: &'a BTreeMap<&'s ObjectKey, Identified<'s>>,
    published: Option<&Scan>,
) -> Vec<&'a Identified<'s>> {
    objects.values().filter(|one| !one.is_on(view, published)).collect()
}

/// Gives every object its identity: the one in the ledger, or a new one.
fn assign<'s>(scan: &'s Scan, state: &State, now: Timestamp) -> Assigned<'s> {
    let mut assigned = Assigned { refused: refused(scan), ..Assigned::default() };
    for (key, found) in &scan.objects {
        let content = found.content;
        let identity = match state.objects.get(key).copied() {
            Some(known) if known.content == content => Identity { deleted: false, ..known },
            Some(known) if !known.deleted && is_session(key.kind) => {
                let (file, problem) = (found.file.display(), "spec: a session can't be changed; create a new one");
                assigned.changed.push(format!("{file}: {key}: {problem}"));
                let head = head(key, &found.api_version, format!("{file}: {problem}"));
                assigned.refused.insert(key.clone(), head);
                Identity { uid: known.uid, ..known }
            }
            Some(known) if !known.deleted => Identity { generation: known.generation + 1, content, ..known },
            _ => Identity { uid: Uuid::new_v4(), generation: 1, content, created: now, deleted: false },
        };
        if state.objects.get(key) != Some(&identity) {
            assigned.entries.push(LedgerEntry::Object { key: key.clone(), identity });
        }
        if identity.content != content {
            // The refused change is ignored, and the object stays as it was.
            continue;
        }
        assigned.objects.insert(key, Identified { found, identity });
    }
    assigned
}

/// Heads of the objects whose documents are refused. The reason begins with the place in the file.
fn refused(scan: &Scan) -> BTreeMap<ObjectKey, Refused> {
    let heads = scan.refused.iter().map(|(key, refused)| {
        let problem = format!("{}: {}", refused.place, refused.problem);
        (key.clone(), head(key, &refused.api_version, problem))
    });
    heads.collect()
}

fn head(key: &ObjectKey, api_version: &str, problem: String) -> Refused {
    let uid = Uuid::new_v5(&REFUSED, format!("{}/{key}", key.group).as_bytes());
    let metadata =
        Metadata { name: key.name.clone(), namespace: key.namespace.clone(), uid: Some(uid), ..Metadata::default() };
    Refused { metadata, api_version: api_version.to_owned(), problem }
}

/// The refused objects of which no valid form is in use.
fn without_valid_form(view: &View, mut refused: BTreeMap<ObjectKey, Refused>) -> BTreeMap<ObjectKey, Refused> {
    refused.retain(|key, _| !view.objects.contains_key(key));
    refused
}

fn is_session(kind: Kind) -> bool {
    matches!(kind, Kind::BackupSession | Kind::RestoreSession)
}

/// Objects whose file can't be read now, as they were, with the name of that file for the statuses that show them.
fn kept(view: &View, scan: &Scan, memory: &Memory) -> Vec<Object> {
    let missing = view.objects.iter().filter(|(key, _)| !scan.objects.contains_key(*key));
    let marked = missing.filter_map(|(key, object)| {
        let own = scan.refused.get(key).map(|refused| refused.place.clone());
        let place = own.or_else(|| memory.hidden_by(key, scan).map(FolderProblem::file))?;
        let mut object = Object::clone(object);
        object.metadata.annotations.insert(UNREADABLE_MANIFEST.to_owned(), place);
        Some(object)
    });
    marked.collect()
}

/// Objects on the bus, refused ones among them, that the scan did not find.
fn gone(view: &View, scan: &Scan) -> BTreeMap<ObjectKey, Uuid> {
    let is_found = |key: &ObjectKey| scan.objects.contains_key(key) || scan.refused.contains_key(key);
    let missing = view.uids().filter(|(key, _)| !is_found(key));
    missing.map(|(key, uid)| (key.clone(), uid)).collect()
}

#[cfg(test)]
mod tests;
