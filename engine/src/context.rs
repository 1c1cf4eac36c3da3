//! The handles that every part of the engine shares: the bus, the views, the source of intent. It must not decide
//! anything, and it carries nothing from one part to another.

use std::sync::Arc;
use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::StreamLimits;
use lagan_bus::kv::Bucket;
use lagan_bus::lease::Leases;
use lagan_bus::lock::Locks;
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::plan::Resolve;
use lagan_schemas::subject::Cluster;
use lagan_sources::Source;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::metrics::EngineMetrics;
use crate::sessions::Sessions;
use crate::view::Resources;
use crate::wait_board::WaitBoard;
use crate::waiting::Limits;

/// Settings from flags and the environment.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    pub cluster: Cluster,
    pub source: Source,
    /// Number of copies of each stream.
    pub replicas: usize,
    /// Sizes of the streams, and the time that facts are kept.
    pub streams: StreamLimits,
    /// Pools of workers; sessions are planned for the first.
    pub pools: Vec<String>,
    /// Pushgateway for the metrics of ended sessions, as Stash has one.
    pub pushgateway: Option<url::Url>,
    pub resolve: Resolve,
    /// The metrics of this process.
    pub metrics: EngineMetrics,
    /// Time after which a deleted Repository with `wipeOut` is let go, even if its data could not be deleted.
    pub wipe_within: Duration,
    /// Time after which a step that gets no further is ended.
    pub stall: Duration,
    /// Whether objects of other namespaces may be named without their consent.
    pub cross_namespace: CrossNamespace,
    /// Numbers of sessions at a time.
    pub limits: Limits,
    pub timing: Timing,
}

/// The times that failover depends on. All follow from one: how long a worker may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub failover: Duration,
}

impl Timing {
    /// Time after which a message without a sign of life is delivered again. Only then another worker begins to watch the
    /// heartbeat, for a whole TTL, so it is shorter. A worker tells of itself at every third of a TTL.
    #[must_use]
    pub fn ack_wait(self) -> Duration {
        self.failover * 2 / 3
    }

    #[must_use]
    pub const fn heartbeat_ttl(self) -> Duration {
        self.failover
    }

    /// Time between the look that misses an object and the complete look that confirms its deletion (P17).
    #[must_use]
    pub const fn deletion_confirmed_after(self) -> Duration {
        self.failover
    }
}

#[derive(Clone)]
pub(crate) struct Context {
    pub bus: Bus,
    pub options: Arc<EngineOptions>,
    pub resources: Resources,
    pub sessions: Sessions,
    /// Notices of waiting sessions, from the planner to the reporter of this process.
    pub waits: WaitBoard,
    pub locks: Locks,
    pub leases: Leases,
    pub heartbeats: Bucket,
    /// The time by which everything is decided.
    pub clock: Clock,
    /// Identifies this engine process as the owner of leases.
    pub instance: Uuid,
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
