//! The place of a repository as typed values. There are no option maps, environment variables or profile files, because
//! these can carry commands. It must not open connections; `store` does.

use std::path::{Component, Path, PathBuf};

use lagan_schemas::place::Place;
use secrecy::{ExposeSecret, SecretString};
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
    pub tls: CertificateCheck,
    /// PEM certificates that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
    pub access_key_id: Option<SecretString>,
    pub secret_access_key: Option<SecretString>,
    /// The third part of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// Whether the certificate of a storage must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateCheck {
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
    /// Refuses keys and an endpoint that no server can accept. Sent as they are, they would fail after many retries and
    /// with an answer about something else.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.url()?;
        let keys = [
            ("AWS_ACCESS_KEY_ID", &self.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
            ("AWS_SESSION_TOKEN", &self.session_token),
        ];
        for (name, key) in keys {
            let Some(key) = key.as_ref().map(ExposeSecret::expose_secret) else { continue };
            let wrong = if key.is_empty() {
                "it is empty"
            } else if key.contains(['\n', '\r']) {
                "it contains a line break: write the Secret anew, with exactly the key and nothing after it"
            } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                "it contains a space or a character that is not ASCII: write the Secret anew, with exactly the key"
            } else {
                continue;
            };
            return Err(StoreError::new(StoreErrorKind::Misconfigured, "use", name, wrong));
        }
        Ok(())
    }

    pub(super) fn url(&self) -> Result<Url, StoreError> {
        let text =
            if self.endpoint.contains("://") { self.endpoint.clone() } else { format!("https://{}", self.endpoint) };
        let wrong = |detail: String| StoreError::new(StoreErrorKind::Misconfigured, "use", "endpoint", detail);
        let url = Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => Ok(url),
            _ => Err(wrong(format!("expected `https://host` or `http://host`, found scheme `{}`", url.scheme()))),
        }
    }

    /// Returns scheme, host, port and path, without user, query or trailing slash.
    pub(super) fn endpoint(&self) -> Result<String, StoreError> {
        self.url().map(|url| bare(&url))
    }

    /// Everything that no text may show.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let keys = [&self.access_key_id, &self.secret_access_key, &self.session_token];
        keys.into_iter().flatten().cloned().collect()
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
            tls: CertificateCheck::Verified,
            ca_pem: None,
            access_key_id: Some("AKIDCANARY".into()),
            secret_access_key: Some("SECRETCANARY".into()),
            session_token: Some("TOKENCANARY".into()),
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
    fn keys_and_endpoints_that_no_server_accepts_are_refused_with_the_right_words() {
        let check = |endpoint: &str, key: &str| {
            let Storage::S3(mut s3) = s3(endpoint, "") else { unreachable!("it is S3") };
            s3.secret_access_key = Some(key.into());
            s3.check().map_err(|error| (error.kind, error.to_string()))
        };
        assert_eq!(check("http://h:1", "abc/+="), Ok(()));
        for (endpoint, key, what, why) in [
            ("h", "ab\ncd", "AWS_SECRET_ACCESS_KEY", "line break"),
            ("h", "ab\r\ncd", "AWS_SECRET_ACCESS_KEY", "line break"),
            ("h", "", "AWS_SECRET_ACCESS_KEY", "empty"),
            ("h", "a b", "AWS_SECRET_ACCESS_KEY", "space"),
            ("h", "k\u{e9}y", "AWS_SECRET_ACCESS_KEY", "ASCII"),
            ("ftp://h", "k", "endpoint", "ftp"),
            ("https://", "k", "endpoint", "empty host"),
            ("a b", "k", "endpoint", "invalid"),
            ("http://h:99999", "k", "endpoint", "port"),
        ] {
            let (kind, text) = check(endpoint, key).expect_err(endpoint);
            assert_eq!(kind, StoreErrorKind::Misconfigured);
            assert!(text.contains(what) && text.contains(why), "{endpoint} {text}");
            assert!(key.len() < 3 || !text.contains(key), "{text}");
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let text = format!("{:?}", s3("h", ""));
        assert!(!text.contains("CANARY"), "{text}");
    }
}
