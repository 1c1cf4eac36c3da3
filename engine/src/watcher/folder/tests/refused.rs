//! Refused documents of a real folder, and what the view holds of their objects.

use lagan_schemas::resource::Group;
use lagan_sources::ledger::Ledger;

use super::*;
use crate::view::Lookup;

const GOOD: &str = "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: main}\nspec:\n  backend: {storageSecretName: s, local: {mountPath: /good}}\n";
const TYPO: &str = "unknown field `backnd`; did you mean `backend`?";

fn bad() -> String {
    GOOD.replace("backend:", "backnd:")
}

/// A folder, its ledger, and the view that an engine has of them.
struct Desk {
    dir: tempfile::TempDir,
    data: tempfile::TempDir,
    view: View,
    memory: Memory,
    now: Instant,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let [dir, data] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let desk = Self { dir, data, view: View::default(), memory: Memory::default(), now: Instant::now() };
        desk.write(files);
        desk
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (file, text) in files {
            std::fs::write(self.dir.path().join(file), text).unwrap();
        }
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.dir.path().join(file)).unwrap();
    }

    /// Looks as the watcher does, a minute after the last look. Returns the number of changes on the bus.
    fn look(&mut self) -> usize {
        let scan = Folder::new(vec![self.dir.path().to_owned()]).scan();
        let ledger = Ledger::open(self.data.path()).unwrap();
        let assigned = ledger.update(|state| {
            let assigned = assign(&scan, state, Timestamp::UNIX_EPOCH);
            (assigned.entries.clone(), assigned)
        });
        let assigned = assigned.unwrap();
        self.memory.remember(&scan);
        let mut changes = 0;
        for (key, refused) in without_valid_form(&self.view, assigned.refused) {
            changes += usize::from(self.view.refused.insert(key, refused.clone()).as_ref() != Some(&refused));
        }
        let objects = assigned.objects.values().map(|one| one.object().unwrap());
        for object in objects.chain(kept(&self.view, &scan, &self.memory)) {
            let key = object.key();
            self.view.refused.remove(&key);
            let known = self.view.objects.insert(key, object.clone().into());
            changes += usize::from(known.as_deref() != Some(&object));
        }
        self.now += Duration::from_secs(60);
        let gone = gone(&self.view, &scan);
        for (key, _) in self.memory.confirmed(&scan, gone, (self.now, Duration::from_secs(30))) {
            self.view.objects.remove(&key);
            self.view.refused.remove(&key);
            changes += 1;
        }
        changes
    }

    /// Looks until nothing changes: a deletion takes a second look.
    fn settle(&mut self) {
        while self.look() + self.look() > 0 {}
    }

    /// The state of Repository `main` for those who name it: the path of its storage, or the reason why it is invalid.
    fn main(&self) -> String {
        match self.view.look_up(Kind::Repository, Group::Lagan, Some("default"), "main") {
            Lookup::Absent => "absent".to_owned(),
            Lookup::Valid(object) => object.spec_json()["backend"]["local"]["mountPath"].as_str().unwrap().to_owned(),
            Lookup::Invalid(refused) => {
                assert!(refused.metadata.uid.is_some() && refused.metadata.name == "main", "{refused:?}");
                let prefix = format!("{}/", self.dir.path().display());
                format!("invalid: {}", refused.problem.strip_prefix(&prefix).unwrap())
            }
        }
    }
}

#[test]
fn an_object_that_was_never_valid_is_invalid_until_it_is_corrected_or_deleted() {
    let mut desk = Desk::new(&[("a.yaml", &bad())]);
    desk.look();
    assert_eq!(desk.main(), format!("invalid: a.yaml:5:3: {TYPO}"));
    assert_eq!(desk.look(), 0, "the same words are published once");
    desk.memory = Memory::default();
    assert_eq!(desk.look(), 0, "a restart changes nothing");
    desk.write(&[("a.yaml", &GOOD.replace("storageSecretName: s", "storageSecretName: ''"))]);
    desk.look();
    let rule = "invalid: a.yaml:1:1: backend.storageSecretName: name the Secret";
    assert!(desk.main().starts_with(rule), "the words of the rule alone, as in a cluster: {}", desk.main());
    desk.write(&[("a.yaml", GOOD)]);
    desk.look();
    assert_eq!(desk.main(), "/good");
    assert!(desk.view.refused.is_empty());
    let state = Ledger::open(desk.data.path()).unwrap();
    let generations = state.read(|state| state.objects.values().map(|known| known.generation).collect::<Vec<_>>());
    assert_eq!(generations.unwrap(), [1], "only the valid form counts");

    let mut desk = Desk::new(&[("a.yaml", &bad())]);
    desk.look();
    desk.remove("a.yaml");
    assert_eq!(desk.look(), 0, "a deletion needs a second look");
    desk.settle();
    assert_eq!(desk.main(), "absent");
    assert!(desk.view.refused.is_empty());
}

