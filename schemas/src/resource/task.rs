//! Task: Functions in order.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Opaque, Param};

/// The steps of a backup or a restore, each a Function.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "Task",
    shortname = "ltask",
    category = "lagan",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(cel, validation = Rule::new("size(self.steps) >= 1").message("steps: name at least one Function"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    #[schemars(length(max = 32))]
    pub steps: Vec<TaskStep>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volumes: Vec<Opaque>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskStep {
    /// Name of the Function.
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub params: Vec<Param>,
}
