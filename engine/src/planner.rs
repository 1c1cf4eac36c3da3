//! The planner: answers `requested` and `retrying` with `planned`, `skipped` or an end, under the target's lock. Any number
//! of planners run side by side. Each folds the log into a waiting room, which says whose turn it is; the plan itself is made
//! in `plan`.

mod decide;
mod lock;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use lagan_schemas::fact::Fact;
use lagan_schemas::session::Session;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use self::decide::{Outlook, SessionWait};
use self::lock::HeldLock;
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;
use crate::sessions::{Changes, SessionChange};
use crate::waiting::{Admission, Now, Until, WaitCause, WaitingRoom};

/// Sessions that are looked at at the same time.
const CONCURRENCY: usize = 64;
/// Pause between two looks at changed objects, which come in bursts.
const BURST: Duration = Duration::from_millis(50);

pub(crate) async fn run(context: Context, changes: Changes) -> Result<(), EngineError> {
    let (locks, released) = mpsc::unbounded_channel();
    tokio::try_join!(Planner::new(context.clone(), locks).run(changes), lock::release(context, released)).map(drop)
}

/// The session of a step, and the number of the look that it belongs to.
#[derive(Debug, Clone, Copy)]
struct StepOf {
    session: Uuid,
    look: u64,
}

/// The result of one step of a session.
enum Step {
    Outlook(Outlook),
    /// Whether the fact was appended.
    Done(Result<(), SessionWait>),
}

struct Planner {
    context: Context,
    room: WaitingRoom,
    start: Instant,
    steps: JoinSet<(StepOf, Step)>,
    log_usage: Arc<LogUsage>,
    /// Locks of sessions that have ended. A burst of ends must not keep the sessions themselves in memory.
    ended: mpsc::UnboundedSender<HeldLock>,
    is_caught_up: bool,
}

impl Planner {
    fn new(context: Context, ended: mpsc::UnboundedSender<HeldLock>) -> Self {
        let limits = Arc::new(context.options.limits.clone());
        Self {
            room: WaitingRoom::new(context.instance, limits),
            context,
            start: Instant::now(),
            steps: JoinSet::new(),
            log_usage: Arc::default(),
            ended,
            is_caught_up: false,
        }
    }

    async fn run(mut self, mut changes: Changes) -> Result<(), EngineError> {
        let context = self.context.clone();
        let mut objects = context.resources.changes();
        let mut peers = peers::peers(&context);
        let mut wanted = context.waits.wanted();
        wanted.mark_changed();
        let mut objects_from = Instant::now();
        loop {
            self.look();
            let timer = self.room.next_timer().map(|at| self.start + at);
            let notice = self.room.next_notice().map(|at| self.start + at);
            let is_free = self.steps.len() < CONCURRENCY;
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                change = changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return Ok(()),
                },
                Some(joined) = self.steps.join_next() => self.step(joined)?,
                Some(living) = peers.recv() => self.room.set_peers(living),
                () = objects_in_burst(&mut objects, objects_from), if self.room.lacks_objects() => {
                    objects_from = Instant::now() + BURST;
                    self.room.objects_changed(self.now());
                }
                Ok(()) = wanted.changed() => self.room.want_notices(*wanted.borrow_and_update()),
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
        match change {
            // The view holds what came before. A new connection may have read the log anew.
            SessionChange::CaughtUp => {
                let mut active: Vec<Arc<Session>> = {
                    let view = self.context.sessions.read();
                    self.room.retain(|uid| view.active.contains_key(&uid), now);
                    view.active.values().cloned().collect()
                };
                active.sort_by_key(|session| session.first_sequence);
                for session in &active {
                    self.room.fold(session, now);
                }
                self.is_caught_up = true;
            }
            SessionChange::Folded(_) if !self.is_caught_up => {}
            SessionChange::Folded(session) => {
                self.room.fold(&session, now);
                if session.phase.is_end() {
                    // The receiver is gone only when the engine stops.
                    let _ = HeldLock::of(&session).map(|lock| self.ended.send(lock));
                }
            }
        }
    }

    /// Starts to look at sessions whose turn it is.
    fn look(&mut self) {
        while self.steps.len() < CONCURRENCY
            && let Some(look) = self.room.next(self.now())
        {
            let (context, log_usage) = (self.context.clone(), Arc::clone(&self.log_usage));
            let of = StepOf { session: look.session.key.uid, look: look.number };
            self.steps.spawn(async move { (of, Step::Outlook(decide::look(&context, &log_usage, &look).await)) });
        }
        if let Some(counts) = self.room.changed_counts() {
            self.context.options.metrics.waiting(counts);
        }
        let notices = self.room.take_notices(self.start.elapsed());
        if !notices.is_empty() {
            self.context.waits.post(notices);
        }
    }

    fn step(&mut self, joined: Result<(StepOf, Step), JoinError>) -> Result<(), EngineError> {
        let (of, step) = joined.map_err(EngineError::Panicked)?;
        let now = self.now();
        match step {
            Step::Outlook(Outlook::Ready(session, plan, needs)) => {
                match self.room.admit(of.session, of.look, needs, now) {
                    Admission::Go => {
                        let context = self.context.clone();
                        let step = async move { decide::plan_under_lock(&context, &session, plan).await };
                        self.steps.spawn(async move { (of, Step::Done(step.await)) });
                    }
                    other => self.skip(of, session, other),
                }
            }
            Step::Outlook(Outlook::BeyondQuota(session, overlap, expires)) => {
                let admission = self.room.stand_in_quota_line(of.session, of.look, (overlap, expires), now);
                self.skip(of, session, admission);
            }
            Step::Outlook(Outlook::Waits(wait)) | Step::Done(Err(wait)) => self.wait(of, wait, now),
            Step::Outlook(Outlook::Ends(session, fact)) => self.append(of, session, *fact),
            Step::Outlook(Outlook::Decided) | Step::Done(Ok(())) => self.room.decided(of.session, of.look, now),
        }
        Ok(())
    }

    /// Skips a session that stands back behind another one of its configuration.
    fn skip(&mut self, of: StepOf, session: Arc<Session>, admission: Admission) {
        if let Admission::Skipped { behind, name, waits } = admission {
            self.append(of, session, decide::skipped(behind, &name, waits));
        }
    }

    fn append(&mut self, of: StepOf, session: Arc<Session>, fact: Fact) {
        let context = self.context.clone();
        self.steps.spawn(async move { (of, Step::Done(decide::append(&context, &session, fact).await)) });
    }

    fn wait(&mut self, of: StepOf, wait: SessionWait, now: Now) {
        let SessionWait { cause, until, seen } = wait;
        if let (WaitCause::Source(error), Until::After(_)) = (&cause, until) {
            tracing::warn!(session = %of.session, error, "session can't be planned yet");
        }
        self.room.wait(of.session, of.look, cause, until, now);
        // Objects that came while it was looked at woke nobody.
        if matches!(until, Until::Objects { .. }) && self.context.resources.changes().borrow().sequence() != seen {
            self.room.objects_changed(now);
        }
    }
}

/// Waits for a change of the objects, after the pause that follows the last one.
async fn objects_in_burst(objects: &mut tokio::sync::watch::Receiver<crate::view::ReadProgress>, not_before: Instant) {
    sleep_until(not_before).await;
    if objects.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
