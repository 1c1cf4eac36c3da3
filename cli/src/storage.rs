//! A Repository's backend and its Secret as a place that can be opened. It must not open it.

use std::path::PathBuf;

use lagan_schemas::resource::repository::Backend;
use lagan_schemas::resource::secret::{Secret, SecretError};
use lagan_workers::repository::{Fs, S3, Storage, Tls};

const AWS: &str = "s3.amazonaws.com";

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("backend: neither `local` nor `s3`")]
    NoPlace,
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// In folder mode `hostPath.path`, else `mountPath`, plus `subPath`.
pub fn of(backend: &Backend, secret: &Secret) -> Result<Storage, StorageError> {
    if let Some(local) = &backend.local {
        let base = local.host_path.as_ref().map_or(&local.mount_path, |host| &host.path);
        let root = PathBuf::from(base).join(local.sub_path.as_deref().unwrap_or_default());
        return Ok(Storage::Fs(Fs { root }));
    }
    let s3 = backend.s3.as_ref().ok_or(StorageError::NoPlace)?;
    let key = |name: &str| Ok::<_, SecretError>(secret.find_text(name)?.filter(|text| !text.is_empty()).map(Into::into));
    Ok(Storage::S3(S3 {
        endpoint: s3.endpoint.clone().filter(|e| !e.is_empty()).unwrap_or_else(|| AWS.to_owned()),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: s3.region.clone(),
        tls: if s3.insecure_tls == Some(true) { Tls::Unverified } else { Tls::Verified },
        ca_pem: secret.find("CA_CERT_DATA")?,
        access_key_id: key("AWS_ACCESS_KEY_ID")?,
        secret_access_key: key("AWS_SECRET_ACCESS_KEY")?,
    }))
}
