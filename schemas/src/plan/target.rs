//! The database of a plan: where it answers, and which secret opens it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PlanHooks;
use crate::resource::ObjectRef;
use crate::resource::app_binding::AppBindingSpec;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanTarget {
    /// Alias of the target, or the name of its AppBinding.
    pub name: String,
    pub reference: ObjectRef,
    pub database: Database,
    /// The worker reads the hooks that run before and after the work from the invoker, at its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<PlanHooks>,
}

/// Address of a database, and the secret that opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Name of the engine in the catalogue.
    pub engine: String,
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Credentials,
    /// How long to wait for it to answer before the first step.
    pub wait_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    pub mode: TlsMode,
    /// PEM, base64 as in the AppBinding; public by nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Secret with `tls.crt` and `tls.key` for client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl Tls {
    /// Returns how an AppBinding asks for TLS. A CA bundle means that the server's certificate is held against it, as in Stash.
    /// Without one TLS is used where the server offers it, and nothing is verified.
    #[must_use]
    pub fn of(spec: &AppBindingSpec) -> Self {
        let config = &spec.client_config;
        let insecure = config.insecure_skip_tls_verify == Some(true);
        let mode = match (&config.ca_bundle, &config.server_name) {
            (Some(_), _) if insecure => TlsMode::Required,
            (Some(_), Some(_)) => TlsMode::VerifyIdentity,
            (Some(_), None) => TlsMode::VerifyCa,
            (None, _) if spec.tls_secret.is_some() => TlsMode::Required,
            (None, _) => TlsMode::Preferred,
        };
        Self {
            mode,
            ca_bundle: config.ca_bundle.clone(),
            server_name: config.server_name.clone(),
            client_secret: spec.tls_secret.as_ref().map(|secret| secret.name.clone()),
        }
    }
}

/// Addresses of Services outside a cluster: `name.namespace.svc:port` to `host:port`. Engine and workers have the same.
#[derive(Debug, Clone, Default)]
pub struct Resolve(pub BTreeMap<(String, u16), (String, u16)>);

impl Resolve {
    #[must_use]
    pub fn address(&self, (host, port): (String, u16)) -> (String, u16) {
        self.0.get(&(host.clone(), port)).cloned().unwrap_or((host, port))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// Where the worker finds user and password: the AppBinding at its source, and the Secret that it names.
/// Neither the credentials in its URL nor the values of its `secretTransforms` are ever published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub namespace: String,
    pub app_binding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}