#[test]
fn an_object_that_was_valid_keeps_that_form_while_its_document_is_refused() {
    let mut desk = Desk::new(&[("a.yaml", GOOD)]);
    desk.look();
    desk.write(&[("a.yaml", &bad())]);
    desk.settle();
    assert_eq!(desk.main(), "/good");
    assert!(desk.view.refused.is_empty());
    desk.memory = Memory::default();
    desk.settle();
    assert_eq!(desk.main(), "/good", "also after a restart");
    // Its document may move to another file before it is corrected.
    desk.remove("a.yaml");
    desk.write(&[("b.yaml", &bad())]);
    desk.settle();
    assert_eq!(desk.main(), "/good");
    desk.write(&[("b.yaml", &GOOD.replace("/good", "/new"))]);
    desk.look();
    assert_eq!(desk.main(), "/new");
    desk.write(&[("b.yaml", &bad())]);
    desk.look();
    desk.remove("b.yaml");
    desk.settle();
    assert_eq!(desk.main(), "absent", "refused and then deleted");
    // Without a last valid form, as after a loss of JetStream, it is invalid.
    let mut desk = Desk::new(&[("a.yaml", GOOD)]);
    desk.look();
    desk.view = View::default();
    desk.write(&[("a.yaml", &bad())]);
    desk.look();
    assert!(desk.main().starts_with("invalid: a.yaml:5:3"), "{}", desk.main());
}

#[test]
fn the_first_document_of_an_object_counts_even_if_it_is_refused() {
    let other = GOOD.replace("/good", "/other");
    let mut desk = Desk::new(&[("a.yaml", &bad()), ("b.yaml", &other)]);
    desk.look();
    assert!(desk.main().starts_with("invalid: a.yaml:"), "{}", desk.main());
    desk.remove("a.yaml");
    desk.look();
    assert_eq!(desk.main(), "/other");
    desk.write(&[("a.yaml", &bad())]);
    desk.settle();
    assert_eq!(desk.main(), "/other", "its last valid form");
    let mut desk = Desk::new(&[("a.yaml", GOOD), ("b.yaml", &bad())]);
    desk.settle();
    assert_eq!(desk.main(), "/good");
    assert!(desk.view.refused.is_empty());
    desk.write(&[("a.yaml", &bad()), ("b.yaml", &other)]);
    desk.settle();
    assert_eq!(desk.main(), "/good", "another place does not take its part");
}

#[test]
fn documents_of_one_file_are_judged_each_for_itself() {
    let second = GOOD.replace("name: main", "name: second");
    let mut desk = Desk::new(&[("a.yaml", &format!("{second}---\n{}", bad()))]);
    desk.look();
    assert_eq!(desk.main(), format!("invalid: a.yaml:11:3: {TYPO}"));
    assert_eq!(desk.view.objects.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["second"]);
    desk.write(&[("a.yaml", &second)]);
    desk.settle();
    assert_eq!((desk.main().as_str(), desk.view.refused.len(), desk.view.objects.len()), ("absent", 0, 1));
}

#[test]
fn a_document_that_can_not_be_parsed_changes_nothing_about_any_object() {
    let mut desk = Desk::new(&[("a.yaml", &format!("{}  broken: [\n", bad()))]);
    desk.settle();
    assert_eq!((desk.main().as_str(), desk.view.refused.len()), ("absent", 0), "nobody can tell whose it is");
    desk.write(&[("a.yaml", &bad())]);
    desk.look();
    desk.write(&[("a.yaml", "kind: [\n")]);
    desk.settle();
    assert!(desk.main().starts_with("invalid: a.yaml:5:3"), "it may still be there: {}", desk.main());
    desk.remove("a.yaml");
    desk.settle();
    assert_eq!(desk.main(), "absent");
}

#[test]
fn a_refused_object_hides_the_valid_one_of_another_group() {
    let stash = GOOD.replace("lagan.dev", "stash.appscode.com");
    let mut desk = Desk::new(&[("a.yaml", &bad()), ("b.yaml", &stash)]);
    desk.settle();
    assert!(desk.main().starts_with("invalid: "), "{}", desk.main());
    desk.remove("a.yaml");
    desk.settle();
    assert_eq!(desk.main(), "/good", "that of Stash");
}

#[test]
fn a_changed_session_stays_as_it_was_and_is_invalid_if_that_form_is_lost() {
    let mut desk = Desk::new(&[("r.yaml", RESTORE)]);
    desk.look();
    let (key, first) = desk.view.objects.first_key_value().map(|(key, object)| (key.clone(), object.clone())).unwrap();
    desk.write(&[("r.yaml", &RESTORE.replace("name: repo", "name: other"))]);
    desk.settle();
    assert_eq!(desk.view.objects[&key], first);
    assert!(desk.view.refused.is_empty());
    desk.view = View::default();
    desk.settle();
    let problem = &desk.view.refused[&key].problem;
    assert!(problem.ends_with("r.yaml: spec: a session can't be changed; create a new one"), "{problem}");
    desk.write(&[("r.yaml", RESTORE)]);
    desk.settle();
    assert_eq!(desk.view.objects[&key].metadata.uid, first.metadata.uid);
    assert!(desk.view.refused.is_empty());
}

#[test]
fn a_kept_configuration_names_the_place_of_its_own_document() {
    let configuration = "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {name: c}\nspec:\n  schedule: '@daily'\n  repository: {name: main}\n  retentionPolicy: {name: k, keepLast: 1}\n  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}\n";
    let mut desk = Desk::new(&[("a.yaml", configuration)]);
    desk.look();
    desk.write(&[("a.yaml", &format!("{}---\n{}", bad(), configuration.replace("schedule", "shedule")))]);
    desk.look();
    let object = desk.view.of_kind(Kind::BackupConfiguration).next().unwrap();
    let place = &object.metadata.annotations[UNREADABLE_MANIFEST];
    assert!(place.ends_with("a.yaml:11:3"), "{place}");
}
