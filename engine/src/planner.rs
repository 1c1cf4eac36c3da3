//! The planner: answers `requested` and `retrying` with `planned`, `skipped` or an end, under the target's lock. Any number
//! of planners run side by side. Each folds the log into a waiting room, which says whose turn it is; the plan itself is made
//! in `plan`.

mod decide;
pub(crate) mod desk;
mod ends;
pub(crate) mod lock;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::desk::{NextStep, PlannerDesk, StepOf, StepResult};
use self::lock::HeldLock;
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;
use crate::sessions::{Changes, SessionChange};
use crate::waiting::{Now, WaitingRoom};

/// Sessions that are looked at at the same time.
const CONCURRENCY: usize = 64;
/// Pause between two looks at changed objects, which come in bursts.
const BURST: Duration = Duration::from_millis(50);

pub(crate) async fn run(
    context: Context,
    changes: Changes,
    objects: mpsc::UnboundedReceiver<ObjectKey>,
) -> Result<(), EngineError> {
    let (locks, released) = mpsc::unbounded_channel();
    tokio::try_join!(Planner::new(context.clone(), locks).run(changes, objects), lock::release(context, released))
        .map(drop)
}

struct Planner {
    context: Context,
    desk: PlannerDesk,
    start: Instant,
    steps: JoinSet<(StepOf, StepResult)>,
    log_usage: Arc<LogUsage>,
    /// Locks of sessions that have ended. A burst of ends must not keep the sessions themselves in memory.
    ended: mpsc::UnboundedSender<HeldLock>,
}

impl Planner {
    fn new(context: Context, ended: mpsc::UnboundedSender<HeldLock>) -> Self {
        let limits = Arc::new(context.options.limits.clone());
        Self {
            desk: PlannerDesk::new(WaitingRoom::new(context.instance, limits)),
            context,
            start: Instant::now(),
            steps: JoinSet::new(),
            log_usage: Arc::default(),
            ended,
        }
    }

    async fn run(
        mut self,
        mut changes: Changes,
        mut keys: mpsc::UnboundedReceiver<ObjectKey>,
    ) -> Result<(), EngineError> {
        let context = self.context.clone();
        let mut objects = context.resources.changes();
        let mut peers = peers::peers(&context);
        let mut wanted = context.waits.wanted();
        wanted.mark_changed();
        let mut objects_from = Instant::now();
        loop {
            self.look();
            let timer = self.desk.room.next_timer().map(|at| self.start + at);
            let notice = self.desk.room.next_notice().map(|at| self.start + at);
            let is_free = self.steps.len() < CONCURRENCY;
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                change = changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return Ok(()),
                },
                Some(joined) = self.steps.join_next() => self.finish(joined)?,
                Some(key) = keys.recv() => if matches!(key.kind, Kind::AppBinding | Kind::Repository) {
                    self.desk.room.limits_changed(&key, self.now());
                },
                Some(living) = peers.recv() => self.desk.room.set_peers(living),
                () = objects_in_burst(&mut objects, objects_from), if self.desk.room.lacks_objects() => {
                    objects_from = Instant::now() + BURST;
                    self.desk.room.objects_changed(self.now());
                }
                Ok(()) = wanted.changed() => self.desk.room.want_notices(*wanted.borrow_and_update()),
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() && is_free => {}
                () = sleep_until(notice.unwrap_or_else(Instant::now)), if notice.is_some() => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.context.clock.now(), tick: self.start.elapsed() }
    }

    fn take(&mut self, change: SessionChange) {
        let now = self.now();
        if let Some(lock) = self.desk.take(change, &self.context.sessions, now) {
            // The receiver is gone only when the engine stops.
            let _ = self.ended.send(lock);
        }
    }

    /// Starts to look at sessions whose turn it is.
    fn look(&mut self) {
        while self.steps.len() < CONCURRENCY
            && let Some((of, look)) = self.desk.next(self.now())
        {
            self.start(of, look);
        }
        if let Some(counts) = self.desk.room.changed_counts() {
            self.context.options.metrics.waiting(counts);
        }
        let notices = self.desk.room.take_notices(self.start.elapsed());
        if !notices.is_empty() {
            self.context.waits.post(notices);
        }
    }

    fn start(&mut self, of: StepOf, step: NextStep) {
        let (context, log_usage) = (self.context.clone(), Arc::clone(&self.log_usage));
        self.steps.spawn(async move { (of, desk::take_step(&context, &log_usage, step).await) });
    }

    fn finish(&mut self, joined: Result<(StepOf, StepResult), JoinError>) -> Result<(), EngineError> {
        let (of, result) = joined.map_err(EngineError::Panicked)?;
        let objects = self.context.resources.changes().borrow().sequence();
        if let Some(step) = self.desk.finish(of, result, objects, self.now()) {
            self.start(of, step);
        }
        Ok(())
    }
}

/// Waits for a change of the objects, after the pause that follows the last one.
async fn objects_in_burst(objects: &mut tokio::sync::watch::Receiver<crate::view::ReadProgress>, not_before: Instant) {
    sleep_until(not_before).await;
    if objects.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
