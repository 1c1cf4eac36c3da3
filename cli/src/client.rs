//! Finds a Lagan and connects to it: to its NATS server, or to the API server of its cluster. It must not read or write
//! anything there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lagan_bus::{Auth, Bus, Connect, ReadScope};
use lagan_schemas::error::chain;
use lagan_sources::Source;
use lagan_sources::endpoint::{Endpoint, EndpointError, data_dir};
use lagan_sources::folder::Folder;
use lagan_sources::kubernetes::{KubeAccess, Kubernetes, StashCompat};
use lagan_sources::ledger::{Ledger, LedgerError};
use lagan_sources::source::FolderSource;

use crate::args::{Global, NatsArgs};
use crate::cluster::{self, ClusterClient};
use crate::destination::{Clues, Destination, Given, choose};
use crate::error::{Exit, Problem};
use crate::invocation::{CommandTemplate, ProgramName};
use crate::login;
use crate::streams::Streams;

/// Short, because a person waits for the command.
const PATIENCE: Duration = Duration::from_secs(4);
const DEFAULT_NAMESPACE: &str = "default";

pub struct Client {
    pub backend: ClientBackend,
    /// Namespace of objects that are named without one.
    pub namespace: String,
    all_namespaces: bool,
    /// Spelling of the commands that are proposed next.
    pub template: CommandTemplate,
}

pub enum ClientBackend {
    Bus(Box<Streams>),
    Cluster(Box<ClusterClient>),
}

impl Client {
    /// The source of intent, if this machine reaches it: the API server, or a folder whose data directory is here.
    pub fn source(&self) -> Result<Option<Source>, Problem> {
        let failed = |error: LedgerError| Problem::from_error(Exit::Failed, &error);
        let streams = match &self.backend {
            ClientBackend::Cluster(cluster) => return Ok(Some(cluster.api.clone().into())),
            ClientBackend::Bus(streams) => streams,
        };
        let data_dir = streams.objects.parent().unwrap_or(Path::new(".")).to_owned();
        let Some(ledger) = Ledger::find(&data_dir).map_err(failed)? else { return Ok(None) };
        let folders = streams.manifests.iter().cloned().collect();
        let (folder, ledger) = (Arc::new(Folder::new(folders)), Arc::new(ledger));
        Ok(Some(FolderSource { folder, ledger, objects: streams.objects.clone(), data_dir }.into()))
    }

