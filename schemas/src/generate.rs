//! The generated files, CRD YAML and JSON schemas, as pairs of path and content. It must not write them.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::event::CloudEvent;
use crate::fact::FactKind;
use crate::plan::Plan;
use crate::resource::app_binding::AppBinding;
use crate::resource::backup_blueprint::BackupBlueprint;
use crate::resource::backup_configuration::BackupConfiguration;
use crate::resource::backup_session::BackupSession;
use crate::resource::fields;
use crate::resource::function::Function;
use crate::resource::kind::{Kind, STASH};
use crate::resource::repository::Repository;
use crate::resource::restore_session::RestoreSession;
use crate::resource::task::Task;
use crate::subject::SessionKind;

/// A group of CRDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrdGroup {
    Lagan,
    /// The same types under Stash's names, for clusters without a Stash operator.
    Stash,
    /// AppBinding, for clusters that do not have it from elsewhere.
    AppCatalog,
}

/// Returns the CRDs of a group as JSON values, one for each kind.
#[must_use]
pub fn crds(group: CrdGroup) -> Vec<Value> {
    let crds = match group {
        CrdGroup::AppCatalog => vec![AppBinding::crd()],
        CrdGroup::Lagan | CrdGroup::Stash => vec![
            Repository::crd(),
            BackupConfiguration::crd(),
            BackupSession::crd(),
            RestoreSession::crd(),
            BackupBlueprint::crd(),
            Task::crd(),
            Function::crd(),
        ],
    };
    crds.into_iter()
        .map(|crd| {
            let mut crd = serde_json::to_value(crd).expect("a CRD is JSON");
            make_bounds_integers(&mut crd);
            // `kubectl explain` shows this description first, and kube's derive writes a useless text there.
            let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            schema["description"] = schema["properties"]["spec"]["description"].clone();
            match group {
                CrdGroup::Lagan => refusing_ignored_fields(crd),
                CrdGroup::Stash => under_stash(crd),
                CrdGroup::AppCatalog => with_other_fields(crd),
            }
        })
        .collect()
}

/// Turns whole floats (`64.0`), which schemars writes for bounds, into integers, which people expect.
fn make_bounds_integers(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // The API server knows only signed formats and warns about others.
            if let Some(Value::String(format)) = map.get_mut("format").filter(|format| format.is_string())
                && let Some(signed) = format.strip_prefix("uint")
            {
                *format = format!("int{signed}");
            }
            map.values_mut().for_each(make_bounds_integers);
        }
        Value::Array(list) => list.iter_mut().for_each(make_bounds_integers),
        Value::Number(number) =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
            if let Some(float) = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0) {
                *number = (float as i64).into();
            }
        }
        _ => {}
    }
}

fn kind_of(crd: &Value) -> Kind {
    crd["spec"]["names"]["kind"].as_str().and_then(Kind::known).expect("a kind of ours")
}

fn refusing_ignored_fields(mut crd: Value) -> Value {
    let kind = kind_of(&crd);
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    fields::add_rules(kind, spec);
    crd
}

fn under_stash(mut crd: Value) -> Value {
    let kind = kind_of(&crd);
    let version = kind.api_versions()[1].rsplit('/').next().expect("group/version");
    crd["metadata"]["name"] = format!("{}.{STASH}", kind.plural()).into();
    crd["spec"]["group"] = STASH.into();
    crd["spec"]["versions"][0]["name"] = version.into();
    crd["spec"]["names"]["shortNames"] = kind.short_names().get(1..2).unwrap_or_default().into();
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = stash_columns(kind);
    crd
}

/// Returns the printer columns that users of Stash know.
fn stash_columns(kind: Kind) -> Value {
    let own: &[(&str, &str, &str)] = match kind {
        Kind::Repository => &[
            ("Integrity", "boolean", ".status.integrity"),
            ("Size", "string", ".status.totalSize"),
            ("Snapshot-Count", "integer", ".status.snapshotCount"),
            ("Last-Successful-Backup", "date", ".status.lastBackupTime"),
        ],
        Kind::BackupConfiguration => &[
            ("Task", "string", ".spec.task.name"),
            ("Schedule", "string", ".spec.schedule"),
            ("Paused", "boolean", ".spec.paused"),
            ("Phase", "string", ".status.phase"),
        ],
        Kind::BackupSession => &[
            ("Invoker-Type", "string", ".spec.invoker.kind"),
            ("Invoker-Name", "string", ".spec.invoker.name"),
            ("Phase", "string", ".status.phase"),
            ("Duration", "string", ".status.sessionDuration"),
        ],
        Kind::RestoreSession => &[
            ("Repository", "string", ".spec.repository.name"),
            ("Phase", "string", ".status.phase"),
            ("Duration", "string", ".status.sessionDuration"),
        ],
        Kind::BackupBlueprint => &[("Task", "string", ".spec.task.name"), ("Schedule", "string", ".spec.schedule")],
        Kind::Task | Kind::Function | Kind::AppBinding | Kind::Secret | Kind::Other(_) => &[],
    };
    let age = ("Age", "date", ".metadata.creationTimestamp");
    let column = |(name, kind, path): &(&str, &str, &str)| json!({ "name": name, "type": kind, "jsonPath": path });
    own.iter().chain([&age]).map(column).collect()
}

/// Preserves fields of an AppBinding that KubeDB and others write and Lagan does not read.
fn with_other_fields(mut crd: Value) -> Value {
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for pointer in
        ["", "/properties/clientConfig", "/properties/secret", "/properties/parameters", "/properties/tlsSecret"]
    {
        if let Some(schema) = spec.pointer_mut(pointer) {
            schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
    }
    crd
}

/// Returns every generated file: its path from the project's root, and its content.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let groups = [(CrdGroup::Lagan, "lagan"), (CrdGroup::Stash, "stash"), (CrdGroup::AppCatalog, "appcatalog")];
    for (group, folder) in groups {
        for crd in crds(group) {
            let plural = crd["spec"]["names"]["plural"].as_str().expect("a CRD has a plural").to_owned();
            let yaml = serde_saphyr::to_string(&crd).expect("JSON is YAML");
            // helm reads nothing outside its chart, so the chart holds the same files.
            for directory in ["deploy/crds", "deploy/helm/lagan/files/crds"] {
                let text = format!("# Generated by `just generate`.\n{yaml}");
                files.push((format!("{directory}/{folder}/{plural}.yaml"), text));
            }
        }
    }
    let mut schema = |name: String, schema: schemars::Schema| {
        let json = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        files.push((format!("schemas/json/{name}.json"), json + "\n"));
    };
    schema("cloudevent".to_owned(), schemars::schema_for!(CloudEvent));
    schema("plan".to_owned(), schemars::schema_for!(Plan));
    for session in [SessionKind::Backup, SessionKind::Restore] {
        for fact in FactKind::ALL {
            if session == SessionKind::Backup && fact == FactKind::Restoring
                || session == SessionKind::Restore && fact == FactKind::Committing
            {
                continue;
            }
            schema(fact.event_type(session), fact.schema());
        }
    }
    files
}
