//! Function: one program. Stash's fields are kept; `database`, `stream` and `extraArgs` are ours.

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
    /// Container image; only Stash's Functions have one, and it says which built-in they map to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Each may hold `${VAR}` or `${VAR:=default}`, and stays one argument whatever the value is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Substituted, then split on white space and appended to `args`: the user's own arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<String>,
    /// Which preflights, credentials file and completion check apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseKind>,
    /// Binds the program's standard output or input to an entry of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamBinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_devices: Vec<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Opaque>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_policy_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatabaseKind {
    MariaDB,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamBinding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}
