//! What every part of the engine shares: the bus, the views, the source of intent. No decisions.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::kv::Bucket;
use lagan_bus::lease::Leases;
use lagan_bus::lock::Locks;
use lagan_schemas::subject::Cluster;
use lagan_sources::Source;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::view::Resources;

/// What an administrator chooses.
#[derive(Debug, Clone)]
pub struct Options {
    pub cluster: Cluster,
    pub source: Source,
    /// Copies of each stream.
    pub replicas: usize,
    /// Pools of workers; sessions are planned for the first.
    pub pools: Vec<String>,
    /// Where the numbers of ended sessions are pushed to, as Stash does.
    pub pushgateway: Option<url::Url>,
    pub resolve: Resolve,
    /// Where this process keeps its numbers.
    pub metrics: Metrics,
    pub timing: Timing,
}

/// All times that failing over depends on follow from one: how long a silent worker may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub failover: Duration,
}

impl Timing {
    /// A message nobody gave a sign of life for is delivered again after this.
    #[must_use]
    pub const fn ack_wait(self) -> Duration {
        self.failover
    }

    #[must_use]
    pub const fn heartbeat_ttl(self) -> Duration {
        self.failover
    }

    /// A deletion counts only if a second complete look this much later confirms it (P17).
    #[must_use]
    pub const fn deletion_confirmed_after(self) -> Duration {
        self.failover
    }
}

/// Where services answer outside a cluster: `name.namespace.svc:port` to `host:port`.
#[derive(Debug, Clone, Default)]
pub struct Resolve(pub BTreeMap<(String, u16), (String, u16)>);

impl Resolve {
    #[must_use]
    pub fn address(&self, host: String, port: u16) -> (String, u16) {
        self.0.get(&(host.clone(), port)).cloned().unwrap_or((host, port))
    }
}

#[derive(Clone)]
pub(crate) struct Context {
    pub bus: Bus,
    pub options: Arc<Options>,
    pub resources: Resources,
    pub sessions: Sessions,
    pub locks: Locks,
    pub leases: Leases,
    pub heartbeats: Bucket,
    /// This engine process, as the owner of leases.
    pub instance: Uuid,
    /// Restores that wait for a person (P5).
    pub unconfirmed: Arc<Mutex<HashSet<Uuid>>>,
    /// Intent has been published once, or another process sees to it.
    pub intent_seen: watch::Sender<bool>,
    pub stop: CancellationToken,
}

impl Context {
    pub fn cluster(&self) -> &Cluster {
        &self.options.cluster
    }

    pub fn source(&self) -> &Source {
        &self.options.source
    }

    pub fn timing(&self) -> Timing {
        self.options.timing
    }
}
