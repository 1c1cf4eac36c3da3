//! An object of any kind: metadata, a typed spec, and the JSON form on the bus.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ObjectRef;
use super::app_binding::AppBindingSpec;
use super::backup_blueprint::BackupBlueprintSpec;
use super::backup_configuration::BackupConfigurationSpec;
use super::backup_session::BackupSessionSpec;
use super::fields;
use super::function::FunctionSpec;
use super::hooks::{BackupHooks, RestoreHooks};
use super::kind::{Group, Kind};
use super::repository::{RepositorySpec, WIPE_OUT_FINALIZER};
use super::restore_session::RestoreSessionSpec;
use super::task::TaskSpec;
use crate::subject::ObjectKey;

/// The part of `ObjectMeta` that Lagan reads. Other fields of an exported object are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// The time of deletion of an object that a finalizer holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub finalizers: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::null_is_absent")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::null_is_absent")]
    pub annotations: BTreeMap<String, String>,
}

/// The spec of a published kind. Secrets have a type of their own and never become an `Object`.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    Repository(Box<RepositorySpec>),
    BackupConfiguration(Box<BackupConfigurationSpec>),
    BackupSession(BackupSessionSpec),
    RestoreSession(Box<RestoreSessionSpec>),
    BackupBlueprint(Box<BackupBlueprintSpec>),
    Task(TaskSpec),
    Function(Box<FunctionSpec>),
    AppBinding(Box<AppBindingSpec>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub api_version: String,
    pub metadata: Metadata,
    pub spec: Spec,
    /// Paths of the fields that are set and have no effect. A published object no longer holds these fields.
    pub ignored_fields: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("`{api_version}` `{kind}` is not a kind that Lagan publishes")]
    UnknownKind { api_version: String, kind: String },
    #[error("object can't be read: {0}")]
    Json(String),
}

impl Metadata {
    /// The form that may be published: of the annotations those that Lagan reads, of the finalizers its own.
    #[must_use]
    pub fn published(mut self) -> Self {
        self.annotations.retain(|name, _| is_read(name));
        self.finalizers.retain(|name| name == WIPE_OUT_FINALIZER);
        self
    }
}

