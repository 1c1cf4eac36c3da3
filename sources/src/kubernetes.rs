//! The API server as the source of intent: objects by key, Secrets by name, and memory in statuses.
//! It must not watch or decide anything.

mod access;
pub mod application;
mod decided;
mod identity;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret as ApiSecret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::{Api, Client};
use lagan_schemas::resource::secret::Secret;
use lagan_schemas::resource::{Group, Kind, ObjectRef};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};
use uuid::Uuid;

pub use self::access::{ApiConnection, ApiServer, KubeAccess, connect};
use self::decided::Decided;

/// Field managers. They are constants, so that a renamed binary keeps its fields.
pub const REPORTER: &str = "lagan-reporter";
pub const PLANNER: &str = "lagan-planner";
pub const BLUEPRINTS: &str = "lagan-blueprints";
pub const CLI: &str = "lagan-cli";

/// Limit for one answer of the API server.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const PAGE: u32 = 500;
/// Annotation into which kubectl copies whole manifests, including passwords in URLs.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Name of the APIService of a running Stash operator's webhooks.
const STASH_OPERATOR: &str = "v1beta1.admission.stash.appscode.com";

/// Whether Lagan runs objects of group `stash.appscode.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StashCompat {
    On,
    #[default]
    Off,
    /// It would, and leaves them to the Stash operator that runs in the cluster.
    LeftToOperator,
}

#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("no Kubernetes API server is configured")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Shows only the API server's message; the library would print the whole answer twice.
    #[error("{action} `{object}`: {}", status.message)]
    Refused { action: &'static str, object: String, status: Box<kube::core::Status> },
    #[error("{action} `{object}`")]
    Request {
        action: &'static str,
        object: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("namespace `kube-system` has uid `{uid}`, which can't identify the cluster")]
    Identity { uid: String },
    #[error("{action} `{object}`: no answer within {} s", ANSWER_WITHIN.as_secs())]
    NoAnswer { action: &'static str, object: String },
    #[error("the answer for `{object}` does not have the expected form")]
    Shape {
        object: String,
        #[source]
        source: serde_json::Error,
    },
}

impl KubernetesError {
    /// Returns the API server's refusal, which a retry would not change.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub struct Kubernetes {
    pub client: Client,
    pub stash: StashCompat,
    /// Namespaces that are read; all if empty.
    pub namespaces: Vec<String>,
    pub server: ApiServer,
    decided: Arc<Mutex<Decided>>,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubernetes({:?})", self.namespaces)
    }
}

/// Returns the API resource of a kind in a group; `None` if the group has no such kind.
#[must_use]
pub fn api_resource(group: Group, kind: Kind) -> Option<ApiResource> {
    let api_version = kind.api_versions().iter().find(|version| Group::of(version) == group)?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: (*api_version).to_owned(),
        kind: kind.to_string(),
        plural: kind.plural().to_owned(),
    })
}

impl Kubernetes {
    #[must_use]
    pub fn new(connection: ApiConnection, stash: StashCompat, namespaces: Vec<String>) -> Self {
        let ApiConnection { client, server, .. } = connection;
        Self { client, stash, namespaces, server, decided: Arc::default() }
    }

    /// Reads other namespaces of the same server; all if empty.
    #[must_use]
    pub fn within(&self, namespaces: Vec<String>) -> Self {
        Self { namespaces, ..self.clone() }
    }

