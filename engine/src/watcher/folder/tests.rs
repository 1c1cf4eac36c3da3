#![allow(clippy::unwrap_used, reason = "tests")]

mod refused;

use lagan_schemas::manifest::{Manifest, parse};

use super::*;

fn scan_of(text: &str) -> Scan {
    let mut scan = Scan::default();
    for manifest in parse("test.yaml", text) {
        let Manifest::Object(object) = manifest.unwrap() else { continue };
        scan.objects.insert(object.key(), ManifestObject::new(*object, Path::new("test.yaml").into()));
    }
    scan
}

#[test]
fn what_was_not_published_is_looked_at_again_soon_and_ever_more_rarely() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    let mut waits = |all_published: bool, burial: Option<u64>| {
        let burial = burial.map(|seconds| now + Duration::from_secs(seconds));
        memory.wait(&Looked { burial, all_published }, now).as_secs()
    };
    assert_eq!([waits(true, None), waits(true, Some(30)), waits(true, Some(300))], [60, 30, 60]);
    let failing: Vec<u64> = (0..8).map(|_| waits(false, Some(50))).collect();
    assert_eq!(failing, [1, 2, 4, 8, 16, 32, 50, 50]);
    assert_eq!([waits(false, None), waits(true, None), waits(false, None)], [60, 60, 1]);
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
    let uid = first.objects[&key].identity.uid;
    let mut entries = first.entries.clone();
    entries.push(LedgerEntry::Deleted { key: key.clone() });
    let ledger = state_after(entries, dir.path());
    let again = ledger.read(|state| assign(&scan, state, Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(again.objects[&key].identity.uid, uid);
    let labelled = scan_of(&RESTORE.replace("name: r,", "name: r, labels: {team: a},"));
    let again = ledger.read(|state| assign(&labelled, state, Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(again.objects[&key].identity.uid, uid, "with another label it does not run again");
    let other = scan_of(&RESTORE.replace("name: repo", "name: other"));
    let replaced = ledger.read(|state| assign(&other, state, Timestamp::UNIX_EPOCH)).unwrap();
    assert_ne!(replaced.objects[&key].identity.uid, uid);
}

#[test]
fn a_session_can_not_be_changed_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let scan = scan_of(RESTORE);
    let ledger = state_after(assign(&scan, &State::default(), Timestamp::UNIX_EPOCH).entries, dir.path());
    let changed = scan_of(&RESTORE.replace("name: repo", "name: other"));
    let assigned = ledger.read(|state| assign(&changed, state, Timestamp::UNIX_EPOCH)).unwrap();
    assert!(assigned.objects.is_empty() && assigned.entries.is_empty());
    assert!(assigned.changed[0].contains("can't be changed"), "{:?}", assigned.changed);
    let labelled = scan_of(&RESTORE.replace("name: r,", "name: r, labels: {team: a},"));
    let assigned = ledger.read(|state| assign(&labelled, state, Timestamp::UNIX_EPOCH)).unwrap();
    assert!(assigned.changed.is_empty() && assigned.objects.len() == 1, "{:?}", assigned.changed);
}

#[test]
fn a_change_that_is_not_published_is_a_change_all_the_same() {
    let configuration = |body: &str| {
        scan_of(&format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {{name: c, namespace: n}}\nspec:\n  schedule: '@daily'\n  repository: {{name: r}}\n  retentionPolicy: {{name: k, keepLast: 1}}\n  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}}}\n  hooks: {{preBackup: {{httpPost: {{port: 80, body: {body}}}}}}}\n"
        ))
    };
    let dir = tempfile::tempdir().unwrap();
    let (earlier, later) = (configuration("first"), configuration("second"));
    let first = assign(&earlier, &State::default(), Timestamp::UNIX_EPOCH);
    let ledger = state_after(first.entries.clone(), dir.path());
    let second = ledger.read(|state| assign(&later, state, Timestamp::UNIX_EPOCH)).unwrap();
    let (key, before) = first.objects.first_key_value().unwrap();
    let (before, after) = (before.object().unwrap(), second.objects[key].object().unwrap());
    assert_eq!((before.metadata.generation, after.metadata.generation), (1, 2));
    assert_eq!((before.metadata.uid, &before.spec), (after.metadata.uid, &after.spec));
    assert_ne!(before, after, "so it is published again");
}

#[test]
fn an_object_is_published_again_when_its_document_was_read_anew_or_the_bus_has_another() {
    let earlier = scan_of(RESTORE);
    let assigned = assign(&earlier, &State::default(), Timestamp::UNIX_EPOCH);
    let count = |view: &View, published: Option<&Scan>| news(view, &assigned.objects, published).len();
    let mut view = View::default();
    assert_eq!(count(&view, Some(&earlier)), 1, "the bus does not have it");
    let published = assigned.objects.values().next().unwrap().object().unwrap();
    view.objects.insert(published.key(), published.clone().into());
    assert_eq!(count(&view, Some(&earlier)), 0);
    assert_eq!(count(&view, None), 1, "this process has published nothing yet");
    assert_eq!(count(&view, Some(&scan_of(RESTORE))), 1, "another reading, perhaps with another label");
    let mut other = published;
    other.metadata.generation += 1;
    view.objects.insert(other.key(), other.into());
    assert_eq!(count(&view, Some(&earlier)), 1);
}
