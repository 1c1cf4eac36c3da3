#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::resource::Metadata;

use super::*;
use crate::view::Refused;

const BLUEPRINT: &str = "\
apiVersion: stash.appscode.com/v1beta1
kind: BackupBlueprint
metadata: {name: mariadb}
spec:
  backend:
    s3: {bucket: backups, prefix: '${TARGET_NAMESPACE}/${TARGET_APP_RESOURCE}/${TARGET_NAME}'}
    storageSecretName: storage
  schedule: '*/5 * * * *'
  task:
    name: mariadb-backup-${TARGET_APP_VERSION}
    params: [{name: args, value: --all-databases}, {name: waitTimeout, value: '60'}]
  retentionPolicy: {name: few, keepLast: 5}
  backupHistoryLimit: 3
";

fn binding(annotations: &str) -> String {
    format!(
        "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata:
  name: shop
  namespace: demo
  annotations: {{{annotations}}}
spec:
  type: kubedb.com/mariadb
  version: 10.6.23
  clientConfig: {{service: {{name: shop, port: 3306}}}}
"
    )
}

fn derived(annotations: &str, blueprint: &str) -> Derived {
    let mut view = View::default();
    for manifest in parse("test.yaml", &format!("{blueprint}---\n{}", binding(annotations))) {
        let Manifest::Object(object) = manifest.unwrap() else { continue };
        view.objects.insert(object.key(), Arc::from(object));
    }
    Derivations::default().derive(&view)
}

#[test]
fn an_annotated_database_gets_a_repository_and_a_configuration_as_stash_names_them() {
    let annotations = "stash.appscode.com/backup-blueprint: mariadb, stash.appscode.com/schedule: '0 3 * * *', params.stash.appscode.com/args: '--databases app'";
    let derived = derived(annotations, BLUEPRINT);
    assert!(derived.problems.is_empty(), "{:?}", derived.problems);
    let [[repository, configuration]] = &derived.pairs[..] else { unreachable!("one pair") };
    assert_eq!(repository.key().to_string(), "Repository/demo/app-shop");
    assert_eq!(configuration.key().to_string(), "BackupConfiguration/demo/app-shop");
    assert_eq!((repository.group(), configuration.group()), (Group::Stash, Group::Stash));
    let (Spec::Repository(repository), Spec::BackupConfiguration(spec)) = (&repository.spec, &configuration.spec)
    else {
        unreachable!("kinds were checked")
    };
    assert_eq!(repository.backend.s3.as_ref().unwrap().prefix.as_deref(), Some("demo/mariadb/shop"));
    assert_eq!(spec.schedule, "0 3 * * *");
    let task = spec.task.as_ref().unwrap();
    assert_eq!(task.name, "mariadb-backup-10.6.23");
    let params: Vec<_> = task.params.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
    assert_eq!(params, [("args", "--databases app"), ("waitTimeout", "60")]);
    assert_eq!(spec.repository.name, "app-shop");
    assert_eq!(configuration.metadata.annotations[GENERATED_FOR], "demo/shop");
    assert!(lagan_schemas::manifest::problems(configuration).is_empty());
}

#[test]
fn several_blueprints_make_several_of_each_and_one_that_is_missing_is_told() {
    let two = derived(
        "stash.appscode.com/backup-blueprint: 'mariadb, other'",
        &format!("{BLUEPRINT}---\n{}", BLUEPRINT.replace("{name: mariadb}", "{name: other}")),
    );
    let names: Vec<_> = two.pairs.iter().flatten().map(|object| object.metadata.name.as_str()).collect();
    assert_eq!(names, ["app-shop-mariadb", "app-shop-mariadb", "app-shop-other", "app-shop-other"]);
    let missing = derived("lagan.dev/backup-blueprint: nightly", BLUEPRINT);
    assert!(missing.pairs.is_empty());
    assert_eq!(missing.problems.first().unwrap(), "AppBinding/demo/shop: BackupBlueprint nightly does not exist");
    assert!(derived("", BLUEPRINT).pairs.is_empty());
}

#[test]
fn an_invalid_app_binding_is_told_with_its_reason_if_it_names_a_blueprint() {
    for (annotation, told) in [
        ("lagan.dev/backup-blueprint: nightly", &["AppBinding/demo/shop is invalid: port: no".to_owned()][..]),
        ("lagan.dev/pool: fast", &[]),
    ] {
        let Manifest::Object(object) = parse("test.yaml", &binding(annotation)).remove(0).unwrap() else {
            unreachable!("an AppBinding")
        };
        let (metadata, api_version) = (object.metadata.clone(), object.api_version.clone());
        let mut view = View::default();
        view.refused.insert(object.key(), Refused { metadata, api_version, problem: "port: no".to_owned() });
        assert_eq!(Derivations::default().derive(&view).problems, told.iter().cloned().collect());
    }
}

