//! A worker process: as many sessions at once as it has slots. Each lane's slots are its own, so that what a person
//! waits for never stands behind schedules.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use lagan_bus::consumers::ConsumerError;
use lagan_bus::kv::Bucket;
use lagan_bus::lease::Leases;
use lagan_bus::observer::Observer;
use lagan_bus::streams::{self, Sizes, StreamError};
use lagan_bus::{Bus, DeliveryError, Lanes};
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::error::chain;
use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::plan::Resolve;
use lagan_schemas::subject::{Cluster, Lane, SESSIONS, work_consumer};
use lagan_sources::Source;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::databases::{AllowedPrograms, Engines};
use crate::intent::Intent;
use crate::metrics::WorkerMetrics;
use crate::outbound::Outbound;
use crate::process::{Sandbox, Spawner, is_sandbox_available};
use crate::repository::StorageAccess;
use crate::retention::EndedSessions;
use crate::session::alerts::Alerts;
use crate::session::in_slots::InSlots;

const PULL: Duration = Duration::from_secs(30);

/// What an administrator chooses.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
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
    /// Rules for connections to servers that objects name.
    pub outbound: Outbound,
    /// Other addresses of databases, as the engine has them.
    pub resolve: Resolve,
    /// Whether objects of other namespaces may be named without their consent.
    pub cross_namespace: CrossNamespace,
    /// How a worker's children are started, so that they die with it.
    pub spawner: Spawner,
    pub host: String,
    /// Where this process keeps its numbers.
    pub metrics: WorkerMetrics,
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
pub(crate) struct WorkerTiming {
    pub failover: Duration,
}

pub(crate) struct Worker {
    pub bus: Bus,
    pub cluster: Cluster,
    pub instance: Uuid,
    /// Sessions that the slots of this worker have.
    pub in_slots: InSlots,
    pub alerts: Alerts,
    /// What ended sessions said of their snapshots.
    pub ended: EndedSessions,
    pub host: String,
    pub timing: WorkerTiming,
    pub heartbeats: Bucket,
    pub leases: Leases,
    pub intent: Intent,
    pub programs: AllowedPrograms,
    pub outbound: Arc<Outbound>,
    pub resolve: Resolve,
    pub cross_namespace: CrossNamespace,
    pub spawner: Spawner,
    pub is_sandboxed: bool,
    pub engines: Engines,
    pub metrics: WorkerMetrics,
    pub drain: CancellationToken,
    pub stop_now: CancellationToken,
}

/// Runs until `drain`: then nothing new is taken, and what runs is handed to other workers. `stop_now` also stops a
/// restore that is past its first byte. `ready` is called once, when work is pulled.
pub async fn run(
    bus: Bus,
    options: WorkerOptions,
    drain: CancellationToken,
    stop_now: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), WorkerError> {
    let sizes = Sizes { replicas: options.replicas, heartbeat_ttl: options.failover, ..Sizes::default() };
    let specs = streams::of_cluster(&options.cluster, &sizes);
    tokio::select! {
        () = drain.cancelled() => return Ok(()),
        present = streams::wait_for(&bus, &specs) => present?,
    }
    let bucket = |name| Bucket::of(&bus, &specs, name).expect("of_cluster lists every bucket");
    let heartbeats = bucket(streams::HEARTBEATS);
    let worker = Arc::new(Worker {
        bus: bus.clone(),
        cluster: options.cluster.clone(),
        instance: Uuid::new_v4(),
        in_slots: InSlots::default(),
        alerts: Alerts::start(&bus, &options.cluster, &options.pool),
        ended: EndedSessions::default(),
        host: options.host.clone(),
        timing: WorkerTiming { failover: options.failover },
        leases: Leases::new(bucket(streams::LEASES), options.failover),
        intent: Intent { source: options.source.clone() },
        programs: AllowedPrograms::new(options.programs.clone()),
        outbound: Arc::new(options.outbound.clone()),
        resolve: options.resolve.clone(),
        cross_namespace: options.cross_namespace,
        spawner: options.spawner.clone(),
        is_sandboxed: options.spawner.sandbox != Sandbox::Off && is_sandbox_available(),
        engines: Engines::default(),
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

impl Worker {
    /// Conditions of every session that this worker runs a database program for.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        if self.is_sandboxed {
            return Vec::new();
        }
        let (reason, why) = match self.spawner.sandbox {
            Sandbox::Off => ("SwitchedOff", "runs with --no-sandbox"),
            Sandbox::WhereAvailable | Sandbox::Required => ("NoLandlock", "has a kernel without Landlock"),
        };
        let message = format!("worker {} {why}: database programs can read what the worker can read", self.host);
        let (kind, reason) = ("ProgramsNotSandboxed".to_owned(), reason.to_owned());
        vec![Notice { kind, status: NoticeStatus::True, reason, message }]
    }

    /// The means to reach storages until `stop`.
    pub(crate) fn access(&self, stop: &CancellationToken) -> StorageAccess {
        StorageAccess::new(Handle::current(), stop.clone(), Arc::clone(&self.outbound))
    }
}

/// The end of the work on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contained {
    Done,
    Panicked,
}

/// Runs the work on one message. A panic ends this session only: the others of the worker go on.
async fn contain(work: impl Future<Output = ()>) -> Contained {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(()) => Contained::Done,
        Err(_) => {
            tracing::error!(
                "a session panicked; this is a defect of Lagan, and another worker tries the session again"
            );
            Contained::Panicked
        }
    }
}

/// One slot: pull one, run it, pull the next.
async fn slot(worker: Arc<Worker>, lane: Lane, consumer: String) {
    let mut lanes = Lanes::new(&worker.bus, SESSIONS, vec![consumer.clone()]);
    let mut observer = Observer::new(worker.heartbeats.clone());
    loop {
        let next = tokio::select! {
            biased;
            () = worker.drain.cancelled() => return,
            next = lanes.next(PULL) => next,
        };
        match next {
            Ok(Some(delivery)) => {
                worker.metrics.taken(lane);
                // The message of a session that panicked comes again, and its heartbeat has stopped.
                if contain(Box::pin(worker.handle(delivery, &mut observer))).await == Contained::Panicked {
                    observer = Observer::new(worker.heartbeats.clone());
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_panics_ends_alone_and_leaves_its_slot() {
        let (slots, session) = (InSlots::default(), Uuid::from_u128(1));
        let panics = async {
            let _entered = slots.enter(session);
            tokio::task::yield_now().await;
            assert!(!slots.has(session), "a defect");
        };
        assert_eq!(contain(panics).await, Contained::Panicked);
        assert!(!slots.has(session));
        assert_eq!(contain(std::future::ready(())).await, Contained::Done);
    }
}
