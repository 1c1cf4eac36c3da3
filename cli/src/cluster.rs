//! The cluster as the place where objects are: reads them with their statuses and Events, makes and changes them.
//! It must not wait for anything, and it knows nothing of facts.

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::resource::app_binding::AppBindingSpec;
use lagan_schemas::resource::{Group, Kind};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{CLI, Kubernetes, KubernetesError, LAST_APPLIED};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Streams;
use crate::error::{Exit, Problem};
use crate::objects::View;

pub struct Cluster {
    pub api: Kubernetes,
    /// The cluster's NATS server, where it was named.
    pub streams: Option<Streams>,
    installed: Vec<Group>,
}

/// A Kubernetes Event of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub time: Option<Timestamp>,
    /// Normal or Warning.
    pub severity: String,
    pub reason: String,
    pub message: String,
    pub count: i64,
}

impl Told {
    #[must_use]
    pub fn document(&self) -> Value {
        let Self { time, severity, reason, message, count } = self;
        json!({ "time": time, "type": severity, "reason": reason, "message": message, "count": count })
    }
}

impl Cluster {
    pub fn new(api: Kubernetes, installed: Vec<Group>, streams: Option<Streams>) -> Result<Self, Problem> {
        if !installed.iter().any(|group| matches!(group, Group::Lagan | Group::Stash)) {
            return Err(Problem::new(Exit::Failed, "the cluster has no kinds of Lagan")
                .help("install them with `lagan crd | kubectl apply --server-side -f -`"));
        }
        Ok(Self { api, streams, installed })
    }

    /// All objects of these kinds in these namespaces (none: in all), and what they name in other namespaces.
    pub async fn views(&self, kinds: &[Kind], namespaces: &[String]) -> Result<Vec<View>, Problem> {
        let scoped = Kubernetes::new(self.api.client.clone(), self.api.stash, namespaces.to_vec());
        let listed = try_join_all(kinds.iter().map(|kind| list(&scoped, &self.installed, *kind))).await?;
        let mut views: Vec<View> = listed.into_iter().flatten().collect();
        for key in elsewhere(&views, kinds) {
            // Whoever may not look there is told that it is not found.
            if let Ok(Some(value)) = self.api.get(&key).await {
                views.push(view(value, key.kind));
            }
        }
        Ok(views)
    }

    pub async fn create(&self, key: &ObjectKey, object: Value) -> Result<Value, Problem> {
        self.api.create_as(key, object, CLI).await.map(shown).map_err(|error| problem(&error))
    }

    /// Sets `spec.paused`.
    pub async fn pause(&self, key: &ObjectKey, paused: bool) -> Result<Value, Problem> {
        let patch = json!({ "spec": { "paused": paused } });
        self.api.merge_as(key, &patch, CLI).await.map(shown).map_err(|error| problem(&error))
    }

    /// What Kubernetes was told of an object, in order.
    pub async fn events(&self, view: &View) -> Result<Vec<Told>, Problem> {
        let Some(uid) = view.text("/metadata/uid").parse::<Uuid>().ok() else { return Ok(Vec::new()) };
        // Events of objects without a namespace are in this one.
        let namespace = view.key.namespace.as_deref().unwrap_or("default");
        let found = self.api.events_of(namespace, uid).await.map_err(|error| problem(&error))?;
        let events = found.iter().filter_map(|event| serde_json::to_value(event).ok());
        let mut told: Vec<Told> = events.map(|event| told(&event)).collect();
        told.sort_by_key(|told| told.time);
        Ok(told)
    }
}

/// The objects of a kind in all groups that have it. Who may read one group is not troubled by the other, and the
/// catalogue of a cluster is not everybody's to list: who may not sees the built-in one.
async fn list(api: &Kubernetes, installed: &[Group], kind: Kind) -> Result<Vec<View>, Problem> {
    let groups = kind.api_versions().iter().map(|version| Group::of(version)).filter(|group| installed.contains(group));
    let mut views = Vec::new();
    let mut refused = None;
    let mut is_read = !kind.is_namespaced();
    for listed in join_all(groups.map(|group| api.list(group, kind))).await {
        match listed {
            Ok(objects) => {
                is_read = true;
                views.extend(objects.into_iter().map(|object| view(object, kind)));
            }
            Err(error) if error.status().is_some_and(|status| status.code == 403) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(problem(&error)),
        }
    }
    refused.filter(|_| !is_read).map_or(Ok(views), |error| Err(problem(&error)))
}

fn view(value: Value, kind: Kind) -> View {
    let value = shown(value);
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let key = ObjectKey {
        group: Group::of(text("/apiVersion").unwrap_or_default()).as_str().to_owned(),
        kind,
        namespace: text("/metadata/namespace").map(str::to_owned),
        name: text("/metadata/name").unwrap_or_default().to_owned(),
    };
    View { key, value }
}

/// Without what is nobody's to read: who wrote which field, and copies of manifests with their passwords.
pub fn shown(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    if value["kind"] == Kind::AppBinding.as_str()
        && let Ok(spec) = serde_json::from_value::<AppBindingSpec>(value["spec"].clone())
    {
        let published = json!(spec.published());
        for (part, field) in [("clientConfig", "url"), ("", "secretTransforms")] {
            let from = if part.is_empty() { &published } else { &published[part] };
            let to = if part.is_empty() { &mut value["spec"] } else { &mut value["spec"][part] };
            if let (Some(safe), Some(to)) = (from.get(field), to.as_object_mut()) {
                to.insert(field.to_owned(), safe.clone());
            }
        }
    }
    value
}

