//! Hooks: what an application is told before and after the work on it. One file for each action; `stage` says when
//! they run and what a failure means. Nothing here follows a redirect, runs a shell or connects where it may not.

mod address;
mod exec;
mod hidden;
mod http;
mod policy;
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

use self::address::AddressError;
use self::hidden::Hidden;
use self::ready::{Action, ReadyHook, ReadyHooks};
use self::template::{Data, RenderError};

pub(crate) use self::stage::Hooks;

const CONNECT: Duration = Duration::from_secs(5);
/// A request and its answer.
const REQUEST: Duration = Duration::from_secs(30);
/// A program in a pod: flushing or freezing an application takes longer than an answer.
const PROGRAM: Duration = Duration::from_secs(300);
/// What a message shows of an answer.
const SHOWN_BYTES: usize = 2 * 1024;

/// Where a hook runs, and what it may reach.
pub(crate) struct Site<'a> {
    pub source: &'a Source,
    pub application: &'a Application,
    /// The application's own address.
    pub host: &'a str,
    /// PEM of the authorities that the AppBinding trusts beside the system's.
    pub ca_pem: Option<&'a str>,
    /// Hosts that the administrator allows although their addresses are refused.
    pub allowed: &'a [String],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("template")]
    Template(#[from] RenderError),
    #[error("template: {0}")]
    BadTemplate(String),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("exec needs a pod, and a folder of manifests knows none: use httpGet, httpPost or tcpSocket")]
    ExecInFolder,
    #[error("port `{0}` is a name, and a folder of manifests knows no Services: give its number")]
    PortNameInFolder(String),
    #[error("{0} needs a Service, and the AppBinding names only a URL")]
    NoService(String),
    #[error("Service {service} has no port `{port}`")]
    NoSuchPort { service: String, port: String },
    #[error("Service {0} has no pod that is ready")]
    NoPod(String),
    #[error("{what}: {limit} bytes are the limit, after templates were filled in")]
    TooLarge { what: &'static str, limit: usize },
    #[error("entry {0} of httpHeaders is not a header")]
    BadHeader(usize),
    #[error("`{0}` is not an address")]
    BadUrl(String),
    #[error("the request can't be made")]
    Client(#[source] reqwest::Error),
    #[error("{0} did not answer")]
    NoAnswer(String, #[source] reqwest::Error),
    #[error("{place} answered {status}{said}")]
    Answer { place: String, status: u16, said: String },
    #[error("{0} can't be connected to")]
    Connect(String, #[source] std::io::Error),
    #[error("{program} in pod {pod} {ended}{said}")]
    Program { program: String, pod: String, ended: String, said: String },
    #[error("it did not end within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("it was stopped")]
    Stopped,
    #[error(transparent)]
    Api(#[from] KubernetesError),
}

impl HookError {
    /// `what` names the hook.
    pub fn failure(&self, what: &str) -> Failure {
        let code = match self {
            // Nobody answered whether there is a pod or a port: that says nothing about the hook.
            Self::Api(error) if error.status().is_none_or(|status| status.code >= 500) => Code::SourceUnreachable,
            _ => Code::HookFailed,
        };
        Failure::new(code, format!("{what}: {}", chain(self)))
    }
}

/// Refuses what can never work here, before anything is done.
fn possible(source: &Source, application: &Application, hooks: &ReadyHooks) -> Result<(), HookError> {
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

/// What only a Service can give.
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

/// The API server, and namespace and name of the application's Service.
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
    /// Runs one hook to its end, to its limit, or until `stop`. Gives one line that says what happened.
    pub async fn run(&self, hook: &ReadyHook, data: &Data, stop: &CancellationToken) -> Result<String, HookError> {
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

    async fn act(&self, hook: &ReadyHook, data: &Data) -> Result<String, HookError> {
        let hidden = Hidden::of(&hook.action, data);
        let done = match &hook.action {
            Action::Exec(exec) => exec::run(self, (exec, hook.container.as_deref()), data, &hidden).await,
            Action::HttpGet(get) => http::get(self, get, &hidden).await,
            Action::HttpPost(post) => http::post(self, post, data, &hidden).await,
            Action::TcpSocket(socket) => tcp::connect(self, socket).await,
        };
        done.map_err(|error| match error {
            // They quote what they could not make sense of.
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

    /// The host that the hook names, else the application's own.
    fn host<'h>(&'h self, named: Option<&'h str>) -> &'h str {
        named.filter(|host| !host.is_empty()).unwrap_or(self.host)
    }
}

/// `: what it said`, on one line, not longer than a message may show, and with nothing of what the hook holds.
fn said(text: &str, hidden: &Hidden) -> String {
    let text = hidden.hide(text.trim());
    let cut = text.floor_char_boundary(SHOWN_BYTES);
    let line: Vec<&str> = text[..cut].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if line.is_empty() { String::new() } else { format!(": {}", line.join(" | ")) }
}

#[cfg(test)]
mod tests;