/// Whether Lagan reads the annotation of this name.
fn is_read(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["lagan.dev/", "params.lagan.dev/", "params.stash.appscode.com/"];
    const NAMES: [&str; 2] = ["stash.appscode.com/backup-blueprint", "stash.appscode.com/schedule"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

impl Spec {
    fn from_json(kind: Kind, spec: Value) -> Result<Self, serde_json::Error> {
        match kind {
            Kind::Repository => serde_json::from_value(spec).map(Self::Repository),
            Kind::BackupConfiguration => serde_json::from_value(spec).map(Self::BackupConfiguration),
            Kind::BackupSession => serde_json::from_value(spec).map(Self::BackupSession),
            Kind::RestoreSession => serde_json::from_value(spec).map(Self::RestoreSession),
            Kind::BackupBlueprint => serde_json::from_value(spec).map(Self::BackupBlueprint),
            Kind::Task => serde_json::from_value(spec).map(Self::Task),
            Kind::Function => serde_json::from_value(spec).map(Self::Function),
            Kind::AppBinding => serde_json::from_value(spec).map(Self::AppBinding),
            Kind::Secret | Kind::Other(_) => Err(serde::de::Error::custom("the kind has no spec")),
        }
    }
}

impl From<serde_json::Error> for ObjectError {
    /// The text is published even if the object is not, so it must not quote the object's content.
    fn from(error: serde_json::Error) -> Self {
        Self::Json(without_quotations(&error.to_string()))
    }
}

/// Replaces quotations. serde quotes strings in Rust syntax: `invalid type: string "...", expected a sequence`.
#[must_use]
pub(crate) fn without_quotations(text: &str) -> String {
    let (mut kept, mut quoted, mut escaped) = (String::with_capacity(text.len()), false, false);
    for character in text.chars() {
        let ends = character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
        if ends {
            quoted = !quoted;
            kept.push_str(if quoted { "\"" } else { "…\"" });
        } else if !quoted {
            kept.push(character);
        }
    }
    kept
}

impl Object {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.spec {
            Spec::Repository(_) => Kind::Repository,
            Spec::BackupConfiguration(_) => Kind::BackupConfiguration,
            Spec::BackupSession(_) => Kind::BackupSession,
            Spec::RestoreSession(_) => Kind::RestoreSession,
            Spec::BackupBlueprint(_) => Kind::BackupBlueprint,
            Spec::Task(_) => Kind::Task,
            Spec::Function(_) => Kind::Function,
            Spec::AppBinding(_) => Kind::AppBinding,
        }
    }

    #[must_use]
    pub fn group(&self) -> Group {
        Group::of(&self.api_version)
    }

    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            group: self.group().as_str().to_owned(),
            kind: self.kind(),
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }

    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version.clone(),
            kind: self.kind(),
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid,
            generation: self.metadata.generation,
        }
    }

    /// Returns whether this is a deleted Repository that is held back until its data is deleted too.
    #[must_use]
    pub fn wants_wipe(&self) -> bool {
        let Spec::Repository(spec) = &self.spec else { return false };
        let held = self.metadata.finalizers.iter().any(|finalizer| finalizer == WIPE_OUT_FINALIZER);
        spec.wipes() && held && self.metadata.deletion_timestamp.is_some()
    }

    /// The form that may be published. It is an allow-list: only fields that have an effect, and only metadata that Lagan
    /// reads. Other tools keep copies of whole manifests in annotations. Credentials in URLs and the contents of hooks
    /// are left out too, although they have an effect.
    #[must_use]
    pub fn published(mut self) -> Self {
        self.metadata = self.metadata.published();
        let used = fields::only_used(self.group(), self.kind(), self.spec_json());
        self.spec = Spec::from_json(self.kind(), used).expect("ignored fields are optional");
        match &mut self.spec {
            Spec::AppBinding(spec) => **spec = std::mem::take(&mut **spec).published(),
            Spec::BackupConfiguration(spec) => spec.hooks = spec.hooks.take().map(BackupHooks::published),
            Spec::BackupBlueprint(spec) => spec.hooks = spec.hooks.take().map(BackupHooks::published),
            Spec::RestoreSession(spec) => spec.hooks = spec.hooks.take().map(RestoreHooks::published),
            Spec::Repository(_) | Spec::BackupSession(_) | Spec::Task(_) | Spec::Function(_) => {}
        }
        self
    }

    /// Returns the spec as JSON, in the order of the type's fields: equal specs give equal bytes.
    #[must_use]
    pub fn spec_json(&self) -> Value {
        match &self.spec {
            Spec::Repository(s) => serde_json::to_value(s),
            Spec::BackupConfiguration(s) => serde_json::to_value(s),
            Spec::BackupSession(s) => serde_json::to_value(s),
            Spec::RestoreSession(s) => serde_json::to_value(s),
            Spec::BackupBlueprint(s) => serde_json::to_value(s),
            Spec::Task(s) => serde_json::to_value(s),
            Spec::Function(s) => serde_json::to_value(s),
            Spec::AppBinding(s) => serde_json::to_value(s),
        }
        .expect("specs are JSON values")
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind(),
            "metadata": self.metadata,
            "spec": self.spec_json(),
        })
    }

    pub fn from_json(value: Value) -> Result<Self, ObjectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            api_version: String,
            kind: String,
            metadata: Metadata,
            #[serde(default)]
            spec: Value,
        }
        let raw: Raw = serde_json::from_value(value)?;
        let is_known = |kind: &Kind| kind.api_versions().contains(&raw.api_version.as_str());
        let Some(kind) = Kind::known(&raw.kind).filter(is_known).filter(|kind| *kind != Kind::Secret) else {
            return Err(ObjectError::UnknownKind { api_version: raw.api_version, kind: raw.kind });
        };
        let ignored_fields = fields::ignored_paths(Group::of(&raw.api_version), kind, &raw.spec);
        let spec = Spec::from_json(kind, raw.spec)?;
        Ok(Self { api_version: raw.api_version, metadata: raw.metadata, spec, ignored_fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_can_t_be_read_is_not_quoted() {
        let object = |hooks: Value| {
            let spec = json!({"schedule": "@daily", "repository": {"name": "r"}, "retentionPolicy": {"name": "k"}, "hooks": hooks});
            json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration", "metadata": {"name": "x"}, "spec": spec})
        };
        let bad = object(json!({"preBackup": {"httpGet": {"port": 1, "httpHeaders": "a \"CANARY\\\" CANARY"}}}));
        let error = Object::from_json(bad).expect_err("headers are a list");
        assert_eq!(error.to_string(), "object can't be read: invalid type: string \"…\", expected a sequence");
    }
}
