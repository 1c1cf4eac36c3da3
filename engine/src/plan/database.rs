//! Resolves the address, TLS mode and credentials of an AppBinding's database.

use lagan_schemas::engine::Engine;
use lagan_schemas::error::Code;
use lagan_schemas::plan::{Credentials, Database, Tls};

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
    let address = spec.address(&namespace, engine.port).ok_or_else(|| {
        refused(Code::InvalidSpec, format!("AppBinding {namespace}/{name}: clientConfig names no host and port"))
    })?;
    let (host, port) = inputs.resolve.address(address);
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
        tls: Tls::of(spec),
        credentials: Credentials { namespace, app_binding: name.clone(), secret },
        wait_seconds,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::resource::app_binding::AppBindingSpec;

    #[test]
    fn only_an_absent_port_is_the_default_port() {
        let address = |service: serde_json::Value| {
            let binding = serde_json::json!({"clientConfig": {"service": service}});
            let spec: AppBindingSpec = serde_json::from_value(binding).unwrap();
            spec.address("demo", 3306)
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
