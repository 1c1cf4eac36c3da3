//! Finds a running Lagan and connects to its bus. It must not read or write anything there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lagan_bus::{Auth, Bus, Connect};
use lagan_schemas::error::chain;
use lagan_schemas::subject::Cluster;
use lagan_sources::endpoint::{Endpoint, EndpointError, data_dir};
use secrecy::SecretString;

use crate::args::{Connection, Global};
use crate::error::{Exit, Problem};

/// A client that can't connect says so soon: a person waits.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct Client {
    pub bus: Bus,
    pub cluster: Cluster,
    /// Where objects go that are made by commands.
    pub objects: PathBuf,
    /// The folder of manifests, if a `lagan up` told us.
    pub manifests: Option<PathBuf>,
}

/// The data directory of this user.
#[must_use]
pub fn state_dir(global: &Global) -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    data_dir(global.data_dir.clone(), variable("XDG_STATE_HOME"), variable("HOME"))
}

pub fn token_file(path: &PathBuf) -> Result<SecretString, Problem> {
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::new(Exit::Failed, format!("token file `{}` can't be read: {error}", path.display()))
    })?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

pub async fn connect(global: &Global, connection: &Connection) -> Result<Client, Problem> {
    let state = state_dir(global);
    let endpoint = match Endpoint::read(&state) {
        Ok(endpoint) => Some(endpoint),
        Err(EndpointError::Absent(_)) if connection.nats_url.is_some() => None,
        Err(error) => return Err(not_found(&error)),
    };
    let found = endpoint.as_ref();
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
    Ok(Client {
        bus,
        cluster,
        objects: found.map_or_else(|| state.join("objects"), |e| e.objects.clone()),
        manifests: found.map(|e| e.manifests.clone()),
    })
}

fn not_found(error: &EndpointError) -> Problem {
    let help = "start `lagan up --manifests DIR`, or name its --data-dir, or a NATS server with --nats-url";
    Problem::from_error(Exit::Unreachable, error).help(help)
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
