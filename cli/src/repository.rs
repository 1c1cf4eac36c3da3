//! Looks into a repository: opens it with the Secret from the folder and lists snapshots. It must not write there.

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_sources::folder::Folder;
use lagan_workers::Volumes;
use lagan_workers::repository::{LatestError, Repository, Snapshot, SnapshotList, Wanted, latest};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::client::Client;
use crate::error::{Exit, Problem};
use crate::facts::short;
use crate::objects::View;

/// Secrets are not published: they are read where people wrote them.
pub fn folder(client: &Client, given: Option<PathBuf>) -> Result<Folder, Problem> {
    let manifests = given.or_else(|| client.manifests.clone()).ok_or_else(|| {
        Problem::new(Exit::Usage, "the repository's Secret is read from the folder of manifests, and none is known")
            .help("name it with --manifests, or the --data-dir of the running `lagan up`")
    })?;
    Ok(Folder::new(vec![manifests]))
}

pub async fn snapshots(folder: Folder, repository: &View) -> Result<SnapshotList, Problem> {
    let key = repository.key.clone();
    let spec: RepositorySpec = serde_json::from_value(repository.value["spec"].clone())
        .map_err(|error| Problem::new(Exit::Failed, format!("{key} can't be read: {error}")))?;
    let namespace = key.namespace.clone().unwrap_or_default();
    let name = spec.backend.storage_secret_name.clone().unwrap_or_default();
    let secret = folder.secret(&namespace, &name).ok_or_else(|| {
        Problem::from(Failure::new(
            Code::ReferenceNotFound,
            format!("secret `{namespace}/{name}` of {key} is not in the folder of manifests"),
        ))
    })?;
    let storage = lagan_workers::storage_of(&spec.backend, &secret, Volumes::Host)?;
    let password =
        secret.text("RESTIC_PASSWORD").map_err(|error| Failure::new(Code::SecretInvalid, chain(&error)))?.into();
    let handle = Handle::current();
    let listed = tokio::task::spawn_blocking(move || Repository::open(&storage, &password, &handle)?.snapshots());
    let listed = listed.await.map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    listed.map_err(|error| Failure::new(error.code(), format!("{key}: {}", chain(&error))).into())
}

/// The snapshot that a restore would take.
pub struct Choice<'a> {
    /// `latest`, or the start of an id.
    pub id: &'a str,
    /// `namespace/name`
    pub configuration: Option<String>,
    pub host: Option<&'a str>,
}

impl Choice<'_> {
    pub fn find<'s>(&self, snapshots: &'s [Snapshot]) -> Result<&'s Snapshot, Problem> {
        if self.id == "latest" {
            let wanted = Wanted {
                configuration: self.configuration.as_deref(),
                host: self.host,
                path: None,
                not_after: Timestamp::now(),
            };
            return latest(snapshots, wanted, &HashSet::new()).map_err(|error| {
                let code = match error {
                    LatestError::None => Code::SnapshotNotFound,
                    LatestError::Ambiguous { .. } => Code::SnapshotAmbiguous,
                };
                Failure::new(code, error.to_string()).into()
            });
        }
        let found: Vec<_> = snapshots.iter().filter(|snapshot| snapshot.id.starts_with(self.id)).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Failure::new(Code::SnapshotNotFound, format!("there is no snapshot `{}`", self.id)).into()),
            _ => Err(Failure::new(
                Code::SnapshotAmbiguous,
                format!("{} snapshots start with `{}`", found.len(), self.id),
            )
            .into()),
        }
    }
}

/// What people see of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    pub time: Timestamp,
    pub host: String,
    pub path: String,
    /// `None`: not written by Lagan.
    pub configuration: Option<String>,
    pub size: Option<u64>,
    /// Without those that Lagan itself reads.
    pub tags: Vec<String>,
}

impl From<&Snapshot> for Row {
    fn from(snapshot: &Snapshot) -> Self {
        let tags = snapshot.tags.iter().filter(|tag| !tag.starts_with("lagan-configuration="));
        Self {
            id: short(&snapshot.id).to_owned(),
            time: snapshot.time.timestamp(),
            host: snapshot.host.clone(),
            path: snapshot.path(),
            configuration: snapshot.configuration().map(str::to_owned),
            size: snapshot.bytes,
            tags: tags.cloned().collect(),
        }
    }
}

/// Everything that the table shows, and the whole id.
#[must_use]
pub fn document(snapshot: &Snapshot, repository: &str) -> Value {
    json!({
        "id": snapshot.id,
        "shortId": short(&snapshot.id),
        "time": snapshot.time.timestamp(),
        "host": snapshot.host,
        "paths": snapshot.paths,
        "configuration": snapshot.configuration(),
        "session": snapshot.session(),
        "sizeBytes": snapshot.bytes,
        "tags": snapshot.tags,
        "repository": repository,
    })
}
