#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::manifest::{Manifest, parse};
use lagan_sources::Source;
use lagan_sources::folder::Folder;
use lagan_sources::ledger::{Identity, Ledger, LedgerEntry};
use lagan_sources::source::FolderSource;
use uuid::Uuid;

use super::*;

const BINDING: &str = "\
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: shop, namespace: demo, annotations: {lagan.dev/backup-blueprint: nightly}}
spec: {type: mariadb, clientConfig: {service: {name: shop, port: 3306}}}
";

fn blueprint(hooks: &str) -> String {
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: BackupBlueprint
metadata: {{name: nightly}}
spec:
  backend: {{storageSecretName: s, local: {{mountPath: /backups}}}}
  schedule: '@daily'
  retentionPolicy: {{name: few, keepLast: 5}}
{hooks}"
    )
}

fn body(token: &str) -> String {
    format!("  hooks: {{preBackup: {{httpPost: {{port: 80, body: {token}}}}}}}\n")
}

/// A folder of manifests and its ledger, and the view that a watcher makes of it.
struct World {
    dir: tempfile::TempDir,
    source: Source,
    local: FolderSource,
    view: View,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = FolderSource {
            folder: Folder::new(vec![dir.path().to_owned()]).into(),
            ledger: Ledger::open(dir.path()).unwrap().into(),
            objects: dir.path().to_owned(),
            data_dir: dir.path().to_owned(),
        };
        Self { dir, source: Source::from(local.clone()), local, view: View::default() }
    }

    fn object_in(text: &str) -> Object {
        let mut found = parse("test.yaml", text).into_iter().map(Result::unwrap);
        let Some(Manifest::Object(object)) = found.next() else { unreachable!("one object") };
        *object
    }

    /// Into the folder and the ledger.
    fn write(&self, text: &str, uid: u128) {
        let object = Self::object_in(text);
        std::fs::write(self.dir.path().join(format!("{}.yaml", object.kind())), text).unwrap();
        let identity = Identity {
            uid: Uuid::from_u128(uid),
            generation: 1,
            content: Uuid::nil(),
            created: jiff::Timestamp::UNIX_EPOCH,
            deleted: false,
        };
        self.local.ledger.update(|_| (vec![LedgerEntry::Object { key: object.key(), identity }], ())).unwrap();
    }

    /// As the watcher would publish it.
    fn publish(&mut self, mut object: Object, uid: u128, generation: i64) {
        object.metadata.uid = Some(Uuid::from_u128(uid));
        object.metadata.generation = generation;
        let published = Object::from_json(object.published().to_json()).unwrap();
        self.view.objects.insert(published.key(), Arc::new(published));
    }

    fn work(&self) -> Work {
        Known::default().look(&self.view)
    }

    /// What stands in the folder for the generated configuration.
    async fn made(&self) -> Option<Object> {
        let key = ObjectKey {
            group: Group::Lagan.as_str().to_owned(),
            kind: Kind::BackupConfiguration,
            namespace: Some("demo".to_owned()),
            name: "app-shop".to_owned(),
        };
        self.source.object(&key).await.unwrap()
    }
}

/// A blueprint with a hook, in the folder and in the view.
fn with_hook(token: &str, uid: u128, generation: i64) -> World {
    let mut world = World::new();
    world.publish(World::object_in(BINDING), 1, 1);
    world.write(&blueprint(&body(token)), uid);
    world.publish(World::object_in(&blueprint(&body(token))), uid, generation);
    world
}

#[tokio::test]
async fn an_object_gets_the_content_of_hooks_and_follows_its_change() {
    let mut world = with_hook("FIRST", 2, 1);
    let mut blueprints = Blueprints::default();
    for object in world.work().put {
        assert!(!object.to_json().to_string().contains("FIRST"), "the view does not know it");
        blueprints.put(&world.source, object).await.unwrap();
    }
    let made = world.made().await.unwrap();
    assert!(made.to_json().to_string().contains("FIRST"));
    assert_eq!(made.metadata.annotations[HOOKS_OF], format!("{}/1", Uuid::from_u128(2)));

    // What was made is what should be there.
    for object in Derivations::default().derive(&world.view).pairs.into_iter().flatten() {
        world.publish(Object::clone(&object), 3, 1);
    }
    world.publish(made, 4, 1);
    assert!(world.work().put.is_empty());

    // Only the body is another one, so the shape is the same.
    world.write(&blueprint(&body("SECOND")), 2);
    world.publish(World::object_in(&blueprint(&body("SECOND"))), 2, 2);
    let put = world.work().put;
    assert_eq!(put.len(), 1);
    for object in put {
        Blueprints::default().put(&world.source, object).await.unwrap();
    }
    assert!(world.made().await.unwrap().to_json().to_string().contains("SECOND"));
}

