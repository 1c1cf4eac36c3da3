//! The reporter: it writes folds of sessions to STATUS and ends of sessions to the memory of the source. One process per
//! cluster reports at a time. It is the only writer of STATUS, and a status never goes back to a lower folded sequence.
//! `report` makes the statuses; in a cluster `apply` writes them to the objects.

mod apply;
mod backlog;
mod catch_up;
mod events;
mod finalizer;
mod history;
mod live;
mod metrics;
mod objects;
mod progress;
mod session;
mod sink;
mod statuses;
mod stored;

use std::collections::BTreeSet;
use std::time::Duration;

use lagan_bus::kv;
use lagan_bus::lease::LeaseMode;
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::subject::ObjectKey;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::backlog::Backlog;
use self::metrics::MetricsSink;
use self::progress::ProgressReports;
use self::sink::StatusSink;
use self::statuses::Statuses;
use crate::context::Context;
use crate::error::EngineError;
use crate::sessions::Change;

/// Delay before a missing Secret is looked up again. Secrets are not watched, so nothing announces a new one.
const RETRY: Duration = Duration::from_secs(10);
/// How often every status is compared with its object, to repair edits made by others.
const CATCH_UP: Duration = Duration::from_secs(600);
/// Longest wait for the lease before it is asked for anew.
const LEASE_WAIT: Duration = Duration::from_secs(3600);

/// The channels from the other parts to the reporter.
pub(crate) struct Inbox {
    pub changes: mpsc::UnboundedReceiver<Change>,
    pub objects: mpsc::UnboundedReceiver<ObjectKey>,
    /// Restores that wait for a person (P5).
    pub unconfirmed: mpsc::UnboundedReceiver<ObjectRef>,
}

pub(crate) async fn run(context: Context, mut inbox: Inbox) -> Result<(), EngineError> {
    // Changes seen while another process reports. If this process takes over, it starts from them.
    let mut backlog = Backlog::default();
    let scope = kv::key(&["role", "reporter"]);
    let owner = context.instance.to_string();
    while !context.stop.is_cancelled() {
        let acquire = context.leases.acquire(&scope, LeaseMode::Exclusive, &owner, LEASE_WAIT);
        tokio::pin!(acquire);
        let lease = loop {
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                lease = &mut acquire => break lease,
                Some(change) = inbox.changes.recv() => backlog.take(change),
                // A new reporter looks at all objects, so these need not be remembered.
                Some(_) = inbox.objects.recv() => {}
                Some(restore) = inbox.unconfirmed.recv() => backlog.unconfirmed.extend(restore.uid),
            }
        };
        let Ok(lease) = lease else { continue };
        tracing::info!("this process reports");
        let reported = tokio::select! {
            () = context.stop.cancelled() => Ok(()),
            () = lease.tenure().unconfirmed() => Ok(()),
            reported = report_and_apply(&context, &mut inbox, &mut backlog) => reported,
        };
        context.options.metrics.clear();
        lease.release().await;
        reported?;
    }
    Ok(())
}

/// Reports, and in a cluster applies the statuses to the objects.
async fn report_and_apply(context: &Context, inbox: &mut Inbox, backlog: &mut Backlog) -> Result<(), EngineError> {
    let Some(api) = context.source().statuses() else {
        return report(context, inbox, backlog, StatusSink::default()).await;
    };
    let (sink, pending) = StatusSink::channel();
    tokio::select! {
        reported = report(context, inbox, backlog, sink) => reported,
        () = apply::run(api, pending, context.instance) => Ok(()),
    }
}

async fn report(
    context: &Context,
    inbox: &mut Inbox,
    backlog: &mut Backlog,
    sink: StatusSink,
) -> Result<(), EngineError> {
    let (metrics, mut pushes) = MetricsSink::start(context);
    let mut reporter = Reporter { context, statuses: Statuses::load(context).await, sink, metrics, backlog };
    let mut progress = ProgressReports::follow(context);
    if let Some(api) = context.source().statuses() {
        catch_up::adopt_and_repair(context, api, &mut reporter.statuses, &reporter.sink).await;
    }
    let every_key = reporter.every_key();
    reporter.backlog.objects.extend(every_key);
    let mut catch_up = tokio::time::interval_at(Instant::now() + CATCH_UP, CATCH_UP);
    loop {
        reporter.report_backlog().await?;
        tokio::select! {
            key = inbox.objects.recv() => {
                let Some(key) = key else { return Ok(()) };
                reporter.backlog.objects.insert(key);
            }
            change = inbox.changes.recv() => {
                let Some(change) = change else { return Ok(()) };
                reporter.backlog.take(change);
            }
            Some(restore) = inbox.unconfirmed.recv() => {
                reporter.backlog.unconfirmed.extend(restore.uid);
                reporter.backlog.objects.insert(restore.key());
            }
            Some(pushed) = pushes.recv() => reporter.metrics_pushed(&pushed).await,
            texts = progress.due() => reporter.progress(texts).await,
            _ = catch_up.tick() => if let Some(api) = context.source().statuses() {
                catch_up::repair(api, &reporter.statuses, &reporter.sink).await;
            },
            () = tokio::time::sleep(RETRY), if reporter.backlog.needs_retry() => reporter.backlog.retry(),
        }
        while let Ok(key) = inbox.objects.try_recv() {
            reporter.backlog.objects.insert(key);
        }
        while let Ok(change) = inbox.changes.try_recv() {
            reporter.backlog.take(change);
        }
    }
}

struct Reporter<'a> {
    context: &'a Context,
    statuses: Statuses,
    sink: StatusSink,
    metrics: MetricsSink,
    backlog: &'a mut Backlog,
}

impl Reporter<'_> {
    /// Reports all that is in the backlog. A session stays in it if something could not be reached.
    async fn report_backlog(&mut self) -> Result<(), EngineError> {
        let objects: BTreeSet<ObjectKey> = std::mem::take(&mut self.backlog.objects);
        self.objects(objects).await;
        for session in self.backlog.sessions_in_order() {
            if self.session(&session).await? {
                self.backlog.sessions.remove(&session.key.uid);
            }
        }
        Ok(())
    }
}
