//! The endpoint file in the data directory, by which every other `lagan` command finds a running `lagan up`.
//! It holds the bus token, so only its owner may read it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

const FILE: &str = "endpoint.json";

#[derive(Debug, Clone)]
pub struct Endpoint {
    pub nats_url: String,
    pub token: Option<SecretString>,
    pub nats_domain: Option<String>,
    pub cluster: String,
    /// The folder of people's manifests.
    pub manifests: PathBuf,
    /// The folder of objects that `lagan backup` and `lagan restore` create.
    pub objects: PathBuf,
    pub pid: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: u32,
    nats_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nats_domain: Option<String>,
    cluster: String,
    manifests: PathBuf,
    objects: PathBuf,
    pid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("no `lagan up` has run with data directory `{0}`")]
    Absent(PathBuf),
    #[error("endpoint file `{path}` can't be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("endpoint file `{0}` was written by another version of Lagan; stop that `lagan up` and start this one")]
    Version(PathBuf),
}

/// Returns the data directory of this user. `given` is the CLI's setting.
#[must_use]
pub fn data_dir(given: Option<PathBuf>, state_home: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    given
        .or_else(|| state_home.map(|dir| dir.join("lagan")))
        .or_else(|| home.map(|dir| dir.join(".local/state/lagan")))
        .unwrap_or_else(|| PathBuf::from(".lagan"))
}

impl Endpoint {
    pub fn write(&self, data_dir: &Path) -> Result<(), EndpointError> {
        let document = Document {
            version: 1,
            nats_url: self.nats_url.clone(),
            token: self.token.as_ref().map(|t| t.expose_secret().to_owned()),
            nats_domain: self.nats_domain.clone(),
            cluster: self.cluster.clone(),
            manifests: self.manifests.clone(),
            objects: self.objects.clone(),
            pid: self.pid,
        };
        let path = data_dir.join(FILE);
        let partial = data_dir.join(format!("{FILE}.{}", self.pid));
        let io = |source| EndpointError::Io { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(&document).expect("strings and numbers are JSON");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        fs::rename(&partial, &path).map_err(io)
    }

    pub fn read(data_dir: &Path) -> Result<Self, EndpointError> {
        let path = data_dir.join(FILE);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => EndpointError::Absent(data_dir.to_owned()),
            _ => EndpointError::Io { path: path.clone(), source },
        })?;
        let document: Document = serde_json::from_slice(&text).map_err(|_| EndpointError::Version(path.clone()))?;
        if document.version != 1 {
            return Err(EndpointError::Version(path));
        }
        Ok(Self {
            nats_url: document.nats_url,
            token: document.token.map(SecretString::from),
            nats_domain: document.nats_domain,
            cluster: document.cluster,
            manifests: document.manifests,
            objects: document.objects,
            pid: document.pid,
        })
    }

    pub fn remove(data_dir: &Path) {
        let _ = fs::remove_file(data_dir.join(FILE));
    }
}
