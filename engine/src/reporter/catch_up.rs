//! What the objects show beside what STATUS says: after a reporter died, after the API server was restored, after somebody
//! wrote a status by hand. One list of each kind, and what differs is applied again.

use std::collections::BTreeMap;

use lagan_schemas::error::chain;
use lagan_schemas::resource::{Group, Kind};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, SESSION_ANNOTATION};
use serde_json::Value;

use super::apply::{Hand, Job};
use super::statuses::Statuses;
use crate::context::Context;

const KINDS: [Kind; 5] =
    [Kind::Repository, Kind::BackupConfiguration, Kind::BackupBlueprint, Kind::BackupSession, Kind::RestoreSession];

/// Takes in what the objects show and STATUS does not have: after a loss of JetStream they are the only memory of what
/// was, and a status made anew without them would wipe it out.
pub(super) async fn adopt(context: &Context, api: &Kubernetes, statuses: &mut Statuses) {
    for kind in KINDS {
        for group in api.groups() {
            let found = match api.list(group, kind).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%kind, error = chain(&error), "statuses of the objects can't be taken in now");
                    continue;
                }
            };
            for mut object in found {
                let key = key_of(group, kind, &object);
                if statuses.document(&key).is_some() || object["status"]["conditions"].as_array().is_none() {
                    continue;
                }
                // A scheduled session is known by its own uid, not by that of the object that shows it.
                let session = object["metadata"]["annotations"][SESSION_ANNOTATION].clone();
                if kind == Kind::BackupSession && session.is_string() {
                    object["metadata"]["uid"] = session;
                }
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                }
                statuses.write(context, &key, object).await;
            }
        }
    }
}

pub(super) async fn run(api: &Kubernetes, statuses: &Statuses, hand: &Hand) {
    for kind in KINDS {
        for group in api.groups() {
            match api.list(group, kind).await {
                Ok(found) => compare(group, kind, &found, statuses, hand),
                Err(error) => tracing::warn!(%kind, error = chain(&error), "statuses can't be compared now"),
            }
        }
    }
}

fn compare(group: Group, kind: Kind, found: &[Value], statuses: &Statuses, hand: &Hand) {
    let by_name: BTreeMap<(&str, &str), &Value> = found.iter().map(|object| (name_of(object), object)).collect();
    for key in statuses.keys().filter(|key| key.kind == kind && key.group == group.as_str()) {
        let Some(document) = statuses.document(key) else { continue };
        let name = (key.namespace.as_deref().unwrap_or_default(), key.name.as_str());
        let is_shown = match by_name.get(&name) {
            Some(object) => holds(&object["status"], &document["status"]),
            // The object of a scheduled session is ours to make, until it has ended: then somebody has deleted it.
            None => !is_scheduled(document) || statuses.has_ended(key),
        };
        if !is_shown {
            hand.give(key, || Job::status(document.clone()));
        }
    }
    // What Lagan made for sessions that have left the history since.
    for object in found.iter().filter(|object| kind == Kind::BackupSession && is_scheduled(object)) {
        let key = key_of(group, kind, object);
        let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"));
        if ended && statuses.document(&key).is_none() {
            hand.give(&key, || Job::delete(object.clone()));
        }
    }
}

fn key_of(group: Group, kind: Kind, object: &Value) -> ObjectKey {
    let (namespace, name) = name_of(object);
    ObjectKey {
        group: group.as_str().to_owned(),
        kind,
        namespace: kind.is_namespaced().then(|| namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn name_of(object: &Value) -> (&str, &str) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/metadata/namespace"), text("/metadata/name"))
}

fn is_scheduled(object: &Value) -> bool {
    object["metadata"]["annotations"][SESSION_ANNOTATION].is_string()
}

/// Whether `shown` has everything that `ours` says; others may have added to it.
fn holds(shown: &Value, ours: &Value) -> bool {
    match (shown, ours) {
        (Value::Object(shown), Value::Object(ours)) => {
            ours.iter().all(|(key, value)| shown.get(key).is_some_and(|shown| holds(shown, value)))
        }
        (Value::Array(shown), Value::Array(ours)) => {
            let conditions = ours.iter().all(|item| item["type"].is_string());
            let found = |item: &Value| shown.iter().any(|shown| shown["type"] == item["type"] && holds(shown, item));
            if conditions {
                ours.iter().all(found)
            } else {
                shown.len() == ours.len() && shown.iter().zip(ours).all(|(shown, ours)| holds(shown, ours))
            }
        }
        (shown, ours) => shown == ours,
    }
}

#[cfg(test)]
mod tests {
    use super::holds;
    use serde_json::json;

    #[test]
    fn what_others_added_is_no_difference_and_what_they_changed_is() {
        let ours = json!({"phase": "Succeeded", "conditions": [{"type": "Succeeded", "status": "True"}], "targets": [{"a": 1}]});
        let mut shown = ours.clone();
        shown["recordedTime"] = json!("2026-11-24T00:00:00Z");
        shown["conditions"] = json!([{"type": "Other", "status": "False"}, {"type": "Succeeded", "status": "True"}]);
        assert!(holds(&shown, &ours));
        shown["phase"] = json!("Failed");
        assert!(!holds(&shown, &ours));
        assert!(!holds(&json!({"phase": "Succeeded", "targets": []}), &ours));
        assert!(!holds(&serde_json::Value::Null, &ours));
    }
}
