//! What the objects show beside what STATUS says: after a reporter died, after the API server was restored, after somebody
//! wrote a status by hand. One list of each kind, and what differs is applied again.

use std::collections::HashSet;

use lagan_schemas::error::chain;
use lagan_schemas::resource::{Group, Kind, Object};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::Kubernetes;
use lagan_sources::stand_in;
use serde_json::{Value, json};

use super::apply::{Hand, Job};
use super::documents::has_ended;
use super::statuses::Statuses;
use crate::context::Context;

const KINDS: [Kind; 5] =
    [Kind::Repository, Kind::BackupConfiguration, Kind::BackupBlueprint, Kind::BackupSession, Kind::RestoreSession];

/// When a reporter begins. It also takes in what the objects show and STATUS does not have: after a loss of JetStream they
/// are the only memory of what was, and a status made anew without them would wipe it out.
pub(super) async fn first(context: &Context, api: &Kubernetes, statuses: &mut Statuses, hand: &Hand) {
    for (group, kind) in kinds(api) {
        let mut unknown = Vec::new();
        let adopt = |key: &ObjectKey, object: &Value| {
            let says = object["status"]["conditions"].is_array();
            if says {
                unknown.push((key.clone(), object.clone()));
            }
            says
        };
        look(api, (group, kind), statuses, hand, adopt).await;
        for (key, object) in unknown {
            if let Some(document) = adopted(object) {
                statuses.write(context, &key, document).await;
            }
        }
    }
}

/// A document of what an object shows: its published form, as anything that goes to NATS. `None` for an object that can't
/// be read: it is told what is wrong with it anew.
fn adopted(mut object: Value) -> Option<Value> {
    let (status, session) = (object["status"].take(), stand_in::session_of_value(&object));
    let mut document = Object::from_json(object).ok()?.published().to_json();
    // A scheduled session is known by its own uid, not by that of the object that shows it.
    if let Some(session) = session {
        document["metadata"]["uid"] = json!(session);
    }
    document["status"] = status;
    Some(document)
}

/// Now and then.
pub(super) async fn run(api: &Kubernetes, statuses: &Statuses, hand: &Hand) {
    for of in kinds(api) {
        look(api, of, statuses, hand, |_, _| false).await;
    }
}

fn kinds(api: &Kubernetes) -> impl Iterator<Item = (Group, Kind)> {
    let groups = api.groups();
    KINDS.into_iter().flat_map(move |kind| groups.clone().into_iter().map(move |group| (group, kind)))
}

/// `adopt` says whether it takes an object that STATUS does not know.
async fn look(
    api: &Kubernetes,
    (group, kind): (Group, Kind),
    statuses: &Statuses,
    hand: &Hand,
    mut adopt: impl FnMut(&ObjectKey, &Value) -> bool,
) {
    let mut shown = HashSet::new();
    let compare = |object: Value| {
        let key = key_of(group, kind, &object);
        match statuses.document(&key) {
            Some(document) if !holds(&object["status"], &document.value()["status"]) => {
                hand.give(&key, || Job::status(document.clone()));
            }
            Some(_) => {}
            None if adopt(&key, &object) => {}
            // What Lagan made for a session that has left the history since.
            None if kind == Kind::BackupSession && is_scheduled(&object) && has_ended(&object) => {
                hand.give(&key, || Job::delete(object));
            }
            None => {}
        }
        shown.insert(key);
    };
    if let Err(error) = api.each(group, kind, compare).await {
        return tracing::warn!(%kind, error = chain(&error), "statuses can't be compared now");
    }
    for key in statuses.keys().filter(|key| key.kind == kind && key.group == group.as_str() && !shown.contains(*key)) {
        if let Some(document) = statuses.document(key).filter(|d| must_be_there(&d.value())) {
            hand.give(key, || Job::status(document.clone()));
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

/// The object of a scheduled session is ours to make, until it has ended: then somebody has deleted it.
fn must_be_there(document: &Value) -> bool {
    is_scheduled(document) && !has_ended(document)
}

fn is_scheduled(object: &Value) -> bool {
    stand_in::session_of_value(object).is_some()
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
    use super::*;

    #[test]
    fn what_is_taken_in_is_the_published_form_with_its_status() {
        let object = json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession",
            "metadata": {"name": "r", "namespace": "n", "uid": "00000000-0000-0000-0000-000000000001",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "CANARY"}},
            "spec": {"repository": {"name": "r"},
                "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}},
                "hooks": {"preRestore": {"httpPost": {"port": 1, "path": "/CANARY", "body": "CANARY"}}}},
            "status": {"phase": "Succeeded"},
        });
        let document = adopted(object).expect("a document");
        assert!(!document.to_string().contains("CANARY"), "{document}");
        assert_eq!((&document["status"]["phase"], &document["metadata"]["name"]), (&json!("Succeeded"), &json!("r")));
        assert_eq!(adopted(json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession", "spec": 1})), None);
    }

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
