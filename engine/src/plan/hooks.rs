//! The hooks of a plan: only that there are some, and where a worker finds the application. What they hold is not in the
//! view; the worker reads it at its source and judges it there.

use lagan_schemas::error::Code;
use lagan_schemas::plan::{Application, PlanHooks};
use lagan_schemas::resource::app_binding::DatabaseUrl;
use lagan_schemas::resource::hooks::{BackupHooks, RestoreHooks};
use lagan_schemas::resource::{Object, Spec};

use super::{Unresolved, refused};

pub(super) fn of_backup(hooks: Option<&BackupHooks>, binding: &Object) -> Result<Option<PlanHooks>, Unresolved> {
    hooks.filter(|hooks| hooks.name_any()).map(|_| resolve(binding)).transpose()
}

pub(super) fn of_restore(hooks: Option<&RestoreHooks>, binding: &Object) -> Result<Option<PlanHooks>, Unresolved> {
    hooks.filter(|hooks| hooks.name_any()).map(|_| resolve(binding)).transpose()
}

fn resolve(binding: &Object) -> Result<PlanHooks, Unresolved> {
    Ok(PlanHooks { application: application(binding)? })
}

fn application(binding: &Object) -> Result<Application, Unresolved> {
    let Spec::AppBinding(spec) = &binding.spec else {
        return Err(refused(Code::Internal, "an AppBinding without its spec"));
    };
    let client_config = &spec.client_config;
    let own = binding.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(service) = &client_config.service {
        let namespace = service.namespace.as_deref().unwrap_or(own).to_owned();
        return Ok(Application::Service { namespace, name: service.name.clone() });
    }
    let url = client_config.url.as_deref().and_then(|url| DatabaseUrl::parse(url).ok());
    url.map(|url| Application::Host(url.host)).ok_or_else(|| {
        refused(Code::InvalidSpec, format!("AppBinding {}: clientConfig names no host", binding.reference().path()))
    })
}
