//! The reporter: it writes folds of sessions to STATUS and ends of sessions to the memory of the source. One process per
//! cluster reports at a time. It is the only writer of STATUS, and a status never goes back to a lower folded sequence.
//! `report` makes the statuses; in a cluster `apply` writes them to the objects.

mod apply;
mod backlog;
mod catch_up;
mod events;
mod finalizer;
mod forecasts;
mod history;
mod live;
mod metrics;
mod missed;
mod objects;
mod position;
mod progress;
mod queue;
mod session;
mod sink;
mod statuses;
mod stored;
mod tasks;
mod waits;
mod work;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lagan_bus::kv;
use lagan_bus::lease::LeaseMode;
use lagan_schemas::position::StoreId;
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::subject::ObjectKey;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::backlog::Backlog;
use self::forecasts::Forecasts;
use self::metrics::MetricsSink;
use self::missed::MissedEnds;
use self::progress::ProgressReports;
use self::sink::StatusSink;
use self::statuses::Statuses;
use self::tasks::{ReporterTasks, Reporting};
use crate::context::Context;
use crate::error::EngineError;
use crate::sessions::{Changes, ListenFor, SessionChange};

/// Delay before a missing Secret is looked up again. Secrets are not watched, so nothing announces a new one.
const RETRY: Duration = Duration::from_secs(10);
/// How often every status is compared with its object, to repair edits made by others.
const CATCH_UP: Duration = Duration::from_secs(600);
/// Time until the first forecast after a takeover.
const FIRST_FORECAST: Duration = Duration::from_secs(5);
/// How often the position is stored. A reporter that takes over reads what ended since.
const POSITION: Duration = Duration::from_secs(2);
/// Longest wait for the lease before it is asked for anew.
const LEASE_WAIT: Duration = Duration::from_secs(3600);

/// The channels from the other parts to the reporter.
pub(crate) struct Inbox {
    pub changes: Changes,
    pub objects: mpsc::UnboundedReceiver<ObjectKey>,
    /// Restores that wait for a person (P5).
    pub unconfirmed: mpsc::UnboundedReceiver<ObjectRef>,
}

/// Reports while this process has the lease. Without it nothing is kept: a reporter that takes over learns from STATUS and
/// from the log what is left to report.
pub(crate) async fn run(context: Context, mut inbox: Inbox) -> Result<(), EngineError> {
    let backlog = Backlog::default();
    let scope = kv::key(&["role", "reporter"]);
    let owner = context.instance.to_string();
    while !context.stop.is_cancelled() {
        let acquire = context.leases.acquire(&scope, LeaseMode::Exclusive, &owner, LEASE_WAIT);
        tokio::pin!(acquire);
        let lease = loop {
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                lease = &mut acquire => break lease,
                Some(key) = inbox.objects.recv() => if !context.resources.read().objects.contains_key(&key) {
                    backlog.forget(&key);
                },
                Some(restore) = inbox.unconfirmed.recv() => backlog.add_unconfirmed(&restore),
            }
        };
        let Ok(lease) = lease else { continue };
        tracing::info!("this process reports");
        let reported = tokio::select! {
            () = context.stop.cancelled() => Ok(()),
            () = lease.tenure().unconfirmed() => Ok(()),
            reported = report_and_apply(&context, &mut inbox, &backlog) => reported,
        };
        inbox.changes.listen(ListenFor::No);
        backlog.clear();
        context.options.metrics.clear();
        lease.release().await;
        reported?;
    }
    Ok(())
}

/// Reports, and in a cluster applies the statuses to the objects.
async fn report_and_apply(context: &Context, inbox: &mut Inbox, backlog: &Backlog) -> Result<(), EngineError> {
    let Some(api) = context.source().statuses() else {
        return report(context, inbox, backlog, StatusSink::default()).await;
    };
    let (sink, pending) = StatusSink::channel();
    tokio::select! {
        reported = report(context, inbox, backlog, sink) => reported,
        () = apply::run(api, pending, context.instance) => Ok(()),
    }
}

async fn report(context: &Context, inbox: &mut Inbox, backlog: &Backlog, sink: StatusSink) -> Result<(), EngineError> {
    let (metrics, mut pushes) = MetricsSink::start(context);
    let (statuses, position) = Statuses::load(context).await;
    let reporter = Reporter {
        context,
        statuses,
        sink,
        metrics,
        backlog,
        newest_ends: Mutex::default(),
        forecasts: Forecasts::default(),
    };
    let is_new = position.position.is_none();
    if is_new {
        // STATUS is new. What the objects show must be adopted before a status is made anew.
        reporter.adopt_and_repair().await;
    }
    inbox.changes.listen(ListenFor::Yes);
    let mut missed = MissedEnds::read(context, &reporter.statuses, position.position);
    let mut tasks = ReporterTasks::new(&reporter, position);
    if is_new {
        tasks.look_at_all();
    } else {
        tasks.adopt_and_repair();
    }
    for session in context.sessions.active() {
        tasks.sessions.add(session);
    }
    let mut progress = ProgressReports::follow(context);
    let mut catch_up = tokio::time::interval_at(Instant::now() + CATCH_UP, CATCH_UP);
    let mut forecast = tokio::time::interval_at(Instant::now() + FIRST_FORECAST, forecasts::INTERVAL);
    let mut save = tokio::time::interval_at(Instant::now() + POSITION, POSITION);
    let mut waits = context.waits.listen();
    let mut waiting = tokio::time::interval_at(Instant::now() + RETRY, RETRY);
    loop {
        tasks.start();
        let retry = tasks.sessions.next_retry();
        tokio::select! {
            change = inbox.changes.recv() => match change {
                Some(SessionChange::Folded(session)) => tasks.sessions.add(session),
                Some(SessionChange::CaughtUp) => {}
                None => return Ok(()),
            },
            key = inbox.objects.recv() => match key {
                Some(key) => backlog.add(key),
                None => return Ok(()),
            },
            Some(restore) = inbox.unconfirmed.recv() => backlog.add_unconfirmed(&restore),
            ended = tasks.ended() => if ended? == Reporting::StartsAnew {
                tracing::warn!("STATUS does not hold what was written to it; it is read again");
                return Ok(());
            },
            Some(end) = missed.next(), if tasks.sessions.takes_missed() => tasks.sessions.add_missed(end),
            Some(pushed) = pushes.recv() => tasks.pushed(pushed),
            texts = progress.due(), if tasks.takes_progress() => tasks.progress(texts),
            notices = waits.next(), if tasks.takes_waits() => tasks.waits(notices),
            _ = forecast.tick() => tasks.forecast(),
            _ = catch_up.tick() => tasks.repair(),
            _ = save.tick(), if missed.is_done() => {
                // In this order: an end that is told in between is among the untaken.
                let told = context.sessions.told();
                tasks.save_position(told, inbox.changes.oldest_end());
            }
            () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            _ = waiting.tick() => backlog.retry(),
        }
    }
}

struct Reporter<'a> {
    context: &'a Context,
    statuses: Statuses,
    sink: StatusSink,
    metrics: MetricsSink,
    backlog: &'a Backlog,
    /// The sequence of the last end of each configuration that was reported, in a store.
    newest_ends: Mutex<HashMap<ObjectKey, (Option<StoreId>, u64)>>,
    forecasts: Forecasts,
}