/// Repositories and AppBindings that configurations name in a namespace that was not looked at.
fn elsewhere(views: &[View], kinds: &[Kind]) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for view in views.iter().filter(|view| view.key.kind == Kind::BackupConfiguration) {
        let named = [
            (Kind::Repository, "/spec/repository", view.key.group.as_str()),
            (Kind::AppBinding, "/spec/target/ref", Group::AppCatalog.as_str()),
        ];
        for (kind, place, group) in named {
            let (namespace, name) = (view.text(&format!("{place}/namespace")), view.text(&format!("{place}/name")));
            let key = ObjectKey {
                group: group.to_owned(),
                kind,
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
            };
            let is_new = !keys.contains(&key) && !views.iter().any(|view| view.key == key);
            if !namespace.is_empty() && kinds.contains(&kind) && is_new {
                keys.push(key);
            }
        }
    }
    keys
}

/// Events come in two generations of fields.
fn told(event: &Value) -> Told {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let time = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let count = ["/series/count", "/count"].iter().find_map(|pointer| event.pointer(pointer)?.as_i64());
    Told {
        time: time.iter().find_map(|pointer| text(pointer)?.parse().ok()),
        severity: text("/type").unwrap_or_default().to_owned(),
        reason: text("/reason").unwrap_or_default().to_owned(),
        message: text("/message").unwrap_or_default().to_owned(),
        count: count.unwrap_or(1),
    }
}

/// What the API server answered, or that it did not.
#[must_use]
pub fn problem(error: &KubernetesError) -> Problem {
    let text = chain(error);
    if matches!(error, KubernetesError::Shape { .. }) {
        return Problem::new(Exit::Failed, text);
    }
    match error.status() {
        Some(status) if status.code == 401 => {
            Problem::new(Exit::Failed, text).help("the kubeconfig's login is not accepted; renew it")
        }
        Some(status) if status.code == 403 => Problem::new(Exit::Failed, text)
            .help("your account may not do this; `kubectl auth can-i --list` says what it may"),
        Some(status) if status.is_not_found() => Problem::new(Exit::NotFound, text),
        Some(status) if status.code < 500 => Problem::new(Exit::Failed, text),
        _ => Problem::new(Exit::Unreachable, text).help("check the kubeconfig and its context; does kubectl work?"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_object_is_shown_without_its_managers_and_passwords() {
        let object = json!({
            "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
            "metadata": {"name": "db", "namespace": "prod", "managedFields": [{"manager": "x"}],
                "annotations": {LAST_APPLIED: "CANARY"}},
            "spec": {"clientConfig": {"url": "mysql://root:CANARY@h:1/"}, "unknown": 1,
                "secretTransforms": [{"addKey": {"key": "password", "stringValue": "CANARY"}}]},
        });
        let view = view(object, Kind::AppBinding);
        let text = view.value.to_string();
        assert!(!text.contains("CANARY") && !text.contains("managedFields") && !text.contains("annotations"), "{text}");
        assert_eq!((view.text("/spec/clientConfig/url"), view.number("/spec/unknown")), ("mysql://h:1/", Some(1)));
        assert_eq!(view.key.to_string(), "AppBinding/prod/db");
    }

    #[test]
    fn what_a_configuration_names_elsewhere_is_looked_up_once() {
        let configuration = |name: &str| {
            view(
                json!({
                    "apiVersion": "stash.appscode.com/v1beta1", "kind": "BackupConfiguration",
                    "metadata": {"name": name, "namespace": "prod"},
                    "spec": {"repository": {"name": "main", "namespace": "storage"}, "target": {"ref": {"name": "db"}}},
                }),
                Kind::BackupConfiguration,
            )
        };
        let views = [configuration("a"), configuration("b")];
        let keys = elsewhere(&views, &[Kind::BackupConfiguration, Kind::Repository, Kind::AppBinding]);
        assert_eq!(keys.len(), 1);
        assert_eq!(
            (keys[0].group.as_str(), keys[0].to_string().as_str()),
            ("stash.appscode.com", "Repository/storage/main")
        );
        assert!(elsewhere(&views, &[Kind::BackupConfiguration]).is_empty());
    }

    #[test]
    fn an_event_is_read_in_both_generations() {
        let new = told(
            &json!({"type": "Warning", "reason": "DumpFailed", "message": "m", "eventTime": "2026-11-22T12:00:00.5Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-22T12:05:00.123456Z"}, "lastTimestamp": null}),
        );
        assert_eq!((new.count, new.time.unwrap().to_string().as_str()), (3, "2026-11-22T12:05:00.123456Z"));
        let old = told(
            &json!({"type": "Normal", "reason": "R", "message": "m", "lastTimestamp": "2026-11-22T12:00:00Z", "count": 2}),
        );
        assert_eq!((old.count, old.time.unwrap().to_string().as_str()), (2, "2026-11-22T12:00:00Z"));
    }
}
