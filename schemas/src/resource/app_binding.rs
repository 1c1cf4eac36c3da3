//! AppBinding: the address of an application and the Secret with its credentials. It is the type of the app catalog;
//! KubeDB writes fields that Lagan does not know, so unknown fields are ignored.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup_configuration::TaskRef;

/// The address of an application and the Secret with its credentials.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "appcatalog.appscode.com",
    version = "v1alpha1",
    kind = "AppBinding",
    namespaced,
    category = "appscode",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AppBindingSpec {
    /// The type of application, such as `kubedb.com/mariadb` or `mariadb`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub client_config: ClientConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub secret_transforms: Vec<SecretTransform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretRef>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Preferred over `url`; the host is `<name>.<namespace>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
    #[serde(rename = "insecureSkipTLSVerify", default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls_verify: Option<bool>,
    /// CA certificates, PEM in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "super::null_is_absent")]
    pub scheme: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::blank_is_absent")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub port: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    pub name: String,
}

/// One change to the Secret's keys, applied in order; exactly one field is set.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretTransform {
    #[serde(rename_all = "camelCase")]
    AddKey {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        string_value: Option<String>,
    },
    RenameKey {
        from: String,
        to: String,
    },
    #[serde(rename_all = "camelCase")]
    AddKeysFrom {
        secret_ref: SecretRef,
    },
    RemoveKey {
        key: String,
    },
}

/// Shows no values, because `AddKey` may carry a password.
impl std::fmt::Debug for SecretTransform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddKey { key, .. } => write!(f, "AddKey({key})"),
            Self::RenameKey { from, to } => write!(f, "RenameKey({from} -> {to})"),
            Self::AddKeysFrom { secret_ref } => write!(f, "AddKeysFrom({})", secret_ref.name),
            Self::RemoveKey { key } => write!(f, "RemoveKey({key})"),
        }
    }
}

/// The default Tasks in `parameters.stash.addon`. KubeDB's own parameters are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stash: Option<StashParameters>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StashParameters {
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub addon: Addon,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Addon {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_task: Option<TaskRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_task: Option<TaskRef>,
}

impl AppBindingSpec {
    /// Returns the form that may be published: without user and password in the URL and without values of `addKey`.
    #[must_use]
    pub fn published(mut self) -> Self {
        self.client_config.url = self.client_config.url.map(|url| address_only(&url));
        for transform in &mut self.secret_transforms {
            if let SecretTransform::AddKey { value, string_value, .. } = transform {
                (*value, *string_value) = (None, None);
            }
        }
        self
    }

    /// Returns host and port of the database, as seen by a binding in `namespace`; `None` if it names no address that can be.
    #[must_use]
    pub fn address(&self, namespace: &str, default_port: u16) -> Option<(String, u16)> {
        if let Some(service) = &self.client_config.service {
            let namespace = service.namespace.as_deref().unwrap_or(namespace);
            // Another database may listen on the default port, so it never takes the place of a port that can't be.
            let port = match service.port {
                0 => default_port,
                given => u16::try_from(given).ok()?,
            };
            return Some((format!("{}.{namespace}.svc", service.name), port));
        }
        let url = DatabaseUrl::parse(self.client_config.url.as_deref()?).ok()?;
        Some((url.host, url.port.unwrap_or(default_port)))
    }
}

/// The address of a URL or a go-sql-driver DSN, in the same notation. Everything else may be a secret, and a text that is
/// neither may be one as a whole.
fn address_only(text: &str) -> String {
    let Ok(DatabaseUrl { host, port, .. }) = DatabaseUrl::parse(text) else { return String::new() };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    match text.split_once("://") {
        Some((scheme, _)) if !text.contains("tcp(") => format!("{scheme}://{host}{port}/"),
        _ => format!("tcp({host}{port})/"),
    }
}

/// Address and credentials inside an AppBinding's URL: `mysql://user:password@host:port/` or the
/// go-sql-driver DSN `user:password@tcp(host:port)/`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub host: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("clientConfig.url is neither `scheme://host:port/` nor `tcp(host:port)/`")]
pub struct BadDatabaseUrl;

