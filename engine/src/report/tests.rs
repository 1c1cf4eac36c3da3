//! Whole statuses, in Stash's shapes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sessions;

use std::sync::Arc;

use jiff::SignedDuration;
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::error::Code;
use lagan_schemas::fact::{RepositoryStatistics, RetentionMode, RetentionResult};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::resource::backup_blueprint::BackupBlueprintStatus;
use lagan_schemas::resource::backup_configuration::BackupConfigurationStatus;
use lagan_schemas::resource::condition::ConditionStatus;
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Kind, Metadata, Object, Spec};
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::subject::SessionKind::{Backup, Restore};
use serde::Serialize;
use serde_json::{Value, json};

use super::{blueprint, configuration, refused, repository, session};
use crate::fixtures::{at, result, story};
use crate::plan::answers::Answers;
use crate::view::{Refused, View};

/// The status as JSON, without its conditions.
fn shape(status: impl Serialize) -> Value {
    let mut value = serde_json::to_value(status).unwrap();
    value.as_object_mut().unwrap().remove("conditions");
    value
}

/// `Type=Status Reason: message`
fn conditions(status: impl Serialize) -> Vec<String> {
    let value = serde_json::to_value(status).unwrap();
    let text = |condition: &Value, key: &str| condition[key].as_str().unwrap().to_owned();
    let line =
        |c: &Value| format!("{}={} {}: {}", text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message"));
    value["conditions"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_repository_shows_what_its_last_session_left() {
    let mut result = result();
    result.statistics = Some(RepositoryStatistics { snapshots: 6, size_bytes: 3 << 30 });
    result.retention = Some(RetentionResult::new(6, &["a", "b"], RetentionMode::Remove));
    let good = story(Backup).planned(1).started(2).committing(60).succeeded(69, result.clone()).end();
    let status = repository::after(&good, Some(&result), RepositoryStatus::default());
    assert_eq!((status.first_backup_time, status.last_backup_time), (Some(at(69)), Some(at(0))));
    assert_eq!(
        (status.integrity, status.total_size.as_deref(), status.snapshot_count),
        (Some(true), Some("3.000 GiB"), Some(6))
    );
    assert_eq!(status.snapshots_removed_on_last_cleanup, Some(2));
    assert_eq!(status.conditions[0].status, ConditionStatus::True);

    let damaged = story(Backup).planned(1).started(2).failed(5, Code::ReadBackFailed).end();
    let after = repository::after(&damaged, None, status.clone());
    assert_eq!((after.integrity, after.snapshot_count), (Some(false), Some(6)));
    assert_eq!(
        (after.conditions[0].status, after.conditions[0].reason.as_str()),
        (ConditionStatus::False, "ReadBackFailed")
    );

    // A session that is cancelled after it verified a snapshot has written it all the same.
    let retrying = || story(Backup).planned(1).started(2).verified(60, result.clone());
    let cancelled = retrying().cancel_requested(61).cancelled(62).end();
    let after = repository::after(&cancelled, cancelled.results.first(), RepositoryStatus::default());
    assert_eq!((after.integrity, after.snapshot_count, after.last_backup_time), (Some(true), Some(6), Some(at(0))));
    let unreachable = retrying().failed(62, Code::StorageUnreachable).end();
    let after = repository::after(&unreachable, unreachable.results.first(), RepositoryStatus::default());
    assert_eq!((after.integrity, after.conditions[0].status), (Some(true), ConditionStatus::False));

    // A failure of the database does not change what is known about the repository.
    let dump = story(Backup).planned(1).started(2).failed(5, Code::DumpFailed).end();
    assert_eq!(repository::after(&dump, None, status.clone()), status);
}

const CONFIGURATION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: shop, namespace: demo, generation: 3}
spec:
  schedule: '0 2 * * *'
  repository: {name: repo}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}
  retentionPolicy: {name: few, keepLast: 5}
";

fn object_of(yaml: &str) -> Object {
    let Manifest::Object(object) = parse("test.yaml", yaml).remove(0).unwrap() else { unreachable!() };
    *object
}

fn configuration_status(view: &View) -> BackupConfigurationStatus {
    status_of(&object_of(CONFIGURATION), view, CrossNamespace::NeedsConsent)
}

fn status_of(object: &Object, view: &View, cross_namespace: CrossNamespace) -> BackupConfigurationStatus {
    configured(object, view, cross_namespace, BackupConfigurationStatus::default())
}

fn configured(
    object: &Object,
    view: &View,
    cross_namespace: CrossNamespace,
    old: BackupConfigurationStatus,
) -> BackupConfigurationStatus {
    let Spec::BackupConfiguration(spec) = &object.spec else { unreachable!() };
    let answers = Answers::default();
    let inputs = configuration::ConfigurationInputs {
        object,
        spec,
        view,
        answers: &answers,
        cross_namespace,
        now: at(0),
        skew: SignedDuration::ZERO,
        forecast: None,
    };
    configuration::status(&inputs, old)
}

#[test]
fn a_wrong_clock_is_a_condition_and_a_warning_once() {
    let object = object_of(CONFIGURATION);
    let Spec::BackupConfiguration(spec) = &object.spec else { unreachable!() };
    let (view, answers) = (View::default(), Answers::default());
    let status = |skew: i64, mark: i64, old: BackupConfigurationStatus| {
        let inputs = configuration::ConfigurationInputs {
            object: &object,
            spec,
            view: &view,
            answers: &answers,
            cross_namespace: CrossNamespace::NeedsConsent,
            now: at(0),
            skew: SignedDuration::from_secs(skew),
            forecast: None,
        };
        let old = BackupConfigurationStatus { last_slot_time: Some(at(mark)), ..old };
        let new = configuration::status(&inputs, old.clone());
        let warned: Vec<_> = configuration::warnings(&old.conditions, &new).map(|c| c.kind.clone()).collect();
        (new, warned)
    };
    let (right, warned) = status(4, -60, BackupConfigurationStatus::default());
    assert!(warned.is_empty(), "{warned:?}");
    let (wrong, warned) = status(-3600, 86_400, right);
    assert_eq!(warned, ["ClockSkew", "ScheduleMarkAhead"]);
    let (still, warned) = status(-3601, 86_400, wrong.clone());
    assert!(warned.is_empty() && still.conditions == wrong.conditions, "{warned:?}");
    let (mended, _) = status(0, -60, still);
    assert!(!mended.conditions.iter().any(|c| warned_of(&c.kind)), "{:?}", mended.conditions);
}

fn warned_of(kind: &str) -> bool {
    [configuration::CLOCK_SKEW, configuration::MARK_AHEAD].contains(&kind)
}

#[test]
fn a_configuration_shows_a_missing_consent_before_its_first_session() {
    let named = CONFIGURATION.replace("name: db}", "name: db, namespace: prod}");
    let binding = |annotations: &str| {
        object_of(&format!(
            "apiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {{name: db, namespace: prod, annotations: {{{annotations}}}}}\nspec: {{clientConfig: {{url: 'mysql://h:1/'}}}}\n"
        ))
    };
    let shown = |annotations: &str, cross_namespace| {
        let mut view = View::default();
        let binding = binding(annotations);
        view.objects.insert(binding.key(), Arc::new(binding));
        let status = status_of(&object_of(&named), &view, cross_namespace);
        let usage = status.conditions.iter().find(|condition| condition.kind == "UsageAllowed").unwrap().clone();
        (usage.status, usage.reason, usage.message)
    };
    let (status, reason, message) = shown("", CrossNamespace::NeedsConsent);
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "UsageNotAllowed"));
    assert!(message.contains("AppBinding prod/db") && message.contains("lagan.dev/backup-usage-policy"), "{message}");
    let (status, reason, _) = shown("", CrossNamespace::Allowed);
    assert_eq!((status, reason.as_str()), (ConditionStatus::True, "AllowedByAdministrator"));
    let (status, ..) = shown("lagan.dev/backup-usage-policy: Namespaces=demo", CrossNamespace::NeedsConsent);
    assert_eq!(status, ConditionStatus::True);
}

