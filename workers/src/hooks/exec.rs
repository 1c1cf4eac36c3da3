//! `exec`: a program in a pod of the application. Its arguments are an argv; no shell sees them.

use lagan_schemas::resource::hooks::ExecAction;
use lagan_sources::kubernetes::application::Command;

use super::hidden::Hidden;
use super::template::{Data, render};
use super::{HookError, Need, Site, said, service};

/// The API server takes an argv in a request's address.
const ARGV_BYTES: usize = 256 * 1024;

pub(super) async fn run(
    site: &Site<'_>,
    (exec, container): (&ExecAction, Option<&str>),
    data: &Data,
    hidden: &Hidden,
) -> Result<String, HookError> {
    let (api, namespace, name) = service(site.source, site.application, Need::Pod)?;
    let argv: Vec<String> = exec.command.iter().map(|argument| render(argument, data)).collect::<Result<_, _>>()?;
    if argv.iter().map(String::len).sum::<usize>() > ARGV_BYTES {
        return Err(HookError::TooLarge { what: "exec.command", limit: ARGV_BYTES });
    }
    let pod = api.ready_pod(namespace, name).await?;
    let pod = pod.ok_or_else(|| HookError::NoPod(format!("{namespace}/{name}")))?;
    let done = api.exec(namespace, &pod, Command { argv: &argv, container }).await?;
    // Arguments may hold secrets; the program's name is enough to know it by.
    let program = format!("`{}`", argv.first().map(String::as_str).unwrap_or_default());
    match done.exit_code {
        Some(0) => Ok(format!("{program} in pod {pod} exited 0")),
        Some(code) => {
            Err(HookError::Program { program, pod, ended: format!("exited {code}"), said: said(&done.tail, hidden) })
        }
        None => {
            // Container runtimes may name the whole argv.
            let ended = format!("did not run: {}", hidden.hide(&done.message));
            Err(HookError::Program { program, pod, ended, said: said(&done.tail, hidden) })
        }
    }
}
