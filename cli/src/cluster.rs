//! Objects of a cluster: lists them with their statuses and Events, creates and changes them. It must not wait for
//! anything, and knows nothing of facts.

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::resource::app_binding::AppBindingSpec;
use lagan_schemas::resource::{Group, Kind};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{CLI, Kubernetes, KubernetesError, LAST_APPLIED};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Exit, Problem};
use crate::objects::ObjectDocument;
use crate::streams::Streams;

pub struct ClusterClient {
    pub api: Kubernetes,
    /// The cluster's NATS server, if it is named.
    pub streams: Option<Streams>,
    installed: Vec<Group>,
}

/// A Kubernetes Event of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeEvent {
    pub time: Option<Timestamp>,
    /// Normal or Warning.
    pub severity: String,
    pub reason: String,
    pub message: String,
    pub count: i64,
}

impl KubeEvent {
    #[must_use]
    pub fn document(&self) -> Value {
        let Self { time, severity, reason, message, count } = self;
        json!({ "time": time, "type": severity, "reason": reason, "message": message, "count": count })
    }
}

impl ClusterClient {
    pub fn new(api: Kubernetes, installed: Vec<Group>, streams: Option<Streams>) -> Result<Self, Problem> {
        if !installed.iter().any(|group| matches!(group, Group::Lagan | Group::Stash)) {
            return Err(Problem::new(Exit::Failed, "the cluster has no CustomResourceDefinitions of Lagan")
                .help("install them with `lagan crd | kubectl apply --server-side -f -`"));
        }
        Ok(Self { api, streams, installed })
    }

    /// Lists all objects of these kinds in these namespaces (in all, if none is given), and the objects that they name in
    /// other namespaces.
    pub async fn views(&self, kinds: &[Kind], namespaces: &[String]) -> Result<Vec<ObjectDocument>, Problem> {
        let scoped = self.api.within(namespaces.to_vec());
        let listed = try_join_all(kinds.iter().map(|kind| list(&scoped, &self.installed, *kind))).await?;
        let mut views: Vec<ObjectDocument> = listed.into_iter().flatten().collect();
        for key in other_namespaces(&views, kinds) {
            // Without the right to read there, the object is shown as not found.
            if let Ok(Some(value)) = self.api.get(&key).await {
                views.push(view(value, key.kind));
            }
        }
        Ok(views)
    }

    /// Creates an object; `None` if one of its name exists.
    pub async fn create(&self, key: &ObjectKey, object: Value) -> Result<Option<Value>, Problem> {
        match self.api.create_as(key, object, CLI).await {
            Ok(created) => Ok(Some(printable(created))),
            Err(error) if error.status().is_some_and(|status| status.reason == "AlreadyExists") => Ok(None),
            Err(error) => Err(problem(&error)),
        }
    }

    /// Sets `spec.paused`.
    pub async fn pause(&self, key: &ObjectKey, paused: bool) -> Result<Value, Problem> {
        let patch = json!({ "spec": { "paused": paused } });
        self.api.merge_as(key, &patch, CLI).await.map(printable).map_err(|error| problem(&error))
    }

    /// Lists the Kubernetes Events of an object, the oldest first.
    pub async fn events(&self, view: &ObjectDocument) -> Result<Vec<KubeEvent>, Problem> {
        let Some(uid) = view.text("/metadata/uid").parse::<Uuid>().ok() else { return Ok(Vec::new()) };
        // Kubernetes keeps the Events of cluster-scoped objects in this namespace.
        let namespace = view.key.namespace.as_deref().unwrap_or("default");
        let found = self.api.events_of(namespace, uid).await.map_err(|error| problem(&error))?;
        let events = found.iter().filter_map(|event| serde_json::to_value(event).ok());
        let mut sorted: Vec<KubeEvent> = events.map(|value| event(&value)).collect();
        sorted.sort_by_key(|event| event.time);
        Ok(sorted)
    }
}

/// Lists the objects of a kind in all installed groups. A group that may not be read is left out if another may be
/// read; without the right to list cluster-scoped kinds only the built-in ones are shown.
async fn list(api: &Kubernetes, installed: &[Group], kind: Kind) -> Result<Vec<ObjectDocument>, Problem> {
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

fn view(value: Value, kind: Kind) -> ObjectDocument {
    let value = printable(value);
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let key = ObjectKey {
        group: Group::of(text("/apiVersion").unwrap_or_default()).as_str().to_owned(),
        kind,
        namespace: text("/metadata/namespace").map(str::to_owned),
        name: text("/metadata/name").unwrap_or_default().to_owned(),
    };
    ObjectDocument { key, value }
}

/// Removes field managers, and copies of manifests that may hold passwords.
pub fn printable(mut value: Value) -> Value {
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

/// Keys of the Repositories and AppBindings that configurations name and that are not among the views.
fn other_namespaces(views: &[ObjectDocument], kinds: &[Kind]) -> Vec<ObjectKey> {
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

/// Reads an Event of either generation: clients write other fields for time and count since Kubernetes 1.19.
fn event(event: &Value) -> KubeEvent {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let time = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let count = ["/series/count", "/count"].iter().find_map(|pointer| event.pointer(pointer)?.as_i64());
    KubeEvent {
        time: time.iter().find_map(|pointer| text(pointer)?.parse().ok()),
        severity: text("/type").unwrap_or_default().to_owned(),
        reason: text("/reason").unwrap_or_default().to_owned(),
        message: text("/message").unwrap_or_default().to_owned(),
        count: count.unwrap_or(1),
    }
}

/// Turns an answer of the API server, or its silence, into the error of a command.
#[must_use]
pub fn problem(error: &KubernetesError) -> Problem {
    let text = chain(error);
    if matches!(error, KubernetesError::Shape { .. }) {
        return Problem::new(Exit::Failed, text);
    }
    match error.status() {
        Some(status) if status.code == 401 => {
            Problem::new(Exit::Failed, text).help("the API server rejects the login of the kubeconfig; renew it")
        }
        Some(status) if status.code == 403 => Problem::new(Exit::Failed, text)
            .help("your account lacks this right; `kubectl auth can-i --list` shows its rights"),
        Some(status) if status.is_not_found() => Problem::new(Exit::NotFound, text),
        Some(status) if status.message.contains("unknown field") => Problem::new(Exit::Failed, text)
            .help("nothing was created: the definitions (CRDs) in the cluster are of another version than this command; install those of this version"),
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
    fn an_object_in_another_namespace_is_looked_up_once() {
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
        let keys = other_namespaces(&views, &[Kind::BackupConfiguration, Kind::Repository, Kind::AppBinding]);
        assert_eq!(keys.len(), 1);
        assert_eq!(
            (keys[0].group.as_str(), keys[0].to_string().as_str()),
            ("stash.appscode.com", "Repository/storage/main")
        );
        assert!(other_namespaces(&views, &[Kind::BackupConfiguration]).is_empty());
    }

    #[test]
    fn an_event_is_read_in_both_generations() {
        let new = event(
            &json!({"type": "Warning", "reason": "DumpFailed", "message": "m", "eventTime": "2026-11-22T12:00:00.5Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-22T12:05:00.123456Z"}, "lastTimestamp": null}),
        );
        assert_eq!((new.count, new.time.unwrap().to_string().as_str()), (3, "2026-11-22T12:05:00.123456Z"));
        let old = event(
            &json!({"type": "Normal", "reason": "R", "message": "m", "lastTimestamp": "2026-11-22T12:00:00Z", "count": 2}),
        );
        assert_eq!((old.count, old.time.unwrap().to_string().as_str()), (2, "2026-11-22T12:00:00Z"));
    }
}
