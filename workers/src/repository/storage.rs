//! Where a repository lives, as typed values: no option maps, no environment, no profile files (such maps can carry
//! commands). It must not open connections; `store` does.

use std::path::{Component, Path, PathBuf};

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

/// Without both keys requests are sent unsigned: neither environment nor instance metadata is asked.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `https://host[:port]`; `https` is assumed without a scheme.
    pub endpoint: String,
    pub bucket: String,
    pub prefix: String,
    /// `us-east-1` when not given, as restic assumes.
    pub region: Option<String>,
    pub tls: Tls,
    /// PEM certificates trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    pub access_key_id: Option<SecretString>,
    pub secret_access_key: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    #[default]
    Verified,
    /// `insecureTLS: true`: any certificate passes.
    Unverified,
}

impl Storage {
    /// The same text for the same place, and no secret in it: `fs:/abs/path`, `s3:https://host/bucket/prefix`.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Fs(fs) => format!("fs:{}", canonical(&fs.root).display()),
            Self::S3(s3) => {
                let endpoint = s3.url().map_or_else(|_| s3.endpoint.clone(), |url| bare(&url));
                let mut location = format!("s3:{endpoint}/{}", s3.bucket);
                let prefix = s3.root();
                if !prefix.is_empty() {
                    location.push('/');
                    location.push_str(&prefix);
                }
                location
            }
        }
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

    /// Scheme, host, port and path, without user, query or trailing slash.
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

/// Links resolved as far as the path exists, so that the text is the same before and after the folder is made.
fn canonical(path: &Path) -> PathBuf {
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
    fn the_same_bucket_has_one_location() {
        let expected = "s3:https://s3.example.com/b/x/y";
        assert_eq!(s3("s3.example.com", "x/y").location(), expected);
        assert_eq!(s3("https://S3.Example.com:443/", "/x//y/").location(), expected);
        assert_eq!(s3("https://user:pw@s3.example.com", "x/y").location(), expected);
        assert_eq!(s3("http://h:8333", "").location(), "s3:http://h:8333/b");
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
