//! The waiting room: who is looked at when, and who goes first.
#![allow(clippy::unwrap_used, reason = "tests")]

mod many;

use std::collections::HashMap;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Committing, Counted, Ended, Fact, Holder, Requested, Retrying, Started, Urgency};
use lagan_schemas::plan::{Plan, Work};
use lagan_schemas::session::Recorded;
use lagan_schemas::subject::SessionKind;

use super::*;
use crate::fixtures::{at, story};
use crate::plan::tests::sample;
use crate::view::View;

/// A room, its clock, and the log that it is folded from. Sessions that may go are planned.
struct Rig {
    room: Room,
    seconds: u64,
    log: u64,
    sessions: HashMap<Uuid, Session>,
    plans: HashMap<Uuid, Plan>,
    orders: HashMap<Uuid, (Priority, Overlap)>,
    limits: Arc<Limits>,
    /// A session that was requested, and its plan, to copy.
    session: Session,
    plan: Plan,
}

/// What a test asks of a session.
struct Asked {
    namespace: &'static str,
    target: String,
    /// Configuration; by default each session has one of its own.
    invoker: Option<&'static str>,
    urgent: bool,
    priority: Priority,
    overlap: Overlap,
    time_out: Option<i64>,
}

fn asked(target: impl Into<String>) -> Asked {
    Asked {
        namespace: "demo",
        target: target.into(),
        invoker: None,
        urgent: false,
        priority: Priority::Normal,
        overlap: Overlap::Forbidden,
        time_out: None,
    }
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            room: Room::new(Uuid::from_u128(1), Arc::clone(&limits)),
            seconds: 0,
            log: 0,
            sessions: HashMap::new(),
            plans: HashMap::new(),
            orders: HashMap::new(),
            limits,
            session: story(SessionKind::Backup).end(),
            plan: sample(SessionKind::Backup),
        }
    }

    fn now(&self) -> Now {
        Now { wall: at(self.seconds.cast_signed()), tick: Duration::from_secs(self.seconds) }
    }

    fn request(&mut self, asked: &Asked) -> Uuid {
        let mut session = self.session.clone();
        let uid = Uuid::from_u128(1000 + u128::from(self.log));
        self.log += 1;
        (session.key.uid, session.key.namespace) = (uid, asked.namespace.to_owned());
        let request: &mut Requested = session.request.as_mut().unwrap();
        request.name = format!("s-{}", self.log);
        request.invoker.name = asked.invoker.map_or_else(|| format!("c-{}", self.log), str::to_owned);
        request.priority = if asked.urgent { Urgency::Urgent } else { Urgency::Normal };
        let time = at(self.seconds.cast_signed());
        (session.first_sequence, session.last_sequence) = (self.log, self.log);
        (session.first_time, session.last_time) = (Some(time), Some(time));
        let mut plan = self.plan.clone();
        let Work::Backup(work) = &mut plan.work else { unreachable!("a backup") };
        work.target.reference.name = asked.target.clone();
        work.target.reference.namespace = Some(asked.namespace.to_owned());
        // Targets `a-1` and `a-2` are databases of one server `a`.
        work.target.database.host = asked.target.split('-').next().unwrap().to_owned();
        plan.deadline = asked.time_out.map(|seconds| at(self.seconds.cast_signed() + seconds));
        self.plans.insert(uid, plan);
        self.orders.insert(uid, (asked.priority, asked.overlap));
        self.sessions.insert(uid, session);
        self.fold(uid);
        uid
    }

    fn requests(&mut self, number: usize, asked: &Asked) -> Vec<Uuid> {
        (0..number).map(|_| self.request(asked)).collect()
    }

    fn fold(&mut self, uid: Uuid) {
        let session = Arc::new(self.sessions[&uid].clone());
        let now = self.now();
        self.room.fold(&session, now);
    }

    fn append(&mut self, uid: Uuid, fact: Fact) {
        self.log += 1;
        let (sequence, time) = (self.log, at(self.seconds.cast_signed()));
        let session = self.sessions.get_mut(&uid).unwrap();
        let pool = session.pool_of(&fact).map(str::to_owned);
        session.apply(Recorded { sequence, time, pool, fact: Some(fact) });
        assert_eq!(session.illegal_facts, 0, "{session:?}");
        self.fold(uid);
    }

    fn holder(&self, uid: Uuid) -> Holder {
        Holder { attempt: self.sessions[&uid].attempts.max(1), worker: Uuid::from_u128(5) }
    }

    fn start(&mut self, uid: Uuid) {
        let holder = Holder { attempt: self.sessions[&uid].attempts + 1, worker: Uuid::from_u128(5) };
        self.append(uid, Fact::Started(Started { holder, host: "w".to_owned() }));
    }

    fn commit(&mut self, uid: Uuid) {
        let (holder, target, repository) = (self.holder(uid), "db".to_owned(), "demo/repo".to_owned());
        self.append(uid, Fact::Committing(Committing { holder, target, repository }));
    }

    fn end(&mut self, uid: Uuid) {
        let failure = Failure::new(Code::Expired, "ended");
        let (results, rejected_snapshots, conditions) = (Vec::new(), Vec::new(), Vec::new());
        let ended = Ended { holder: None, failure, results, rejected_snapshots, conditions };
        self.append(uid, Fact::Failed(ended));
    }

    fn retry(&mut self, uid: Uuid, code: Code, delay: i64) {
        let holder = self.holder(uid);
        let retrying = Retrying {
            holder,
            failure: Failure::new(code, "again"),
            after: at(self.seconds.cast_signed() + delay),
            counted: Counted::No,
            results: Vec::new(),
            rejected_snapshots: Vec::new(),
            conditions: Vec::new(),
        };
        self.append(uid, Fact::Retrying(retrying));
    }

    /// Looks at everything that is due, and plans what may go. Returns those in their order.
    fn turn(&mut self) -> Vec<Uuid> {
        let mut planned = Vec::new();
        while let Some(uid) = self.look() {
            if self.admit(uid) == Admission::Go {
                self.append(uid, Fact::Planned(Box::new(self.plans[&uid].clone())));
                planned.push(uid);
            }
        }
        planned
    }

    fn look(&mut self) -> Option<Uuid> {
        let now = self.now();
        self.room.next(now).map(|look| look.session.key.uid)
    }

    fn admit(&mut self, uid: Uuid) -> Admission {
        let (priority, overlap) = self.orders[&uid];
        let (session, plan) = (&self.sessions[&uid], &self.plans[&uid]);
        let needs = Needs {
            order: Order::of(session, priority),
            overlap,
            uses: limited_uses(&session.key.namespace, plan, &View::default(), &self.limits),
            expires: plan.deadline,
        };
        let now = self.now();
        self.room.admit(uid, needs, now)
    }

    fn cause(&self, uid: Uuid) -> &'static str {
        self.room.waiters[&uid].cause.reason()
    }
}

