//! The objects people write, one Rust type per kind for both groups, and how a kind is named.
//! It must not read files or resolve references.

pub mod app_binding;
pub mod backup_blueprint;
pub mod backup_configuration;
pub mod backup_session;
pub mod condition;
pub mod function;
pub mod hooks;
pub mod kind;
pub mod object;
pub mod repository;
pub mod restore_session;
pub mod secret;
pub mod task;

pub use condition::{Condition, ConditionStatus};
pub use kind::{Group, Kind};
pub use object::{Metadata, Object, ObjectError, Spec};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::subject::ObjectKey;

/// An object named in an event or a plan, as exactly as the author knew it.
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

    /// `namespace/name`, or the name alone.
    #[must_use]
    pub fn path(&self) -> String {
        self.namespace.as_ref().map_or_else(|| self.name.clone(), |ns| format!("{ns}/{}", self.name))
    }
}

/// `namespace/name` reference as Stash writes it; an empty namespace means the object's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespacedName {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

/// A name and a value: a parameter of a Task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

/// Settings for a pod that Lagan keeps but does not interpret outside Kubernetes.
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
