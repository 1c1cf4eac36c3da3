//! The table is complete, and says what it is asked.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::generate::{CrdGroup, crds};

/// Paths of `schema` that the table does not know, and of the table that the schema does not have.
fn differences(fields: &[Field], schema: &Value, prefix: &str, found: &mut Vec<String>) {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    for (name, property) in properties {
        let path = format!("{prefix}{name}");
        let inner = if property["items"]["properties"].is_object() { &property["items"] } else { property };
        match fields.iter().find(|field| field.name() == name) {
            None => found.push(format!("{path} is not declared")),
            Some(Field::Used(_)) if inner["properties"].is_object() => {
                found.push(format!("{path} has fields, declare each of them"));
            }
            Some(Field::Object(_, of) | Field::Shared(_, of)) if inner["properties"].is_object() => {
                differences(of, inner, &format!("{path}."), found);
            }
            Some(_) => {}
        }
    }
    for field in fields.iter().filter(|field| !matches!(field, Field::Foreign(_))) {
        if !properties.is_empty() && !properties.contains_key(field.name()) {
            found.push(format!("{prefix}{} is declared and not there", field.name()));
        }
    }
}

#[test]
fn every_field_of_every_crd_is_declared_as_used_or_ignored() {
    let mut found = Vec::new();
    for crd in [CrdGroup::Lagan, CrdGroup::Stash, CrdGroup::AppCatalog].into_iter().flat_map(crds) {
        let kind: Kind = crd["spec"]["names"]["kind"].as_str().unwrap().parse().unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        differences(table::of(kind), spec, &format!("{kind} "), &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn paths(kind: Kind, spec: &Value) -> Vec<String> {
    ignored_paths(Group::Stash, kind, spec)
}

#[test]
fn fields_without_effect_are_found_by_their_paths() {
    let configuration = json!({
        "schedule": "@daily", "runtimeSettings": {"pod": {}}, "tempDir": null, "interimVolumeTemplate": {},
        "target": {"ref": {"apiVersion": "apps/v1", "kind": "AppBinding", "name": "db"},
            "paths": ["/a"], "exclude": [], "replicas": 1, "args": ["x"], "snapshotClassName": ""},
        "retentionPolicy": {"name": "k", "keepLast": 1, "prune": true},
    });
    assert_eq!(
        paths(Kind::BackupConfiguration, &configuration),
        [
            "interimVolumeTemplate",
            "retentionPolicy.prune",
            "runtimeSettings",
            "target.args",
            "target.paths",
            "target.ref.apiVersion",
            "target.replicas",
        ]
    );
    let restore = json!({"target": {"rules": [{"snapshots": ["a"]}, {"snapshots": ["a", "b"], "include": ["x"]}]}});
    assert_eq!(paths(Kind::RestoreSession, &restore), ["target.rules[].include", "target.rules[].snapshots"]);
    let repository =
        json!({"backend": {"local": {"nfs": {"server": "s"}, "hostPath": {"path": "/a", "type": "Directory"}}}});
    assert_eq!(paths(Kind::Repository, &repository), ["backend.local.hostPath.type", "backend.local.nfs"]);
    let function = json!({"image": "i", "args": ["x"], "ports": []});
    assert_eq!(paths(Kind::Function, &function), ["args", "image"]);
    assert_eq!(ignored_paths(Group::Lagan, Kind::Function, &function), ["image"]);
    let session = json!({"invoker": {"apiGroup": "lagan.dev", "kind": "BackupConfiguration", "name": "c"}});
    assert_eq!(paths(Kind::BackupSession, &session), ["invoker.apiGroup"]);
    assert_eq!(ignored_paths(Group::Lagan, Kind::BackupSession, &session), [""; 0]);
}

#[test]
fn an_app_binding_may_hold_fields_of_others_and_the_rest_is_found() {
    let binding = json!({
        "type": "kubedb.com/mariadb", "appRef": {"kind": "MariaDB"}, "mine": 1, "not a name": 1,
        "secret": {"name": "s", "kind": "Secret", "apiGroup": ""},
        "parameters": {"kind": "GaleraArbitratorConfiguration", "stash": {"addon": {}}},
        "clientConfig": {"url": "mysql://h:1/path", "serverName": "db", "other": true},
    });
    assert_eq!(
        paths(Kind::AppBinding, &binding),
        ["clientConfig.other", "clientConfig.serverName", "clientConfig.url", "mine"]
    );
    let service =
        json!({"clientConfig": {"service": {"name": "db", "scheme": "mysql", "path": "/"}, "url": "tcp(h:1)/x"}});
    assert_eq!(paths(Kind::AppBinding, &service), ["clientConfig.service.path", "clientConfig.service.scheme"]);
}

#[test]
fn every_path_has_a_reason_and_a_refusal_says_what_to_do() {
    for field in ignored(Group::Stash, Kind::RestoreSession, &json!({"target": {"rules": [{"paths": ["x"]}]}})) {
        assert_eq!(field.reason, reason(Group::Stash, Kind::RestoreSession, &field.path));
        assert_eq!(
            refusal(&field.path, field.reason),
            "target.rules[].paths: has no effect: a database is dumped as one stream, not as files; choose databases and tables in `task.params`; remove it"
        );
    }
    assert_eq!(reason(Group::AppCatalog, Kind::AppBinding, "mine"), table::UNKNOWN);
}

#[test]
fn only_declared_fields_are_published() {
    let spec = json!({
        "schedule": "@daily", "runtimeSettings": {"CANARY": "CANARY"}, "CANARY": 1,
        "target": {"alias": "a", "volumeMounts": [{"CANARY": 1}], "ref": {"name": "db", "CANARY": 1}},
    });
    let published = only_used(Group::Stash, Kind::BackupConfiguration, spec);
    assert_eq!(published, json!({"schedule": "@daily", "target": {"alias": "a", "ref": {"name": "db"}}}));
}

/// A value of the type that the schema says, full of a canary.
fn canary(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("string") => json!("CANARY"),
        Some("boolean") => json!(true),
        Some("integer") => json!(7),
        Some("array") => json!([canary(&schema["items"])]),
        _ => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            let mut map: Map<String, Value> =
                properties.iter().map(|(name, schema)| (name.clone(), canary(schema))).collect();
            if map.is_empty() {
                map.insert("CANARY".to_owned(), json!({"deep": ["CANARY"]}));
            }
            Value::Object(map)
        }
    }
}

/// Sets every ignored field below `spec` to a canary; gives their paths.
fn plant(fields: &[Field], schema: &Value, spec: &mut Value, prefix: &str) -> Vec<String> {
    let mut planted = Vec::new();
    for field in fields {
        let (name, property) = (field.name(), &schema["properties"][field.name()]);
        match field {
            Field::Ignored(..) => {
                spec[name] = canary(property);
                planted.push(format!("{prefix}{name}"));
            }
            Field::Object(_, inner) if spec.get(name).is_some_and(Value::is_object) => {
                planted.extend(plant(inner, property, &mut spec[name], &format!("{prefix}{name}.")));
            }
            Field::Object(_, inner) if spec.get(name).is_some_and(Value::is_array) => {
                planted.extend(plant(inner, &property["items"], &mut spec[name][0], &format!("{prefix}{name}[].")));
            }
            _ => {}
        }
    }
    planted
}

#[test]
fn nothing_of_a_field_or_annotation_without_effect_is_published() {
    let target = json!({"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}, "rules": [{}]});
    let local = json!({"storageSecretName": "s", "local": {"mountPath": "/a", "hostPath": {"path": "/b"}}});
    let retention = json!({"name": "k", "keepLast": 1});
    let specs = [
        (Kind::Repository, json!({"backend": local})),
        (
            Kind::BackupConfiguration,
            json!({"schedule": "@daily", "repository": {"name": "r"},
            "target": {"ref": target["ref"]}, "retentionPolicy": retention}),
        ),
        (Kind::BackupSession, json!({"invoker": {"kind": "BackupConfiguration", "name": "c"}})),
        (Kind::RestoreSession, json!({"repository": {"name": "r"}, "target": target, "rules": [{}]})),
        (Kind::BackupBlueprint, json!({"backend": local, "retentionPolicy": retention})),
        (Kind::Task, json!({"steps": [{"name": "f"}]})),
        (Kind::Function, json!({"command": ["x"]})),
        (Kind::AppBinding, json!({"clientConfig": {"service": {"name": "db"}}})),
    ];
    let crds: Vec<Value> = [CrdGroup::Stash, CrdGroup::AppCatalog].into_iter().flat_map(crds).collect();
    for (kind, mut spec) in specs {
        let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind.as_str()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut planted = plant(table::of(kind), schema, &mut spec, "");
        if kind == Kind::AppBinding {
            spec["unknown"] = json!("CANARY");
            spec["appRef"] = json!({"name": "CANARY"});
            spec["parameters"] = json!({"CANARY": "CANARY"});
            planted.push("unknown".to_owned());
        }
        let annotations = json!({
            "kubectl.kubernetes.io/last-applied-configuration": "CANARY", "kapp.k14s.io/original": "CANARY",
            "objectset.rio.cattle.io/applied": "CANARY", "CANARY": "CANARY",
        });
        let api_version = *kind.api_versions().last().unwrap();
        let metadata = json!({"name": "x", "namespace": "n", "annotations": annotations,
            "finalizers": ["CANARY"], "managedFields": [{"manager": "CANARY"}]});
        let object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": "CANARY"});
        let published = crate::resource::Object::from_json(object).unwrap().published();
        let text = published.to_json().to_string();
        assert!(!text.contains("CANARY"), "{kind}: {text}");
        for path in planted {
            assert!(published.ignored_fields.contains(&path), "{kind}: {path} in {:?}", published.ignored_fields);
        }
        assert_eq!(published.clone().published(), published, "{kind}");
    }
}