fn room() -> Rig {
    Rig::new(Limits::default())
}

#[test]
fn those_that_wait_for_one_target_delay_no_other_and_cost_nothing() {
    let mut rig = room();
    let holder = rig.request(&asked("locked"));
    assert_eq!(rig.turn(), [holder]);
    let waiting = rig.requests(80, &asked("locked"));
    assert!(rig.turn().is_empty());
    assert_eq!(rig.room.next_timer(), None, "nobody looks again");
    let other = rig.request(&asked("free"));
    assert_eq!(rig.look(), Some(other), "the only one that is looked at");
    assert_eq!(rig.admit(other), Admission::Go);
    rig.end(holder);
    assert_eq!(rig.turn(), [waiting[0]]);
    assert_eq!(rig.cause(waiting[1]), "TargetBusy");
}

#[test]
fn on_one_target_those_that_a_person_asked_for_come_first_then_the_order_is_priority_then_arrival() {
    let mut rig = room();
    let holder = rig.request(&asked("db"));
    rig.turn();
    let low = rig.request(&Asked { priority: Priority::Low, ..asked("db") });
    let first = rig.request(&asked("db"));
    let second = rig.request(&asked("db"));
    let high = rig.request(&Asked { priority: Priority::High, ..asked("db") });
    let urgent = rig.request(&Asked { urgent: true, ..asked("db") });
    assert!(rig.turn().is_empty());
    let mut order = vec![holder];
    for _ in 0..5 {
        rig.end(*order.last().unwrap());
        order.extend(rig.turn());
    }
    assert_eq!(order[1..], [urgent, high, first, second, low]);
}

#[test]
fn a_retry_gives_its_target_back_and_is_looked_at_when_its_time_has_come() {
    let mut rig = room();
    let failing = rig.request(&asked("db"));
    rig.turn();
    let next = rig.request(&asked("db"));
    assert!(rig.turn().is_empty());
    rig.start(failing);
    rig.retry(failing, Code::Stalled, 50);
    assert_eq!(rig.turn(), [next], "the target is free while nobody works on it");
    rig.end(next);
    rig.seconds += 49;
    assert!(rig.turn().is_empty());
    rig.seconds += 1;
    assert_eq!(rig.turn(), [failing]);
}

#[test]
fn a_retry_time_of_a_wrong_clock_is_not_waited_for() {
    let mut rig = room();
    let failing = rig.request(&asked("db"));
    rig.turn();
    rig.start(failing);
    rig.retry(failing, Code::Stalled, 86_400);
    rig.seconds += 60;
    assert_eq!(rig.turn(), [failing]);
}

#[test]
fn each_session_is_looked_at_by_one_planner_and_by_the_others_two_seconds_later() {
    let planners = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let mut rigs = planners.map(|me| {
        let mut rig = room();
        rig.room.me = me;
        rig.room.set_peers(planners.to_vec());
        rig
    });
    let mut looks = [0, 0];
    for (index, rig) in rigs.iter_mut().enumerate() {
        rig.requests(100, &asked("db"));
        while rig.look().is_some() {
            looks[index] += 1;
        }
    }
    assert!(looks[0] + looks[1] == 100 && looks[0] > 20 && looks[1] > 20, "{looks:?}");
    for (index, rig) in rigs.iter_mut().enumerate() {
        rig.seconds += 1;
        assert_eq!(rig.look(), None);
        rig.seconds += 1;
        while rig.look().is_some() {
            looks[index] += 1;
        }
    }
    assert_eq!(looks, [100, 100]);
}

