//! Resolves the address, TLS mode and credentials of an AppBinding's database.

use lagan_schemas::engine::Engine;
use lagan_schemas::error::Code;
use lagan_schemas::plan::{Credentials, Database, Tls, TlsMode};
use lagan_schemas::resource::app_binding::{AppBindingSpec, DatabaseUrl};

use super::answers::Existence;
use super::find::Binding;
use super::{PlanInputs, Unresolved, refused};

pub(super) fn resolve(
    inputs: &PlanInputs<'_>,
    Binding { object, spec }: Binding<'_>,
    engine: &Engine,
    wait_seconds: u32,
) -> Result<Database, Unresolved> {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = &object.metadata.name;
    let (host, port) = address(spec, &namespace, engine.port).ok_or_else(|| {
        refused(Code::InvalidSpec, format!("AppBinding {namespace}/{name}: clientConfig names no host and port"))
    })?;
    let (host, port) = inputs.resolve.address(host, port);
    let secret = spec.secret.as_ref().map(|secret| secret.name.clone());
    if let Some(secret) = &secret
        && inputs.answers.secret(&namespace, secret) == Existence::No
    {
        return Err(Unresolved::Missing(vec![format!("Secret {namespace}/{secret}")]));
    }
    Ok(Database {
        engine: engine.name.clone(),
        host,
        port,
        tls: tls(spec),
        credentials: Credentials { namespace, app_binding: name.clone(), secret },
        wait_seconds,
    })
}

fn address(spec: &AppBindingSpec, namespace: &str, default_port: u16) -> Option<(String, u16)> {
    if let Some(service) = &spec.client_config.service {
        let namespace = service.namespace.as_deref().unwrap_or(namespace);
        let port = u16::try_from(service.port).ok().filter(|port| *port != 0).unwrap_or(default_port);
        return Some((format!("{}.{namespace}.svc", service.name), port));
    }
    let url = DatabaseUrl::parse(spec.client_config.url.as_deref()?).ok()?;
    Some((url.host, url.port.unwrap_or(default_port)))
}

/// A CA bundle means TLS with the server's certificate held against it, as in Stash. Without one TLS is used where
/// the server offers it and nothing is verified.
fn tls(spec: &AppBindingSpec) -> Tls {
    let config = &spec.client_config;
    let insecure = config.insecure_skip_tls_verify == Some(true);
    let mode = match (&config.ca_bundle, &config.server_name) {
        (Some(_), _) if insecure => TlsMode::Required,
        (Some(_), Some(_)) => TlsMode::VerifyIdentity,
        (Some(_), None) => TlsMode::VerifyCa,
        (None, _) if spec.tls_secret.is_some() => TlsMode::Required,
        (None, _) => TlsMode::Preferred,
    };
    Tls {
        mode,
        ca_bundle: config.ca_bundle.clone(),
        server_name: config.server_name.clone(),
        client_secret: spec.tls_secret.as_ref().map(|secret| secret.name.clone()),
    }
}
