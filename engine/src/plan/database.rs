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
        // Another database may listen on the default port, so it never takes the place of a port that can't be.
        let port = match service.port {
            0 => default_port,
            given => u16::try_from(given).ok()?,
        };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_an_absent_port_is_the_default_port() {
        let address = |service: serde_json::Value| {
            let spec = serde_json::from_value(serde_json::json!({"clientConfig": {"service": service}})).unwrap();
            address(&spec, "demo", 3306)
        };
        for (port, expected) in
            [(0, Some(3306)), (3307, Some(3307)), (65_535, Some(65_535)), (65_536, None), (-1, None)]
        {
            let found = address(serde_json::json!({"name": "db", "port": port}));
            assert_eq!(found, expected.map(|port| ("db.demo.svc".to_owned(), port)), "{port}");
        }
        let absent = address(serde_json::json!({"name": "db", "namespace": "prod"}));
        assert_eq!(absent, Some(("db.prod.svc".to_owned(), 3306)));
    }
}
