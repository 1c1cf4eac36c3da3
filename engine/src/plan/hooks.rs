//! The hooks of a plan: a note that there are some, and where a worker finds the application. Their content is not in
//! the view; the worker reads it at its source and judges it there.

use lagan_schemas::error::Code;
use lagan_schemas::plan::{Application, PlanHooks};
use lagan_schemas::resource::app_binding::DatabaseUrl;
use lagan_schemas::resource::hooks::{BackupHooks, RestoreHooks};

use super::find::Binding;
use super::{Unresolved, refused};

pub(super) fn of_backup(hooks: Option<&BackupHooks>, binding: Binding<'_>) -> Result<Option<PlanHooks>, Unresolved> {
    hooks.filter(|hooks| hooks.name_any()).map(|_| resolve(binding)).transpose()
}

pub(super) fn of_restore(hooks: Option<&RestoreHooks>, binding: Binding<'_>) -> Result<Option<PlanHooks>, Unresolved> {
    hooks.filter(|hooks| hooks.name_any()).map(|_| resolve(binding)).transpose()
}

fn resolve(binding: Binding<'_>) -> Result<PlanHooks, Unresolved> {
    Ok(PlanHooks { application: application(binding)? })
}

fn application(Binding { object, spec }: Binding<'_>) -> Result<Application, Unresolved> {
    let client_config = &spec.client_config;
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(service) = &client_config.service {
        let namespace = service.namespace.as_deref().unwrap_or(own).to_owned();
        return Ok(Application::Service { namespace, name: service.name.clone() });
    }
    let url = client_config.url.as_deref().and_then(|url| DatabaseUrl::parse(url).ok());
    url.map(|url| Application::Host(url.host)).ok_or_else(|| {
        refused(Code::InvalidSpec, format!("AppBinding {}: clientConfig names no host", object.reference().path()))
    })
}