#[test]
fn an_invalid_object_is_shown_as_invalid_where_it_is_named() {
    let mut view = View::default();
    for (group, kind, name) in
        [("lagan.dev", Kind::Repository, "repo"), ("appcatalog.appscode.com", Kind::AppBinding, "db")]
    {
        let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
        let problem = "backend: name one place, not several".to_owned();
        let namespace = Some("demo".to_owned());
        let key = ObjectKey { group: group.to_owned(), kind, namespace, name: name.to_owned() };
        view.refused.insert(key, Refused { metadata, api_version: format!("{group}/v1alpha1"), problem });
    }
    let status = configuration_status(&view);
    let conditions = conditions(&status);
    for line in [
        "RepositoryFound=False RepositoryNotAvailable: Repository demo/repo is invalid: backend: name one place, not several",
        "BackupTargetFound=False TargetNotAvailable: AppBinding db is invalid: backend: name one place, not several",
        "Ready=False NotReady: NotReady",
    ] {
        assert!(conditions.iter().any(|condition| condition == line), "{line}\n{conditions:#?}");
    }
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == 3));
}

#[test]
fn a_refused_object_says_why_and_the_same_words_are_reported_once() {
    for kind in [Kind::Repository, Kind::BackupConfiguration, Kind::BackupBlueprint, Kind::RestoreSession] {
        let metadata = Metadata { name: "x".to_owned(), generation: 2, ..Metadata::default() };
        let refused =
            Refused { metadata, api_version: "lagan.dev/v1alpha1".to_owned(), problem: "schedule: no".to_owned() };
        let status = refused::status(kind, &refused, at(0)).unwrap();
        let shown = conditions(&status);
        assert_eq!(shown[0], "ValidationPassed=False ResourceValidationFailed: schedule: no");
        assert!(shown[1].ends_with("=False Invalid: schedule: no"), "{shown:?}");
        assert!(refused::is_reported(&status, &refused));
        let other = Refused { problem: "schedule: other".to_owned(), ..refused };
        assert!(!refused::is_reported(&status, &other));
    }
}

