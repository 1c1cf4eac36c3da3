//! `exec`: a program in a pod of the application. Its arguments are an argv and pass through no shell.

use lagan_schemas::resource::hooks::ExecAction;
use lagan_sources::kubernetes::application::PodCommand;

use super::hidden::Hidden;
use super::template::{TemplateData, render};
use super::{HookError, Need, Site, quoted, service};

/// Limit of an argv, which the API server takes in the address of a request.
const ARGV_BYTES: usize = 256 * 1024;

pub(super) async fn run(
    site: &Site<'_>,
    (exec, container): (&ExecAction, Option<&str>),
    data: &TemplateData,
    hidden: &Hidden,
) -> Result<String, HookError> {
    let (api, namespace, name) = service(site.source, site.application, Need::Pod)?;
    let argv: Vec<String> = exec.command.iter().map(|argument| render(argument, data)).collect::<Result<_, _>>()?;
    if argv.iter().map(String::len).sum::<usize>() > ARGV_BYTES {
        return Err(HookError::TooLarge { what: "exec.command", limit: ARGV_BYTES });
    }
    let pod = api.ready_pod(namespace, name).await?;
    let pod = pod.ok_or_else(|| HookError::NoPod(format!("{namespace}/{name}")))?;
    let done = api.exec(namespace, &pod, PodCommand { argv: &argv, container }).await?;
    // Arguments may hold secrets, so messages show only the name of the program.
    let program = format!("`{}`", argv.first().map(String::as_str).unwrap_or_default());
    match done.exit_code {
        Some(0) => Ok(format!("{program} in pod {pod} exited 0")),
        Some(code) => {
            Err(HookError::Program { program, pod, ended: format!("exited {code}"), said: quoted(&done.tail, hidden) })
        }
        None => {
            // The message of a container runtime may quote the whole argv.
            let ended = format!("did not run: {}", hidden.hide(&done.message));
            Err(HookError::Program { program, pod, ended, said: quoted(&done.tail, hidden) })
        }
    }
}
