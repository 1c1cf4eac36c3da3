//! Parses values of options as people write them: addresses without a scheme, names with blanks around them, ids copied
//! from other commands. Each error says what is allowed. It must not resolve names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lagan_schemas::subject;
use url::Url;

/// An HTTP address; `http` is assumed without a scheme.
pub fn http_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let shape = || "write it as http://HOST:PORT, such as http://pushgateway.monitoring.svc:9091".to_owned();
    // Url::parse takes the host of `host:9091` for a scheme.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|_| shape())?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(shape()),
    }
}

/// An address to listen on. `:9090` means every address of the machine.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let shape = || "write it as ADDRESS:PORT, such as 127.0.0.1:9090, or :9090 for every address".to_owned();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
    let host: IpAddr = match host {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return Err(shape()),
    };
    Ok(SocketAddr::new(host, port.parse().map_err(|_| shape())?))
}

/// One name of a list; blanks around it are dropped.
pub fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    match subject::token(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err("a name has letters, digits, `-` and `.`; separate names by commas".to_owned()),
    }
}

/// `latest`, or the start of a snapshot's id, also as `lagan snapshots -o name` prints it.
pub fn snapshot(text: &str) -> Result<String, String> {
    let text = text.trim();
    let id = text.strip_prefix("snapshot/").unwrap_or(text).to_ascii_lowercase();
    let is_id = (4..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if id == "latest" || is_id {
        Ok(id)
    } else {
        Err("write `latest`, or at least 4 characters of an id that `lagan snapshots` lists".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme() {
        for (text, url) in [
            ("pushgateway:9091", "http://pushgateway:9091/"),
            (" http://10.0.0.1:9091 ", "http://10.0.0.1:9091/"),
            ("https://push.example.com/path", "https://push.example.com/path"),
            ("localhost", "http://localhost/"),
        ] {
            assert_eq!(http_url(text).map(String::from).as_deref(), Ok(url), "{text}");
        }
        for text in ["", "ftp://h:1", "http://", "a b:1", "nats://h:4222"] {
            assert!(http_url(text).is_err_and(|told| told.contains("http://HOST:PORT")), "{text}");
        }
    }

    #[test]
    fn an_address_to_listen_on_needs_no_host() {
        for (text, address) in [
            (":9090", "0.0.0.0:9090"),
            ("localhost:9090", "127.0.0.1:9090"),
            ("[::1]:1", "[::1]:1"),
            (" 0.0.0.0:2", "0.0.0.0:2"),
        ] {
            assert_eq!(listen(text).map(|address| address.to_string()).as_deref(), Ok(address), "{text}");
        }
        for text in ["9090", "", "host.example.com:1", ":port", ":70000"] {
            assert!(listen(text).is_err_and(|told| told.contains("ADDRESS:PORT")), "{text}");
        }
    }

    #[test]
    fn names_and_ids_are_read_without_what_surrounds_them() {
        assert_eq!(name(" disk ").as_deref(), Ok("disk"));
        assert!(name("").is_err() && name("a b").is_err() && name("a/b").is_err());
        for (text, id) in
            [("latest", "latest"), (" Latest\n", "latest"), ("snapshot/4be1c0de", "4be1c0de"), ("4BE1C0DE", "4be1c0de")]
        {
            assert_eq!(snapshot(text).as_deref(), Ok(id), "{text}");
        }
        for text in ["", "4be", "newest", "4be1c0dg", &"a".repeat(65)] {
            assert!(snapshot(text).is_err_and(|told| told.contains("`latest`")), "{text}");
        }
    }
}
