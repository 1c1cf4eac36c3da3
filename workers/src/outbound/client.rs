//! HTTP clients. Each connects only to checked addresses, follows no redirect and reads no proxy variable. It must not be
//! shared between sessions: trusted certificates differ, and pooled connections die with the runtime that opened them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Proxy};
use url::Host;

use super::{Checked, Outbound, Purpose};

/// The certificates that a client accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// Those of the system, and of these authorities (PEM).
    System { more_pem: Option<&'a [u8]> },
    /// Any certificate.
    Anything,
}

/// Builds a client for requests to one host, whose addresses were checked.
pub(crate) fn client_of_one_host(
    checked: &Checked,
    trust: Trust<'_>,
    connect_within: Duration,
) -> reqwest::Result<Client> {
    let mut builder = builder(trust, connect_within)?;
    if let Host::Domain(domain) = &checked.host {
        builder = builder.resolve_to_addrs(domain, &checked.addresses);
    }
    builder.build()
}

/// Builds a client for a storage, which checks the addresses of its host each time it connects.
pub(crate) fn client_of_storage(
    outbound: &Arc<Outbound>,
    port: u16,
    trust: Trust<'_>,
    connect_within: Duration,
) -> reqwest::Result<Client> {
    let builder = builder(trust, connect_within)?;
    match &outbound.storage_proxy {
        Some(proxy) => builder.proxy(Proxy::all(proxy.clone())?).build(),
        None => builder.dns_resolver(Resolver { outbound: outbound.clone(), port }).build(),
    }
}

fn builder(trust: Trust<'_>, connect_within: Duration) -> reqwest::Result<ClientBuilder> {
    let builder = Client::builder().redirect(Policy::none()).no_proxy().referer(false).connect_timeout(connect_within);
    Ok(match trust {
        Trust::System { more_pem: None } => builder,
        Trust::System { more_pem: Some(pem) } => builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?),
        Trust::Anything => builder.tls_danger_accept_invalid_certs(true),
    })
}

/// Resolves a name to checked addresses, so that a changing DNS answer cannot lead to another one.
struct Resolver {
    outbound: Arc<Outbound>,
    port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (outbound, port) = (self.outbound.clone(), self.port);
        Box::pin(async move {
            let checked = outbound.check(Purpose::Storage, name.as_str(), port).await?;
            Ok(Box::new(checked.addresses.into_iter()) as Addrs)
        })
    }
}
