//! Metrics as Prometheus reads them.
#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::error::Code;
use lagan_schemas::fact::{RepositoryStatistics, RetentionMode, RetentionResult};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::resource::{Kind, Object, Status};
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::subject::SessionKind::{Backup, Restore};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::sync::Arc;

use super::EngineMetrics;
use super::gauge::{Gauge, text};
use super::group::PushJob;
use super::stash::gauges;
use crate::fixtures::{at, result, story};
use crate::view::View;

const BINDING: &str = "\
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: db, namespace: demo}
spec:
  type: kubedb.com/mariadb
  clientConfig: {service: {name: mariadb, port: 3307}}
";

const CONFIGURATION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: shop, namespace: demo, creationTimestamp: '2027-01-15T07:00:00Z'}
spec:
  schedule: '0 2 * * 1-5'
  repository: {name: repo}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}
  retentionPolicy: {name: few, keepLast: 5}
";

fn object(yaml: &str) -> Object {
    let Manifest::Object(object) = parse("metrics.yaml", yaml).remove(0).unwrap() else { unreachable!() };
    *object
}

fn view() -> View {
    let mut view = View::default();
    let binding = object(BINDING);
    view.objects.insert(binding.key(), Arc::new(binding));
    view
}

fn good_backup() -> Session {
    let mut result = result();
    result.statistics = Some(RepositoryStatistics { snapshots: 3, size_bytes: 1 << 20 });
    result.retention = Some(RetentionResult::new(3, &["a"], RetentionMode::Remove));
    story(Backup).planned(1).started(2).committing(60).succeeded(69, result).end()
}

/// The gauges under their current names, as `name{labels} value`. Those under the legacy names must be the same.
fn lines(session: &Session) -> Vec<String> {
    let all = gauges(session, &view());
    let (new, old): (Vec<Gauge>, Vec<Gauge>) = all.into_iter().partition(|g| g.name.starts_with("stash_appscode_com_"));
    assert_eq!(new.len(), old.len());
    for (new, old) in new.iter().zip(&old) {
        assert_eq!((&new.labels, new.value), (&old.labels, old.value), "{} {}", new.name, old.name);
    }
    new.iter().map(line).collect()
}

fn line(gauge: &Gauge) -> String {
    let labels: Vec<String> = gauge.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let name = gauge.name.trim_start_matches("stash_appscode_com_");
    format!("{name} {} {}", labels.join(","), gauge.value)
}

const COMMON: &str = "invoker_kind=BackupConfiguration,invoker_name=shop,namespace=demo,driver=Restic,repository=repo";
const TARGET: &str = "kind=mariadb,group=kubedb.com,name=db";

/// The counter of the process itself, which is there from the start.
const UNREADABLE: &str = "lagan_unreadable_messages_total{} 0";

#[test]
fn a_backup_that_succeeded_has_all_gauges() {
    let session = format!("{COMMON} ");
    let target = format!("{COMMON},{TARGET} ");
    let host = format!("{COMMON},{TARGET},hostname=host-0 ");
    let repository = "invoker_kind=BackupConfiguration,invoker_name=shop,driver=Restic,repository=repo,name=repo,\
                      namespace=demo,backend=local,bucket=/safe/data ";
    let expected = [
        format!("backupsession_success {session}1"),
        format!("backupsession_duration_seconds {session}69"),
        format!("backupsession_target_count_total {session}1"),
        format!("backupsession_last_success_time_seconds {session}1800000069"),
        format!("backupsession_target_success {target}1"),
        format!("backupsession_target_host_count_total {target}1"),
        format!("backupsession_target_last_success_time_seconds {target}1800000069"),
        format!("backupsession_host_backup_success {host}1"),
        format!("backupsession_host_backup_duration_seconds {host}61.4"),
        format!("backupsession_host_data_size_bytes {host}5242880"),
        format!("backupsession_host_data_uploaded_bytes {host}1536"),
        format!("backupsession_host_data_processing_time_seconds {host}61"),
        format!("backupsession_host_files_total {host}1"),
        format!("backupsession_host_files_new {host}1"),
        format!("backupsession_host_files_modified {host}0"),
        format!("backupsession_host_files_unmodified {host}0"),
        format!("repository_integrity {repository}1"),
        format!("repository_size_bytes {repository}1048576"),
        format!("repository_snapshot_count {repository}3"),
        format!("repository_snapshot_cleaned {repository}1"),
    ];
    assert_eq!(lines(&good_backup()), expected);
    let names: Vec<String> = gauges(&good_backup(), &view()).into_iter().map(|gauge| gauge.name).collect();
    for old in
        ["stash_backup_session_success", "stash_backup_last_success_time_seconds", "stash_backup_host_files_total"]
    {
        assert!(names.iter().any(|name| name == old), "{old}");
    }
}

