//! Golden tables of every kind.
#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::resource::kind::APP_CATALOG;
use serde_json::{Value, json};

use super::*;
use crate::objects::{merge, select, tests::view, with_built_in};
use crate::table::Headers;

fn style(width: Width, namespaces: Namespaces) -> TableStyle {
    TableStyle { glyphs: Glyphs::Unicode, now: "2026-11-22T12:00:00Z".parse().unwrap(), width, namespaces }
}

fn object(kind: Kind, name: &str, rest: Value) -> ObjectDocument {
    let mut value = json!({
        "apiVersion": kind.api_versions()[0], "kind": kind,
        "metadata": {"name": name, "namespace": "prod", "creationTimestamp": "2026-11-22T11:57:00Z"},
    });
    value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    view(value)
}

fn render(kind: Kind, views: &[ObjectDocument], width: Width) -> String {
    let selected = select(views, kind, Some("prod"));
    table(kind, &selected, style(width, Namespaces::One)).render(Headers::Show)
}

#[test]
fn a_session_that_waits_shows_for_what() {
    let waiting = json!({"type": "Waiting", "status": "True", "reason": "TargetBusy", "message": "waits for AppBinding/prod/shop",
        "lastTransitionTime": "2026-11-22T11:58:00Z"});
    let waits = object(
        Kind::BackupSession,
        "shop-1",
        json!({"spec": {"invoker": {"kind": "BackupConfiguration", "name": "shop"}},
            "status": {"phase": "Pending", "conditions": [waiting]}}),
    );
    let table = render(Kind::BackupSession, &[waits], Width::Narrow);
    assert!(table.contains("waits for AppBinding/prod/shop\n"), "{table}");
}

#[test]
fn backup_sessions_show_their_result() {
    let spec = |plan: &str| json!({"invoker": {"kind": "BackupConfiguration", "name": plan}});
    let views = [
        object(
            Kind::BackupSession,
            "shop-3",
            json!({"spec": spec("shop"), "status": {
                "phase": "Succeeded", "sessionDuration": "2m24s", "startTime": "2026-11-22T11:57:00Z",
                "completionTime": "2026-11-22T11:59:24Z", "snapshot": "4be1c0de", "sizeBytes": 1_728_724_336_u64, "addedBytes": 40_055_603,
            }}),
        ),
        object(
            Kind::BackupSession,
            "shop-2",
            json!({"spec": spec("shop"), "status": {"phase": "Running", "startTime": "2026-11-22T11:58:00Z"}}),
        ),
        object(
            Kind::BackupSession,
            "crm-1",
            json!({"spec": spec("crm"), "status": {
                "phase": "Failed", "sessionDuration": "58s", "code": "E0201", "reason": "DumpFailed", "attempts": 2, "worker": "node-1",
                "message": "mariadb-dump exited 2:\nLost connection",
            }}),
        ),
        object(Kind::BackupSession, "new-1", json!({"spec": spec("new")})),
    ];
    assert_eq!(
        render(Kind::BackupSession, &views, Width::Narrow),
        "\
NAME    PLAN  PHASE        DURATION  SNAPSHOT  SIZE      ADDED      AGE
crm-1   crm   ✖ Failed     58s       —         —         —          3m   mariadb-dump exited 2: Lost connection (E0201)
new-1   new   ◷ Pending    —         —         —         —          3m
shop-2  shop  ● Running    2m        —         —         —          3m
shop-3  shop  ✔ Succeeded  2m24s     4be1c0de  1.61 GiB  38.20 MiB  3m
"
    );
    let wide = render(Kind::BackupSession, &views[2..3], Width::Wide);
    assert!(wide.contains("2         node-1  E0201  DumpFailed"), "{wide}");
}

#[test]
fn all_namespaces_have_a_column() {
    let views = [object(Kind::BackupSession, "a", json!({}))];
    let selected = select(&views, Kind::BackupSession, None);
    let text = table(Kind::BackupSession, &selected, style(Width::Narrow, Namespaces::All)).render(Headers::Hide);
    assert_eq!(text, "prod  a  —  ◷ Pending  —  —  —  —  3m\n");
}

