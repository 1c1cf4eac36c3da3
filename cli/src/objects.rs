//! Objects as people see them: manifest and status as one document, found by name. It must not read anything; `store`
//! does.

use jiff::Timestamp;
use lagan_schemas::resource::{Condition, Kind, Object};
use lagan_schemas::subject::ObjectKey;
use lagan_schemas::{catalogue, resource::kind::LAGAN};
use lagan_sources::stand_in;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One object: `apiVersion`, `kind`, `metadata`, `spec` and, if there is one, `status`.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectDocument {
    pub key: ObjectKey,
    pub value: Value,
}

/// The newest session, in place of a session's name.
pub const LATEST: &str = "@latest";

/// Joins objects and statuses. A session is shown by its status alone if it has no object; the status of any other kind
/// is dropped with its object.
#[must_use]
pub fn merge(objects: Vec<(ObjectKey, Value)>, statuses: Vec<(ObjectKey, Value)>) -> Vec<ObjectDocument> {
    let mut merged: BTreeMap<ObjectKey, Value> = objects.into_iter().collect();
    for (key, status) in statuses {
        match merged.get_mut(&key) {
            Some(object) if session_of(object) == session_of(&status) => object["status"] = status["status"].clone(),
            // The status of an older object of this name.
            Some(_) => {}
            None if is_session(key.kind) => drop(merged.insert(key, status)),
            None => {}
        }
    }
    merged.into_iter().map(|(key, value)| ObjectDocument { key, value }).collect()
}

/// Adds the built-in Tasks and Functions, except those that an object of the same name replaces.
#[must_use]
pub fn with_built_in(mut views: Vec<ObjectDocument>) -> Vec<ObjectDocument> {
    for object in catalogue::objects() {
        let key = object.key();
        let is_replaced = views.iter().any(|v| (v.key.kind, v.key.name.as_str()) == (key.kind, key.name.as_str()));
        if !is_replaced {
            views.push(ObjectDocument { value: built_in(object), key });
        }
    }
    views
}

fn built_in(object: &Object) -> Value {
    let mut value = object.to_json();
    value["metadata"]["labels"] = json!({ "lagan.dev/source": "built-in" });
    value
}

const fn is_session(kind: Kind) -> bool {
    matches!(kind, Kind::BackupSession | Kind::RestoreSession)
}

/// The uid of a session. In a cluster the object of a scheduled session has a uid of its own, and names the session's
/// in an annotation.
fn session_of(value: &Value) -> Option<Uuid> {
    stand_in::session_of_value(value).or_else(|| value.pointer("/metadata/uid")?.as_str()?.parse().ok())
}

impl ObjectDocument {
    /// The text at a JSON pointer; empty if there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.value.pointer(pointer).and_then(Value::as_u64)
    }

    #[must_use]
    pub fn time(&self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer).parse().ok()
    }

    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.time("/metadata/creationTimestamp").or_else(|| self.time("/status/requestedTime"))
    }

    /// The sort key of sessions by age. Creation times have whole seconds; within one second the sequence of the last
    /// fact decides, and a session without facts is the newest.
    #[must_use]
    pub fn age(&self) -> (Option<Timestamp>, u64) {
        (self.created(), self.number("/status/foldedSequence").unwrap_or(u64::MAX))
    }

    #[must_use]
    pub fn uid(&self) -> Option<Uuid> {
        self.text("/metadata/uid").parse().ok()
    }

    /// The uid of the session whose facts belong to this object.
    #[must_use]
    pub fn session(&self) -> Option<Uuid> {
        session_of(&self.value)
    }

    /// A part such as `status` as its type; the default if it is missing or of a later version.
    #[must_use]
    pub fn part<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        self.value.get(name).cloned().and_then(|part| serde_json::from_value(part).ok()).unwrap_or_default()
    }

    /// The conditions of its status; empty if it has none.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let conditions = self.value.pointer("/status/conditions").cloned();
        conditions.and_then(|conditions| serde_json::from_value(conditions).ok()).unwrap_or_default()
    }

    #[must_use]
    pub const fn is_session(&self) -> bool {
        is_session(self.key.kind)
    }

    #[must_use]
    pub fn phase(&self) -> &str {
        match self.text("/status/phase") {
            "" if is_session(self.key.kind) => "Pending",
            phase => phase,
        }
    }

    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.value.pointer("/metadata/labels").and_then(|l| l.get("lagan.dev/source")).is_some_and(|s| s == "built-in")
    }
}

/// Selects the objects of a kind in a namespace (`None` means all) in display order: sessions from the newest to the
/// oldest, all others by name.
#[must_use]
pub fn select<'a>(views: &'a [ObjectDocument], kind: Kind, namespace: Option<&str>) -> Vec<&'a ObjectDocument> {
    let is_in_scope = |view: &&ObjectDocument| {
        view.key.kind == kind
            && (namespace.is_none() || view.key.namespace.is_none() || view.key.namespace.as_deref() == namespace)
    };
    let mut selected: Vec<&ObjectDocument> = views.iter().filter(is_in_scope).collect();
    selected.sort_by(|a, b| (&a.key.namespace, &a.key.name).cmp(&(&b.key.namespace, &b.key.name)));
    if is_session(kind) {
        selected.sort_by_key(|view| std::cmp::Reverse(view.age()));
    }
    selected
}