#[test]
fn a_failure_has_only_the_gauges_of_success() {
    let failed = story(Backup).planned(1).started(2).failed(5, Code::DumpFailed).end();
    let expected = [
        format!("backupsession_success {COMMON} 0"),
        format!("backupsession_target_success {COMMON},{TARGET} 0"),
        format!("backupsession_host_backup_success {COMMON},{TARGET},hostname=host-0 0"),
    ];
    assert_eq!(lines(&failed), expected);
}

#[test]
fn a_restore_has_gauges_under_its_own_name() {
    let common = "invoker_kind=RestoreSession,invoker_name=back,namespace=demo,driver=Restic,repository=repo";
    let good = story(Restore).planned(1).started(2).restoring(3).succeeded(63, result()).end();
    let expected = [
        format!("restoresession_success {common} 1"),
        format!("restoresession_duration_seconds {common} 63"),
        format!("restoresession_target_count_total {common} 1"),
        format!("restoresession_target_success {common},{TARGET} 1"),
        format!("restoresession_target_host_count_total {common},{TARGET} 1"),
        format!("restoresession_host_restore_success {common},{TARGET},hostname=host-0 1"),
        format!("restoresession_host_restore_duration_seconds {common},{TARGET},hostname=host-0 61.4"),
    ];
    assert_eq!(lines(&good), expected);
    // A dry run restores nothing, whatever its end is.
    assert_eq!(lines(&story(Restore).planned_dry_run(1).started(2).succeeded(3, result()).end()), Vec::<String>::new());
    let failed = story(Restore).planned(1).started(2).restoring(3).failed(9, Code::WorkerLost).end();
    assert!(
        lines(&failed).iter().all(|line| line.contains("_success ") && line.ends_with(" 0")),
        "{:?}",
        lines(&failed)
    );
}

#[test]
fn the_text_names_each_gauge_once_and_escapes_labels() {
    let gauge = |value: f64, label: &str| Gauge {
        name: "stash_x".to_owned(),
        help: "Help",
        labels: vec![("prefix", label.to_owned())],
        value,
    };
    let expected = "# HELP stash_x Help\n# TYPE stash_x gauge\nstash_x{prefix=\"a\\\"b\\\\\"} 1.0\nstash_x{prefix=\"c\"} 0.5\n# EOF\n";
    assert_eq!(text(vec![gauge(1.0, "a\"b\\"), gauge(0.5, "c")]), expected);
}

#[test]
fn a_group_has_the_jobs_name_in_its_path_and_its_api_group_unless_that_is_stashs() {
    let of = |group: &str, kind, name: &str| ObjectKey {
        group: group.to_owned(),
        kind,
        namespace: Some("demo".to_owned()),
        name: name.to_owned(),
    };
    let gateway = "http://gateway:9091/below/".parse().unwrap();
    let path_of = |key| PushJob::of(&key).map(|group| group.url(&gateway).path().to_owned());
    let path = |kind, name| path_of(of("stash.appscode.com", kind, name));
    let job = |job: &str| Some(format!("/below/metrics/{job}"));
    assert_eq!(path(Kind::BackupConfiguration, "shop"), job("job/backupconfiguration-demo-shop"));
    assert_eq!(path(Kind::RestoreSession, "ba ck"), job("job/restoresession-demo-ba%20ck"));
    assert_eq!(path(Kind::RestoreSession, "a/b"), job("job@base64/cmVzdG9yZXNlc3Npb24tZGVtby1hL2I"));
    assert_eq!(path(Kind::Repository, "repo"), None);
    let ours = |name| path_of(of("lagan.dev", Kind::BackupConfiguration, name));
    assert_eq!(ours("shop"), job("job/backupconfiguration-demo-shop/invoker_group/lagan.dev"));
    assert_eq!(ours("a/b"), job("job@base64/YmFja3VwY29uZmlndXJhdGlvbi1kZW1vLWEvYg/invoker_group/lagan.dev"));
}

#[test]
fn a_restore_without_a_plan_is_a_dry_run_if_its_object_says_so() {
    let restore = |spec: &str| {
        let text = format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession\nmetadata: {{name: back, namespace: demo}}\nspec:\n  repository: {{name: repo}}\n  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}}}\n  {spec}\n"
        );
        object(&text)
    };
    let (try_it, write) = (restore("dryRun: true"), restore("dryRun: false"));
    let refused = story(Restore).failed(1, Code::InvalidSpec).end();
    assert!(super::is_dry_run(&refused, &try_it) && !super::is_dry_run(&refused, &write));
    // The plan says what was done.
    let planned = story(Restore).planned(1).started(2).failed(3, Code::TargetNotEmpty).end();
    let tried = story(Restore).planned_dry_run(1).started(2).failed(3, Code::TargetNotEmpty).end();
    assert!(!super::is_dry_run(&planned, &try_it) && super::is_dry_run(&tried, &write));
    assert!(!super::is_dry_run(&good_backup(), &object(CONFIGURATION)));
}

fn of_stash(manifest: &str) -> String {
    manifest.replace("lagan.dev/v1alpha1", "stash.appscode.com/v1beta1")
}

