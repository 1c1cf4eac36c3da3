//! Hooks: actions before and after the work on an application. Each action has a file; `stage` decides when hooks run
//! and what a failure means. This module must not follow redirects, run a shell or connect to a refused address.

mod exec;
mod hidden;
mod http;
mod policy;
mod reach;
mod ready;
mod stage;
mod tcp;
mod template;

use std::time::Duration;

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::plan::Application;
use lagan_schemas::resource::hooks::Port;
use lagan_sources::Source;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError};
use tokio_util::sync::CancellationToken;

use self::hidden::Hidden;
use self::ready::{Action, ReadyHook, ReadyHooks};
use self::template::{RenderError, TemplateData};

pub(crate) use self::stage::Hooks;
use crate::outbound::{AddressError, Outbound};
use crate::process::escape;

const CONNECT: Duration = Duration::from_secs(5);
/// Longest time for a request and its answer.
const REQUEST: Duration = Duration::from_secs(30);
/// Longest time for a program in a pod. Flushing or freezing an application takes longer than an answer.
const PROGRAM: Duration = Duration::from_secs(300);
/// Longest part of an answer that a message shows.
const SHOWN_BYTES: usize = 2 * 1024;

/// The surroundings of a hook: its application, and the addresses that it may reach.
pub(crate) struct Site<'a> {
    pub source: &'a Source,
    pub application: &'a Application,
    /// Address of the application.
    pub host: &'a str,
    /// PEM of the authorities that the AppBinding trusts in addition to the system's.
    pub ca_pem: Option<&'a str>,
    /// Rules for connections.
    pub outbound: &'a Outbound,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("template")]
    Template(#[from] RenderError),
    #[error("template: {0}")]
    BadTemplate(String),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("exec needs a pod, and there are none in folder mode: use httpGet, httpPost or tcpSocket")]
    ExecInFolder,
    #[error("port `{0}` is the name of a Service's port, and there are no Services in folder mode: use its number")]
    PortNameInFolder(String),
    #[error("{0} needs a Service, and the AppBinding has only a URL: set clientConfig.service")]
    NoService(String),
    #[error("Service {service} has no port `{port}`")]
    NoSuchPort { service: String, port: String },
    #[error("Service {0} has no pod that is ready")]
    NoPod(String),
    #[error("{what} is longer than {limit} bytes once its templates are rendered")]
    TooLarge { what: &'static str, limit: usize },
    #[error("entry {0} of httpHeaders is not a valid header")]
    BadHeader(usize),
    #[error("`{0}` is not an address")]
    BadUrl(String),
    #[error("cannot build the request")]
    Client(#[source] reqwest::Error),
    #[error("{0} did not answer")]
    NoAnswer(String, #[source] reqwest::Error),
    #[error("{place} answered {status}{said}")]
    Answer { place: String, status: u16, said: String },
    #[error("cannot connect to {0}")]
    Connect(String, #[source] std::io::Error),
    #[error("{program} in pod {pod} {ended}{said}")]
    Program { program: String, pod: String, ended: String, said: String },
    #[error("the hook did not end within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("the hook was stopped")]
    Stopped,
    #[error(transparent)]
    Api(#[from] KubernetesError),
}

impl HookError {
    /// Converts the error to a failure of the session; `what` names the hook.
    pub fn failure(&self, what: &str) -> Failure {
        let code = match self {
            // Without an answer of the API server nothing is known about the hook itself.
            Self::Api(error) if error.status().is_none_or(|status| status.code >= 500) => Code::SourceUnreachable,
            _ => Code::HookFailed,
        };
        Failure::new(code, format!("{what}: {}", chain(self)))
    }
}

/// Refuses hooks that cannot work with this source, before any of them runs.
fn check_supported(source: &Source, application: &Application, hooks: &ReadyHooks) -> Result<(), HookError> {
    for hook in hooks.all() {
        let need = match &hook.action {
            Action::Exec(_) => Some(Need::Pod),
            Action::HttpGet(get) => needed(&get.port),
            Action::HttpPost(post) => needed(&post.port),
            Action::TcpSocket(socket) => needed(&socket.port),
        };
        if let Some(need) = need {
            service(source, application, need)?;
        }
    }
    Ok(())
}

/// A part of an action that only a Service can resolve.
#[derive(Debug, Clone, Copy)]
enum Need<'a> {
    Pod,
    Port(&'a str),
}

fn needed(port: &Port) -> Option<Need<'_>> {
    match port {
        Port::Name(name) if name.parse::<u16>().is_err() => Some(Need::Port(name)),
        Port::Name(_) | Port::Number(_) => None,
    }
}

/// Returns the API server, and namespace and name of the application's Service.
fn service<'a>(
    source: &'a Source,
    application: &'a Application,
    need: Need<'_>,
) -> Result<(&'a Kubernetes, &'a str, &'a str), HookError> {
    let Some(api) = source.services() else {
        return Err(match need {
            Need::Pod => HookError::ExecInFolder,
            Need::Port(name) => HookError::PortNameInFolder(name.to_owned()),
        });
    };
    match (application, need) {
        (Application::Host(_), Need::Pod) => Err(HookError::NoService("exec".to_owned())),
        (Application::Host(_), Need::Port(name)) => Err(HookError::NoService(format!("port `{name}`"))),
        (Application::Service { namespace, name }, _) => Ok((api, namespace, name)),
    }
}

impl Site<'_> {
    /// Runs one hook until its end, its limit or `stop`. Returns one line about the result.
    pub async fn run(
        &self,
        hook: &ReadyHook,
        data: &TemplateData,
        stop: &CancellationToken,
    ) -> Result<String, HookError> {
        let limit = match hook.action {
            Action::Exec(_) => PROGRAM,
            Action::HttpGet(_) | Action::HttpPost(_) | Action::TcpSocket(_) => REQUEST,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(HookError::Stopped),
            done = tokio::time::timeout(limit, Box::pin(self.act(hook, data))) => {
                done.unwrap_or(Err(HookError::TooSlow(limit)))
            }
        }
    }

    async fn act(&self, hook: &ReadyHook, data: &TemplateData) -> Result<String, HookError> {
        let hidden = Hidden::of(&hook.action, data);
        let done = match &hook.action {
            Action::Exec(exec) => exec::run(self, (exec, hook.container.as_deref()), data, &hidden).await,
            Action::HttpGet(get) => http::get(self, get, &hidden).await,
            Action::HttpPost(post) => http::post(self, post, data, &hidden).await,
            Action::TcpSocket(socket) => tcp::connect(self, socket).await,
        };
        done.map_err(|error| match error {
            // Errors of templates quote the text that they do not understand, which may be a token.
            HookError::Template(error) => HookError::BadTemplate(hidden.hide(&chain(&error))),
            error => error,
        })
    }

    async fn port(&self, port: &Port) -> Result<u16, HookError> {
        let name = match port {
            Port::Number(number) => {
                return u16::try_from(*number).map_err(|_| HookError::BadUrl(number.to_string()));
            }
            Port::Name(name) => name,
        };
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let (api, namespace, service) = service(self.source, self.application, Need::Port(name))?;
        let found = api.service_port(namespace, service, name).await?;
        found.ok_or_else(|| HookError::NoSuchPort { service: format!("{namespace}/{service}"), port: name.clone() })
    }
}

/// Formats an answer for a message: `: ` and the text on one line, bounded, without the secrets of the hook.
fn quoted(text: &str, hidden: &Hidden) -> String {
    let text = hidden.hide(text.trim());
    let cut = text.floor_char_boundary(SHOWN_BYTES);
    let line: Vec<String> = text[..cut].lines().map(str::trim).filter(|line| !line.is_empty()).map(escape).collect();
    if line.is_empty() { String::new() } else { format!(": {}", line.join(" | ")) }
}

#[cfg(test)]
mod tests;
