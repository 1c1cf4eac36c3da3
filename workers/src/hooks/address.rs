//! Decides which addresses a hook may connect to. A name is resolved once, every address is checked, and the connection
//! uses exactly these addresses, so that a changing DNS answer (DNS rebinding) has no effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::Host;

const RESOLVE: Duration = Duration::from_secs(5);
/// Where clouds answer machines with their credentials, beside 169.254/16.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{0}` is not a host")]
    NotAHost(String),
    #[error("host `{host}` can't be resolved")]
    Unknown {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("host `{0}` has no address")]
    Nowhere(String),
    #[error("`{host}` is {address}, {what}; the worker's administrator can allow it with --allow-hook-host {host}")]
    Refused { host: String, address: IpAddr, what: &'static str },
}

/// A host as it stands in URLs, and the addresses to connect to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub host: Host,
    pub addresses: Vec<SocketAddr>,
}

/// `allowed` are hosts, or hosts with a port, as hooks name them.
pub(crate) async fn check(name: &str, port: u16, allowed: &[String]) -> Result<Checked, AddressError> {
    let host = parse(name)?;
    let addresses = match &host {
        Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
        Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
        Host::Domain(domain) => resolve(domain, port).await?,
    };
    if !is_allowed(name, port, allowed) {
        let refused = addresses.iter().find_map(|address| refusal(address.ip()).map(|what| (address.ip(), what)));
        if let Some((address, what)) = refused {
            return Err(AddressError::Refused { host: name.to_owned(), address, what });
        }
    }
    Ok(Checked { host, addresses })
}

/// As a URL would have it: `0x7f.1` is 127.0.0.1.
fn parse(name: &str) -> Result<Host, AddressError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let text = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    Host::parse(&text).map_err(|_| AddressError::NotAHost(name.to_owned()))
}

async fn resolve(domain: &str, port: u16) -> Result<Vec<SocketAddr>, AddressError> {
    let unknown = |source| AddressError::Unknown { host: domain.to_owned(), source };
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((domain, port))).await;
    let found = found.map_err(|_| unknown(std::io::ErrorKind::TimedOut.into()))?.map_err(unknown)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() { Err(AddressError::Nowhere(domain.to_owned())) } else { Ok(addresses) }
}

fn is_allowed(name: &str, port: u16, allowed: &[String]) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let with_port = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    allowed.iter().any(|entry| {
        let entry = entry.as_str();
        entry.eq_ignore_ascii_case(&with_port)
            || entry.trim_start_matches('[').trim_end_matches(']').eq_ignore_ascii_case(bare)
    })
}

/// Why an address is not connected to by default.
fn refusal(address: IpAddr) -> Option<&'static str> {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Some("a metadata service");
    }
    if address.is_loopback() {
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

/// An IPv4 address in IPv6 clothes: mapped, compatible, NAT64 or 6to4.
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

    #[tokio::test]
    async fn addresses_that_are_nobody_else_s_are_refused() {
        for (host, what) in [
            ("127.0.0.1", "itself"),
            ("127.8.9.1", "itself"),
            ("0x7f.1", "itself"),
            ("2130706433", "itself"),
            ("localhost", "itself"),
            ("::1", "itself"),
            ("[::1]", "itself"),
            ("::ffff:127.0.0.1", "itself"),
            ("64:ff9b::7f00:1", "itself"),
            ("2002:7f00:1::", "itself"),
            ("169.254.169.254", "link-local"),
            ("::ffff:a9fe:a9fe", "link-local"),
            ("fe80::1", "link-local"),
            ("fd00:ec2::254", "metadata"),
            ("100.100.100.200", "metadata"),
            ("0.0.0.0", "no address"),
            ("::", "no address"),
            ("0.1.2.3", "this network"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
        ] {
            let error = check(host, 80, &["other".to_owned(), format!("{host}:81")]).await.unwrap_err();
            assert!(
                matches!(error, AddressError::Refused { .. }) && error.to_string().contains(what),
                "{host}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn addresses_of_a_network_are_not() {
        for host in ["10.0.0.1", "192.168.1.1", "100.64.3.4", "203.0.113.5", "fd00::1", "2001:db8::1"] {
            assert_eq!(check(host, 80, &[]).await.unwrap().addresses.len(), 1, "{host}");
        }
    }

    #[tokio::test]
    async fn a_host_is_allowed_as_the_hook_names_it() {
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
            assert_eq!(check(host, 80, &[entry.to_owned()]).await.is_ok(), fits, "{host} {entry}");
        }
    }

    #[tokio::test]
    async fn what_is_no_host_says_so() {
        for host in ["", "a b", "user@host", "host/path", "no.such.host.invalid"] {
            assert!(check(host, 80, &[host.to_owned()]).await.is_err(), "{host}");
        }
    }
}
