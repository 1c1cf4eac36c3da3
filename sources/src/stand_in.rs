//! Objects that represent scheduled sessions in a cluster. The reporter creates them, and no session is requested for
//! them (P2).

use lagan_schemas::resource::Metadata;
use serde_json::Value;
use uuid::Uuid;

/// Annotation with the session that an object represents and the object's own name, so that a copy represents none.
pub const SESSION_ANNOTATION: &str = "lagan.dev/session";

/// Returns the annotation's value for the object of this name.
#[must_use]
pub fn annotation(session: Uuid, namespace: &str, name: &str) -> String {
    format!("{session}/{namespace}/{name}")
}

/// Returns the session that an object represents.
#[must_use]
pub fn session_of(metadata: &Metadata) -> Option<Uuid> {
    let says = metadata.annotations.get(SESSION_ANNOTATION)?;
    read(says, metadata.namespace.as_deref().unwrap_or_default(), &metadata.name)
}

/// Returns the session that an object in JSON represents.
#[must_use]
pub fn session_of_value(object: &Value) -> Option<Uuid> {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let says = metadata["annotations"][SESSION_ANNOTATION].as_str()?;
    read(says, &text(&metadata["namespace"]), &text(&metadata["name"]))
}

fn read(says: &str, namespace: &str, name: &str) -> Option<Uuid> {
    let (session, of) = says.split_once('/')?;
    if of.split_once('/')? == (namespace, name) { session.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_stands_for_its_session_and_a_copy_of_it_for_none() {
        let session = Uuid::from_u128(5);
        let object = |namespace: &str, name: &str, says: &str| json!({ "metadata": { "namespace": namespace, "name": name, "annotations": { SESSION_ANNOTATION: says } } });
        let says = annotation(session, "demo", "shop-1800000000");
        for (namespace, name, says, expected) in [
            ("demo", "shop-1800000000", says.as_str(), Some(session)),
            ("demo", "shop-again", says.as_str(), None),
            ("other", "shop-1800000000", says.as_str(), None),
            ("demo", "shop-1800000000", "", None),
            ("demo", "shop-1800000000", "x/demo/shop-1800000000", None),
        ] {
            let object = object(namespace, name, says);
            assert_eq!(session_of_value(&object), expected, "{object}");
            let metadata: Metadata = serde_json::from_value(object["metadata"].clone()).expect("metadata");
            assert_eq!(session_of(&metadata), expected, "{object}");
        }
        assert_eq!(session_of_value(&json!({ "metadata": { "name": "x" } })), None);
    }
}