#[test]
fn an_invalid_blueprint_is_told_with_its_reason() {
    let mut view = View::default();
    let Manifest::Object(object) =
        parse("test.yaml", &binding("lagan.dev/backup-blueprint: nightly")).remove(0).unwrap()
    else {
        unreachable!("an AppBinding")
    };
    view.objects.insert(object.key(), Arc::from(object));
    let (group, problem) = (Group::Lagan.as_str().to_owned(), "schedule: no".to_owned());
    let key = ObjectKey { group, kind: Kind::BackupBlueprint, namespace: None, name: "nightly".to_owned() };
    let refused = Refused { metadata: Metadata::default(), api_version: "lagan.dev/v1alpha1".to_owned(), problem };
    view.refused.insert(key, refused);
    let derived = Derivations::default().derive(&view);
    assert!(derived.pairs.is_empty());
    let told = "AppBinding/demo/shop: BackupBlueprint nightly is invalid: schedule: no";
    assert_eq!(derived.problems.first().unwrap(), told);
}

#[test]
fn namespaces_of_the_blueprint_win_and_unknown_variables_are_told() {
    let spread = BLUEPRINT.replace("spec:\n", "spec:\n  backupNamespace: backups\n  repoNamespace: vault\n");
    let spread = derived("stash.appscode.com/backup-blueprint: mariadb", &spread);
    let keys: Vec<_> = spread.pairs.iter().flatten().map(|object| object.key().to_string()).collect();
    assert_eq!(keys, ["Repository/vault/app-shop", "BackupConfiguration/backups/app-shop"]);
    let Spec::BackupConfiguration(spec) = &spread.pairs[0][1].spec else { unreachable!("a configuration") };
    assert_eq!(spec.repository.namespace.as_deref(), Some("vault"));
    assert_eq!(spec.target.as_ref().unwrap().reference.as_ref().unwrap().namespace.as_deref(), Some("demo"));
    let unknown = BLUEPRINT.replace("TARGET_APP_RESOURCE", "TARGET_COLOUR");
    let problems = derived("stash.appscode.com/backup-blueprint: mariadb", &unknown).problems;
    assert!(problems.first().unwrap().contains("TARGET_COLOUR"), "{problems:?}");
}

#[test]
fn a_bad_schedule_of_an_annotation_is_told_and_makes_nothing() {
    let annotated = |schedule: &str| {
        format!("stash.appscode.com/backup-blueprint: mariadb, stash.appscode.com/schedule: '{schedule}'")
    };
    for (schedule, why) in [
        ("61 * * * *", "schedule: field 1 (minute) `61` is not valid; 0-59"),
        ("@every 1h-5m", "schedule: `@every 1h-5m` needs a duration"),
        ("TZ=Mars/Phobos @daily", "timeZone: unknown time zone `Mars/Phobos`"),
        ("", "schedule: must not be empty"),
    ] {
        let derived = derived(&annotated(schedule), BLUEPRINT);
        assert!(derived.pairs.is_empty(), "{schedule}");
        let told = derived.problems.first().unwrap();
        let begin =
            "AppBinding/demo/shop: BackupBlueprint mariadb: annotation stash.appscode.com/schedule of the AppBinding: ";
        assert!(told.starts_with(&format!("{begin}{why}")), "{told}");
    }
    let empty = BLUEPRINT.replace("schedule: '*/5 * * * *'", "schedule: ''");
    let derived_with = |annotations: &str| derived(annotations, &empty);
    assert_eq!(derived_with(&annotated("@daily")).pairs.len(), 1);
    let told = derived_with("stash.appscode.com/backup-blueprint: mariadb").problems;
    assert!(told.first().unwrap().ends_with("neither its `schedule` nor the annotation `schedule` is set"), "{told:?}");
}

#[test]
fn after_a_change_only_what_follows_from_it_is_derived_anew() {
    const BINDINGS: usize = 1_000;
    let annotated = binding("stash.appscode.com/backup-blueprint: mariadb");
    let in_view = |view: &mut View, text: &str| {
        let Some(Ok(Manifest::Object(object))) = parse("test.yaml", text).pop() else { unreachable!("one object") };
        view.objects.insert(object.key(), Arc::from(object));
    };
    let of = |number: usize| annotated.replace("name: shop\n  namespace", &format!("name: shop-{number}\n  namespace"));
    let mut view = View::default();
    in_view(&mut view, BLUEPRINT);
    for number in 0..BINDINGS {
        in_view(&mut view, &of(number));
    }
    let mut derivations = Derivations::default();
    let mut look = |view: &View| {
        let derived = derivations.derive(view);
        assert!(derived.problems.is_empty(), "{:?}", derived.problems);
        (derived.pairs.len(), derivations.made)
    };
    assert_eq!(look(&view), (BINDINGS, BINDINGS));
    assert_eq!(look(&view), (BINDINGS, 0));
    in_view(&mut view, &of(7).replace("10.6.23", "11.4.2"));
    assert_eq!(look(&view), (BINDINGS, 1));
    in_view(&mut view, &of(BINDINGS));
    assert_eq!(look(&view), (BINDINGS + 1, 1));
    view.objects.retain(|key, _| key.name != "shop-7");
    assert_eq!(look(&view), (BINDINGS, 0));
    in_view(&mut view, &of(7));
    assert_eq!(look(&view), (BINDINGS + 1, 1), "one that was away is derived anew");
    in_view(&mut view, &BLUEPRINT.replace("*/5", "*/7"));
    assert_eq!(look(&view), (BINDINGS + 1, BINDINGS + 1));
}
