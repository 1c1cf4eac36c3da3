//! A simulated engine: the real views and the real planner's desk, whose steps are futures that the driver polls one at a time.

mod scheduling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lagan_schemas::fact::Fact;
use lagan_schemas::plan::Plan;
use lagan_schemas::request::{Answer, CancelSession};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use super::outside::{SharedWorld, SimOutside};
use super::world::{FAILOVER, SECOND, short};
use crate::cancel;
use crate::outside::Outside;
use crate::planner::desk::{NextStep, PlannerDesk, StepOf, StepResult, take_step};
use crate::planner::lock::HeldLock;
use crate::scheduler::objects::{ObjectAnswer, SessionAsking};
use crate::scheduler::slots::{SlotBook, SlotOutcome, TakenSlot};
use crate::sessions::{Changes, ListenFor, SessionChange, Sessions};
use crate::sweep::{self, HolderState};
use crate::view::{ReadProgress, Resources};
use crate::waiting::{Limited, Limits, Now, WaitingRoom, limited_uses};

const SWEEP_PAUSE: u64 = 2 * SECOND;
const CONCURRENCY: usize = 64;

/// The result of a future of an engine.
enum TaskResult {
    Step(StepOf, StepResult),
    Cancel(Answer),
    Slot(TakenSlot, SlotOutcome),
    Answer(SessionAsking, ObjectAnswer),
    Other,
}

/// A session, the number of its attempts when its plan was made, and everything that it uses by that.
type PlannedUses = (Uuid, u32, Vec<Limited>);

struct Task {
    /// The session that is being planned, and everything that it uses.
    plans: Option<PlannedUses>,
    future: Pin<Box<dyn Future<Output = TaskResult>>>,
}

/// The watch of a heartbeat: the last beat that was seen, since when, and the last look.
#[derive(Debug, Clone, Copy)]
pub struct BeatWatch {
    beat: Option<u64>,
    since: u64,
    seen: u64,
}

/// Judges a heartbeat by looks at it, as `Observer` does: dead after a full TTL without a change and without a gap.
/// `None` if it is not known yet.
pub fn is_alive(known: &mut Option<BeatWatch>, beat: Option<u64>, now: u64) -> Option<bool> {
    let fresh = BeatWatch { beat, since: now, seen: now };
    let Some(watch) = known.filter(|watch| now - watch.seen <= FAILOVER / 2) else {
        *known = Some(fresh);
        return None;
    };
    if watch.beat != beat {
        *known = Some(BeatWatch { since: if beat.is_none() { watch.since } else { now }, ..fresh });
        return beat.map(|_| true);
    }
    *known = Some(BeatWatch { since: watch.since, ..fresh });
    (now - watch.since >= FAILOVER).then_some(false)
}

pub struct SimEngine {
    pub outside: Arc<SimOutside>,
    instance: Uuid,
    changes: Changes,
    desk: PlannerDesk,
    tasks: Vec<Task>,
    /// The last message of the log that was read.
    cursor: u64,
    is_complete: bool,
    started: u64,
    /// The state of each session that has not ended, as the room was told it last.
    told: BTreeMap<Uuid, Arc<Session>>,
    watches: BTreeMap<Uuid, BeatWatch>,
    next_sweep: u64,
    book: SlotBook,
    objects_read: usize,
    are_objects_complete: bool,
    unanswered: BTreeSet<ObjectKey>,
    seen: HashMap<ObjectKey, Uuid>,
    /// When it is started again after a crash.
    pub down_until: Option<u64>,
}

pub fn limits() -> Limits {
    Limits { repository: 4, server: 2, namespace: 4, pool: 0, overall: 6, open: 12, ..Limits::default() }
}

impl SimEngine {
    pub fn new(world: SharedWorld, number: u128) -> Self {
        let (sessions, [changes]) = Sessions::new([ListenFor::Yes]);
        let (now, position, ahead) = {
            let world = world.lock().unwrap();
            (world.now, Some(world.objects_from), world.server_ahead)
        };
        let resources = Resources::new(Vec::new());
        resources.simulate(|_| {}, ReadProgress { position, complete: false });
        let outside = SimOutside {
            world,
            name: format!("engine {number}"),
            cluster: "local".parse().unwrap(),
            sessions,
            resources,
            limits: limits(),
            clock_ahead: ahead.into(),
        };
        let instance = Uuid::from_u128(number);
        Self {
            outside: Arc::new(outside),
            instance,
            changes,
            desk: PlannerDesk::new(WaitingRoom::new(instance, Arc::new(limits()))),
            tasks: Vec::new(),
            cursor: 0,
            is_complete: false,
            started: now,
            told: BTreeMap::new(),
            watches: BTreeMap::new(),
            next_sweep: now,
            book: SlotBook::default(),
            objects_read: 0,
            are_objects_complete: false,
            unanswered: BTreeSet::new(),
            seen: HashMap::new(),
            down_until: None,
        }
    }

