#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use serde_json::json;

fn scope(kind: Kind) -> Scope {
    Scope { group: if kind == Kind::AppBinding { Group::AppCatalog } else { Group::Lagan }, kind, namespace: None }
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

#[test]
fn what_kubectl_and_people_put_beside_the_spec_is_not_published() {
    let binding = object(json!({
        "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
        "metadata": {"name": "db", "namespace": "n", "uid": Uuid::from_u128(1), "resourceVersion": "5",
            "annotations": {LAST_APPLIED: "{\"url\":\"mysql://root:CANARY@h:1/\"}", "lagan.dev/pool": "stays", "kapp.k14s.io/original": "CANARY"}},
        "spec": {"clientConfig": {"url": "mysql://root:CANARY@h:1/"}},
        "status": {"x": 1},
    }));
    let incoming = Incoming::read(&scope(Kind::AppBinding), binding).unwrap();
    let text = incoming.object.unwrap().to_json().to_string();
    assert!(!text.contains("CANARY") && text.contains("stays") && !text.contains("\"status\""), "{text}");
}

/// A cluster may have older CRDs, whose rules let such an object pass.
#[test]
fn a_bad_duration_makes_an_invalid_object_and_ends_no_watcher() {
    let incoming = |field: &str, value: &str| {
        let mut configuration = json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration",
            "metadata": {"name": "shop", "namespace": "n", "uid": Uuid::from_u128(1)},
            "spec": {"schedule": "@daily", "repository": {"name": "r"}, "retentionPolicy": {"name": "k", "keepLast": 1},
                "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "d"}}},
        });
        configuration["spec"][field] = value.into();
        Incoming::read(&scope(Kind::BackupConfiguration), object(configuration)).unwrap()
    };
    for (field, value, words) in [
        ("timeOut", "1h-5m", "object can't be read: timeOut: must be a duration such as 1h30m"),
        ("timeOut", "99999999999999999999h", "at most 2562047h, not `99999999999999999999h`"),
        ("timeOut", "", "at most 2562047h, not ``"),
        ("jitter", "9000000000h", "jitter: must be a duration such as 1h30m"),
        ("schedule", "@every 1h-5m", "schedule: `@every 1h-5m` needs a duration"),
    ] {
        let found = incoming(field, value);
        let problem = found.problem.or_else(|| found.object.err().map(|refused| refused.problem));
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(words)), "{field}: {value}: {problem:?}");
    }
    assert_eq!(incoming("timeOut", "1h30m").problem, None);
}

#[test]
fn a_change_of_the_status_alone_changes_nothing_that_is_published() {
    let at = |version: &str, phase: &str| {
        object(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": "s", "namespace": "n", "uid": Uuid::from_u128(1), "generation": 1, "resourceVersion": version},
            "spec": {"invoker": {"kind": "BackupConfiguration", "name": "c"}}, "status": {"phase": phase},
        }))
    };
    let read = |object| Incoming::read(&scope(Kind::BackupSession), object).unwrap().object.unwrap();
    assert_eq!(read(at("1", "Pending")), read(at("2", "Running")));
}

#[test]
fn the_object_of_a_scheduled_session_is_not_published_and_a_copy_of_it_is() {
    let says = stand_in::annotation(Uuid::from_u128(9), "n", "s-1800000000");
    let session = |name: &str| {
        let session = object(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": name, "namespace": "n", "uid": Uuid::from_u128(1),
                "annotations": {stand_in::SESSION_ANNOTATION: says}},
            "spec": {"invoker": {"kind": "BackupConfiguration", "name": "c"}},
        }));
        Incoming::read(&scope(Kind::BackupSession), session)
    };
    assert!(session("s-1800000000").is_none());
    assert!(session("again").is_some());
}

#[test]
fn an_object_that_breaks_a_rule_keeps_its_head_and_says_which() {
    let bad = object(json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration",
        "metadata": {"name": "c", "namespace": "n", "uid": Uuid::from_u128(1)},
        "spec": {"schedule": "61 * * * *", "repository": {"name": "r"}, "retentionPolicy": {"keepLast": 1},
            "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}}},
    }));
    let incoming = Incoming::read(&scope(Kind::BackupConfiguration), bad).unwrap();
    assert!(incoming.problem.unwrap().contains("61"));
    let elsewhere = |port: i32| {
        let binding = object(json!({
            "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
            "metadata": {"name": "db", "namespace": "n", "uid": Uuid::from_u128(1)},
            "spec": {"clientConfig": {"service": {"name": "db", "port": port}}},
        }));
        Incoming::read(&scope(Kind::AppBinding), binding).unwrap().problem
    };
    for port in [33_060_007, 65_536, -1] {
        let told = format!("clientConfig.service.port: must be 1 to 65535, not {port}");
        assert_eq!(elsewhere(port), Some(told));
    }
    assert_eq!([elsewhere(0), elsewhere(65_535)], [None, None]);
    let unknown = object(json!({
        "apiVersion": "stash.appscode.com/v1beta1", "kind": "Task",
        "metadata": {"name": "t", "uid": Uuid::from_u128(1)}, "spec": {"steps": 5},
    }));
    let incoming = Incoming::read(&Scope { group: Group::Stash, kind: Kind::Task, namespace: None }, unknown).unwrap();
    assert!(incoming.object.unwrap_err().problem.contains("can't be read"));
}
