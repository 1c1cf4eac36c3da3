//! Function: one program. The fields are Stash's; `database`, `stream` and `extraArgs` are Lagan's.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Opaque;

/// A program and its arguments: an argv, never a shell line.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "Function",
    shortname = "lfn",
    category = "lagan",
    printcolumn(name = "Database", type_ = "string", json_path = ".spec.database"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(cel, validation = Rule::new("!has(self.stream) || has(self.stream.stdout) != has(self.stream.stdin)").message("stream: name either `stdout` or `stdin`"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FunctionSpec {
    /// Container image of Stash's Functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub command: Vec<String>,
    /// Arguments. Each may contain `${VAR}` or `${VAR:=default}` and stays one argument, whatever the value is.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub args: Vec<String>,
    /// The user's arguments: substituted, split at white space, and appended to `args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<String>,
    /// The database engine, which selects preflight checks, login file and completion check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Binds the program's standard output or input to an entry of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamBinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub ports: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volume_mounts: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub volume_devices: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_policy_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamBinding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}
