//! A worker process: as many sessions at once as it has slots. Each lane's slots are its own, so that what a person
//! waits for never stands behind schedules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lagan_bus::consumers::ConsumerError;
use lagan_bus::kv::Bucket;
use lagan_bus::lease::Leases;
use lagan_bus::observer::Observer;
use lagan_bus::streams::{self, Sizes, StreamError};
use lagan_bus::{Bus, DeliveryError, Lanes};
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::error::chain;
use lagan_schemas::subject::{Cluster, Lane, SESSIONS, work_consumer};
use lagan_sources::Source;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::intent::Intent;
use crate::mariadb::Versions;
use crate::metrics::Metrics;
use crate::process::Spawner;

const PULL: Duration = Duration::from_secs(30);

/// What an administrator chooses.
#[derive(Debug, Clone)]
pub struct Options {
    pub cluster: Cluster,
    pub pool: String,
    /// Sessions at once in the normal lane; the urgent and the maintenance lane have one slot each.
    pub slots: usize,
    pub source: Source,
    /// Copies of each stream, as the engine has it.
    pub replicas: usize,
    /// A silent worker is presumed dead after this.
    pub failover: Duration,
    /// Programs that plans may name, by name.
    pub programs: BTreeMap<String, PathBuf>,
    /// `host` or `host:port` that hooks may name although it is loopback, link-local and the like.
    pub hook_hosts: Vec<String>,
    /// Whether objects of other namespaces may be named without their consent.
    pub cross_namespace: CrossNamespace,
    /// How a worker's children are started, so that they die with it.
    pub spawner: Spawner,
    pub host: String,
    /// Where this process keeps its numbers.
    pub metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error("a slot panicked; this is a defect of Lagan")]
    Panicked(#[source] tokio::task::JoinError),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub failover: Duration,
}

pub(crate) struct Worker {
    pub bus: Bus,
    pub cluster: Cluster,
    pub instance: Uuid,
    pub host: String,
    pub timing: Timing,
    pub heartbeats: Bucket,
    pub leases: Leases,
    pub intent: Intent,
    pub programs: BTreeMap<String, PathBuf>,
    pub hook_hosts: Vec<String>,
    pub cross_namespace: CrossNamespace,
    pub spawner: Spawner,
    pub versions: Versions,
    pub metrics: Metrics,
    pub drain: CancellationToken,
    pub stop_now: CancellationToken,
}

/// Runs until `drain`: then nothing new is taken, and what runs is handed to other workers. `stop_now` also stops a
/// restore that is past its first byte. `ready` is called once, when work is pulled.
pub async fn run(
    bus: Bus,
    options: Options,
    drain: CancellationToken,
    stop_now: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), WorkerError> {
    let sizes = Sizes {
        replicas: options.replicas,
        heartbeat_ttl: options.failover,
        lease_ttl: options.failover,
        ..Sizes::default()
    };
    let specs = streams::of_cluster(&options.cluster, &sizes);
    streams::ensure(&bus, &specs).await?;
    let bucket = |name| Bucket::of(&bus, &specs, name).expect("of_cluster lists every bucket");
    let heartbeats = bucket(streams::HEARTBEATS);
    let worker = Arc::new(Worker {
        bus: bus.clone(),
        cluster: options.cluster.clone(),
        instance: Uuid::new_v4(),
        host: options.host.clone(),
        timing: Timing { failover: options.failover },
        leases: Leases::new(bucket(streams::LEASES)),
        intent: Intent { source: options.source.clone() },
        programs: options.programs.clone(),
        hook_hosts: options.hook_hosts.clone(),
        cross_namespace: options.cross_namespace,
        spawner: options.spawner.clone(),
        versions: Versions::default(),
        metrics: options.metrics.clone(),
        drain: drain.clone(),
        stop_now,
        heartbeats,
    });
    tracing::info!(instance = %worker.instance, slots = options.slots, "worker is ready");
    let mut slots = JoinSet::new();
    let lanes = [(Lane::Urgent, 1), (Lane::Normal, options.slots.max(1)), (Lane::Maintenance, 1)];
    for (lane, count) in lanes {
        worker.metrics.slots(lane, count);
        for _ in 0..count {
            let consumer = work_consumer(&options.pool, lane);
            slots.spawn(slot(Arc::clone(&worker), lane, consumer));
        }
    }
    ready();
    while let Some(ended) = slots.join_next().await {
        ended.map_err(WorkerError::Panicked)?;
    }
    Ok(())
}

/// One slot: pull one, run it, pull the next.
async fn slot(worker: Arc<Worker>, lane: Lane, consumer: String) {
    let mut lanes = Lanes::new(&worker.bus, SESSIONS, vec![consumer.clone()]);
    let mut observer = Observer::new(worker.heartbeats.clone());
    loop {
        let next = tokio::select! {
            () = worker.drain.cancelled() => return,
            next = lanes.next(PULL) => next,
        };
        match next {
            Ok(Some(delivery)) => {
                worker.metrics.taken(lane);
                Box::pin(worker.handle(delivery, &mut observer)).await;
                worker.metrics.settled(lane);
            }
            Ok(None) => {}
            Err(error) => {
                // The engine makes consumers, and makes them anew; a worker waits for it.
                match error {
                    DeliveryError::NotConnected | DeliveryError::ConsumerGone { .. } => {
                        tracing::debug!(consumer, error = chain(&error), "no work can be pulled yet");
                    }
                    error => tracing::info!(consumer, error = chain(&error), "no work can be pulled"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
