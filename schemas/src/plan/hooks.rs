//! What a plan says of hooks: that there are some, and where the application is that they are about. What they do is not
//! here: a worker reads it at its source. It must not resolve anything; the planner fills it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consent::service_of_host;

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

impl Application {
    /// Namespace and name of the Service that a hook reaches: by the host that it names, else the application's own.
    #[must_use]
    pub fn service_reached(&self, host: Option<&str>) -> Option<(String, String)> {
        let host = match (host, self) {
            (Some(host), _) => host,
            (None, Self::Host(host)) => host,
            (None, Self::Service { namespace, name }) => return Some((namespace.clone(), name.clone())),
        };
        service_of_host(host).map(|service| (service.namespace, service.name))
    }
}
