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
        let host = parse(name)?;
        let addresses = match literal(&host) {
            Some(address) => vec![SocketAddr::from((address, port))],
            None => resolve(name, port).await?,
        };
        for address in &addresses {
            self.check_address(purpose, name, *address)?;
        }
        if purpose == Purpose::Hook && exception(self.exceptions(purpose), name, port) != Some(Exception::Port) {
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
            Purpose::Hook => &self.hook_hosts,
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
        match of_cluster.filter(|_| purpose == Purpose::Hook) {
            Some((_, what)) => Err(AddressError::Protected { host, address, what, flag }),
            None => Ok(()),
        }
    }

    async fn check_protected(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), AddressError> {
        for ProtectedServer { name: what, host, port } in &self.protected {
            if addresses.iter().all(|address| address.port() != *port) {
                continue;
            }
            // A server whose name cannot be resolved now has no address that a hook could reach.
            let own = match parse(host).ok().and_then(|host| literal(&host)) {
                Some(address) => vec![SocketAddr::from((address, *port))],
                None => resolve(host, *port).await.unwrap_or_default(),
            };
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
    if address.is_loopback() && purpose == Purpose::Hook {
        return Some("the worker itself");
    }
    if address.is_unspecified() {
        return Some("no address at all");
    }
    if address.is_multicast() {
        return Some("multicast");
    }
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("broadcast"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("this network"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        _ => None,
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn rules(hosts: &[&str]) -> Outbound {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Outbound { hook_hosts: hosts.clone(), storage_hosts: hosts, ..Outbound::default() }
    }

    async fn check(purpose: Purpose, host: &str, allowed: &[&str]) -> Result<Checked, AddressError> {
        rules(allowed).check(purpose, host, 80).await
    }

    const NOWHERE: [(&str, &str); 17] = [
        ("169.254.169.254", "link-local"),
        ("0xa9fea9fe", "link-local"),
        ("2852039166", "link-local"),
        ("0251.0376.0251.0376", "link-local"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("::ffff:168.63.129.16", "metadata"),
        ("192.0.0.192", "metadata"),
        ("0.0.0.0", "no address"),
        ("::", "no address"),
        ("0.1.2.3", "this network"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
    ];
    const LOOPBACK: [&str; 10] = [
        "127.0.0.1",
        "127.8.9.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "localhost",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ];

    #[tokio::test]
    async fn metadata_and_link_local_addresses_are_refused_to_hooks_and_storages_in_every_spelling() {
        for (host, what) in NOWHERE {
            for purpose in [Purpose::Hook, Purpose::Storage] {
                let error = check(purpose, host, &["other", &format!("{host}:81")]).await.unwrap_err();
                assert!(
                    error.is_refusal()
                        && error.to_string().contains(what)
                        && error.to_string().contains(purpose.flag()),
                    "{host}: {error}"
                );
                rules(&[]).check_literal(purpose, host, 80).unwrap_err();
                check(purpose, host, &[host]).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn loopback_is_refused_to_hooks_only() {
        for host in LOOPBACK {
            let error = check(Purpose::Hook, host, &[]).await.unwrap_err();
            assert!(error.to_string().contains("the worker itself"), "{host}: {error}");
            check(Purpose::Storage, host, &[]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn addresses_of_a_network_are_not_refused() {
        for host in ["10.0.0.1", "192.168.1.1", "100.64.3.4", "203.0.113.5", "fd00::1", "2001:db8::1"] {
            for purpose in [Purpose::Hook, Purpose::Storage] {
                assert_eq!(check(purpose, host, &[]).await.unwrap().addresses.len(), 1, "{host}");
            }
        }
    }

    #[tokio::test]
    async fn servers_of_the_cluster_are_refused_to_hooks_unless_an_exception_names_the_port() {
        let mut rules = rules(&["127.0.0.1", "10.0.0.1", "10.0.0.2:10250"]);
        let protected = |name, host: &str, port| ProtectedServer { name, host: host.to_owned(), port };
        rules.protected = vec![
            protected("the NATS server", "localhost", 4222),
            protected("the Kubernetes API server", "10.0.0.1", 443),
        ];
        for (host, port, what) in [
            ("127.0.0.1", 4222, Some("the NATS server")),
            ("0x7f.1", 4222, Some("the worker itself")),
            ("10.0.0.1", 443, Some("the Kubernetes API server")),
            ("::ffff:10.0.0.1", 443, Some("the Kubernetes API server")),
            ("10.0.0.1", 6443, Some("the Kubernetes API server")),
            ("10.9.9.9", 10250, Some("the kubelet")),
            ("10.9.9.9", 2379, Some("etcd")),
            ("10.0.0.2", 10250, None),
            ("10.0.0.1", 80, None),
            ("127.0.0.1", 4223, None),
        ] {
            let checked = rules.check(Purpose::Hook, host, port).await;
            match what {
                Some(what) => {
                    let error = checked.unwrap_err();
                    assert!(error.is_refusal() && error.to_string().contains(what), "{host}:{port} {error}");
                }
                None => drop(checked.unwrap()),
            }
            if host.starts_with("10.") {
                rules.check(Purpose::Storage, host, port).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_host_is_allowed_as_the_object_names_it() {
        for (host, entry, fits) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1:80", true),
            ("127.0.0.1", "127.0.0.1:8", false),
            ("localhost", "LOCALHOST", true),
            ("localhost", "127.0.0.1", false),
            ("0x7f.1", "127.0.0.1", false),
            ("::1", "[::1]:80", true),
            ("::1", "::1", true),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(check(Purpose::Hook, host, &[entry]).await.is_ok(), fits, "{host} {entry}");
        }
    }

    #[tokio::test]
    async fn a_text_that_is_not_a_host_is_an_error_even_if_it_is_allowed() {
        for host in ["", "a b", "user@host", "host/path", "no.such.host.invalid"] {
            assert!(check(Purpose::Hook, host, &[host]).await.is_err(), "{host}");
        }
    }
}
