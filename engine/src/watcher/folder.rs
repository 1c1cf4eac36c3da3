//! The watcher of a folder: gives objects their uids, publishes changed ones, and publishes tombstones for those whose
//! deletion is confirmed. It must not validate references or start anything.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::manifest::update_problems;
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::folder::{Folder, FolderProblem, Scan};
use lagan_sources::ledger::{Identity, LedgerEntry, State};
use lagan_sources::source::FolderSource;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::publish::{bury, publish_if_new};
use crate::context::Context;
use crate::error::EngineError;
use crate::view::{UNREADABLE_MANIFEST, View};

/// Delay after a change: editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// Interval of looks without a change: inotify loses events on some filesystems.
const RESCAN: Duration = Duration::from_secs(60);
/// Name space of the UUIDs that stand for an object's content.
const CONTENT: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0002);

pub(super) async fn watch(
    context: &Context,
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
        let next = look(context, local, &mut memory).await?;
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
        self.files.extend(scan.objects.iter().map(|(key, found)| (key.clone(), found.file.clone())));
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
async fn look(context: &Context, local: &FolderSource, memory: &mut Memory) -> Result<Option<Instant>, EngineError> {
    let scan = scan(Arc::clone(&local.folder)).await?;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let assigned = local.ledger.update(|state| {
        let assigned = assign(&scan, state, now);
        (assigned.entries.clone(), assigned)
    })?;
    tell_problems(&scan, &assigned.refused, &mut memory.told);
    memory.remember(&scan);
    for object in assigned.objects.values() {
        let problems = {
            let view = context.resources.read();
            let known = view.objects.get(&object.key()).filter(|known| known.metadata.uid == object.metadata.uid);
            // Compared in today's published form: an earlier version may have published more of the object.
            known.map(|known| update_problems(&Object::clone(known).published(), object)).unwrap_or_default()
        };
        match &problems[..] {
            // The next look compares again, so an object that was not published now is published then.
            [] => drop(publish_if_new(context, object, None).await),
            [problem, ..] => tracing::error!(object = %object.key(), problem, "change refused"),
        }
    }
    let (kept, gone) = {
        let view = context.resources.read();
        (kept(&view, &scan, memory), gone(&view, &scan))
    };
    for object in kept {
        publish_if_new(context, &object, None).await;
    }
    let confirmed_after = context.timing().deletion_confirmed_after();
    for (key, uid) in memory.confirmed(&scan, gone, (Instant::now(), confirmed_after)) {
        local.ledger.update(|_| (vec![LedgerEntry::Deleted { key: key.clone() }], ()))?;
        bury(context, &key, uid).await;
    }
    Ok(memory.missing.values().min().map(|since| *since + confirmed_after))
}

async fn scan(folder: Arc<Folder>) -> Result<Scan, EngineError> {
    tokio::task::spawn_blocking(move || folder.scan()).await.map_err(EngineError::Panicked)
}

/// Logs each problem once, and again only after it was gone in between.
fn tell_problems(scan: &Scan, refused: &[String], told: &mut Vec<String>) {
    let problems: Vec<String> = scan.problems.iter().map(ToString::to_string).chain(refused.iter().cloned()).collect();
    for problem in problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::error!(problem, "manifest refused; the object stays as it was before");
    }
    *told = problems;
}

#[derive(Debug, Default)]
struct Assigned {
    objects: BTreeMap<ObjectKey, Object>,
    entries: Vec<LedgerEntry>,
    refused: Vec<String>,
}

