//! Lists the snapshots of a repository. It must not write there.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::origin::ConfigurationKey;
use lagan_schemas::resource::Group;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::secret::Secret;
use lagan_sources::folder::Folder;
use lagan_sources::kubernetes::Kubernetes;
use lagan_workers::repository::{Repository, Snapshot, SnapshotList, StorageAccess};
use lagan_workers::{Outbound, Volumes};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::args::StorageFlags;
use crate::client::Client;
use crate::cluster;
use crate::error::{Exit, Problem};
use crate::facts::short;
use crate::objects::ObjectDocument;

/// The place that holds the Secrets of repositories. They are never on NATS.
pub enum SecretStore {
    Folder(Folder),
    Cluster(Kubernetes),
}

pub fn secrets(client: &Client, given: Option<PathBuf>) -> Result<SecretStore, Problem> {
    if let (Some(cluster), None) = (client.cluster(), &given) {
        return Ok(SecretStore::Cluster(cluster.api.clone()));
    }
    let known = || client.streams().and_then(|streams| streams.manifests.clone());
    let manifests = given.or_else(known).ok_or_else(|| {
        Problem::new(Exit::Usage, "the repository's Secret is read from the folder of manifests, and none is known")
            .help("name it with --manifests, or the --data-dir of the running `lagan up`")
    })?;
    Ok(SecretStore::Folder(Folder::new(vec![manifests])))
}

impl SecretStore {
    async fn find(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Problem> {
        match self {
            Self::Folder(folder) => Ok(folder.secret(namespace, name)),
            Self::Cluster(api) => api.secret(namespace, name).await.map_err(|error| {
                let problem = cluster::problem(&error);
                let may_not = error.status().is_some_and(|status| status.code == 403);
                if may_not {
                    problem.help("your account needs `get` on this Secret to list the repository")
                } else {
                    problem
                }
            }),
        }
    }

    const fn place(&self) -> &'static str {
        match self {
            Self::Folder(_) => "in the folder of manifests",
            Self::Cluster(_) => "in the cluster",
        }
    }

    /// In a cluster `mountPath` is a path inside the worker's pod, and the repository opens only where it is mounted.
    const fn volumes(&self) -> Volumes {
        match self {
            Self::Folder(_) => Volumes::Host,
            Self::Cluster(_) => Volumes::Mounted,
        }
    }
}

pub async fn snapshots(
    secrets: SecretStore,
    repository: &ObjectDocument,
    flags: &StorageFlags,
) -> Result<SnapshotList, Problem> {
    let key = repository.key.clone();
    let spec: RepositorySpec = serde_json::from_value(repository.value["spec"].clone())
        .map_err(|error| Problem::new(Exit::Failed, format!("{key} can't be read: {error}")))?;
    let namespace = key.namespace.clone().unwrap_or_default();
    let name = spec.backend.storage_secret_name.clone().unwrap_or_default();
    let secret = secrets.find(&namespace, &name).await?.ok_or_else(|| {
        Problem::from(Failure::new(
            Code::ReferenceNotFound,
            format!("secret `{namespace}/{name}` of {key} is not {}", secrets.place()),
        ))
    })?;
    let storage = lagan_workers::storage_of(&spec.backend, &secret, secrets.volumes())?;
    let password =
        secret.text("RESTIC_PASSWORD").map_err(|error| Failure::new(Code::SecretInvalid, chain(&error)))?.into();
    let outbound = Outbound {
        storage_hosts: flags.allow_storage_host.clone(),
        storage_proxy: flags.storage_proxy.clone(),
        ..Outbound::default()
    };
    let access = StorageAccess::new(Handle::current(), CancellationToken::new(), Arc::new(outbound));
    let listed = tokio::task::spawn_blocking(move || Repository::open(&storage, &password, &access)?.snapshots());
    let listed = listed.await.map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    listed.map_err(|error| Failure::new(error.code(), format!("{key}: {}", chain(&error))).into())
}

/// A snapshot as tables show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    pub id: String,
    pub time: Timestamp,
    pub host: String,
    pub path: String,
    /// `None` if another program wrote the snapshot.
    pub configuration: Option<String>,
    pub size: Option<u64>,
    /// Tags without the one that names the configuration.
    pub tags: Vec<String>,
}

impl From<&Snapshot> for SnapshotRow {
    fn from(snapshot: &Snapshot) -> Self {
        let tags = snapshot.tags.iter().filter(|tag| !tag.starts_with("lagan-configuration="));
        Self {
            id: short(&snapshot.id).to_owned(),
            time: snapshot.time.timestamp(),
            host: snapshot.host.clone(),
            path: snapshot.path(),
            configuration: snapshot.origin().map(|origin| people(&origin.configuration)),
            size: snapshot.bytes,
            tags: tags.cloned().collect(),
        }
    }
}

/// A snapshot as a document: all columns, and the complete id.
#[must_use]
pub fn document(snapshot: &Snapshot, repository: &str) -> Value {
    let origin = snapshot.origin();
    json!({
        "id": snapshot.id,
        "shortId": short(&snapshot.id),
        "time": snapshot.time.timestamp(),
        "host": snapshot.host,
        "paths": snapshot.paths,
        "configuration": origin.as_ref().map(|origin| &origin.configuration),
        "cluster": origin.as_ref().map(|origin| json!({ "name": origin.cluster_name, "identity": origin.cluster })),
        "session": snapshot.session(),
        "sizeBytes": snapshot.bytes,
        "tags": snapshot.tags,
        "repository": repository,
    })
}

/// `namespace/name`, with the group in front unless it is ours.
fn people(configuration: &ConfigurationKey) -> String {
    let ConfigurationKey { group, namespace, name } = configuration;
    if group == Group::Lagan.as_str() { format!("{namespace}/{name}") } else { format!("{group}/{namespace}/{name}") }
}