    /// Loses everything, as a process does that is killed.
    pub fn crash(&mut self, until: u64) {
        let world = Arc::clone(&self.outside.world);
        *self = Self { down_until: Some(until), ..Self::new(world, self.instance.as_u128()) };
    }

    pub fn start(&mut self) {
        let world = Arc::clone(&self.outside.world);
        *self = Self::new(world, self.instance.as_u128());
    }

    pub fn set_peers(&mut self, living: &[Uuid]) {
        self.desk.room.set_peers(living.to_vec());
    }

    pub const fn instance(&self) -> Uuid {
        self.instance
    }

    fn now(&self) -> Now {
        let tick = self.outside.world().now - self.started;
        Now { wall: self.outside.now(), tick: Duration::from_millis(tick) }
    }

    /// When something is to be done although nothing happens.
    pub fn next_wake(&self) -> u64 {
        if let Some(until) = self.down_until {
            return until;
        }
        let timer = self.desk.room.next_timer().filter(|_| self.is_complete && self.are_objects_complete);
        let timer = timer.map(|at| self.started + u64::try_from(at.as_millis()).unwrap() + 1);
        timer.unwrap_or(u64::MAX).min(self.next_sweep)
    }

    /// Whether it does not depend on a message of the log any more.
    pub fn is_past(&self, sequence: u64) -> bool {
        self.down_until.is_some() || self.cursor >= sequence
    }

    pub fn has_unread(&self) -> bool {
        let world = self.outside.world();
        self.cursor < world.log.last || !self.is_complete
    }

    pub fn has_changes(&self) -> bool {
        self.is_complete && self.changes.has_any()
    }

    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Reads up to `number` messages of the log.
    pub fn read(&mut self, number: usize) {
        let (entries, store) = {
            let world = self.outside.world();
            let unread = world.log.entries.range(self.cursor + 1..).take(number);
            let entries: Vec<_> = unread.map(|(_, entry)| (entry.key.clone(), entry.recorded.clone())).collect();
            (entries, world.log.store)
        };
        for (key, recorded) in entries {
            self.cursor = recorded.sequence;
            self.outside.sessions.simulate_fact(key, recorded, self.is_complete);
        }
        if !self.is_complete && self.cursor == self.outside.world().log.last {
            self.is_complete = true;
            self.outside.sessions.simulate_caught_up(store);
        }
    }

    /// Takes a new connection: the view is complete once more.
    pub fn read_again(&mut self) {
        let store = self.outside.world().log.store;
        if self.is_complete {
            self.outside.sessions.simulate_caught_up(store);
        }
    }

    /// Takes in one change of the view; true if there was one.
    pub fn take_change(&mut self) -> bool {
        let Some(change) = self.changes.try_recv() else { return false };
        match &change {
            SessionChange::CaughtUp => {
                self.told =
                    self.outside.sessions.active().into_iter().map(|session| (session.key.uid, session)).collect();
            }
            SessionChange::Folded(session) if session.phase.is_end() => drop(self.told.remove(&session.key.uid)),
            SessionChange::Folded(session) => drop(self.told.insert(session.key.uid, Arc::clone(session))),
        }
        let now = self.now();
        if let Some(lock) = self.desk.take(change, &self.outside.sessions, now) {
            let outside = Arc::clone(&self.outside);
            let HeldLock { key, session } = lock;
            self.spawn(None, async move {
                let _ = outside.release_lock(&key, session).await;
                TaskResult::Other
            });
        }
        self.look();
        true
    }

    /// Starts to look at sessions whose turn it is.
    pub fn look(&mut self) {
        if !self.is_complete || !self.are_objects_complete || self.down_until.is_some() {
            return;
        }
        while self.tasks.len() < CONCURRENCY {
            let now = self.now();
            let Some((of, step)) = self.desk.next(now) else { break };
            self.step(of, step);
        }
        let _ = self.desk.room.changed_counts();
        let tick = self.now().tick;
        let _ = self.desk.room.take_notices(tick);
    }

    fn step(&mut self, of: StepOf, step: NextStep) {
        let plans = match &step {
            NextStep::PlanUnderLock(session, plan) => {
                let uses = self.check_limits(session, plan);
                Some((session.key.uid, session.attempts, uses))
            }
            NextStep::Look(_) | NextStep::Append(..) => None,
        };
        let outside = Arc::clone(&self.outside);
        self.spawn(plans, async move {
            let usage = crate::log_usage::LogUsage::default();
            TaskResult::Step(of, take_step(&*outside, &usage, step).await)
        });
    }

    fn spawn(&mut self, plans: Option<PlannedUses>, future: impl Future<Output = TaskResult> + 'static) {
        self.tasks.push(Task { plans, future: Box::pin(future) });
    }