    /// Returns the groups whose objects are read.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        match self.stash {
            StashCompat::On => vec![Group::Lagan, Group::AppCatalog, Group::Stash],
            StashCompat::Off | StashCompat::LeftToOperator => vec![Group::Lagan, Group::AppCatalog],
        }
    }

    #[must_use]
    pub fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    fn api_of(&self, key: &ObjectKey) -> Option<Api<DynamicObject>> {
        let resource = api_resource(Group::of(&format!("{}/", key.group)), key.kind)?;
        Some(self.api(&resource, key.namespace.as_deref()))
    }

    /// Returns whether a Stash operator runs, to which Stash's kinds then belong.
    pub async fn stash_operator_runs(&self) -> Result<bool, KubernetesError> {
        let resource = ApiResource {
            group: "apiregistration.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "apiregistration.k8s.io/v1".to_owned(),
            kind: "APIService".to_owned(),
            plural: "apiservices".to_owned(),
        };
        let api = self.api(&resource, None);
        answer("get APIService", STASH_OPERATOR, api.get_metadata_opt(STASH_OPERATOR))
            .await
            .map(|found| found.is_some())
    }

    /// Reads an object, including its status.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>, KubernetesError> {
        let Some(api) = self.api_of(key) else { return Ok(None) };
        let found = answer("get", &key.to_string(), api.get_opt(&key.name)).await?;
        found.map(|object| value_of(key, &object)).transpose()
    }

    /// Lists all objects of a kind in a group; none if the kind is not installed.
    pub async fn list(&self, group: Group, kind: Kind) -> Result<Vec<Value>, KubernetesError> {
        let mut found = Vec::new();
        self.each(group, kind, |object| found.push(object)).await?;
        Ok(found)
    }

    /// Calls `take` for each object of a kind in a group, with at most one page of them in memory.
    pub async fn each(&self, group: Group, kind: Kind, mut take: impl FnMut(Value)) -> Result<(), KubernetesError> {
        let Some(resource) = api_resource(group, kind) else { return Ok(()) };
        for namespace in self.scopes(kind) {
            let api = self.api(&resource, namespace.as_deref());
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = match answer("list", kind.plural(), api.list(&params)).await {
                    Ok(page) => page,
                    Err(error) if error.status().is_some_and(kube::core::Status::is_not_found) => break,
                    Err(error) => return Err(error),
                };
                for mut object in page.items {
                    // Managed fields are never used and are often larger than the rest.
                    object.metadata.managed_fields = None;
                    let value = serde_json::to_value(object);
                    let mut value =
                        value.map_err(|source| KubernetesError::Shape { object: kind.to_string(), source })?;
                    // Items of a list lack their type.
                    value["apiVersion"] = resource.api_version.clone().into();
                    value["kind"] = resource.kind.clone().into();
                    take(value);
                }
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Returns the namespaces in which a kind is read; `None` stands for the whole cluster.
    #[must_use]
    pub fn scopes(&self, kind: Kind) -> Vec<Option<String>> {
        if self.namespaces.is_empty() || !kind.is_namespaced() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// Returns whether an object of this name would be seen: its kind, group and namespace are read.
    #[must_use]
    pub fn watches(&self, key: &ObjectKey) -> bool {
        let group = Group::of(&format!("{}/", key.group));
        let is_read = self.groups().contains(&group) && api_resource(group, key.kind).is_some();
        is_read && self.scopes(key.kind).iter().any(|scope| scope.is_none() || *scope == key.namespace)
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, KubernetesError> {
        let api: Api<ApiSecret> = Api::namespaced(self.client.clone(), namespace);
        let path = format!("Secret {namespace}/{name}");
        let Some(found) = answer("get", &path, api.get_opt(name)).await? else { return Ok(None) };
        let shape = |source| KubernetesError::Shape { object: path.clone(), source };
        let value = serde_json::to_value(&found).map_err(shape)?;
        serde_json::from_value(value).map(Some).map_err(shape)
    }

    /// Returns whether a Secret exists, without fetching its values.
    pub async fn has_secret(&self, namespace: &str, name: &str) -> Result<bool, KubernetesError> {
        let api: Api<ApiSecret> = Api::namespaced(self.client.clone(), namespace);
        let path = format!("Secret {namespace}/{name}");
        answer("look for", &path, api.get_metadata_opt(name)).await.map(|found| found.is_some())
    }

    pub async fn namespace_labels(&self, name: &str) -> Result<BTreeMap<String, String>, KubernetesError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = answer("get namespace", name, api.get_metadata_opt(name)).await?;
        Ok(found.and_then(|namespace| namespace.metadata.labels).unwrap_or_default())
    }

    pub async fn has_namespace(&self, name: &str) -> Result<bool, KubernetesError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        answer("get namespace", name, api.get_metadata_opt(name)).await.map(|found| found.is_some())
    }

    /// Returns the groups of which the API server has any kind. Every account may ask.
    pub async fn installed(&self) -> Result<Vec<Group>, KubernetesError> {
        let found = answer("list", "API groups", self.client.list_api_groups()).await?;
        let is_there = |group: &Group| found.groups.iter().any(|there| there.name == group.as_str());
        Ok([Group::Lagan, Group::Stash, Group::AppCatalog].into_iter().filter(is_there).collect())
    }

    /// Lists the Events about an object.
    pub async fn events_of(&self, namespace: &str, uid: Uuid) -> Result<Vec<Event>, KubernetesError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(PAGE);
        Ok(answer("list", "Events", api.list(&params)).await?.items)
    }

    /// Deletes the object with this uid and no other. A deleted object is no error.
    pub async fn delete(&self, key: &ObjectKey, uid: Option<Uuid>) -> Result<(), KubernetesError> {
        let Some(api) = self.api_of(key) else { return Ok(()) };
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_string()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        match answer("delete", &key.to_string(), api.delete(&key.name, &params)).await {
            Err(error) if error.status().is_some_and(|s| s.is_not_found() || s.is_conflict()) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Records that a restore may begin. It is written before `planned`, so that the restore is never begun again (P5).
    pub async fn record_restore(&self, object: &ObjectRef, now: Timestamp) -> Result<(), KubernetesError> {
        let status = json!({ "recordedTime": now });
        self.apply_status(&object.key(), object.uid.unwrap_or_default(), &status, PLANNER).await
    }
}

fn value_of(key: &ObjectKey, object: &DynamicObject) -> Result<Value, KubernetesError> {
    serde_json::to_value(object).map_err(|source| KubernetesError::Shape { object: key.to_string(), source })
}

/// Waits for an answer with a limit, so that a hanging server does not hang the caller.
async fn answer<T>(
    action: &'static str,
    object: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubernetesError> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => {
            Err(KubernetesError::Refused { action, object: object.to_owned(), status })
        }
        Ok(Err(source)) => {
            Err(KubernetesError::Request { action, object: object.to_owned(), source: Box::new(source) })
        }
        Err(_) => Err(KubernetesError::NoAnswer { action, object: object.to_owned() }),
    }
}