fn page(registry: &Registry) -> Vec<String> {
    let mut page = String::new();
    encode(&mut page, registry).unwrap();
    page.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{")).map(str::to_owned).collect()
}

#[test]
fn own_series_name_configurations_and_go_with_them() {
    let mut registry = Registry::default();
    let metrics = EngineMetrics::register(&mut registry);
    let configuration = object(&of_stash(CONFIGURATION));
    metrics.session_ended(&good_backup());
    metrics.session_ended(&story(Backup).planned(1).started(2).failed(5, Code::DumpFailed).end());
    metrics.session_ended(&story(Restore).planned(1).started(2).restoring(3).succeeded(63, result()).end());
    let status = json!({
        "lastSuccessTime": at(69),
        "lastSession": {"name": "x", "uid": good_backup().key.uid, "phase": "Failed"},
    });
    metrics.object_changed(&configuration, &Status::from_json(Kind::BackupConfiguration, status).unwrap());
    let page_with_it = page(&registry);
    let backup = "group=\"stash.appscode.com\",namespace=\"demo\",configuration=\"shop\"";
    let restore = "group=\"stash.appscode.com\",namespace=\"demo\",repository=\"repo\"";
    for line in [
        format!("lagan_backup_sessions_total{{{backup},repository=\"repo\",result=\"failed\",code=\"E0201\"}} 1"),
        format!("lagan_backup_sessions_total{{{backup},repository=\"repo\",result=\"succeeded\",code=\"\"}} 1"),
        format!("lagan_backup_session_duration_seconds_sum{{{backup}}} 70.0"),
        format!("lagan_backup_session_wait_seconds_count{{{backup}}} 2"),
        format!("lagan_backup_last_success_timestamp_seconds{{{backup}}} 1800000069.0"),
        format!("lagan_backup_last_status{{{backup}}} 0.0"),
        format!("lagan_backup_read_bytes_total{{{backup}}} 5242880"),
        format!("lagan_backup_added_bytes_total{{{backup}}} 1536"),
        format!("lagan_snapshot_size_bytes{{{backup}}} 5242880.0"),
        // Friday to Monday.
        format!("lagan_backup_schedule_interval_seconds{{{backup}}} 259200.0"),
        format!("lagan_restore_sessions_total{{{restore},result=\"succeeded\",code=\"\"}} 1"),
        format!("lagan_restore_last_status{{{restore}}} 1.0"),
    ] {
        assert!(page_with_it.contains(&line), "{line}\n{}", page_with_it.join("\n"));
    }
    assert!(page_with_it.iter().any(|line| line.starts_with("lagan_backup_overdue_seconds")));
    assert!(!page_with_it.join("\n").contains(&good_backup().request.unwrap().name), "session names are no labels");
    metrics.object_deleted(&configuration.key());
    let own = |line: &String| line.starts_with("lagan_restore_") || line == UNREADABLE;
    assert!(page(&registry).iter().all(own), "{:?}", page(&registry));
    let repository = ObjectKey { kind: Kind::Repository, name: "repo".to_owned(), ..configuration.key() };
    metrics.object_deleted(&repository);
    assert_eq!(page(&registry), [UNREADABLE]);
}

#[test]
fn configurations_and_repositories_of_two_groups_and_one_name_are_series_of_their_own() {
    let mut registry = Registry::default();
    let metrics = EngineMetrics::register(&mut registry);
    let ours = object(CONFIGURATION);
    let theirs = object(&of_stash(CONFIGURATION));
    for (configuration, phase, key) in [(&ours, "Succeeded", 1), (&theirs, "Failed", 2)] {
        let status = json!({"lastSession": {"name": "x", "uid": uuid::Uuid::from_u128(key), "phase": phase}});
        metrics.object_changed(configuration, &Status::from_json(Kind::BackupConfiguration, status).unwrap());
    }
    let mut session = good_backup();
    session.key.group = "lagan.dev".to_owned();
    metrics.session_ended(&session);
    metrics.session_ended(&good_backup());
    metrics.session_ended(&good_backup());
    let series = |group: &str| format!("{{group=\"{group}\",namespace=\"demo\",configuration=\"shop\"");
    let (lagan, stash) = (series("lagan.dev"), series("stash.appscode.com"));
    let counted = |labels: &str, count: u8| {
        format!("lagan_backup_sessions_total{labels},repository=\"repo\",result=\"succeeded\",code=\"\"}} {count}")
    };
    let shown = page(&registry);
    for line in [counted(&lagan, 1), counted(&stash, 2)] {
        assert!(shown.contains(&line), "{line}\n{}", shown.join("\n"));
    }
    // A group's object takes only its own series along.
    metrics.object_deleted(&theirs.key());
    let shown = page(&registry).join("\n");
    assert!(shown.contains(&counted(&lagan, 1)) && !shown.contains("stash.appscode.com"), "{shown}");
}