fn object(text: &str) -> Object {
    let Manifest::Object(object) = parse("test.yaml", text).remove(0).unwrap() else { unreachable!() };
    object.published()
}

const STASH: &str = "\
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: shop, namespace: demo}
spec:
  schedule: '0 2 * * *'
  task: {name: mariadb-backup, params: [{name: PARAM, value: --databases shop}]}
  runtimeSettings: {container: {env: [{name: TOKEN, value: CANARY}]}}
  repository: {name: repo}
  target: {paths: [/CANARY], ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}
  retentionPolicy: {name: few, keepLast: 5, prune: true}
";

fn stash_view() -> View {
    let repository = "apiVersion: stash.appscode.com/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo}\nspec: {backend: {storageSecretName: s, local: {mountPath: /a, nfs: {server: CANARY, path: /CANARY}}}}\n";
    let binding = "apiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {name: db, namespace: demo}\nspec: {type: mariadb, clientConfig: {service: {name: db, scheme: mysql}}}\n";
    let mut view = View::default();
    for object in [repository, binding].map(object) {
        view.objects.insert(object.key(), object.into());
    }
    view
}

fn status_after(object: &Object, view: &View, old: BackupConfigurationStatus) -> BackupConfigurationStatus {
    configured(object, view, CrossNamespace::NeedsConsent, old)
}

#[test]
fn fields_without_effect_are_shown_on_the_invoker_with_those_of_the_objects_it_names() {
    let view = stash_view();
    let configuration = object(&STASH.replace("PARAM", "args"));
    let status = status_after(&configuration, &view, BackupConfigurationStatus::default());
    let shown = conditions(&status);
    let ignored = shown.iter().find(|line| line.starts_with("FieldIgnored=")).unwrap();
    for part in [
        "FieldIgnored=True FieldsWithoutEffect: BackupConfiguration demo/shop: retentionPolicy.prune (",
        "runtimeSettings (Lagan starts no pod for a session",
        "target.paths (",
        "; Repository demo/repo: backend.local.nfs (",
        "; AppBinding demo/db: clientConfig.service.scheme (",
    ] {
        assert!(ignored.contains(part), "{part}\n{ignored}");
    }
    assert!(!ignored.contains("CANARY"), "{ignored}");
    // The condition goes with the fields.
    let clean = object(CONFIGURATION);
    let status = status_after(&clean, &View::default(), status);
    assert!(status.conditions.iter().all(|condition| condition.kind != "FieldIgnored"));
}

#[test]
fn a_file_that_can_t_be_read_is_named_wherever_its_objects_are_shown_or_named() {
    let unread = |text: &str| {
        let mut object = object(text);
        let file = "/srv/broken.yaml".to_owned();
        object.metadata.annotations.insert(crate::view::UNREADABLE_MANIFEST.to_owned(), file);
        object
    };
    let repository = "apiVersion: stash.appscode.com/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo}\nspec: {backend: {storageSecretName: s, local: {mountPath: /a}}}\n";
    let mut view = stash_view();
    let repository = unread(repository);
    view.objects.insert(repository.key(), repository.clone().into());
    let configuration = object(&STASH.replace("PARAM", "args"));
    let status = status_after(&configuration, &view, BackupConfigurationStatus::default());
    let shown = conditions(&status);
    let named = "ManifestRead=False FileUnreadable: Repository demo/repo: `/srv/broken.yaml` can't be read";
    assert!(shown.iter().any(|line| line.starts_with(named)), "{shown:#?}");
    // The condition goes when the file can be read again.
    let status = status_after(&configuration, &stash_view(), status);
    assert!(status.conditions.iter().all(|condition| condition.kind != "ManifestRead"));

    let Spec::Repository(spec) = &repository.spec else { unreachable!() };
    let volumes = lagan_schemas::place::Volumes::Host;
    let shown = conditions(repository::described(&repository, spec, volumes, RepositoryStatus::default()));
    assert!(shown.iter().any(|line| line.starts_with("ManifestRead=False FileUnreadable: `/srv/b")), "{shown:#?}");
    let blueprint = unread(
        "apiVersion: lagan.dev/v1alpha1\nkind: BackupBlueprint\nmetadata: {name: all}\nspec: {backend: {storageSecretName: s, s3: {bucket: abc}}, retentionPolicy: {name: k, keepLast: 1}}\n",
    );
    let shown = conditions(blueprint::status(&blueprint, None, BackupBlueprintStatus::default()));
    assert!(shown.iter().any(|line| line.starts_with("ManifestRead=False")), "{shown:#?}");
}

