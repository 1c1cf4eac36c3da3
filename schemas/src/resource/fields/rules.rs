//! The table as CEL rules for the CRDs of our group: the API server refuses an ignored field in the words of folder mode.

use serde_json::{Value, json};

use super::refusal;
use super::table::{self, BY_VALUE, Field};
use crate::resource::Kind;
use crate::resource::kind::{APP_CATALOG, LAGAN};

/// Adds the rules of a kind to the schema of its spec.
pub(crate) fn add_rules(kind: Kind, spec: &mut Value) {
    add(table::of(kind), spec, "");
    for (_, path, reason) in BY_VALUE.iter().filter(|(of, ..)| *of == kind) {
        let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
        let rule = match field {
            "apiVersion" => format!("self.kind != 'AppBinding' || self.apiVersion.startsWith('{APP_CATALOG}/')"),
            "apiGroup" => format!("!has(self.apiGroup) || self.apiGroup in ['', '{LAGAN}']"),
            "snapshots" => "!has(self.snapshots) || size(self.snapshots) <= 1".to_owned(),
            _ => continue,
        };
        if let Some(schema) = schema_of(spec, parent) {
            add_rule(schema, &rule, &refusal(path, reason));
        }
    }
}

fn add(fields: &[Field], schema: &mut Value, prefix: &str) {
    for field in fields {
        let name = field.name();
        match field {
            Field::Ignored(_, reason) => {
                let Some(rule) = schema["properties"].get(name).map(|of| unset_rule(name, of)) else { continue };
                add_rule(schema, &rule, &refusal(&format!("{prefix}{name}"), reason));
            }
            Field::Object(_, inner) | Field::Shared(_, inner) => {
                let Some(of) = schema["properties"].get_mut(name) else { continue };
                if of["items"]["properties"].is_object() {
                    add(inner, &mut of["items"], &format!("{prefix}{name}[]."));
                } else if of["properties"].is_object() {
                    add(inner, of, &format!("{prefix}{name}."));
                }
            }
            Field::Used(_) | Field::Foreign(_) => {}
        }
    }
}

/// A rule that holds while the field is as if it were absent.
fn unset_rule(name: &str, schema: &Value) -> String {
    let is_empty = match schema["type"].as_str() {
        Some("array") => format!(" || size(self.{name}) == 0"),
        Some("string") => format!(" || self.{name} == ''"),
        Some("boolean") => format!(" || !self.{name}"),
        _ => String::new(),
    };
    format!("!has(self.{name}){is_empty}")
}

fn schema_of<'a>(spec: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(spec, |schema, name| {
        let property = schema["properties"].get_mut(name.trim_end_matches("[]"))?;
        Some(if name.ends_with("[]") { &mut property["items"] } else { property })
    })
}

fn add_rule(schema: &mut Value, rule: &str, message: &str) {
    let rules = &mut schema["x-kubernetes-validations"];
    if rules.is_null() {
        *rules = json!([]);
    }
    rules.as_array_mut().expect("rules are a list").push(json!({ "rule": rule, "message": message }));
}