#[test]
fn a_slot_is_skipped_behind_another_session_of_its_configuration() {
    let mut rig = room();
    let slot = |overlap| Asked { invoker: Some("shop"), overlap, ..asked("db") };
    let holder = rig.request(&asked("db"));
    rig.turn();
    let first = rig.request(&slot(Overlap::ForbiddenSlot));
    let second = rig.request(&slot(Overlap::ForbiddenSlot));
    let by_hand = rig.request(&slot(Overlap::Forbidden));
    let allowed = rig.request(&slot(Overlap::Allowed));
    let mut skipped = Vec::new();
    while let Some(uid) = rig.look() {
        if let Admission::Skipped { behind, waits, .. } = rig.admit(uid) {
            skipped.push((uid, behind, waits));
        }
    }
    assert_eq!(skipped, [(second, first, true)], "slots do not pile up behind a locked target");
    rig.end(holder);
    assert_eq!(rig.look(), Some(first));
    assert_eq!(rig.admit(first), Admission::Go);
    rig.append(first, Fact::Planned(Box::new(rig.plans[&first].clone())));
    let looked = [rig.look(), rig.look(), rig.look()];
    assert!(looked.contains(&Some(by_hand)) && !looked.contains(&Some(allowed)), "{looked:?}");
    assert!(matches!(rig.admit(by_hand), Admission::Skipped { behind, waits: false, .. } if behind == first));
}

#[test]
fn a_session_that_lacks_objects_is_looked_at_when_they_change() {
    let mut rig = room();
    let session = rig.request(&asked("db"));
    assert_eq!(rig.look(), Some(session));
    let until = Until::Objects { pause: Duration::from_secs(1), latest: Duration::from_secs(60) };
    rig.room.wait(session, Cause::Objects(vec!["Repository demo/repo".to_owned()]), until, rig.now());
    assert!(rig.room.lacks_objects());
    rig.room.objects_changed(rig.now());
    assert_eq!(rig.look(), None, "changes come in bursts");
    rig.seconds += 1;
    assert_eq!(rig.look(), Some(session));
    assert!(!rig.room.lacks_objects());
    rig.room.wait(session, Cause::Objects(Vec::new()), until, rig.now());
    rig.seconds += 60;
    assert_eq!(rig.look(), Some(session), "at the latest by its timer");
}

#[test]
fn a_session_behind_another_is_looked_at_when_that_one_ends_or_retries() {
    for retries in [false, true] {
        let mut rig = room();
        let other = rig.request(&asked("a"));
        let session = rig.request(&asked("b"));
        assert_eq!(rig.look(), Some(other));
        rig.admit(other);
        rig.append(other, Fact::Planned(Box::new(rig.plans[&other].clone())));
        assert_eq!(rig.look(), Some(session));
        let until = Until::SessionEnds(other, Duration::from_secs(30));
        rig.room.wait(session, Cause::Session("s-1".to_owned()), until, rig.now());
        rig.start(other);
        assert_eq!(rig.look(), None);
        if retries {
            rig.retry(other, Code::Stalled, 50);
        } else {
            rig.end(other);
        }
        assert_eq!(rig.look(), Some(session));
    }
}

#[test]
fn a_session_in_line_is_looked_at_when_its_time_is_over() {
    let mut rig = room();
    rig.request(&asked("db"));
    rig.turn();
    let session = rig.request(&Asked { time_out: Some(10), ..asked("db") });
    assert!(rig.turn().is_empty());
    rig.seconds += 11;
    let look = rig.room.next(rig.now()).unwrap();
    assert_eq!((look.session.key.uid, look.cause.reason()), (session, "TargetBusy"));
}

#[test]
fn a_cancelled_session_is_looked_at_at_once() {
    let mut rig = room();
    rig.request(&asked("db"));
    rig.turn();
    let waiting = rig.request(&asked("db"));
    rig.turn();
    let session = rig.sessions.get_mut(&waiting).unwrap();
    *session = story(SessionKind::Backup).cancel_requested(1).end();
    session.key.uid = waiting;
    rig.fold(waiting);
    assert_eq!(rig.look(), Some(waiting));
}

#[test]
fn a_planner_that_died_with_the_turn_of_a_session_costs_two_seconds() {
    let mut rig = room();
    let planners = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let holder = rig.request(&asked("db"));
    rig.turn();
    // Both wait in line here; whose turn it is may be the other planner's to see.
    let waiting = rig.requests(2, &asked("db"));
    rig.turn();
    rig.room.set_peers(planners.to_vec());
    let first_is_mine = rig.room.is_mine(waiting[0]);
    rig.room.me = if first_is_mine { planners[1] } else { planners[0] };
    rig.end(holder);
    assert!(rig.turn().is_empty(), "the second in line does not overtake");
    rig.seconds += 2;
    assert_eq!(rig.turn(), [waiting[0]]);
}