#[test]
fn wipe_out_in_a_folder_is_shown_as_ignored() {
    let text = "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo}\nspec: {wipeOut: true, backend: {storageSecretName: s, s3: {bucket: abc}}}\n";
    let repository = object(text);
    let Spec::Repository(spec) = &repository.spec else { unreachable!() };
    for (volumes, is_shown) in
        [(lagan_schemas::place::Volumes::Host, true), (lagan_schemas::place::Volumes::Mounted, false)]
    {
        let status = repository::described(&repository, spec, volumes, RepositoryStatus::default());
        let shown = conditions(&status);
        let ignored = "FieldIgnored=True FieldsWithoutEffect: Repository demo/repo: wipeOut (a folder of manifests";
        assert_eq!(shown.iter().any(|line| line.starts_with(ignored)), is_shown, "{shown:#?}");
    }
}

#[test]
fn the_output_folder_of_stash_s_tasks_is_shown_as_ignored() {
    let configuration = object(&STASH.replace("PARAM", "outputDir"));
    let status = status_after(&configuration, &stash_view(), BackupConfigurationStatus::default());
    let shown = conditions(&status);
    let has = |part: &str| shown.iter().any(|line| line.contains(part));
    assert!(has("; BackupConfiguration demo/shop: task.params[outputDir] (the result of a session"), "{shown:#?}");
    assert!(has("ValidationPassed=True"), "{shown:#?}");
    // Our group refuses what has no effect.
    let ours = "apiVersion: lagan.dev/v1alpha1\nkind: BackupConfiguration\nmetadata: {name: shop, namespace: demo}\nspec: {schedule: '0 3 * * *', repository: {name: repo}, task: {params: [{name: outputDir, value: /x}]}, target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}, retentionPolicy: {name: k, keepLast: 1}}\n";
    let status = status_after(&object(ours), &stash_view(), BackupConfigurationStatus::default());
    let refused = "ValidationPassed=False ResourceValidationFailed: task.params[outputDir]: has no effect: the result of a session";
    assert!(conditions(&status).iter().any(|line| line.starts_with(refused)), "{:#?}", conditions(&status));
}

#[test]
fn an_unknown_parameter_of_the_task_makes_a_configuration_invalid() {
    let configuration = object(&STASH.replace("PARAM", "arg"));
    let status = status_after(&configuration, &stash_view(), BackupConfigurationStatus::default());
    let expected = "ValidationPassed=False ResourceValidationFailed: task.params: Task `mariadb-backup` has no parameter `arg`; did you mean `args`?";
    assert!(conditions(&status).contains(&expected.to_owned()), "{:#?}", conditions(&status));
}

#[test]
fn a_repository_and_a_blueprint_show_their_own_fields_without_effect() {
    let view = stash_view();
    let found = view.find(Kind::Repository, lagan_schemas::resource::Group::Stash, Some("demo"), "repo").unwrap();
    let Spec::Repository(spec) = &found.spec else { unreachable!() };
    let invalid = RepositoryStatus { conditions: refused_conditions(), ..RepositoryStatus::default() };
    let status = repository::described(found, spec, lagan_schemas::place::Volumes::Host, invalid);
    let shown = conditions(&status);
    assert_eq!(shown.len(), 2, "{shown:#?}");
    assert!(shown[0].starts_with("Ready=Unknown NotUsedYet: "), "{shown:#?}");
    assert!(shown[1].starts_with("FieldIgnored=True FieldsWithoutEffect: Repository demo/repo: "), "{shown:#?}");

    let text = "apiVersion: stash.appscode.com/v1beta1\nkind: BackupBlueprint\nmetadata: {name: all}\nspec: {backend: {storageSecretName: s, s3: {bucket: abc}}, tempDir: {medium: Memory}, retentionPolicy: {name: k, keepLast: 1}}\n";
    let status = blueprint::status(&object(text), Some(3), BackupBlueprintStatus::default());
    assert_eq!(status.usages, Some(3));
    assert!(conditions(&status)[0].contains("BackupBlueprint all: tempDir ("), "{:?}", conditions(&status));
}

/// The conditions of a Repository that was invalid.
fn refused_conditions() -> Vec<lagan_schemas::resource::Condition> {
    let metadata = Metadata { name: "repo".to_owned(), ..Metadata::default() };
    let refused = Refused { metadata, api_version: String::new(), problem: "backend: no".to_owned() };
    refused::status(Kind::Repository, &refused, at(0)).unwrap().conditions().to_vec()
}
