//! The hooks of a plan: each is one action within its limits, with what a worker needs to find the application.

use lagan_schemas::error::Code;
use lagan_schemas::plan::{Application, HookAction, PlanHook, PlanHooks, PlanPostHook};
use lagan_schemas::resource::app_binding::DatabaseUrl;
use lagan_schemas::resource::hooks::{BackupHooks, Hook, Port, PostHook, RestoreHooks};
use lagan_schemas::resource::{Object, Spec};

use super::{Unresolved, refused};

const ARGUMENTS: usize = 256;
const TEXT_BYTES: usize = 64 * 1024;
/// All text of one hook: a plan is one message, and an argv travels in the address of a request.
const HOOK_BYTES: usize = 256 * 1024;
const HEADERS: usize = 64;

pub(super) fn of_backup(hooks: Option<&BackupHooks>, binding: &Object) -> Result<Option<PlanHooks>, Unresolved> {
    let Some(hooks) = hooks else { return Ok(None) };
    let pre = hooks.pre_backup.as_ref().map(|hook| ("hooks.preBackup", hook));
    resolve(binding, pre, hooks.post_backup.as_ref().map(|hook| ("hooks.postBackup", hook)))
}

pub(super) fn of_restore(hooks: Option<&RestoreHooks>, binding: &Object) -> Result<Option<PlanHooks>, Unresolved> {
    let Some(hooks) = hooks else { return Ok(None) };
    let pre = hooks.pre_restore.as_ref().map(|hook| ("hooks.preRestore", hook));
    resolve(binding, pre, hooks.post_restore.as_ref().map(|hook| ("hooks.postRestore", hook)))
}

fn resolve(
    binding: &Object,
    pre: Option<(&str, &Hook)>,
    post: Option<(&str, &PostHook)>,
) -> Result<Option<PlanHooks>, Unresolved> {
    if pre.is_none() && post.is_none() {
        return Ok(None);
    }
    let pre = pre.map(|(field, hook)| plan_hook(field, hook)).transpose()?;
    let post = post
        .map(|(field, hook)| Ok(PlanPostHook { hook: plan_hook(field, &hook.hook())?, policy: hook.execution_policy }));
    Ok(Some(PlanHooks { application: application(binding)?, pre, post: post.transpose()? }))
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

fn plan_hook(field: &str, hook: &Hook) -> Result<PlanHook, Unresolved> {
    let invalid = |why: String| refused(Code::InvalidSpec, format!("{field}: {why}"));
    let actions = [
        hook.exec.clone().map(HookAction::Exec),
        hook.http_get.clone().map(HookAction::HttpGet),
        hook.http_post.clone().map(HookAction::HttpPost),
        hook.tcp_socket.clone().map(HookAction::TcpSocket),
    ];
    let mut named = actions.into_iter().flatten();
    let (Some(action), None) = (named.next(), named.next()) else {
        return Err(invalid("name exactly one of exec, httpGet, httpPost and tcpSocket".to_owned()));
    };
    check(&action).map_err(invalid)?;
    Ok(PlanHook { action, container: hook.container_name.clone().filter(|name| !name.is_empty()) })
}

fn check(action: &HookAction) -> Result<(), String> {
    let (port, headers) = match action {
        HookAction::Exec(exec) => {
            let (count, longest) = (exec.command.len(), exec.command.iter().map(String::len).max().unwrap_or_default());
            if count == 0 || exec.command[0].is_empty() {
                return Err("exec.command is empty".to_owned());
            }
            if count > ARGUMENTS || longest > TEXT_BYTES {
                return Err(format!(
                    "exec.command has {count} arguments, the longest of {longest} bytes; {ARGUMENTS} of {TEXT_BYTES} bytes are the limit"
                ));
            }
            (None, 0)
        }
        HookAction::HttpGet(get) => (Some(&get.port), get.http_headers.len()),
        HookAction::HttpPost(post) => {
            let length = post.body.as_ref().map_or(0, String::len);
            if length > TEXT_BYTES {
                return Err(format!("httpPost.body has {length} bytes; {TEXT_BYTES} are the limit"));
            }
            (Some(&post.port), post.http_headers.len().max(post.form.len()))
        }
        HookAction::TcpSocket(socket) => (Some(&socket.port), 0),
    };
    match port {
        Some(Port::Number(number)) if !(1..=65_535).contains(number) => {
            return Err(format!("port {number} is not between 1 and 65535"));
        }
        Some(Port::Name(name)) if name.is_empty() => return Err("its port is empty".to_owned()),
        _ => {}
    }
    if headers > HEADERS {
        return Err(format!("{headers} headers or form entries; {HEADERS} are the limit"));
    }
    let size = serde_json::to_string(action).map_or(0, |text| text.len());
    if size > HOOK_BYTES {
        return Err(format!("it has {size} bytes in all; {HOOK_BYTES} are the limit"));
    }
    Ok(())
}
