//! Hooks as a worker runs them: one action each, and where the application is that they are about.
//! It must not resolve anything; the planner fills it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::hooks::{ExecAction, ExecutionPolicy, HttpGetAction, HttpPostAction, TcpSocketAction};

/// What runs before and after the dump or the restore of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanHooks {
    pub application: Application,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<PlanHook>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<PlanPostHook>,
}

/// Where a worker finds pods and ports of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Application {
    /// The Service of the AppBinding.
    Service { namespace: String, name: String },
    /// The host of its URL: it has no pods and no named ports.
    Host(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanHook {
    pub action: HookAction,
    /// Container of the application's pod; without it the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanPostHook {
    #[serde(flatten)]
    pub hook: PlanHook,
    pub policy: ExecutionPolicy,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookAction {
    Exec(ExecAction),
    HttpGet(HttpGetAction),
    HttpPost(HttpPostAction),
    TcpSocket(TcpSocketAction),
}
