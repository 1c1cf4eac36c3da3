//! The objects that people write, one Rust type for each kind in both groups, and the names of kinds.
//! It must not read files or resolve references.

pub mod app_binding;
pub mod backup_blueprint;
pub mod backup_configuration;
pub mod backup_session;
pub mod condition;
pub mod fields;
pub mod function;
pub mod hooks;
pub mod kind;
pub mod object;
pub mod repository;
pub mod restore_session;
pub mod secret;
pub mod status;
pub mod task;

pub use condition::{Condition, ConditionStatus};
pub use kind::{Group, Kind};
pub(crate) use object::without_quotations;
pub use object::{Metadata, Object, ObjectError, Spec};
pub use status::{Status, StatusDocument};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::subject::ObjectKey;

/// A reference to an object in an event or a plan, as exact as its author's knowledge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    pub api_version: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl ObjectRef {
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        ObjectKey {
            group: group.to_owned(),
            kind: self.kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The group, as far as it is one of ours.
    #[must_use]
    pub fn key_group(&self) -> Group {
        Group::of(&self.api_version)
    }

    /// Returns `namespace/name`, or the name alone.
    #[must_use]
    pub fn path(&self) -> String {
        self.namespace.as_ref().map_or_else(|| self.name.clone(), |ns| format!("{ns}/{}", self.name))
    }
}

/// A reference by namespace and name, as in Stash. An empty namespace means the referring object's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespacedName {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "blank_is_absent")]
    pub namespace: Option<String>,
    pub name: String,
}

/// A parameter of a Task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    pub name: String,
    #[serde(default, deserialize_with = "null_is_absent")]
    pub value: String,
}

/// Settings that Lagan preserves but does not interpret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Opaque {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Opaque".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// Reads `null` as the default, as the API server does: `args:` without a value is the same as no `args`.
fn null_is_absent<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads an empty name of a namespace as none: templates print it where they have no value.
fn blank_is_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer).map(|name: Option<String>| name.filter(|name| !name.is_empty()))
}
