//! The place of a repository as typed values. There are no option maps, environment variables or profile files, because
//! these can carry commands. It must not open connections; `store` does.

use std::path::{Component, Path, PathBuf};

use lagan_schemas::place::Place;
use secrecy::SecretString;
use url::Url;

use super::store_error::{StoreError, StoreErrorKind};

#[derive(Debug, Clone)]
pub enum Storage {
    Fs(Fs),
    S3(S3),
}

/// A folder, given by its absolute path.
#[derive(Debug, Clone)]
pub struct Fs {
    pub root: PathBuf,
}

/// A bucket, or a prefix in it. Without both keys, requests are unsigned: neither the environment nor instance metadata
/// is asked for credentials.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `https://host[:port]`; `https` is assumed without a scheme.
    pub endpoint: String,
    pub bucket: String,
    pub prefix: String,
    /// `us-east-1` if it is not given, as in restic.
    pub region: Option<String>,
    pub tls: Tls,
    /// PEM certificates that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
    pub access_key_id: Option<SecretString>,
    pub secret_access_key: Option<SecretString>,
}

/// Whether the certificate of a storage must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    #[default]
    Verified,
    /// Any certificate is accepted (`insecureTLS: true`).
    Unverified,
}

impl Storage {
    /// The canonical place, with links of a local path resolved.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Fs(fs) => Place::directory(&resolved(&fs.root)),
            Self::S3(s3) => Place::bucket(&s3.endpoint, &s3.bucket, &s3.prefix),
        }
    }

    /// The place as text, without any secret: `/abs/path` or `s3:host/bucket/prefix`.
    #[must_use]
    pub fn location(&self) -> String {
        self.place().to_string()
    }
}

impl S3 {
    pub(super) fn url(&self) -> Result<Url, StoreError> {
        let text =
            if self.endpoint.contains("://") { self.endpoint.clone() } else { format!("https://{}", self.endpoint) };
        let wrong = |detail: String| StoreError::new(StoreErrorKind::Misconfigured, "use", "endpoint", detail);
        let url = Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => Ok(url),
            _ => Err(wrong("expected `https://host` or `http://host`".to_owned())),
        }
    }

    /// Returns scheme, host, port and path, without user, query or trailing slash.
    pub(super) fn endpoint(&self) -> Result<String, StoreError> {
        self.url().map(|url| bare(&url))
    }

    pub(super) fn root(&self) -> String {
        self.prefix.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }
}

fn bare(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Resolves links as far as the path exists, so that the text is the same before and after the folder is created.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(found) = existing.canonicalize() {
            return missing.into_iter().rev().fold(found, |path, part| path.join(part));
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(Component::Normal(part))) => {
                missing.push(part.to_owned());
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(endpoint: &str, prefix: &str) -> Storage {
        Storage::S3(S3 {
            endpoint: endpoint.to_owned(),
            bucket: "b".to_owned(),
            prefix: prefix.to_owned(),
            region: None,
            tls: Tls::Verified,
            ca_pem: None,
            access_key_id: Some("AKIDCANARY".into()),
            secret_access_key: Some("SECRETCANARY".into()),
        })
    }

    #[test]
    fn a_folder_has_one_location_before_and_after_it_exists() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let storage = Storage::Fs(Fs { root: root.path().join("a/../b") });
        let plain = Storage::Fs(Fs { root: root.path().join("b") });
        let before = plain.location();
        std::fs::create_dir(root.path().join("b")).expect("a folder");
        std::fs::create_dir(root.path().join("a")).expect("a folder");
        assert_eq!(plain.location(), before);
        assert_eq!(storage.location(), before);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let text = format!("{:?}", s3("h", ""));
        assert!(!text.contains("CANARY"), "{text}");
    }
}
