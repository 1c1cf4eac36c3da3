//! Which fields of an object have an effect. A field is either used or declared here as ignored, with a reason: our group
//! refuses an ignored field, and Stash's group shows it in the condition `FieldIgnored`. Published objects hold only used
//! fields. It must not judge values; `manifest` does.

mod rules;
mod table;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::table::Field;
use crate::resource::app_binding::DatabaseUrl;
use crate::resource::kind::APP_CATALOG;
use crate::resource::{Group, Kind};

pub(crate) use self::rules::add_rules;

/// Type of the condition that lists the ignored fields of an object, and of those that it names.
pub const FIELD_IGNORED: &str = "FieldIgnored";

/// A field that is set and has no effect, by its path: `target.rules[].paths`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IgnoredField {
    pub path: String,
    pub reason: &'static str,
}

/// The words with which our group refuses an ignored field, in folder mode and from the API server.
#[must_use]
pub fn refusal(path: &str, reason: &str) -> String {
    format!("{path}: has no effect: {reason}; remove it")
}

/// The fields of a spec that are set and have no effect. `spec` is as it was written.
#[must_use]
pub fn ignored(group: Group, kind: Kind, spec: &Value) -> Vec<IgnoredField> {
    let mut found = BTreeMap::new();
    if let Value::Object(map) = spec {
        let unknown = if kind == Kind::AppBinding { Unknown::Ignored } else { Unknown::Refused };
        collect(table::of(kind), map, "", unknown, &mut found);
        by_value(group, kind, spec, &mut found);
        if let (Group::Stash, Kind::Function) = (group, kind) {
            let written = map.iter().filter(|(_, value)| is_set(value));
            found.extend(written.map(|(name, _)| (name.clone(), table::STASH_FUNCTION)));
        }
    }
    found.into_iter().map(|(path, reason)| IgnoredField { path, reason }).collect()
}

/// Paths of the fields of a spec that are set and have no effect.
#[must_use]
pub fn ignored_paths(group: Group, kind: Kind, spec: &Value) -> Vec<String> {
    ignored(group, kind, spec).into_iter().map(|field| field.path).collect()
}

/// The reason why the field of this path has no effect.
#[must_use]
pub fn reason(group: Group, kind: Kind, path: &str) -> &'static str {
    if (group, kind) == (Group::Stash, Kind::Function) {
        return table::STASH_FUNCTION;
    }
    table_reason(kind, path)
}

fn table_reason(kind: Kind, path: &str) -> &'static str {
    let mut fields = table::of(kind);
    for name in path.split('.') {
        match fields.iter().find(|field| field.name() == name.trim_end_matches("[]")) {
            Some(Field::Ignored(_, reason)) => return reason,
            Some(Field::Object(_, inner) | Field::Shared(_, inner)) => fields = inner,
            Some(Field::Used(_) | Field::Foreign(_)) | None => break,
        }
    }
    table::BY_VALUE
        .iter()
        .find(|(of, special, _)| *of == kind && *special == path)
        .map_or(table::UNKNOWN, |rule| rule.2)
}

/// Removes everything that is not declared as used, so that nothing else is published.
#[must_use]
pub fn only_used(group: Group, kind: Kind, spec: Value) -> Value {
    match spec {
        // Nothing of it has an effect.
        Value::Object(_) if (group, kind) == (Group::Stash, Kind::Function) => Value::Object(Map::new()),
        Value::Object(map) => Value::Object(used(table::of(kind), map)),
        other => other,
    }
}

fn used(fields: &[Field], mut map: Map<String, Value>) -> Map<String, Value> {
    let mut kept = Map::new();
    for field in fields {
        let Some(value) = map.remove(field.name()) else { continue };
        match field {
            Field::Used(name) => drop(kept.insert((*name).to_owned(), value)),
            Field::Object(name, inner) | Field::Shared(name, inner) => {
                kept.insert((*name).to_owned(), used_value(inner, value));
            }
            // A flag or a number can't hold a secret, and plans report some of them.
            Field::Ignored(name, _) if matches!(value, Value::Bool(_) | Value::Number(_)) => {
                kept.insert((*name).to_owned(), value);
            }
            Field::Ignored(..) | Field::Foreign(_) => {}
        }
    }
    kept
}

fn used_value(fields: &[Field], value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(used(fields, map)),
        Value::Array(list) => list.into_iter().map(|item| used_value(fields, item)).collect(),
        other => other,
    }
}

/// The use of an unknown field: types with `deny_unknown_fields` have refused it before it comes here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Ignored,
    Refused,
}

type Found = BTreeMap<String, &'static str>;

fn collect(fields: &[Field], map: &Map<String, Value>, prefix: &str, unknown: Unknown, found: &mut Found) {
    for (name, value) in map.iter().filter(|(_, value)| is_set(value)) {
        let path = format!("{prefix}{name}");
        match fields.iter().find(|field| field.name() == name) {
            Some(Field::Ignored(_, reason)) => drop(found.insert(path, reason)),
            Some(Field::Object(_, inner)) => collect_value(inner, value, &path, unknown, found),
            Some(Field::Shared(_, inner)) => collect_value(inner, value, &path, Unknown::Refused, found),
            Some(Field::Used(_) | Field::Foreign(_)) => {}
            None if unknown == Unknown::Ignored && is_field_name(name) => drop(found.insert(path, table::UNKNOWN)),
            None => {}
        }
    }
}

fn collect_value(fields: &[Field], value: &Value, path: &str, unknown: Unknown, found: &mut Found) {
    match value {
        Value::Object(map) => collect(fields, map, &format!("{path}."), unknown, found),
        Value::Array(list) => {
            for map in list.iter().filter_map(Value::as_object) {
                collect(fields, map, &format!("{path}[]."), unknown, found);
            }
        }
        _ => {}
    }
}

/// Names of unknown fields are published, so only those that look like one are.
fn is_field_name(name: &str) -> bool {
    name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a value differs from an absent field.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Number(_) | Value::Object(_) => true,
    }
}

/// Fields that have an effect with some values only.
fn by_value(group: Group, kind: Kind, spec: &Value, found: &mut Found) {
    let mut add = |path: &str| {
        found.insert(path.to_owned(), table_reason(kind, path));
    };
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match kind {
        Kind::BackupConfiguration | Kind::RestoreSession => {
            let of_catalog =
                text("/target/ref/apiVersion").split_once('/').is_some_and(|(group, _)| group == APP_CATALOG);
            if text("/target/ref/kind") == Kind::AppBinding.as_str() && !of_catalog {
                add("target.ref.apiVersion");
            }
            for (pointer, path) in [("/rules", "rules[].snapshots"), ("/target/rules", "target.rules[].snapshots")] {
                let rules = spec.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
                let snapshots = |rule: &Value| rule.get("snapshots").and_then(Value::as_array).map_or(0, Vec::len);
                if rules.map(snapshots).any(|snapshots| snapshots > 1) {
                    add(path);
                }
            }
        }
        Kind::BackupSession => {
            let of_invoker = text("/invoker/apiGroup");
            if !of_invoker.is_empty() && of_invoker != group.as_str() {
                add("invoker.apiGroup");
            }
        }
        Kind::AppBinding => {
            let url = text("/clientConfig/url");
            if spec.pointer("/clientConfig/service").is_none_or(Value::is_null)
                && DatabaseUrl::has_more_than_an_address(url)
            {
                add("clientConfig.url");
            }
            if !text("/clientConfig/serverName").is_empty() && text("/clientConfig/caBundle").is_empty() {
                add("clientConfig.serverName");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