/// Finds the objects of a name, a uid or `@latest`: more than one if both API groups have that name.
#[must_use]
pub fn find<'a>(selected: &[&'a ObjectDocument], name: &str) -> Vec<&'a ObjectDocument> {
    if name == LATEST {
        return selected.first().copied().into_iter().collect();
    }
    let is_it = |view: &&&ObjectDocument| view.key.name == name || view.text("/metadata/uid") == name;
    let mut found: Vec<&ObjectDocument> = selected.iter().filter(is_it).copied().collect();
    // Our own group first: commands that need one object take the first.
    found.sort_by_key(|view| view.key.group != LAGAN);
    found
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    pub fn view(value: Value) -> ObjectDocument {
        let (group, _) = value["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let key = ObjectKey {
            group: group.to_owned(),
            kind: value["kind"].as_str().unwrap().parse().unwrap(),
            namespace: value["metadata"]["namespace"].as_str().map(str::to_owned),
            name: value["metadata"]["name"].as_str().unwrap().to_owned(),
        };
        ObjectDocument { key, value }
    }

    fn session(name: &str, uid: u128, status: Option<&str>) -> (ObjectKey, Value) {
        let mut value = json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": name, "namespace": "default", "uid": Uuid::from_u128(uid)},
        });
        if let Some(phase) = status {
            value["status"] = json!({ "phase": phase });
        }
        let view = view(value);
        (view.key, view.value)
    }

    #[test]
    fn a_status_goes_with_the_object_of_its_uid_and_no_other() {
        let objects = vec![session("a", 1, None), session("b", 2, None)];
        let statuses =
            vec![session("a", 1, Some("Running")), session("b", 9, Some("Failed")), session("c", 3, Some("Succeeded"))];
        let phases: Vec<_> =
            merge(objects, statuses).iter().map(|v| (v.key.name.clone(), v.phase().to_owned())).collect();
        let expected = [("a", "Running"), ("b", "Pending"), ("c", "Succeeded")];
        assert_eq!(phases, expected.map(|(n, p)| (n.to_owned(), p.to_owned())));
    }

    #[test]
    fn a_scheduled_session_of_a_cluster_is_known_by_its_own_uid() {
        let mut object = session("a", 1, None);
        let says = stand_in::annotation(Uuid::from_u128(5), "default", "a");
        object.1["metadata"]["annotations"] = json!({ stand_in::SESSION_ANNOTATION: says });
        let views = merge(vec![object], vec![session("a", 5, Some("Running"))]);
        assert_eq!((views[0].phase(), views[0].session()), ("Running", Some(Uuid::from_u128(5))));
    }

    #[test]
    fn the_latest_session_is_the_newest_one() {
        let made = |name: &str, time: &str| {
            let (key, mut value) = session(name, 1, None);
            value["metadata"]["creationTimestamp"] = time.into();
            ObjectDocument { key, value }
        };
        let views = [made("z", "2026-11-22T10:00:00Z"), made("a", "2026-11-22T12:00:00Z")];
        let selected = select(&views, Kind::BackupSession, Some("default"));
        assert_eq!(find(&selected, LATEST)[0].key.name, "a");
        assert_eq!(find(&selected, "z").len(), 1);
        assert!(select(&views, Kind::BackupSession, Some("other")).is_empty());
        // Within one second the facts decide, and a session without facts is the newest.
        let within = |name: &str, sequence: Option<u64>| {
            let mut view = made(name, "2026-11-22T12:00:00Z");
            if let Some(sequence) = sequence {
                view.value["status"] = json!({ "foldedSequence": sequence });
            }
            view
        };
        let views = [within("s-9", Some(5)), within("s-10", Some(9)), within("s-8", None), within("s-7", Some(3))];
        let names: Vec<_> =
            select(&views, Kind::BackupSession, None).iter().map(|view| view.key.name.as_str()).collect();
        assert_eq!(names, ["s-8", "s-10", "s-9", "s-7"]);
    }

    #[test]
    fn a_task_of_the_same_name_hides_the_built_in_one() {
        let own = view(json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "Task", "metadata": {"name": "mariadb-backup"}, "spec": {"steps": []},
        }));
        let views = with_built_in(vec![own]);
        let tasks = select(&views, Kind::Task, Some("default"));
        let named: Vec<_> = tasks.iter().filter(|task| task.key.name == "mariadb-backup").collect();
        assert_eq!(named.iter().map(|task| task.is_built_in()).collect::<Vec<_>>(), [false]);
        assert!(tasks.len() > 1 && tasks.iter().filter(|task| task.is_built_in()).count() == tasks.len() - 1);
    }
}
