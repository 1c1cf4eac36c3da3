//! The addresses that a hook connects to. In a cluster a hook reaches Pods and Services only by the name of a Service, because
//! nothing else tells whose they are; consent for that Service was asked before.

use lagan_schemas::consent::service_of_host;

use super::{HookError, Site};
use crate::outbound::{Checked, Purpose};

impl Site<'_> {
    /// Resolves the host that a hook names, else that of the application, and checks the addresses.
    pub(super) async fn reach(&self, named: Option<&str>, port: u16) -> Result<Checked, HookError> {
        let host = named.filter(|host| !host.is_empty()).unwrap_or(self.host);
        let Some(api) = self.source.services() else {
            return Ok(self.outbound.check(Purpose::Hook, host, port).await?);
        };
        if let Some(service) = service_of_host(host) {
            let found = api.has_service(&service.namespace, &service.name).await;
            // A Service that may not be looked at is not known to be one.
            let may_not = found.as_ref().is_err_and(|error| error.status().is_some_and(|status| status.code == 403));
            if !may_not && found? {
                return Ok(self.outbound.check_as(Purpose::Hook, host, &service.canonical, port).await?);
            }
        }
        Ok(self.outbound.check(Purpose::HookOutside, host, port).await?)
    }
}
