//! The committed CRDs and JSON schemas are what the types say, and are fit for an API server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lagan_schemas::generate::{CrdGroup, crds, files};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files under `folder`, as paths from the root.
fn committed(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return BTreeSet::new() };
    entries.map(|entry| format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap())).collect()
}

#[test]
fn the_generated_files_are_committed_as_they_are_generated() {
    let files = files();
    for (path, content) in &files {
        let committed = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(&committed == content, "{path} is not what the types say; run `just generate`");
    }
    let generated: BTreeSet<String> = files.into_iter().map(|(path, _)| path).collect();
    let groups = ["lagan", "stash", "appcatalog"];
    let crds = groups
        .iter()
        .flat_map(|group| ["deploy/crds", "deploy/helm/lagan/files/crds"].map(|place| format!("{place}/{group}")));
    let there: BTreeSet<String> =
        crds.chain(["schemas/json".to_owned()]).flat_map(|folder| committed(&folder)).collect();
    assert_eq!(generated, there, "files that nobody generates, or that are missing; run `just generate`");
}

fn all_crds() -> impl Iterator<Item = (String, Value)> {
    [CrdGroup::Lagan, CrdGroup::Stash]
        .into_iter()
        .flat_map(crds)
        .map(|crd| (crd["metadata"]["name"].as_str().unwrap().to_owned(), crd))
}

/// Calls `look` on every JSON object inside `value`.
fn walk(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            look(map);
            map.values().for_each(|value| walk(value, look));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, look)),
        _ => {}
    }
}

#[test]
fn both_groups_have_the_same_kinds_under_their_own_names() {
    let names: Vec<String> = all_crds().map(|(name, _)| name).collect();
    let plurals = [
        "repositories",
        "backupconfigurations",
        "backupsessions",
        "restoresessions",
        "backupblueprints",
        "tasks",
        "functions",
    ];
    let expected: Vec<String> = ["lagan.dev", "stash.appscode.com"]
        .iter()
        .flat_map(|group| plurals.map(|plural| format!("{plural}.{group}")))
        .collect();
    assert_eq!(names, expected);
    for (name, crd) in all_crds() {
        let (plural, group) = name.split_once('.').unwrap();
        assert_eq!((&crd["spec"]["names"]["plural"], &crd["spec"]["group"]), (&plural.into(), &group.into()));
        let version = &crd["spec"]["versions"][0]["name"];
        let beta = group == "stash.appscode.com" && plural != "repositories";
        assert_eq!(version, if beta { "v1beta1" } else { "v1alpha1" }, "{name}");
        let cluster_scoped = matches!(plural, "backupblueprints" | "tasks" | "functions");
        assert_eq!(crd["spec"]["scope"], if cluster_scoped { "Cluster" } else { "Namespaced" }, "{name}");
    }
}

#[test]
fn no_bound_is_a_float() {
    for (name, crd) in all_crds() {
        walk(&crd, &mut |map| {
            for (key, value) in map {
                assert!(!value.is_f64(), "{name}: {key}: {value}");
            }
        });
    }
}

#[test]
fn every_crd_says_what_it_is_for() {
    for (name, crd) in all_crds() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in [schema, &schema["properties"]["spec"]] {
            let text = part["description"].as_str().unwrap_or_default();
            assert!(text.len() > 10 && !text.contains("Auto-generated"), "{name}: `{text}`");
        }
    }
}

#[test]
fn what_runs_has_a_status_whose_conditions_merge_by_type() {
    for (name, crd) in all_crds() {
        let version = &crd["spec"]["versions"][0];
        let has_status = !(name.starts_with("tasks.") || name.starts_with("functions."));
        assert_eq!(version["subresources"]["status"].is_object(), has_status, "{name}");
        let conditions = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions.is_object(), has_status, "{name}");
        if has_status {
            assert_eq!(conditions["x-kubernetes-list-type"], "map", "{name}");
            assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]), "{name}");
            for key in ["type", "status", "reason", "message", "lastTransitionTime"] {
                assert!(conditions["items"]["required"].as_array().unwrap().contains(&key.into()), "{name}: {key}");
            }
        }
    }
}

#[test]
fn an_api_server_would_take_the_schemas() {
    for (name, crd) in all_crds() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut rules = 0;
        walk(schema, &mut |map| {
            for refused in ["$ref", "$schema", "definitions", "$defs", "oneOf", "const"] {
                assert!(
                    !map.contains_key(refused) || map.get("type") == Some(&"object".into()),
                    "{name}: `{refused}` in {map:?}"
                );
            }
            if let Some(Value::Array(list)) = map.get("x-kubernetes-validations") {
                rules += list.len();
                for rule in list {
                    assert!(
                        rule["rule"].is_string() && rule["message"].as_str().is_some_and(|m| m.contains(": ")),
                        "{name}: {rule}"
                    );
                }
            }
        });
        assert!(rules > 0, "{name} has no rule");
    }
}
