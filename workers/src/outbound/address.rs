//! Decides which addresses may be connected to. A name is resolved once, every address is checked, and the connection
//! uses exactly these addresses, so that a changing DNS answer (DNS rebinding) has no effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::Host;

use super::{Checked, Outbound, ProtectedServer, Purpose};

const RESOLVE: Duration = Duration::from_secs(5);
/// Addresses at which clouds give machines their credentials or configuration, in addition to 169.254.0.0/16.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];
/// Ports of a cluster's own servers, which listen on the addresses of nodes.
const CLUSTER_PORTS: [(u16, &str); 5] = [
    (6443, "the port of the Kubernetes API server"),
    (10250, "the port of the kubelet"),
    (10255, "the port of the kubelet"),
    (2379, "the port of etcd"),
    (2380, "the port of etcd"),
];

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is not a host")]
    NotAHost(String),
    #[error("cannot resolve host `{host}`")]
    Unknown {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("host `{host}` can't be told from {what} at the same port, because `{server}` has no address now")]
    ProtectedUnknown {
        host: String,
        what: &'static str,
        server: String,
        #[source]
        source: Box<AddressError>,
    },
    #[error("host `{0}` has no address")]
    NoAddress(String),
    #[error("host `{host}` is refused: {address} is {what}; an administrator of Lagan can allow it with {flag} {host}")]
    Refused { host: String, address: IpAddr, what: &'static str, flag: &'static str },
    #[error(
        "host `{host}` is refused: {address} is {what}; an administrator of Lagan can allow it with {flag} {host}:{}",
        address.port()
    )]
    Protected { host: String, address: SocketAddr, what: &'static str, flag: &'static str },
}

impl AddressError {
    /// Tells whether the rules refuse the host, so that asking again is pointless.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::NotAHost(_) | Self::Refused { .. } | Self::Protected { .. })
    }
}

impl Outbound {
    /// Resolves a host and checks all of its addresses.
    pub(crate) async fn check(&self, purpose: Purpose, name: &str, port: u16) -> Result<Checked, AddressError> {
        self.check_as(purpose, name, name, port).await
    }

    /// Checks the host `name`, whose addresses are those of the name `resolved`.
    pub(crate) async fn check_as(
        &self,
        purpose: Purpose,
        name: &str,
        resolved: &str,
        port: u16,
    ) -> Result<Checked, AddressError> {
        let host = parse(name)?;
        let addresses = addresses_of(resolved, port).await?;
        for address in &addresses {
            self.check_address(purpose, name, *address)?;
        }
        if purpose.is_hook() && exception(self.exceptions(purpose), name, port) != Some(Exception::Port) {
            self.check_protected(name, &addresses).await?;
        }
        Ok(Checked { host, addresses })
    }

    /// Checks a host without a resolver: only an address in the host's place can be refused.
    pub(crate) fn check_literal(&self, purpose: Purpose, name: &str, port: u16) -> Result<(), AddressError> {
        match literal(&parse(name)?) {
            Some(address) => self.check_address(purpose, name, SocketAddr::from((address, port))),
            None => Ok(()),
        }
    }

    fn exceptions(&self, purpose: Purpose) -> &[String] {
        match purpose {
            Purpose::Storage => &self.storage_hosts,
            Purpose::Hook | Purpose::HookOutside => &self.hook_hosts,
        }
    }

    fn check_address(&self, purpose: Purpose, name: &str, address: SocketAddr) -> Result<(), AddressError> {
        let (host, flag) = (name.to_owned(), purpose.flag());
        match exception(self.exceptions(purpose), name, address.port()) {
            Some(Exception::Port) => return Ok(()),
            Some(Exception::Host) => {}
            None => {
                if let Some(what) = refusal(purpose, address.ip()) {
                    return Err(AddressError::Refused { host, address: address.ip(), what, flag });
                }
            }
        }
        let of_cluster = CLUSTER_PORTS.iter().find(|(port, _)| *port == address.port());
        match of_cluster.filter(|_| purpose.is_hook()) {
            Some((_, what)) => Err(AddressError::Protected { host, address, what, flag }),
            None => Ok(()),
        }
    }

    async fn check_protected(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), AddressError> {
        for ProtectedServer { name: what, host, port } in &self.protected {
            if addresses.iter().all(|address| address.port() != *port) {
                continue;
            }
            let own = addresses_of(host, *port).await.map_err(|source| AddressError::ProtectedUnknown {
                host: name.to_owned(),
                what,
                server: host.clone(),
                source: Box::new(source),
            })?;
            let is_own = |address: &&SocketAddr| own.iter().any(|own| same(*own, **address));
            if let Some(address) = addresses.iter().find(is_own) {
                let (host, flag) = (name.to_owned(), Purpose::Hook.flag());
                return Err(AddressError::Protected { host, address: *address, what, flag });
            }
        }
        Ok(())
    }
}

/// Reads a host as a URL would: `0x7f.1` is 127.0.0.1.
fn parse(name: &str) -> Result<Host, AddressError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let text = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    Host::parse(&text).map_err(|_| AddressError::NotAHost(name.to_owned()))
}

fn literal(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        Host::Domain(_) => None,
    }
}

/// Returns the addresses of a host: its own if it is one, else those that its name resolves to.
async fn addresses_of(name: &str, port: u16) -> Result<Vec<SocketAddr>, AddressError> {
    match literal(&parse(name)?) {
        Some(address) => Ok(vec![SocketAddr::from((address, port))]),
        None => resolve(name, port).await,
    }
}

async fn resolve(domain: &str, port: u16) -> Result<Vec<SocketAddr>, AddressError> {
    let unknown = |source| AddressError::Unknown { host: domain.to_owned(), source };
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((domain, port))).await;
    let found = found.map_err(|_| unknown(std::io::ErrorKind::TimedOut.into()))?.map_err(unknown)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() { Err(AddressError::NoAddress(domain.to_owned())) } else { Ok(addresses) }
}

/// The extent of an administrator's exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exception {
    /// All ports of the host but those of protected servers.
    Host,
    /// This very port.
    Port,
}

fn exception(allowed: &[String], name: &str, port: u16) -> Option<Exception> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let with_port = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    let is_host = |entry: &String| entry.trim_start_matches('[').trim_end_matches(']').eq_ignore_ascii_case(bare);
    if allowed.iter().any(|entry| entry.eq_ignore_ascii_case(&with_port)) {
        Some(Exception::Port)
    } else {
        allowed.iter().any(is_host).then_some(Exception::Host)
    }
}

/// The reason why an address is refused by default.
fn refusal(purpose: Purpose, address: IpAddr) -> Option<&'static str> {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Some("a metadata service");
    }
    if address.is_loopback() && purpose.is_hook() {
        return Some("the worker itself");
    }
    if address.is_unspecified() {
        return Some("no address at all");
    }
    if address.is_multicast() {
        return Some("multicast");
    }
    if purpose == Purpose::HookOutside && is_private(address) {
        return Some("in a private network, where a hook reaches Services only, by NAME.NAMESPACE.svc");
    }
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("broadcast"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("this network"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        _ => None,
    }
}

/// Whether an address belongs to the networks that Pods and Services have theirs from.
fn is_private(address: IpAddr) -> bool {
    match address {
        // 100.64.0.0/10 is shared address space, which some clusters use for Pods.
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && embedded(a.ip()) == embedded(b.ip())
}

/// The IPv4 address inside an IPv6 address: mapped, compatible, NAT64 or 6to4.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) != (0, 0) && (high, low) != (0, 1) => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests;
