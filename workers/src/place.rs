//! From a plan's repository and its Secret to a place that can be opened.

use std::path::PathBuf;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::place::directory;
use lagan_schemas::plan::PlanRepository;
use lagan_schemas::resource::repository::Backend;
use lagan_schemas::resource::secret::Secret;
use secrecy::SecretString;

use crate::intent::secret_failure;
use crate::repository::{CertificateCheck, Fs, S3, Storage};

pub use lagan_schemas::place::Volumes;

const DEFAULT_S3_ENDPOINT: &str = "s3.amazonaws.com";

/// A repository's place and what opens it.
#[derive(Debug, Clone)]
pub struct RepositoryAccess {
    pub storage: Storage,
    pub password: SecretString,
}

pub fn place(repository: &PlanRepository, secret: &Secret, volumes: Volumes) -> Result<RepositoryAccess, Failure> {
    let password = secret.text("RESTIC_PASSWORD").map_err(|error| secret_failure(&error))?;
    Ok(RepositoryAccess { storage: storage_of(&repository.backend, secret, volumes)?, password: password.into() })
}

/// Where a backend's data lives, with the keys of its Secret.
pub fn storage_of(backend: &Backend, secret: &Secret, volumes: Volumes) -> Result<Storage, Failure> {
    if let Some(local) = &backend.local {
        return Ok(Storage::Fs(Fs { root: PathBuf::from(directory(local, volumes)) }));
    }
    let Some(s3) = &backend.s3 else {
        return Err(Failure::new(Code::InvalidSpec, "backend: name where the data lives: `local` or `s3`"));
    };
    let text = |key: &str| secret.find_line(key).map_err(|error| secret_failure(&error));
    Ok(Storage::S3(S3 {
        endpoint: s3.endpoint.clone().filter(|e| !e.is_empty()).unwrap_or_else(|| DEFAULT_S3_ENDPOINT.to_owned()),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: s3.region.clone().filter(|region| !region.is_empty()),
        tls: if s3.insecure_tls == Some(true) { CertificateCheck::Unverified } else { CertificateCheck::Verified },
        ca_pem: secret.find("CA_CERT_DATA").map_err(|error| secret_failure(&error))?,
        access_key_id: text("AWS_ACCESS_KEY_ID")?.map(Into::into),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY")?.map(Into::into),
        session_token: text("AWS_SESSION_TOKEN")?.filter(|token| !token.is_empty()).map(Into::into),
    }))
}
