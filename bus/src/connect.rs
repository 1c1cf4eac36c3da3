//! Connects to NATS and reports the state of the connection. It creates nothing on the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::denials::{DenialListener, Denials};
use crate::error::{self, ApiError, EmptyRequest, code};
use crate::reach::ReadScope;
use crate::servers::Servers;

/// The oldest server that Lagan is used with: its compare-and-set over a filter is what every append relies on.
pub const OLDEST_SERVER: (u64, u64) = (2, 12);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an outage everybody must be back well within the shortest TTL, before anybody can be considered dead.
const SLOWEST_RECONNECT: Duration = Duration::from_secs(1);

/// The credentials of a client.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    #[default]
    None,
    Token(SecretString),
    User {
        user: String,
        password: SecretString,
    },
    /// The seed of an NKey (`SU…`).
    NKey(SecretString),
    /// A `.creds` file with JWT and seed.
    Credentials(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Connect {
    /// `nats://host:port` or `tls://host:port`; several servers of one cluster are separated by commas.
    pub url: String,
    /// Shown by the server's monitoring, such as `lagan-worker-<instance>`.
    pub name: String,
    /// Replies go to `_INBOX_<role>.>`, or `_INBOX_<role>-<pool>.>`, so that permissions can tell the roles apart.
    pub role: String,
    pub reach: ReadScope,
    pub auth: Auth,
    /// A PEM file; when given, TLS is required.
    pub ca: Option<PathBuf>,
    /// The JetStream domain, where the account's JetStream is not that of the connected server.
    pub domain: Option<String>,
    /// Limit for the first connection, and for learning the outcome of a write.
    pub patience: Duration,
    /// Limit for the answer to one request.
    pub answer_within: Duration,
}

impl Connect {
    #[must_use]
    pub fn new(url: impl Into<String>, role: impl Into<String>) -> Self {
        let role = role.into();
        Self {
            url: url.into(),
            name: format!("lagan-{role}"),
            role,
            reach: ReadScope::default(),
            auth: Auth::None,
            ca: None,
            domain: None,
            patience: Duration::from_secs(20),
            answer_within: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{0}` is not the address of a NATS server, such as nats://127.0.0.1:4222")]
    Address(String),
    #[error(
        "`{address}`, number {number} of the {of} addresses that are separated by commas, is not the address of a NATS server, such as nats://127.0.0.1:4222"
    )]
    AddressInList { address: String, number: usize, of: usize },
    #[error("`{0}` is not the name of a JetStream domain: it must not be empty or contain blanks, `.`, `*` or `>`")]
    Domain(String),
    #[error("can't read the NATS credentials `{path}`")]
    Credentials {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no NATS server answers at `{address}`")]
    Unreachable {
        address: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("the TLS handshake with `{address}` failed: is its certificate signed by the given CA?")]
    Tls {
        address: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("the NATS server at `{address}` refuses these credentials")]
    Unauthorized {
        address: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("the NATS server at `{address}` is {version}; Lagan needs 2.12 or newer")]
    TooOld { address: String, version: String },
    #[error(
        "the NATS server at `{address}` runs without JetStream: start it with `jetstream {{}}` in its configuration"
    )]
    JetStreamDisabled { address: String },
    #[error("JetStream is not enabled for this account on `{address}`")]
    AccountWithoutJetStream { address: String },
    #[error("JetStream at `{address}` does not answer")]
    JetStream {
        address: String,
        #[source]
        source: ApiError,
    },
}

/// The current state of the connection. `generation` grows with every (re)connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    pub generation: u64,
    pub connected: bool,
}

/// A connection shared by all tasks of a process. Cloning is cheap.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    context: jetstream::Context,
    api_prefix: String,
    reach: ReadScope,
    link: watch::Receiver<Link>,
    servers: Arc<Servers>,
    denials: Arc<Denials>,
    patience: Duration,
    answer_within: Duration,
}

impl Bus {
    /// Connects, waiting up to `patience` for a server. Wrong credentials and unusable servers fail immediately.
    pub async fn connect(connect: Connect) -> Result<Self, ConnectError> {
        let addresses = addresses(&connect.url)?;
        let address = addresses.iter().map(shown).collect::<Vec<_>>().join(", ");
        let api_prefix = api_prefix(connect.domain.as_deref())?;
        let deadline = Instant::now() + connect.patience;
        let (servers, denials) = (Arc::new(Servers::default()), Arc::new(Denials::default()));
        let (client, mut link) = loop {
            let (sender, link) = watch::channel(Link::default());
            match options(&connect, sender, (&servers, &denials)).await?.connect(&addresses).await {
                Ok(client) => break (client, link),
                Err(source) => match source.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        return Err(ConnectError::Unauthorized { address, source });
                    }
                    ConnectErrorKind::Tls => return Err(ConnectError::Tls { address, source }),
                    _ if Instant::now() >= deadline => return Err(ConnectError::Unreachable { address, source }),
                    _ => tokio::time::sleep(Duration::from_millis(200)).await,
                },
            }
        };
        let version = client.server_info().version;
        if !is_new_enough(&version) {
            return Err(ConnectError::TooOld { address, version });
        }
        // The client reports its first connection through the same callback as all later ones.
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, link.wait_for(|l| l.connected)).await;
        let context =
            ContextBuilder::new().timeout(connect.answer_within).api_prefix(&api_prefix).build(client.clone());
        let Connect { patience, answer_within, reach, .. } = connect;
        let bus = Self { client, context, api_prefix, reach, link, servers, denials, patience, answer_within };
        bus.check_jetstream(address, deadline).await?;
        Ok(bus)
    }

    /// Subscribes to changes of the connection.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.borrow().connected
    }

    #[must_use]
    pub fn reach(&self) -> &ReadScope {
        &self.reach
    }

    /// Lists host and port of every server that the client may connect to: those that were named, and those that their
    /// cluster announces.
    pub async fn servers(&self) -> Result<Vec<(String, u16)>, ApiError> {
        let pool = self.client.server_pool().await.map_err(|_| ApiError::NotConnected)?;
        Ok(pool.into_iter().map(|server| (server.addr.host().to_owned(), server.addr.port())).collect())
    }

    /// Notes that a majority of the servers took a message.
    pub(crate) fn note_stored(&self) {
        self.servers.stored();
    }

    /// Notes a request that no leader answered, and goes to another server if this one has been silent for too long.
    pub(crate) fn note_silence(&self, asked: Instant) {
        if !self.is_connected() || !self.servers.unanswered(asked) {
            return;
        }
        let (client, servers) = (self.client.clone(), Arc::clone(&self.servers));
        tokio::spawn(async move {
            // With one server there is nowhere to go.
            if client.server_pool().await.is_ok_and(|known| known.len() > 1) {
                let server = client.server_info().server_name;
                tracing::warn!(server, "jetstream does not answer through this server; going to another one");
                servers.avoid_current();
                let _ = client.force_reconnect().await;
            }
        });
    }

    /// Begins to listen for publishes that the server denies.
    pub(crate) fn denials(&self) -> DenialListener {
        self.denials.listen()
    }

    /// Waits for a connection until `deadline`.
    pub async fn connected_by(&self, deadline: Instant) -> Result<(), ApiError> {
        let mut link = self.link.clone();
        match tokio::time::timeout_at(deadline, link.wait_for(|l| l.connected)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ApiError::NotConnected),
        }
    }

    pub(crate) fn client(&self) -> &async_nats::Client {
        &self.client
    }

    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// Returns a subject of the JetStream API, such as `$JS.API.INFO` or, in a domain, `$JS.<domain>.API.INFO`.
    pub(crate) fn api_subject(&self, request: &str) -> String {
        format!("{}.{request}", self.api_prefix)
    }

    pub(crate) fn answer_within(&self) -> Duration {
        self.answer_within
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Asks for account information until JetStream answers: for a moment after its start a server has none.
    async fn check_jetstream(&self, address: String, deadline: Instant) -> Result<(), ConnectError> {
        loop {
            let answer = error::api::<serde_json::Value>(self, "INFO".into(), &EmptyRequest {}).await;
            let Err(source) = answer else { return Ok(()) };
            match source.code() {
                Some(code::NOT_ENABLED) => return Err(ConnectError::JetStreamDisabled { address }),
                Some(code::NOT_ENABLED_FOR_ACCOUNT) => return Err(ConnectError::AccountWithoutJetStream { address }),
                _ if matches!(source, ApiError::NoResponders) && !self.client.server_info().jetstream => {
                    return Err(ConnectError::JetStreamDisabled { address });
                }
                _ if !source.is_transient() || Instant::now() >= deadline => {
                    return Err(ConnectError::JetStream { address, source });
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// Reads the addresses that a URL holds, separated by commas.
fn addresses(url: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let of = url.split(',').count();
    let read = |(index, one): (usize, &str)| {
        let one = one.trim();
        let server = one.parse::<ServerAddr>().ok().filter(|server| !server.host().is_empty());
        server.ok_or_else(|| {
            // Credentials stand in front of the host.
            let address = one.rsplit('@').next().unwrap_or_default().to_owned();
            if of == 1 {
                ConnectError::Address(address)
            } else {
                ConnectError::AddressInList { address, number: index + 1, of }
            }
        })
    };
    url.split(',').enumerate().map(read).collect()
}

/// Returns the address without credentials, for logs and errors.
fn shown(server: &ServerAddr) -> String {
    let host = server.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{}://{host}:{}", server.scheme(), server.port())
}

fn api_prefix(domain: Option<&str>) -> Result<String, ConnectError> {
    let Some(domain) = domain else { return Ok("$JS.API".to_owned()) };
    if domain.is_empty() || domain.contains(|c: char| c.is_whitespace() || ".*>".contains(c)) {
        return Err(ConnectError::Domain(domain.to_owned()));
    }
    Ok(format!("$JS.{domain}.API"))
}

pub(crate) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|n| n.parse::<u64>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(major)), Some(Some(minor))) if (major, minor) >= OLDEST_SERVER)
}

async fn options(
    connect: &Connect,
    link: watch::Sender<Link>,
    (servers, denials): (&Arc<Servers>, &Arc<Denials>),
) -> Result<ConnectOptions, ConnectError> {
    let (choosing, noting, denials) = (Arc::clone(servers), Arc::clone(servers), Arc::clone(denials));
    let mut options = ConnectOptions::new()
        .name(&connect.name)
        .custom_inbox_prefix(connect.reach.inbox(&connect.role))
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(connect.answer_within))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| {
            let exponent = u32::try_from(attempt).unwrap_or(u32::MAX).min(10);
            Duration::from_millis(10 * 2_u64.pow(exponent)).min(SLOWEST_RECONNECT)
        })
        .reconnect_to_server_callback(move |known, _| std::future::ready(choosing.next(&known)))
        .event_callback(move |event| {
            note(&event, &link, &noting);
            if let Event::ServerError(ServerError::Other(report)) = &event {
                denials.note(report);
            }
            std::future::ready(())
        });
    options = match &connect.auth {
        Auth::None => options,
        Auth::Token(token) => options.token(token.expose_secret().to_owned()),
        Auth::User { user, password } => options.user_and_password(user.clone(), password.expose_secret().to_owned()),
        Auth::NKey(seed) => options.nkey(seed.expose_secret().to_owned()),
        Auth::Credentials(path) => options
            .credentials_file(path)
            .await
            .map_err(|source| ConnectError::Credentials { path: path.clone(), source })?,
    };
    if let Some(ca) = &connect.ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    Ok(options)
}

fn note(event: &Event, link: &watch::Sender<Link>, servers: &Servers) {
    match event {
        Event::Connected => {
            servers.connected();
            link.send_modify(|l| *l = Link { generation: l.generation + 1, connected: true });
            tracing::info!(generation = link.borrow().generation, "connected to nats");
        }
        Event::Disconnected | Event::Closed => {
            link.send_modify(|l| l.connected = false);
            tracing::warn!("disconnected from nats");
        }
        Event::SlowConsumer(_) | Event::ServerError(_) => tracing::warn!(%event, "nats reports a problem"),
        Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {
            tracing::debug!(%event, "nats connection event");
        }
    }
}

#[cfg(test)]
mod tests;
