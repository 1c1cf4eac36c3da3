//! Finds a Lagan and connects to it: to the bus, or to the API server of its cluster. It must not read or write
//! anything there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lagan_bus::{Auth, Bus, Connect};
use lagan_schemas::error::chain;
use lagan_schemas::subject;
use lagan_sources::endpoint::{Endpoint, EndpointError, data_dir};
use lagan_sources::kubernetes::{Access, Kubernetes, StashCompat};
use secrecy::SecretString;

use crate::args::{Connection, Global};
use crate::cluster::{self, Cluster};
use crate::error::{Exit, Problem};
use crate::invocation::Typed;
use crate::world::{Clues, Given, World, choose};

/// A client that can't connect says so soon: a person waits.
const PATIENCE: Duration = Duration::from_secs(4);
const DEFAULT_NAMESPACE: &str = "default";

pub struct Client {
    pub backend: Backend,
    /// Where objects are that are named without a namespace.
    pub namespace: String,
    all_namespaces: bool,
    /// How the next command is typed.
    pub typed: Typed,
}

pub enum Backend {
    Bus(Box<Streams>),
    Cluster(Box<Cluster>),
}

/// A bus, and what is known of the Lagan behind it.
pub struct Streams {
    pub bus: Bus,
    pub cluster: subject::Cluster,
    /// Where objects go that are made by commands.
    pub objects: PathBuf,
    /// The folder of manifests, if a `lagan up` told us.
    pub manifests: Option<PathBuf>,
}

impl Client {
    /// The namespace to show, `None` for all of them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        (!self.all_namespaces).then_some(self.namespace.as_str())
    }

    /// Where the facts of sessions are read, if they can be.
    #[must_use]
    pub fn streams(&self) -> Option<&Streams> {
        match &self.backend {
            Backend::Bus(streams) => Some(streams),
            Backend::Cluster(cluster) => cluster.streams.as_ref(),
        }
    }

    /// The same for a command that is nothing without them.
    pub fn streams_for(&self, what: &str) -> Result<&Streams, Problem> {
        self.streams().ok_or_else(|| {
            Problem::new(Exit::Usage, format!("{what}, and the API server does not lead there"))
                .help("name the cluster's NATS server with --nats-url, for example behind `kubectl port-forward`")
        })
    }

    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.backend {
            Backend::Bus(_) => None,
            Backend::Cluster(cluster) => Some(cluster),
        }
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The data directory of this user.
#[must_use]
pub fn state_dir(global: &Global) -> PathBuf {
    data_dir(global.data_dir.clone(), variable("XDG_STATE_HOME"), variable("HOME"))
}

pub fn token_file(path: &Path) -> Result<SecretString, Problem> {
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::new(Exit::Failed, format!("token file `{}` can't be read: {error}", path.display()))
    })?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

pub async fn connect(global: &Global, connection: &Connection) -> Result<Client, Problem> {
    let state = state_dir(global);
    let endpoint = Endpoint::read(&state);
    let is_there = |endpoint: &Result<Endpoint, EndpointError>| !matches!(endpoint, Err(EndpointError::Absent(_)));
    let home = variable("HOME").map(|home| home.join(".kube/config"));
    let clues = Clues {
        invoked: global.invoked,
        cluster: Given::when(global.names_cluster()),
        nats_url: Given::when(connection.nats_url.is_some()),
        endpoint: Given::when(is_there(&endpoint)),
        kubeconfig: Given::when(variable("KUBECONFIG").is_some() || home.is_some_and(|file| file.is_file())),
    };
    match choose(clues) {
        World::Bus => {
            let endpoint = match endpoint {
                Ok(endpoint) => Some(endpoint),
                Err(EndpointError::Absent(_)) => None,
                Err(error) => return Err(not_found(&error)),
            };
            Ok(of_bus(global, streams(connection, endpoint.as_ref(), &state).await?))
        }
        World::Cluster => of_cluster(global, None).await,
        // What a `lagan up` on this machine has written is nothing to a cluster.
        World::ClusterWithFacts => of_cluster(global, Some(streams(connection, None, &state).await?)).await,
        World::Nowhere => Err(endpoint.err().map_or_else(nowhere, |error| not_found(&error))),
    }
}

fn of_bus(global: &Global, streams: Streams) -> Client {
    let namespace = global.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let shown = (namespace != DEFAULT_NAMESPACE).then_some(namespace.as_str());
    let typed = Typed::new(global.invoked).flag("-n", shown);
    Client { backend: Backend::Bus(Box::new(streams)), namespace, all_namespaces: global.all_namespaces, typed }
}

async fn of_cluster(global: &Global, streams: Option<Streams>) -> Result<Client, Problem> {
    let access = Access { kubeconfig: global.kubeconfig.clone(), context: global.context.clone() };
    let connected = lagan_sources::kubernetes::client(&access).await;
    let (api, own) = connected.map_err(|error| cluster::problem(&error))?;
    // Who runs the objects of Stash's group is the engine's question; here they are shown.
    let api = Kubernetes::new(api, StashCompat::On, Vec::new());
    let installed = api.installed().await.map_err(|error| cluster::problem(&error))?;
    let namespace = global.namespace.clone().unwrap_or_else(|| own.clone());
    let kubeconfig = global.kubeconfig.as_ref().map(|path| path.display().to_string());
    let typed = Typed::new(global.invoked)
        .flag("--kubeconfig", kubeconfig.as_deref())
        .flag("--context", global.context.as_deref())
        .flag("-n", (namespace != own).then_some(namespace.as_str()));
    let backend = Backend::Cluster(Box::new(Cluster::new(api, installed, streams)?));
    Ok(Client { backend, namespace, all_namespaces: global.all_namespaces, typed })
}

async fn streams(connection: &Connection, found: Option<&Endpoint>, state: &Path) -> Result<Streams, Problem> {
    let url = connection.nats_url.clone().or_else(|| found.map(|e| e.nats_url.clone())).unwrap_or_default();
    let mut connect = Connect::new(url, "cli");
    connect.patience = PATIENCE;
    // The token of one server is nothing for another to see.
    let same_server = found.filter(|endpoint| endpoint.nats_url == connect.url);
    connect.auth = match &connection.nats_token_file {
        Some(path) => Auth::Token(token_file(path)?),
        None => same_server.and_then(|endpoint| endpoint.token.clone()).map_or(Auth::None, Auth::Token),
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
    Problem::new(Exit::Unreachable, "there is no Lagan to talk to").help(WHERE)
}

fn unreachable(message: &str, endpoint: Option<&Endpoint>) -> Problem {
    let help = match endpoint {
        Some(endpoint) => {
            format!("is `lagan up` (process {}) still running? Start it again with the same --data-dir", endpoint.pid)
        }
        None => "check --nats-url and --nats-token-file".to_owned(),
    };
    Problem::new(Exit::Unreachable, message).help(help)
}