    /// No session is planned beyond a limit, by everything that this planner was told and does itself.
    fn check_limits(&self, session: &Session, plan: &Plan) -> Vec<Limited> {
        let uid = session.key.uid;
        let uses = |session: &Session, plan: &Plan| {
            let view = self.outside.resources.read();
            limited_uses(&session.key.namespace, plan, &view, &self.outside.limits)
        };
        let wanted = uses(session, plan);
        let others = self.told.values().filter(|other| other.key.uid != uid);
        let planned = others.filter(|other| !matches!(other.phase, Phase::Requested | Phase::Retrying));
        let mut used: BTreeMap<Uuid, Vec<Limited>> = planned
            .filter_map(|other| Some((other.key.uid, uses(other, other.plan.as_deref()?))))
            .map(|(uid, uses)| (uid, uses.into_iter().map(|(used, _)| used).collect()))
            .collect();
        let mine = self.tasks.iter().filter_map(|task| task.plans.clone());
        // A session that has ended or was begun meanwhile uses nothing by this, although its step has not noticed that yet.
        let is_new = |other: &Uuid, attempts: u32| self.told.get(other).is_some_and(|told| told.attempts == attempts);
        let mine = mine.filter(|(other, attempts, _)| *other != uid && is_new(other, *attempts));
        used.extend(mine.map(|(other, _, uses)| (other, uses)));
        for (wanted, limit) in wanted.iter().filter(|(one, limit)| *limit > 0 && !matches!(one, Limited::Queue(..))) {
            let count = used.values().filter(|uses| uses.contains(wanted)).count();
            if count >= usize::try_from(*limit).unwrap() {
                let name = &self.outside.name;
                let what = || format!("{name} plans {} although {count} use {wanted} of {limit}", short(uid));
                self.outside.world().violate(what);
            }
        }
        wanted.into_iter().map(|(used, _)| used).collect()
    }

    /// Lets one of its futures go on to its next gap.
    pub fn poll(&mut self) {
        let at = self.outside.world().rng.usize(0..self.tasks.len());
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(result) = self.tasks[at].future.as_mut().poll(&mut context) else { return };
        self.tasks.swap_remove(at);
        match result {
            TaskResult::Step(of, result) => {
                let objects = self.outside.resources.changes().borrow().sequence();
                let now = self.now();
                if let Some(next) = self.desk.finish(of, result, objects, now) {
                    self.step(of, next);
                }
            }
            TaskResult::Cancel(answer) => self.outside.world().note(|| format!("cancel: {}", answer.message)),
            TaskResult::Slot(slot, outcome) => {
                self.book.settle(&*self.outside, vec![(slot, outcome)]).unwrap();
            }
            TaskResult::Answer(asking, answer) => self.answered(asking, answer),
            TaskResult::Other => {}
        }
        self.look();
    }

    pub fn cancel(&mut self, session: Uuid) {
        let outside = Arc::clone(&self.outside);
        let question = CancelSession { session, by: "ada".to_owned(), reason: String::new() };
        self.spawn(None, async move { TaskResult::Cancel(cancel::cancel(&*outside, question).await) });
    }

    /// One turn of the sweep, if it is time for one.
    pub fn sweep(&mut self) {
        let now = self.outside.world().now;
        if now < self.next_sweep || !self.is_complete {
            return;
        }
        self.next_sweep = now + SWEEP_PAUSE;
        self.schedule();
        let time = self.outside.now();
        let oldest = self.outside.world().oldest;
        let active = self.outside.sessions.active();
        for session in active.into_iter().filter(|session| sweep::concerns(session, time, oldest)) {
            let state = self.holder(&session, now);
            if let Some(fact) = sweep::judge(&session, state, time, oldest) {
                self.end(session, fact);
            }
        }
        let learned = self.outside.world().server_ahead;
        self.outside.clock_ahead.store(learned, Ordering::Relaxed);
    }

    fn end(&mut self, session: Arc<Session>, fact: Fact) {
        let outside = Arc::clone(&self.outside);
        self.spawn(None, async move {
            sweep::end(&*outside, &session, fact).await;
            TaskResult::Other
        });
    }

    fn holder(&mut self, session: &Session, now: u64) -> HolderState {
        let Some(holder) = session.holder.filter(|_| session.phase.is_held()) else { return HolderState::Nobody };
        let beat = self.outside.world().beats.get(&(session.key.uid, holder.worker)).copied();
        let mut watch = self.watches.remove(&session.key.uid);
        let alive = is_alive(&mut watch, beat, now);
        self.watches.extend(watch.map(|watch| (session.key.uid, watch)));
        if alive == Some(false) { HolderState::Dead } else { HolderState::Perhaps }
    }

    /// The sessions left in the room: none may be there when every session has ended.
    pub fn leftovers(&self) -> Vec<&'static str> {
        self.desk.room.leftovers()
    }
}
