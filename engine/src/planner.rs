//! The planner: answers `requested` and `retrying` with `planned`, `skipped` or an end, under the target's lock. Any number
//! of planners run side by side. Each folds the log into a waiting room, which says whose turn it is; the plan itself is made
//! in `plan`.

mod decide;
mod lock;
mod peers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lagan_schemas::plan::Plan;
use lagan_schemas::session::Session;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use self::decide::{Outlook, Wait};
use self::lock::HeldLock;
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;
use crate::sessions::{Change, Changes};
use crate::waiting::{Admission, Cause, Needs, Now, Room, Until};

/// Sessions that are looked at at the same time.
const CONCURRENCY: usize = 64;
/// Pause between two looks at changed objects, which come in bursts.
const BURST: Duration = Duration::from_millis(50);

pub(crate) async fn run(context: Context, changes: Changes) -> Result<(), EngineError> {
    let (locks, released) = mpsc::unbounded_channel();
    tokio::try_join!(Planner::new(context.clone(), locks).run(changes), lock::release(context, released)).map(drop)
}

/// The result of one step of a session.
enum Step {
    Outlook(Outlook),
    /// Whether the fact was appended.
    Done(Result<(), Wait>),
}

struct Planner {
    context: Context,
    room: Room,
    start: Instant,
    steps: JoinSet<(Uuid, Step)>,
    /// The sessions that are looked at, by task.
    looked_at: HashMap<Id, Uuid>,
    log_usage: Arc<LogUsage>,
    /// Locks of sessions that have ended. A burst of ends must not keep the sessions themselves in memory.
    ended: mpsc::UnboundedSender<HeldLock>,
    is_caught_up: bool,
}

impl Planner {
    fn new(context: Context, ended: mpsc::UnboundedSender<HeldLock>) -> Self {
        let limits = Arc::new(context.options.limits.clone());
        Self {
            room: Room::new(context.instance, limits),
            context,
            start: Instant::now(),
            steps: JoinSet::new(),
            looked_at: HashMap::new(),
            log_usage: Arc::default(),
            ended,
            is_caught_up: false,
        }
    }

    async fn run(mut self, mut changes: Changes) -> Result<(), EngineError> {
        let context = self.context.clone();
        let mut objects = context.resources.changes();
        let mut peers = peers::peers(&context);
        let mut objects_from = Instant::now();
        loop {
            self.look();
            let timer = self.room.next_timer().map(|at| self.start + at);
            let is_free = self.steps.len() < CONCURRENCY;
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                change = changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return Ok(()),
                },
                Some(joined) = self.steps.join_next_with_id() => self.step(joined)?,
                Some(living) = peers.recv() => self.room.set_peers(living),
                () = objects_in_burst(&mut objects, objects_from), if self.room.lacks_objects() => {
                    objects_from = Instant::now() + BURST;
                    self.room.objects_changed(self.now());
                }
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() && is_free => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.context.clock.now(), tick: self.start.elapsed() }
    }

    fn take(&mut self, change: Change) {
        let now = self.now();
        match change {
            // The view holds what came before. A new connection may have read the log anew.
            Change::CaughtUp => {
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
            Change::Folded(_) if !self.is_caught_up => {}
            Change::Folded(session) => {
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
            let uid = look.session.key.uid;
            let step = async move { (uid, Step::Outlook(decide::look(&context, &log_usage, &look).await)) };
            self.spawn(uid, step);
        }
        if let Some(counts) = self.room.changed_counts() {
            self.context.options.metrics.waiting(counts);
        }
    }

    fn spawn(&mut self, uid: Uuid, step: impl Future<Output = (Uuid, Step)> + Send + 'static) {
        let task = self.steps.spawn(step);
        self.looked_at.insert(task.id(), uid);
    }

    fn step(&mut self, joined: Result<(Id, (Uuid, Step)), JoinError>) -> Result<(), EngineError> {
        let (id, (uid, step)) = joined.map_err(EngineError::Panicked)?;
        self.looked_at.remove(&id);
        let now = self.now();
        match step {
            Step::Outlook(Outlook::Ready(session, plan, needs)) => self.admit(session, plan, needs, now),
            Step::Outlook(Outlook::Waits(wait)) | Step::Done(Err(wait)) => self.wait(uid, wait, now),
            Step::Outlook(Outlook::Ends(session, fact)) => {
                let context = self.context.clone();
                self.spawn(uid, async move { (uid, Step::Done(decide::append(&context, &session, *fact).await)) });
            }
            Step::Outlook(Outlook::Decided) | Step::Done(Ok(())) => self.room.decided(uid, now),
        }
        Ok(())
    }

    /// Plans a session if everything that it needs is free.
    fn admit(&mut self, session: Arc<Session>, plan: Box<Plan>, needs: Needs, now: Now) {
        let uid = session.key.uid;
        let context = self.context.clone();
        match self.room.admit(uid, needs, now) {
            Admission::Waits => {}
            Admission::Go => {
                self.spawn(
                    uid,
                    async move { (uid, Step::Done(decide::plan_under_lock(&context, &session, plan).await)) },
                );
            }
            Admission::Skipped { behind, name, waits } => {
                let fact = decide::skipped(behind, &name, waits);
                self.spawn(uid, async move { (uid, Step::Done(decide::append(&context, &session, fact).await)) });
            }
        }
    }

    fn wait(&mut self, uid: Uuid, wait: Wait, now: Now) {
        let Wait { cause, until } = wait;
        if let (Cause::Source(error), Until::After(_)) = (&cause, until) {
            tracing::warn!(session = %uid, error, "session can't be planned yet");
        }
        self.room.wait(uid, cause, until, now);
    }
}

/// Waits for a change of the objects, after the pause that follows the last one.
async fn objects_in_burst(objects: &mut tokio::sync::watch::Receiver<crate::view::ReadProgress>, not_before: Instant) {
    sleep_until(not_before).await;
    if objects.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
