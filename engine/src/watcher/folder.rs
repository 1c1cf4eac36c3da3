//! The watcher of a folder: gives objects their uids, publishes changed ones and the heads of refused ones, and publishes
//! tombstones for those whose deletion is confirmed. It must not validate references or start anything.
//!
//! A refused object that was valid before keeps its last valid form, so its head is published only if the bus has no such
//! form of it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use lagan_schemas::manifest::update_problems;
use lagan_schemas::resource::{Kind, Metadata, Object};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::folder::{Folder, FolderProblem, Scan};
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
/// Limit of objects that are being published at the same time. The server syncs its disk for many at once.
const PUBLISHING: usize = 64;
/// Name space of the UUIDs that stand for an object's content.
const CONTENT: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0002);
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
        let next = look(publisher, local, &mut memory).await?;
        intent.send_replace(true);
        let wait = next.map_or(RESCAN, |at| at.saturating_duration_since(Instant::now()).min(RESCAN));
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
    files: HashMap<ObjectKey, PathBuf>,
    /// The time at which each missing object was first missed.
    missing: HashMap<ObjectKey, Instant>,
    told: Vec<String>,
}

impl Memory {
    fn remember(&mut self, scan: &Scan) {
        let refused = scan.refused.iter().map(|(key, refused)| (key, &refused.file));
        let found = scan.objects.iter().map(|(key, found)| (key, &found.file)).chain(refused);
        self.files.extend(found.map(|(key, file)| (key.clone(), file.clone())));
    }

    /// The file that may hold a missing object and can't be read now.
    fn hidden_by<'s>(&self, key: &ObjectKey, scan: &'s Scan) -> Option<&'s FolderProblem> {
        scan.hidden_by(self.files.get(key).map(PathBuf::as_path))
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

/// Scans the folder, assigns identities and publishes. Returns the time at which a missing object may be buried.
async fn look(
    publisher: Publisher<'_>,
    local: &FolderSource,
    memory: &mut Memory,
) -> Result<Option<Instant>, EngineError> {
    let scan = scan(Arc::clone(&local.folder)).await?;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let assigned = local.ledger.update(|state| {
        let assigned = assign(&scan, state, now);
        (assigned.entries.clone(), assigned)
    })?;
    tell_problems(&scan, &assigned.changed, &mut memory.told);
    memory.remember(&scan);
    let refused = without_valid_form(&publisher.view(), assigned.refused);
    // Sessions that name them find the reason at once.
    for (key, refused) in &refused {
        publish_refused(publisher, key, refused).await;
    }
    // A session finds the objects that stand beside it in the folder.
    let (sessions, others): (Vec<_>, Vec<_>) = assigned.objects.values().partition(|object| is_session(object.kind()));
    for group in [others, sessions] {
        futures::stream::iter(group).for_each_concurrent(PUBLISHING, |object| publish_changed(publisher, object)).await;
    }
    let (kept, gone) = {
        let view = publisher.view();
        (kept(&view, &scan, memory), gone(&view, &scan))
    };
    for object in kept {
        publish_if_new(publisher, &object, None).await;
    }
    let confirmed_after = publisher.context.timing().deletion_confirmed_after();
    for (key, uid) in memory.confirmed(&scan, gone, (Instant::now(), confirmed_after)) {
        // The next look misses the object again.
        if !publisher.tenure.is_held() {
            break;
        }
        local.ledger.update(|_| (vec![LedgerEntry::Deleted { key: key.clone() }], ()))?;
        bury(publisher, &key, uid).await;
    }
    Ok(memory.missing.values().min().map(|since| *since + confirmed_after))
}

async fn publish_changed(publisher: Publisher<'_>, object: &Object) {
    let problems = {
        let view = publisher.view();
        let known = view.objects.get(&object.key()).filter(|known| known.metadata.uid == object.metadata.uid);
        // Compared in today's published form: an earlier version may have published more of the object.
        known.map(|known| update_problems(&Object::clone(known).published(), object)).unwrap_or_default()
    };
    match &problems[..] {
        // The next look compares again, so an object that was not published now is published then.
        [] => drop(publish_if_new(publisher, object, None).await),
        [problem, ..] => tracing::error!(object = %object.key(), problem, "change refused"),
    }
}

async fn scan(folder: Arc<Folder>) -> Result<Scan, EngineError> {
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
struct Assigned {
    objects: BTreeMap<ObjectKey, Object>,
    entries: Vec<LedgerEntry>,
    refused: BTreeMap<ObjectKey, Refused>,
    /// Problems of sessions that were changed.
    changed: Vec<String>,
}

/// Gives every object its identity: the one in the ledger, or a new one.
fn assign(scan: &Scan, state: &State, now: Timestamp) -> Assigned {
    let mut assigned = Assigned { refused: refused(scan), ..Assigned::default() };
    for (key, found) in &scan.objects {
        let content = content(&found.object);
        let identity = match state.objects.get(key).copied() {
            Some(known) if known.content == content => Identity { deleted: false, ..known },
            Some(known) if !known.deleted && is_session(key.kind) => {
                let (file, problem) = (found.file.display(), "spec: a session can't be changed; create a new one");
                assigned.changed.push(format!("{file}: {key}: {problem}"));
                let head = head(key, &found.object.api_version, format!("{file}: {problem}"));
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
        let mut object = found.object.clone();
        object.metadata.uid = Some(identity.uid);
        object.metadata.generation = identity.generation;
        object.metadata.creation_timestamp = Some(identity.created);
        assigned.objects.insert(key.clone(), object.published());
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

/// Identifies everything that the manifest holds. A change of an unpublished part, such as the body of a hook, is a change.
/// Of a session only the spec counts: with another label it is the same session, which must not run again.
fn content(object: &Object) -> Uuid {
    let text = if is_session(object.key().kind) {
        serde_json::json!([object.spec_json()])
    } else {
        serde_json::json!([object.spec_json(), object.metadata.labels, object.metadata.annotations])
    };
    Uuid::new_v5(&CONTENT, text.to_string().as_bytes())
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