    /// The namespace to show, `None` for all of them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        (!self.all_namespaces).then_some(self.namespace.as_str())
    }

    /// The connection to NATS, where the facts of sessions are; `None` if only the API server is known.
    #[must_use]
    pub fn streams(&self) -> Option<&Streams> {
        match &self.backend {
            ClientBackend::Bus(streams) => Some(streams),
            ClientBackend::Cluster(cluster) => cluster.streams.as_ref(),
        }
    }

    /// The connection to NATS for a command that can't work without it.
    pub fn streams_for(&self, what: &str) -> Result<&Streams, Problem> {
        self.streams().ok_or_else(|| {
            Problem::new(Exit::Usage, format!("{what}, and the API server does not lead there"))
                .help("name the cluster's NATS server with --nats-url, for example behind `kubectl port-forward`")
        })
    }

    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterClient> {
        match &self.backend {
            ClientBackend::Bus(_) => None,
            ClientBackend::Cluster(cluster) => Some(cluster),
        }
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

pub async fn connect(global: &Global, connection: &NatsArgs) -> Result<Client, Problem> {
    let state = data_dir(global.data_dir.clone(), variable("XDG_STATE_HOME"), variable("HOME"));
    let endpoint = Endpoint::read(&state);
    let home = variable("HOME").map(|home| home.join(".kube/config"));
    let clues = Clues {
        program: global.program,
        cluster: Given::when(global.names_cluster()),
        data_dir: Given::when(global.on_command_line.contains("data_dir")),
        nats_url: Given::when(connection.nats_url.is_some()),
        endpoint: Given::when(!matches!(endpoint, Err(EndpointError::Absent(_)))),
        kubeconfig: Given::when(variable("KUBECONFIG").is_some() || home.is_some_and(|file| file.is_file())),
    };
    let destination = choose(clues);
    refuse_unused(destination, global)?;
    match destination {
        Destination::Bus => {
            let endpoint = match endpoint {
                Ok(endpoint) => Some(endpoint),
                Err(EndpointError::Absent(_)) if connection.nats_url.is_some() => None,
                Err(error) => return Err(not_found(&error)),
            };
            Ok(bus_client(global, streams(connection, endpoint.as_ref(), &state).await?))
        }
        Destination::Cluster => cluster_client(global, None).await,
        // The endpoint file of a `lagan up` on this machine says nothing about a cluster.
        Destination::ClusterWithFacts => cluster_client(global, Some(streams(connection, None, &state).await?)).await,
        Destination::Nowhere => Err(endpoint.err().map_or_else(nowhere, |error| not_found(&error))),
    }
}

/// Options that lead to NATS, and would have no effect on a command that asks the API server.
const NATS_OPTIONS: [(&str, &str); 5] = [
    ("nats_token_file", "--nats-token-file"),
    ("nats_creds", "--nats-creds"),
    ("nats_user_file", "--nats-user-file"),
    ("nats_ca", "--nats-ca"),
    ("cluster", "--cluster"),
];

fn refuse_unused(destination: Destination, global: &Global) -> Result<(), Problem> {
    if matches!(destination, Destination::Cluster | Destination::ClusterWithFacts)
        && global.on_command_line.contains("data_dir")
    {
        let cluster =
            if global.program == ProgramName::KubectlPlugin { "`kubectl lagan`" } else { "--kubeconfig or --context" };
        return Err(Problem::new(
            Exit::Usage,
            format!("--data-dir leads to a folder's Lagan, {cluster} to a cluster's"),
        )
        .help("leave one of them out"));
    }
    let unused =
        NATS_OPTIONS.iter().find(|(id, _)| destination == Destination::Cluster && global.on_command_line.contains(*id));
    unused.map_or(Ok(()), |(_, option)| {
        Err(Problem::new(Exit::Usage, format!("{option} has no effect without --nats-url: the API server is asked"))
            .help("name the cluster's NATS server with --nats-url, or leave the option out"))
    })
}

fn bus_client(global: &Global, streams: Streams) -> Client {
    let namespace = global.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let shown = (namespace != DEFAULT_NAMESPACE).then_some(namespace.as_str());
    let template = CommandTemplate::new(global.program).flag("-n", shown);
    Client {
        backend: ClientBackend::Bus(Box::new(streams)),
        namespace,
        all_namespaces: global.all_namespaces,
        template,
    }
}

async fn cluster_client(global: &Global, streams: Option<Streams>) -> Result<Client, Problem> {
    let access = KubeAccess { kubeconfig: global.kubeconfig.clone(), context: global.context.clone() };
    let connected = lagan_sources::kubernetes::connect(&access).await;
    let connection = connected.map_err(|error| cluster::problem(&error))?;
    let own = connection.namespace.clone();
    // Objects of Stash's group are always shown. Whether they run is the engine's decision.
    let api = Kubernetes::new(connection, StashCompat::On, Vec::new());
    let installed = api.installed().await.map_err(|error| cluster::problem(&error))?;
    let namespace = global.namespace.clone().unwrap_or_else(|| own.clone());
    let kubeconfig = global.kubeconfig.as_ref().map(|path| path.display().to_string());
    let template = CommandTemplate::new(global.program)
        .flag("--kubeconfig", kubeconfig.as_deref())
        .flag("--context", global.context.as_deref())
        .flag("-n", (namespace != own).then_some(namespace.as_str()));
    let backend = ClientBackend::Cluster(Box::new(ClusterClient::new(api, installed, streams)?));
    Ok(Client { backend, namespace, all_namespaces: global.all_namespaces, template })
}

async fn streams(connection: &NatsArgs, found: Option<&Endpoint>, state: &Path) -> Result<Streams, Problem> {
    let url = connection.nats_url.clone().or_else(|| found.map(|e| e.nats_url.clone())).unwrap_or_default();
    let mut connect = Connect::new(url, "cli");
    connect.reach = ReadScope::Consumers;
    connect.patience = PATIENCE;
    connect.ca.clone_from(&connection.login.nats_ca);
    // A token is sent to no other server than the one that it was made for.
    let same_server = found.filter(|endpoint| endpoint.nats_url == connect.url);
    let known_domain = same_server.and_then(|endpoint| endpoint.nats_domain.clone());
    connect.domain = connection.login.nats_domain.clone().or(known_domain);
    connect.auth = match login::auth(&connection.login)? {
        Auth::None => same_server.and_then(|endpoint| endpoint.token.clone()).map_or(Auth::None, Auth::Token),
        auth => auth,
    };
    let cluster = match &connection.cluster {
        Some(cluster) => cluster.clone(),
        None => found.map_or("local", |e| e.cluster.as_str()).parse().map_err(|error| {
            Problem::from_error(Exit::Failed, &error).help("the endpoint file is damaged; start `lagan up` again")
        })?,
    };
    let bus = Bus::connect(connect).await.map_err(|error| unreachable(&chain(&error), same_server))?;
    Ok(Streams {
        bus,
        cluster,
        objects: found.map_or_else(|| state.join("objects"), |e| e.objects.clone()),
        manifests: found.map(|e| e.manifests.clone()),
    })
}

const WHERE: &str = "start `lagan up --manifests DIR`, or name its --data-dir, a NATS server with --nats-url, or a \
    cluster with --kubeconfig or --context";

fn not_found(error: &EndpointError) -> Problem {
    Problem::from_error(Exit::Unreachable, error).help(WHERE)
}

fn nowhere() -> Problem {
    Problem::new(Exit::Unreachable, "no running Lagan was found").help(WHERE)
}

fn unreachable(message: &str, endpoint: Option<&Endpoint>) -> Problem {
    let help = match endpoint {
        Some(endpoint) => {
            format!("is `lagan up` (process {}) still running? Start it again with the same --data-dir", endpoint.pid)
        }
        None => "check --nats-url and the login (--nats-token-file, --nats-user-file or --nats-creds)".to_owned(),
    };
    Problem::new(Exit::Unreachable, message).help(help)
}