impl DatabaseUrl {
    /// Whether the URL has a path or a query, which no database client is given.
    #[must_use]
    pub fn has_more_than_an_address(text: &str) -> bool {
        let behind = match (text.find("tcp("), text.split_once("://")) {
            (Some(start), _) => text[start..].split_once(')').map_or("", |(_, behind)| behind),
            (None, Some((_, rest))) => rest.find(['/', '?']).map_or("", |at| &rest[at..]),
            (None, None) => "",
        };
        !matches!(behind, "" | "/")
    }

    pub fn parse(text: &str) -> Result<Self, BadDatabaseUrl> {
        let url = Self::split(text)?;
        let fits = is_host(&url.host) && url.port != Some(0);
        fits.then_some(url).ok_or(BadDatabaseUrl)
    }

    fn split(text: &str) -> Result<Self, BadDatabaseUrl> {
        if let Some(start) = text.find("tcp(") {
            let address = &text[start + 4..];
            let address = &address[..address.find(')').ok_or(BadDatabaseUrl)?];
            let (host, port) = address.rsplit_once(':').ok_or(BadDatabaseUrl)?;
            let login = text[..start].trim_end_matches('@');
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password.to_owned())),
                None => (login, None),
            };
            return Ok(Self {
                host: host.to_owned(),
                port: Some(port.parse().map_err(|_| BadDatabaseUrl)?),
                user: (!user.is_empty()).then(|| user.to_owned()),
                password,
            });
        }
        let url = url::Url::parse(text).map_err(|_| BadDatabaseUrl)?;
        let decode = |text: &str| percent_decode(text);
        Ok(Self {
            host: url.host_str().ok_or(BadDatabaseUrl)?.trim_matches(['[', ']']).to_owned(),
            port: url.port(),
            user: (!url.username().is_empty()).then(|| decode(url.username())),
            password: url.password().map(decode),
        })
    }
}

/// Accepts a host name or address. It becomes an argument of a program, so it must not look like an option.
fn is_host(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    !host.is_empty() && host.len() <= 253 && !host.starts_with('-') && host.bytes().all(allowed)
}

fn percent_decode(text: &str) -> String {
    url::form_urlencoded::parse(format!("v={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn urls_and_dsns_give_address_and_login() {
        let url = DatabaseUrl::parse("mysql://root:p%40ss+1@db.example:3307/").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("db.example", Some(3307)));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("root"), Some("p@ss+1")));
        let dsn = DatabaseUrl::parse("root:pw@tcp(127.0.0.1:3306)/").unwrap();
        assert_eq!((dsn.host.as_str(), dsn.port, dsn.password.as_deref()), ("127.0.0.1", Some(3306), Some("pw")));
        assert!(DatabaseUrl::parse("nonsense").is_err());
    }

    #[test]
    fn nothing_secret_is_published() {
        let spec: AppBindingSpec = serde_json::from_value(serde_json::json!({
            "clientConfig": {"url": "mysql://root:CANARY@h:1/"},
            "secretTransforms": [{"addKey": {"key": "password", "stringValue": "CANARY"}}, {"renameKey": {"from": "a", "to": "b"}}],
        }))
        .unwrap();
        assert!(!format!("{:?}", spec.secret_transforms).contains("CANARY"));
        let text = serde_json::to_string(&spec.published()).unwrap();
        assert!(!text.contains("CANARY") && text.contains("mysql://h:1/"), "{text}");
        for (url, address) in [
            ("root:CA@N/ARY@tcp(h:1)/", "tcp(h:1)/"),
            ("root:CANARY@tcp(h:1)/db?CANARY=CANARY", "tcp(h:1)/"),
            ("mysql://root:CANARY@[::1]:3306/CANARY?CANARY=CANARY", "mysql://[::1]:3306/"),
            ("mysql://h", "mysql://h/"),
            ("CANARY", ""),
        ] {
            assert_eq!(address_only(url), address);
        }
    }
}