/// Gives every object its identity: the one in the ledger, or a new one.
fn assign(scan: &Scan, state: &State, now: Timestamp) -> Assigned {
    let mut assigned = Assigned::default();
    for (key, found) in &scan.objects {
        let content = content(&found.object);
        let identity = match state.objects.get(key).copied() {
            Some(known) if known.content == content => Identity { deleted: false, ..known },
            Some(known) if !known.deleted && is_session(key.kind) => {
                let file = found.file.display();
                assigned.refused.push(format!("{file}: {key}: spec: a session can't be changed; create a new one"));
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

fn is_session(kind: Kind) -> bool {
    matches!(kind, Kind::BackupSession | Kind::RestoreSession)
}

/// Identifies everything that the manifest holds. A change of an unpublished part, such as the body of a hook, is a change.
fn content(object: &Object) -> Uuid {
    let text = serde_json::json!([object.spec_json(), object.metadata.labels, object.metadata.annotations]);
    Uuid::new_v5(&CONTENT, text.to_string().as_bytes())
}

/// Objects whose file can't be read now, as they were, with the name of that file for the statuses that show them.
fn kept(view: &View, scan: &Scan, memory: &Memory) -> Vec<Object> {
    let missing = view.objects.iter().filter(|(key, _)| !scan.objects.contains_key(*key));
    let marked = missing.filter_map(|(key, object)| {
        let problem = memory.hidden_by(key, scan)?;
        let mut object = Object::clone(object);
        object.metadata.annotations.insert(UNREADABLE_MANIFEST.to_owned(), problem.file());
        Some(object)
    });
    marked.collect()
}

/// Objects on the bus that the scan did not find.
fn gone(view: &View, scan: &Scan) -> BTreeMap<ObjectKey, Uuid> {
    let missing = view.objects.iter().filter(|(key, _)| !scan.objects.contains_key(*key));
    missing.map(|(key, object)| (key.clone(), object.metadata.uid.unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use lagan_schemas::manifest::{Manifest, parse};
    use lagan_sources::folder::ManifestObject;

    fn scan_of(text: &str) -> Scan {
        let mut scan = Scan::default();
        for manifest in parse("test.yaml", text) {
            let Manifest::Object(object) = manifest.unwrap() else { continue };
            scan.objects.insert(object.key(), ManifestObject { object: *object, file: "test.yaml".into() });
        }
        scan
    }

    #[test]
    fn a_broken_file_keeps_its_own_objects_and_delays_no_other_deletion() {
        let repository = |name: &str| {
            format!(
                "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {{name: {name}}}\nspec:\n  backend: {{storageSecretName: s, local: {{mountPath: /x}}}}\n"
            )
        };
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(vec![dir.path().to_owned()]);
        for name in ["broken", "deleted", "kept"] {
            std::fs::write(dir.path().join(format!("{name}.yaml")), repository(name)).unwrap();
        }
        let start = Instant::now();
        let wait = Duration::from_secs(30);
        let mut memory = Memory::default();
        let first = folder.scan();
        let all: BTreeMap<ObjectKey, Uuid> = first.objects.keys().map(|key| (key.clone(), Uuid::nil())).collect();
        memory.remember(&first);
        assert!(memory.confirmed(&first, BTreeMap::new(), (start, wait)).is_empty());

        std::fs::write(dir.path().join("broken.yaml"), "kind: [\n").unwrap();
        std::fs::remove_file(dir.path().join("deleted.yaml")).unwrap();
        let names = |memory: &mut Memory, at: Duration| -> Vec<String> {
            let scan = folder.scan();
            memory.remember(&scan);
            let gone = all.clone().into_iter().filter(|(key, _)| !scan.objects.contains_key(key)).collect();
            memory.confirmed(&scan, gone, (start + at, wait)).into_iter().map(|(key, _)| key.name).collect()
        };
        assert!(names(&mut memory, Duration::from_secs(1)).is_empty(), "the first scan that misses an object");
        assert!(names(&mut memory, Duration::from_secs(30)).is_empty(), "29 s later");
        assert_eq!(names(&mut memory, Duration::from_secs(31)), ["deleted"]);
        // A watcher that has just started does not know the files, so it waits.
        let mut fresh = Memory::default();
        for second in [0, 60, 120] {
            assert!(names(&mut fresh, Duration::from_secs(second)).is_empty());
        }
        // Once the file is readable and does not hold the object, its deletion takes as long as any other.
        std::fs::remove_file(dir.path().join("broken.yaml")).unwrap();
        assert!(names(&mut memory, Duration::from_secs(100)).iter().all(|name| name == "deleted"));
        assert!(names(&mut memory, Duration::from_secs(130)).contains(&"broken".to_owned()));
    }

    const RESTORE: &str = "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession\nmetadata: {name: r, namespace: n}\nspec:\n  repository: {name: repo}\n  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}\n";

    fn state_after(entries: Vec<LedgerEntry>, dir: &std::path::Path) -> lagan_sources::ledger::Ledger {
        let ledger = lagan_sources::ledger::Ledger::open(dir).unwrap();
        ledger.update(|_| (entries, ())).unwrap();
        ledger
    }

    #[test]
    fn a_session_that_reappears_unchanged_is_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let scan = scan_of(RESTORE);
        let first = assign(&scan, &State::default(), Timestamp::UNIX_EPOCH);
        let key = scan.objects.keys().next().unwrap().clone();
        let uid = first.objects[&key].metadata.uid;
        let mut entries = first.entries.clone();
        entries.push(LedgerEntry::Deleted { key: key.clone() });
        let ledger = state_after(entries, dir.path());
        let again = ledger.read(|state| assign(&scan, state, Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(again.objects[&key].metadata.uid, uid);
        let other = scan_of(&RESTORE.replace("name: repo", "name: other"));
        let replaced = ledger.read(|state| assign(&other, state, Timestamp::UNIX_EPOCH)).unwrap();
        assert_ne!(replaced.objects[&key].metadata.uid, uid);
    }

    #[test]
    fn a_session_can_not_be_changed_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let first = assign(&scan_of(RESTORE), &State::default(), Timestamp::UNIX_EPOCH);
        let ledger = state_after(first.entries, dir.path());
        let changed = scan_of(&RESTORE.replace("name: repo", "name: other"));
        let assigned = ledger.read(|state| assign(&changed, state, Timestamp::UNIX_EPOCH)).unwrap();
        assert!(assigned.objects.is_empty() && assigned.entries.is_empty());
        assert!(assigned.refused[0].contains("can't be changed"), "{:?}", assigned.refused);
    }

    #[test]
    fn a_change_that_is_not_published_is_a_change_all_the_same() {
        let configuration = |body: &str| {
            scan_of(&format!(
                "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {{name: c, namespace: n}}\nspec:\n  schedule: '@daily'\n  repository: {{name: r}}\n  retentionPolicy: {{name: k, keepLast: 1}}\n  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}}}\n  hooks: {{preBackup: {{httpPost: {{port: 80, body: {body}}}}}}}\n"
            ))
        };
        let dir = tempfile::tempdir().unwrap();
        let first = assign(&configuration("first"), &State::default(), Timestamp::UNIX_EPOCH);
        let ledger = state_after(first.entries.clone(), dir.path());
        let second = ledger.read(|state| assign(&configuration("second"), state, Timestamp::UNIX_EPOCH)).unwrap();
        let (key, before) = first.objects.first_key_value().unwrap();
        let after = &second.objects[key];
        assert_eq!((before.metadata.generation, after.metadata.generation), (1, 2));
        assert_eq!((before.metadata.uid, &before.spec), (after.metadata.uid, &after.spec));
        assert_ne!(before, after, "so it is published again");
    }
}
