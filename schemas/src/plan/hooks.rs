//! What a plan says of hooks: that there are some, and where the application is that they are about. What they do is not
//! here: a worker reads it at its source. It must not resolve anything; the planner fills it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The object that the session is of names a hook. Which one, and what it does, stays at its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanHooks {
    pub application: Application,
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
