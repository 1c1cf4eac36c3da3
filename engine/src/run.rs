//! Starts the parts of an engine, and starts them anew when the store under them was replaced (P16).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::consumers::{self, Begin, ConsumerError, ConsumerSpec};
use lagan_bus::kv::{self, Bucket, KvError};
use lagan_bus::lease::Leases;
use lagan_bus::lock::{Holder, Locked, Locks};
use lagan_bus::streams::{self, Sizes, StreamError, StreamSpec};
use lagan_schemas::error::chain;
use lagan_schemas::fact::FactKind;
use lagan_schemas::subject::{Lane, SESSIONS, fact_filter, planned_filter, work_consumer};
use lagan_sources::ledger::LedgerError;
use lagan_sources::source::Local;
use lagan_sources::{Source, SourceError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::{Context, Options};
use crate::sessions::Sessions;
use crate::view::Resources;
use crate::{blueprint, cancel, operator, planner, reporter, scheduler, sweep, watcher};

pub(crate) const PLANNER: &str = "planner";

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(
        "data directory `{data_dir}` is not the one this cluster's memory is in (ledger {other}); start every process of a folder with the same --data-dir, or delete key `ledger` of bucket LOCKS if that directory is lost"
    )]
    OtherLedger { data_dir: std::path::PathBuf, other: String },
    #[error(
        "a Stash operator was installed in this cluster and owns the objects of stash.appscode.com: start the engine again, and it leaves them to it"
    )]
    StashOperator,
    #[error("stream `{0}` was replaced")]
    StoreReplaced(&'static str),
    #[error("alarm clock failed")]
    Alarm(#[from] tokio_cron_scheduler::JobSchedulerError),
    #[error("folder can't be watched")]
    Watch(#[from] notify::Error),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("a part of the engine panicked; this is a defect of Lagan")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Runs until `stop`. `ready` is called once, when everything has been read and work is accepted.
pub async fn run(
    bus: Bus,
    options: Options,
    stop: CancellationToken,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let options = Arc::new(options);
    let mut ready: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(ready));
    while !stop.is_cancelled() {
        match generation(&bus, &options, &stop, &mut ready).await {
            Err(EngineError::StoreReplaced(stream)) => {
                tracing::warn!(stream, "store was replaced: everything is read again and intent is published again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
    Ok(())
}

async fn generation(
    bus: &Bus,
    options: &Arc<Options>,
    stop: &CancellationToken,
    ready: &mut Option<Box<dyn FnOnce() + Send>>,
) -> Result<(), EngineError> {
    let sizes = Sizes {
        replicas: options.replicas,
        heartbeat_ttl: options.timing.heartbeat_ttl(),
        lease_ttl: options.timing.heartbeat_ttl(),
        ..Sizes::default()
    };
    let specs = streams::of_cluster(&options.cluster, &sizes);
    streams::ensure(bus, &specs).await?;
    let bucket = |name| Bucket::of(bus, &specs, name).expect("of_cluster lists every bucket");
    let (to_planner, planner_changes) = mpsc::unbounded_channel();
    let (to_reporter, reporter_changes) = mpsc::unbounded_channel();
    let (objects_to_reporter, reporter_objects) = mpsc::unbounded_channel();
    let (objects_to_scheduler, scheduler_objects) = mpsc::unbounded_channel();
    let context = Context {
        bus: bus.clone(),
        options: Arc::clone(options),
        resources: Resources::new(vec![objects_to_reporter, objects_to_scheduler]),
        sessions: Sessions::new(vec![to_planner, to_reporter]),
        locks: Locks::new(bucket(streams::LOCKS)),
        leases: Leases::new(bucket(streams::LEASES)),
        heartbeats: bucket(streams::HEARTBEATS),
        instance: Uuid::new_v4(),
        unconfirmed: Arc::new(Mutex::new(HashSet::new())),
        wiped: Arc::default(),
        intent_seen: watch::Sender::default(),
        stop: stop.child_token(),
    };
    if let Source::Folder(local) = context.source() {
        claim_ledger(&context, local).await?;
    }
    // The views never end by themselves; they are dropped with this generation.
    let mut followers: JoinSet<Result<(), EngineError>> = JoinSet::new();
    let mut parts: JoinSet<Result<(), EngineError>> = JoinSet::new();
    followers.spawn(context.resources.clone().follow(bus.clone(), options.cluster.clone()));
    followers.spawn(context.sessions.clone().follow(bus.clone(), options.cluster.clone()));
    let views = async {
        context.resources.complete().await;
        context.sessions.complete().await;
    };
    tokio::select! {
        () = views => {}
        () = stop.cancelled() => return Ok(()),
        Some(ended) = followers.join_next() => return ended.map_err(EngineError::Panicked)?,
    }
    ensure_consumers(&context).await?;
    parts.spawn(keep_streams(context.clone(), specs.clone()));
    parts.spawn(watcher::run(context.clone()));
    parts.spawn(blueprint::run(context.clone()));
    parts.spawn(scheduler::run(context.clone(), scheduler_objects));
    parts.spawn(planner::run(context.clone(), planner_changes));
    parts.spawn(sweep::run(context.clone()));
    parts.spawn(cancel::run(context.clone()));
    parts.spawn(operator::run(context.clone()));
    parts.spawn(reporter::run(context.clone(), reporter_changes, reporter_objects));
    let mut seen = context.intent_seen.subscribe();
    let result = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = seen.wait_for(|seen| *seen), if ready.is_some() => {
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            Some(ended) = parts.join_next() => break ended.map_err(EngineError::Panicked).flatten(),
            Some(ended) = followers.join_next() => break ended.map_err(EngineError::Panicked).flatten(),
        }
    };
    context.stop.cancel();
    // Leases are given back by the parts that hold them.
    let _ = tokio::time::timeout(Duration::from_secs(2), async { while parts.join_next().await.is_some() {} }).await;
    result
}

/// A server that was restarted has lost its memory streams, one whose disk was replaced has lost them all.
async fn keep_streams(context: Context, specs: Vec<StreamSpec>) -> Result<(), EngineError> {
    let mut link = context.bus.link();
    link.mark_unchanged();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            changed = link.changed() => if changed.is_err() { return Ok(()) },
        }
        if !link.borrow_and_update().connected {
            continue;
        }
        if let Err(error) = streams::ensure(&context.bus, &specs).await {
            tracing::warn!(error = chain(&error), "streams can't be checked after the reconnection");
        } else if let Err(error) = ensure_consumers(&context).await {
            tracing::warn!(error = chain(&error), "consumers can't be checked after the reconnection");
        }
    }
}

/// One cluster has one ledger: processes with different data directories would each remember half.
async fn claim_ledger(context: &Context, local: &Local) -> Result<(), EngineError> {
    let id = local.ledger.read(|state| state.id)?.unwrap_or_default().to_string();
    let detail = serde_json::json!({ "dataDir": local.data_dir });
    match context.locks.acquire(&kv::key(&["ledger"]), &Holder { owner: id, detail }).await? {
        Locked::Acquired => Ok(()),
        Locked::HeldBy { holder, .. } => {
            Err(EngineError::OtherLedger { data_dir: local.data_dir.clone(), other: holder.owner })
        }
    }
}

/// The planner's consumer and one for each lane of the pool. One that has to be made anew starts at the oldest
/// session that has not ended (P7).
pub(crate) async fn ensure_consumers(context: &Context) -> Result<(), EngineError> {
    let oldest = context.sessions.read().active.values().map(|s| s.first_sequence).min();
    let begin = match oldest {
        Some(sequence) => Begin::At(sequence),
        None => Begin::Oldest,
    };
    let cluster = context.cluster();
    let spec = |name: String, filters: Vec<String>| ConsumerSpec {
        stream: SESSIONS.to_owned(),
        name,
        filters,
        ack_wait: context.timing().ack_wait(),
        begin,
    };
    let planner = vec![fact_filter(cluster, FactKind::Requested), fact_filter(cluster, FactKind::Retrying)];
    consumers::ensure(&context.bus, &spec(PLANNER.to_owned(), planner)).await?;
    for pool in &context.options.pools {
        for lane in Lane::ALL {
            let filter = vec![planned_filter(cluster, pool, lane)];
            consumers::ensure(&context.bus, &spec(work_consumer(pool, lane), filter)).await?;
        }
    }
    Ok(())
}
