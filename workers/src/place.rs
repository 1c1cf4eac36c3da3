//! From a plan's repository and its Secret to a place that can be opened.

use std::path::PathBuf;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::plan::PlanRepository;
use lagan_schemas::resource::repository::{Backend, LocalBackend};
use lagan_schemas::resource::secret::Secret;
use secrecy::SecretString;

use crate::intent::secret_failure;
use crate::repository::{Fs, S3, Storage, Tls};

const DEFAULT_S3_ENDPOINT: &str = "s3.amazonaws.com";

/// A repository's place and what opens it.
#[derive(Debug, Clone)]
pub struct Place {
    pub storage: Storage,
    pub password: SecretString,
}

/// Where the volume of a `local` backend is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// On this machine: `hostPath.path`, else `mountPath`.
    Host,
    /// In the worker's pod, which its pool mounts it into: `mountPath`.
    Mounted,
}

pub fn place(repository: &PlanRepository, secret: &Secret, volumes: Volumes) -> Result<Place, Failure> {
    let password = secret.text("RESTIC_PASSWORD").map_err(|error| secret_failure(&error))?;
    Ok(Place { storage: storage_of(&repository.backend, secret, volumes)?, password: password.into() })
}

/// Where a backend's data lives, with the keys of its Secret.
pub fn storage_of(backend: &Backend, secret: &Secret, volumes: Volumes) -> Result<Storage, Failure> {
    if let Some(local) = &backend.local {
        return Ok(Storage::Fs(Fs { root: root(local, volumes) }));
    }
    let Some(s3) = &backend.s3 else {
        return Err(Failure::new(Code::InvalidSpec, "backend: name where the data lives: `local` or `s3`"));
    };
    let text = |key: &str| secret.find_text(key).map_err(|error| secret_failure(&error));
    Ok(Storage::S3(S3 {
        endpoint: s3.endpoint.clone().filter(|e| !e.is_empty()).unwrap_or_else(|| DEFAULT_S3_ENDPOINT.to_owned()),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: s3.region.clone().filter(|region| !region.is_empty()),
        tls: if s3.insecure_tls == Some(true) { Tls::Unverified } else { Tls::Verified },
        ca_pem: secret.find("CA_CERT_DATA").map_err(|error| secret_failure(&error))?,
        access_key_id: text("AWS_ACCESS_KEY_ID")?.map(Into::into),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY")?.map(Into::into),
    }))
}

/// The volume's directory plus `subPath`.
fn root(local: &LocalBackend, volumes: Volumes) -> PathBuf {
    let host = local.host_path.as_ref().filter(|_| volumes == Volumes::Host);
    let base = host.map_or(&local.mount_path, |host| &host.path);
    let root = PathBuf::from(base);
    match local.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
        Some(sub) => root.join(sub.trim_start_matches('/')),
        None => root,
    }
}