#[test]
fn restore_sessions_show_their_target() {
    let views = [object(
        Kind::RestoreSession,
        "shop-9",
        json!({
            "spec": {"repository": {"name": "main"}, "target": {"ref": {"name": "shop-copy"}}},
            "status": {"phase": "Failed", "snapshot": "4be1c0de", "sessionDuration": "12s", "message": "not empty", "code": "E0401"},
        }),
    )];
    assert_eq!(
        render(Kind::RestoreSession, &views, Width::Narrow),
        "\
NAME    REPOSITORY  SNAPSHOT  TARGET     PHASE     DURATION  SIZE  AGE
shop-9  main        4be1c0de  shop-copy  ✖ Failed  12s       —     3m   not empty (E0401)
"
    );
}

#[test]
fn repositories_show_their_content() {
    let views = [
        object(
            Kind::Repository,
            "main",
            json!({
                "spec": {"backend": {"storageSecretName": "s", "s3": {"endpoint": "s3.example.com", "bucket": "b", "prefix": "x/y"}}},
                "status": {"integrity": true, "totalSizeBytes": 1_048_576, "snapshotCount": 12, "lastBackupTime": "2026-11-22T09:00:00Z"},
            }),
        ),
        object(
            Kind::Repository,
            "new",
            json!({"spec": {"backend": {"storageSecretName": "s", "local": {"mountPath": "/r", "subPath": "a"}}}}),
        ),
    ];
    assert_eq!(
        render(Kind::Repository, &views, Width::Wide),
        "\
NAME  BACKEND  INTEGRITY  SIZE   SNAPSHOTS  LAST BACKUP  LOCATION              SECRET  GROUP      AGE
main  s3       ✔ ok       1 MiB  12         3h ago       s3.example.com/b/x/y  s       lagan.dev  3m
new   local    —          —      —          —            /r/a                  s       lagan.dev  3m
"
    );
}

#[test]
fn backup_configurations_show_the_next_run() {
    let spec = json!({"schedule": "0 2 * * *", "repository": {"name": "main"}, "target": {"ref": {"name": "shop-db"}}, "paused": false});
    let mut paused = spec.clone();
    paused["paused"] = true.into();
    let views = [
        object(
            Kind::BackupConfiguration,
            "shop",
            json!({"spec": spec, "status": {
                "phase": "Ready", "lastSuccessTime": "2026-11-22T02:02:24Z", "nextSlotTime": "2026-11-23T02:00:00Z",
            }}),
        ),
        object(
            Kind::BackupConfiguration,
            "crm",
            json!({"spec": paused, "status": {"phase": "NotReady", "conditions": [{
                "type": "RepositoryFound", "status": "False", "reason": "NotFound", "message": "Repository `prod/main` is missing",
                "lastTransitionTime": "2026-11-22T02:02:24Z",
            }]}}),
        ),
    ];
    assert_eq!(
        render(Kind::BackupConfiguration, &views, Width::Narrow),
        "\
NAME  TARGET   REPOSITORY  SCHEDULE   PAUSED  PHASE       LAST SUCCESS  NEXT    AGE
crm   shop-db  main        0 2 * * *  ○ yes   ‼ NotReady  —             —       3m   Repository `prod/main` is missing
shop  shop-db  main        0 2 * * *  no      ✔ Ready     9h ago        in 14h  3m
"
    );
}

#[test]
fn the_catalogue_marks_built_in_objects() {
    let views = with_built_in(merge(Vec::new(), Vec::new()));
    assert_eq!(
        render(Kind::Function, &views, Width::Narrow),
        "\
NAME              DATABASE    ACTION   PROGRAM       SOURCE    AGE
mariadb-backup    MariaDB     backup   mariadb-dump  built-in  —
mariadb-restore   MariaDB     restore  mariadb       built-in  —
postgres-backup   PostgreSQL  backup   pg_dump       built-in  —
postgres-restore  PostgreSQL  restore  psql          built-in  —
"
    );
    assert!(render(Kind::Task, &views, Width::Narrow).contains("mariadb-backup    mariadb-backup    built-in  —\n"));
}

#[test]
fn app_bindings_show_their_address() {
    let binding = object(
        Kind::AppBinding,
        "shop-db",
        json!({"spec": {
            "type": "mariadb", "version": "10.6.23", "secret": {"name": "shop-auth"},
            "clientConfig": {"service": {"name": "shop-db", "port": 3306}},
        }}),
    );
    assert_eq!(binding.key.group, APP_CATALOG);
    assert_eq!(
        render(Kind::AppBinding, &[binding], Width::Narrow),
        "\
NAME     TYPE     VERSION  ADDRESS                SECRET     AGE
shop-db  mariadb  10.6.23  shop-db.prod.svc:3306  shop-auth  3m
"
    );
}
