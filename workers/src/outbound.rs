//! Connections to servers that tenants name: object stores and hooks. One file decides which addresses are refused, by
//! the resolved address and for each use, and one builds the HTTP client. Exceptions come from the administrator's flags,
//! never from an object. Redirects and the proxy variables of the environment are ignored.

mod address;
mod client;

use std::net::SocketAddr;

use url::Host;

pub use address::AddressError;
pub(crate) use client::{Trust, client_of_one_host, client_of_storage};

/// The rules for outbound connections, from flags.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// `host` or `host:port` that hooks may name although its address is refused.
    pub hook_hosts: Vec<String>,
    /// The same for storages.
    pub storage_hosts: Vec<String>,
    /// Proxy for requests to storages. It resolves the names itself, so only addresses in endpoints are checked then.
    pub storage_proxy: Option<url::Url>,
    /// Servers of Lagan and of the cluster, which hooks must not reach.
    pub protected: Vec<ProtectedServer>,
}

/// A server that an exception covers only if it names the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedServer {
    /// The name for messages, such as `the NATS server`.
    pub name: &'static str,
    pub host: String,
    pub port: u16,
}

/// The use of a connection, which decides about its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Storage,
    /// A hook that reaches a Service by its name, or that runs where there are no Services.
    Hook,
    /// A hook of a cluster whose host is not the name of a Service. Pods and Services of every namespace are in private
    /// networks, and nothing tells whose they are.
    HookOutside,
}

impl Purpose {
    const fn flag(self) -> &'static str {
        match self {
            Self::Storage => "--allow-storage-host",
            Self::Hook | Self::HookOutside => "--allow-hook-host",
        }
    }

    const fn is_hook(self) -> bool {
        matches!(self, Self::Hook | Self::HookOutside)
    }
}

/// A host as it stands in URLs, and the only addresses to connect to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub host: Host,
    pub addresses: Vec<SocketAddr>,
}