#[tokio::test]
async fn without_the_very_blueprint_at_the_source_nothing_is_put() {
    let world = with_hook("TOKEN", 2, 1);
    let configuration = || {
        let mut put = world.work().put.into_iter();
        put.find(|object| object.kind() == Kind::BackupConfiguration).unwrap()
    };
    // Another one has its name now.
    world.write(&blueprint(&body("TOKEN")), 9);
    assert!(Blueprints::default().put(&world.source, configuration()).await.is_err());
    // It can't be read now.
    world.write(&blueprint(&body("TOKEN")), 2);
    let file = world.dir.path().join("BackupBlueprint.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("schedule", "shedule")).unwrap();
    assert!(Blueprints::default().put(&world.source, configuration()).await.is_err());
    // It is gone.
    std::fs::remove_file(&file).unwrap();
    assert!(Blueprints::default().put(&world.source, configuration()).await.is_err());
    assert!(world.made().await.is_none());
    std::fs::write(&file, text).unwrap();
    Blueprints::default().put(&world.source, configuration()).await.unwrap();
    assert!(world.made().await.is_some());
}

#[tokio::test]
async fn a_blueprint_that_was_made_anew_is_another_one_and_one_without_hooks_has_no_mark() {
    let mut world = with_hook("TOKEN", 2, 1);
    for object in Derivations::default().derive(&world.view).pairs.into_iter().flatten() {
        world.publish(Object::clone(&object), 3, 1);
    }
    assert!(world.work().put.is_empty());
    world.publish(World::object_in(&blueprint(&body("OTHER"))), 5, 1);
    assert_eq!(world.work().put.len(), 1);

    world.publish(World::object_in(&blueprint("")), 5, 2);
    let put = world.work().put;
    assert!(put.len() == 1 && !put[0].metadata.annotations.contains_key(HOOKS_OF));
    for object in put {
        Blueprints::default().put(&world.source, object).await.unwrap();
    }
    // Somebody's own mark is no reason to put it again.
    let mut made = world.made().await.unwrap();
    made.metadata.annotations.insert(HOOKS_OF.to_owned(), "mine".to_owned());
    world.publish(made, 4, 1);
    assert!(world.work().put.is_empty());
}

#[test]
fn two_databases_of_one_name_do_not_take_each_other_s_backup() {
    let mut world = World::new();
    let blueprint = blueprint("").replace("spec:\n", "spec:\n  backupNamespace: backups\n");
    world.publish(World::object_in(&blueprint), 1, 1);
    let binding =
        |namespace: &str| World::object_in(&BINDING.replace("namespace: demo", &format!("namespace: {namespace}")));
    world.publish(binding("prod"), 2, 1);
    let alone = world.work();
    assert_eq!((alone.put.len(), alone.problems.len()), (2, 0));
    for (uid, object) in (3..).zip(alone.put) {
        world.publish(object, uid, 1);
    }
    // `dev` sorts first, but the objects are there for `prod`.
    world.publish(binding("dev"), 5, 1);
    let both = world.work();
    assert!(both.put.is_empty() && both.remove.is_empty());
    let problems: Vec<&String> = both.problems.iter().collect();
    assert!(
        matches!(&problems[..], [one] if one.starts_with("AppBinding/dev/shop: ") && one.contains("AppBinding/prod/shop")),
        "{problems:?}"
    );
    // New at the same time: one of them gets its objects, the other is told.
    world.view.objects.retain(|key, _| key.namespace.as_deref() != Some("backups"));
    let both = world.work();
    assert_eq!((both.put.len(), both.problems.len()), (2, 1));
}

#[test]
fn what_was_found_to_be_as_it_should_is_compared_again_when_it_changes() {
    let mut world = World::new();
    let text = blueprint("");
    world.publish(World::object_in(&text), 1, 1);
    world.publish(World::object_in(BINDING), 2, 1);
    let mut known = Known::default();
    let put = known.look(&world.view).put;
    assert_eq!((put.len(), known.settled.len()), (2, 0));
    for (uid, object) in (3..).zip(put) {
        world.publish(object, uid, 1);
    }
    for _ in 0..2 {
        assert!(known.look(&world.view).put.is_empty());
        assert_eq!(known.settled.len(), 2);
    }
    // Somebody edits what was made.
    let key = known.settled.keys().find(|key| key.kind == Kind::BackupConfiguration).unwrap().clone();
    let mut edited = Object::clone(&world.view.objects[&key]);
    let Spec::BackupConfiguration(spec) = &mut edited.spec else { unreachable!("a configuration") };
    spec.schedule = "@hourly".to_owned();
    world.publish(edited, 4, 2);
    let put = known.look(&world.view).put;
    assert!(put.len() == 1 && put[0].key() == key);
    // The blueprint changes.
    world.publish(put.into_iter().next().unwrap(), 4, 3);
    assert!(known.look(&world.view).put.is_empty());
    world.publish(World::object_in(&text.replace("@daily", "@weekly")), 1, 2);
    assert_eq!(known.look(&world.view).put.len(), 1);
    // The annotation goes.
    world.view.objects.retain(|key, _| key.kind != Kind::AppBinding);
    let work = known.look(&world.view);
    assert_eq!((work.put.len(), work.remove.len(), known.settled.len()), (0, 1, 0));
}
