//! Where a repository's data lies, as one canonical value. Different spellings of one place are equal, and where two
//! spellings could be two places, they count as one: sharing a lease costs little, deleting foreign data is final.
//! It must not open connections, follow links or resolve host names.

use std::fmt;
use std::path::{Component, Path};

use url::{Host, Url};
use uuid::Uuid;

use crate::resource::repository::{Backend, LocalBackend};

/// Amazon's buckets have one name in all regions, so all its endpoints are one server.
const AMAZON: &str = "s3.amazonaws.com";
/// The name space of the ids of places.
const PLACES: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0003);

/// The place of a repository: a directory, or a prefix in a bucket.
///
/// `Display` gives `/abs/path` or `s3:host[:port]/bucket[/prefix]`, the same text for the same place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    root: Root,
    path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Root {
    FileSystem,
    Bucket { server: String, bucket: String },
}

/// Where the volume of a `local` backend is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// On this machine: `hostPath.path`, else `mountPath`.
    Host,
    /// In the worker's pod, at `mountPath`, where its pool mounts it.
    Mounted,
}

impl Place {
    /// The place that a backend describes; `None` if it names no storage.
    #[must_use]
    pub fn of(backend: &Backend, volumes: Volumes) -> Option<Self> {
        if let Some(local) = &backend.local {
            return Some(Self::directory(Path::new(&directory(local, volumes))));
        }
        let s3 = backend.s3.as_ref()?;
        let (endpoint, prefix) = (s3.endpoint.as_deref(), s3.prefix.as_deref());
        Some(Self::bucket(endpoint.unwrap_or_default(), &s3.bucket, prefix.unwrap_or_default()))
    }

    /// A directory by its absolute path. Links are the caller's to resolve.
    #[must_use]
    pub fn directory(path: &Path) -> Self {
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                Component::ParentDir => drop(parts.pop()),
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
        Self { root: Root::FileSystem, path: parts }
    }

    /// A prefix in a bucket of an S3 server; an empty endpoint is Amazon's.
    #[must_use]
    pub fn bucket(endpoint: &str, bucket: &str, prefix: &str) -> Self {
        let mut parts: Vec<String> = Vec::new();
        // HTTP clients resolve `.` and `..` in paths, so the storage never sees them.
        for part in prefix.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        Self { root: Root::Bucket { server: server(endpoint), bucket: bucket.to_owned() }, path: parts }
    }

    /// The path from `outer` to this place: empty if they are the same, `None` if this one lies elsewhere.
    #[must_use]
    pub fn path_within(&self, outer: &Self) -> Option<&[String]> {
        if self.root.may_be(&outer.root) { self.path.strip_prefix(outer.path.as_slice()) } else { None }
    }

    /// An id that is the same in every process: the key of the repository's lease. Services of one name share it, since the
    /// name alone is that of a Service in the namespace of whoever asks.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let text = match &self.root {
            Root::Bucket { server, bucket } => {
                let root = Root::Bucket { server: without_namespace(server), bucket: bucket.clone() };
                Self { root, path: self.path.clone() }.to_string()
            }
            Root::FileSystem => self.to_string(),
        };
        Uuid::new_v5(&PLACES, text.as_bytes())
    }
}

impl Root {
    /// Whether the two are one, as `minio` and `minio.prod` may be.
    fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bucket { server: ours, bucket }, Self::Bucket { server: theirs, bucket: other }) => {
                let alone = |server: &str| without_namespace(server) == server;
                let may_be = without_namespace(ours) == without_namespace(theirs) && (alone(ours) || alone(theirs));
                bucket == other && (ours == theirs || may_be)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::FileSystem if self.path.is_empty() => return f.write_str("/"),
            Root::FileSystem => {}
            Root::Bucket { server, bucket } => write!(f, "s3:{server}/{bucket}")?,
        }
        self.path.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// The path of a `local` backend: the volume's directory plus `subPath`.
#[must_use]
pub fn directory(local: &LocalBackend, volumes: Volumes) -> String {
    let host = local.host_path.as_ref().filter(|_| volumes == Volumes::Host);
    let base = host.map_or(&local.mount_path, |host| &host.path);
    let sub = local.sub_path.as_deref().unwrap_or_default().trim_matches('/');
    if sub.is_empty() { base.clone() } else { format!("{}/{sub}", base.trim_end_matches('/')) }
}

/// Host and port of an endpoint. Scheme and default ports do not tell servers apart.
fn server(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    if endpoint.is_empty() {
        return AMAZON.to_owned();
    }
    let text = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    // A name that is no internationalised one although it starts with `xn--` is opaque, but it still has a port and a path.
    let opaque = || Url::parse(&format!("opaque:{}", &text[text.find("//").unwrap_or_default()..]));
    let Ok(url) = Url::parse(&text).or_else(|_| opaque()) else { return endpoint.to_ascii_lowercase() };
    let host = match url.host() {
        Some(Host::Domain(name)) => domain(name),
        Some(address) => address.to_string(),
        None => return endpoint.to_ascii_lowercase(),
    };
    let path: String = url.path().split('/').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect();
    match url.port().filter(|port| ![80, 443].contains(port)) {
        Some(port) => format!("{host}:{port}{path}"),
        None => format!("{host}{path}"),
    }
}

/// A host name in one spelling. A Kubernetes Service is `name.namespace`, `….svc` and `….svc.` with the domain of the
/// cluster, which is `cluster.local` or any other.
fn domain(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "amazonaws.com" || name.ends_with(".amazonaws.com") {
        return AMAZON.to_owned();
    }
    let service = name.strip_suffix(".svc").or_else(|| Some(name.split_once(".svc.")?.0));
    service.filter(|service| service.contains('.')).map(str::to_owned).unwrap_or(name)
}

/// A server without the namespace of what may be a Service: `minio:9000` of `minio.prod:9000`.
fn without_namespace(server: &str) -> String {
    let host_end = server.find([':', '/']).unwrap_or(server.len());
    let (host, rest) = server.split_at(host_end);
    match host.split_once('.') {
        Some((name, namespace)) if !namespace.contains('.') => format!("{name}{rest}"),
        _ => server.to_owned(),
    }
}

/// The words of Stash's variables and metric labels for a backend, as people wrote them. Empty where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StashTerms<'a> {
    pub provider: &'a str,
    pub bucket: &'a str,
    pub prefix: &'a str,
    pub endpoint: &'a str,
    pub region: &'a str,
}

impl<'a> StashTerms<'a> {
    #[must_use]
    pub fn of(backend: &'a Backend) -> Self {
        let text = |value: &'a Option<String>| value.as_deref().unwrap_or_default();
        match (&backend.local, &backend.s3) {
            (Some(local), _) => Self { provider: "local", bucket: &local.mount_path, ..Self::default() },
            (None, Some(s3)) => Self {
                provider: "s3",
                bucket: &s3.bucket,
                prefix: text(&s3.prefix),
                endpoint: text(&s3.endpoint),
                region: text(&s3.region),
            },
            (None, None) => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests;
