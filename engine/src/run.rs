//! Starts the parts of an engine, and starts them anew when a stream under them was replaced (P16).

use std::sync::Arc;
use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::kv::{self, Bucket};
use lagan_bus::lease::Leases;
use lagan_bus::lock::{LockHolder, Locked, Locks};
use lagan_bus::streams::{self, Sizes, StreamSpec};
use lagan_schemas::error::chain;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::source::LedgerIdentity;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::consumers::ensure_consumers;
use crate::context::{Context, EngineOptions};
use crate::error::EngineError;
use crate::reporter::Inbox;
use crate::sessions::{Changes, ListenFor, Sessions};
use crate::view::Resources;
use crate::wait_board::WaitBoard;
use crate::{blueprint, cancel, operator, planner, reporter, scheduler, stores, sweep, timekeeper, watcher};

/// Pause between two attempts to start the parts of an engine anew.
const AGAIN: Duration = Duration::from_secs(1);

type Ready = Box<dyn FnOnce() + Send>;

/// The parts of an engine, each a task. The first one that ends, ends the engine.
type Parts = JoinSet<Result<(), EngineError>>;

/// Runs until `stop`. `ready` is called once, when everything has been read and work is accepted.
pub async fn run(
    bus: Bus,
    options: EngineOptions,
    stop: CancellationToken,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let options = Arc::new(options);
    let mut ready: Option<Ready> = Some(Box::new(ready));
    while !stop.is_cancelled() {
        match generation(&bus, &options, &stop, &mut ready).await {
            Err(EngineError::StoreReplaced(stream)) => {
                tracing::warn!(stream, "store was replaced: everything is read again and intent is published again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // An engine that was ready outlives every outage, also one in which it starts its parts anew.
            Err(error) if error.is_outage() && ready.is_none() => {
                tracing::warn!(error = chain(&error), "the parts of the engine can't be started yet");
                tokio::time::sleep(AGAIN).await;
            }
            other => return other,
        }
    }
    Ok(())
}

/// Runs one set of parts, until `stop`, or until one of them ends.
async fn generation(
    bus: &Bus,
    options: &Arc<EngineOptions>,
    stop: &CancellationToken,
    ready: &mut Option<Ready>,
) -> Result<(), EngineError> {
    let sizes =
        Sizes { replicas: options.replicas, heartbeat_ttl: options.timing.heartbeat_ttl(), limits: options.streams };
    let specs = streams::of_cluster(&options.cluster, &sizes);
    streams::ensure(bus, &specs).await?;
    let (context, inboxes) = context(bus, options, &specs, stop);
    if let Some(ledger) = context.source().ledger()? {
        claim_ledger(&context, &ledger).await?;
    }
    context.clock.ask(bus).await;
    // The views never end by themselves; they are dropped with this generation.
    let mut views = Parts::new();
    views.spawn(context.resources.clone().follow(bus.clone(), options.cluster.clone()));
    views.spawn(context.sessions.clone().follow(bus.clone(), options.cluster.clone(), options.metrics.clone()));
    let complete = async {
        context.resources.complete().await;
        context.sessions.complete().await;
    };
    tokio::select! {
        () = complete => {}
        () = stop.cancelled() => return Ok(()),
        Some(ended) = views.join_next() => return ended.map_err(EngineError::Panicked)?,
    }
    ensure_consumers(&context).await?;
    let (mut parts, mut intent) = start(&context, specs, inboxes);
    let result = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = intent.wait_for(|seen| *seen), if ready.is_some() => {
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            Some(ended) = parts.join_next() => break ended.map_err(EngineError::Panicked).flatten(),
            Some(ended) = views.join_next() => break ended.map_err(EngineError::Panicked).flatten(),
        }
    };
    context.stop.cancel();
    // The parts that hold leases give them back.
    let _ = tokio::time::timeout(Duration::from_secs(2), async { while parts.join_next().await.is_some() {} }).await;
    result
}

/// The receiving ends of what the views tell the parts.
struct Inboxes {
    planner_changes: Changes,
    planner_objects: mpsc::UnboundedReceiver<ObjectKey>,
    reporter_changes: Changes,
    reporter_objects: mpsc::UnboundedReceiver<ObjectKey>,
    scheduler_objects: mpsc::UnboundedReceiver<ObjectKey>,
}

fn context(
    bus: &Bus,
    options: &Arc<EngineOptions>,
    specs: &[StreamSpec],
    stop: &CancellationToken,
) -> (Context, Inboxes) {
    let bucket = |name| Bucket::of(bus, specs, name).expect("of_cluster lists every bucket");
    let (sessions, [planner_changes, reporter_changes]) = Sessions::new([ListenFor::Yes, ListenFor::No]);
    let (objects_to_reporter, reporter_objects) = mpsc::unbounded_channel();
    let (objects_to_scheduler, scheduler_objects) = mpsc::unbounded_channel();
    let (objects_to_planner, planner_objects) = mpsc::unbounded_channel();
    let context = Context {
        bus: bus.clone(),
        options: Arc::clone(options),
        resources: Resources::new(vec![objects_to_reporter, objects_to_scheduler, objects_to_planner]),
        sessions,
        waits: WaitBoard::default(),
        locks: Locks::new(bucket(streams::LOCKS)),
        leases: Leases::new(bucket(streams::LEASES), options.timing.heartbeat_ttl()),
        heartbeats: bucket(streams::HEARTBEATS),
        clock: Clock::default(),
        instance: Uuid::new_v4(),
        stop: stop.child_token(),
    };
    (context, Inboxes { planner_changes, planner_objects, reporter_changes, reporter_objects, scheduler_objects })
}

/// Starts every part. Gives whether intent has been seen: published once, or watched by another process.
fn start(context: &Context, specs: Vec<StreamSpec>, inboxes: Inboxes) -> (Parts, watch::Receiver<bool>) {
    let (intent_seen, intent) = watch::channel(false);
    let (to_reporter, unconfirmed) = mpsc::unbounded_channel();
    let inbox = Inbox { changes: inboxes.reporter_changes, objects: inboxes.reporter_objects, unconfirmed };
    let mut parts = Parts::new();
    parts.spawn(stores::keep(context.clone(), specs));
    parts.spawn(watcher::run(context.clone(), intent_seen));
    parts.spawn(blueprint::run(context.clone(), intent.clone()));
    parts.spawn(scheduler::run(context.clone(), inboxes.scheduler_objects, to_reporter, intent.clone()));
    parts.spawn(planner::run(context.clone(), inboxes.planner_changes, inboxes.planner_objects));
    parts.spawn(sweep::run(context.clone()));
    parts.spawn(cancel::run(context.clone()));
    parts.spawn(timekeeper::run(context.clone()));
    parts.spawn(operator::run(context.clone()));
    parts.spawn(reporter::run(context.clone(), inbox));
    (parts, intent)
}

/// Binds the cluster to one ledger: processes with different data directories would each remember half of what was done.
async fn claim_ledger(context: &Context, ledger: &LedgerIdentity) -> Result<(), EngineError> {
    let detail = serde_json::json!({ "dataDir": ledger.data_dir });
    match context.locks.acquire(&kv::key(&["ledger"]), &LockHolder { owner: ledger.id.to_string(), detail }).await? {
        Locked::Acquired => Ok(()),
        Locked::HeldBy { holder, .. } => {
            Err(EngineError::OtherLedger { data_dir: ledger.data_dir.clone(), other: holder.owner })
        }
    }
}
