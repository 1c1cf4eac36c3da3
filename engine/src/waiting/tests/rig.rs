//! A room with a log of its own, for tests.

use std::collections::HashMap;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Committing, Counted, Ended, Fact, Holder, Requested, Retrying, Started, Urgency};
use lagan_schemas::plan::{Plan, Work};
use lagan_schemas::session::{Recorded, RecordedContent};
use lagan_schemas::subject::SessionKind;

use lagan_schemas::resource::backup_configuration::Priority;
use lagan_schemas::session::Session;

use super::super::*;
use crate::fixtures::{at, story};
use crate::plan::tests::sample;
use crate::view::View;

/// A room, its clock, and the log that it is folded from. Sessions that may go are planned.
pub struct WaitingRig {
    pub room: WaitingRoom,
    pub seconds: u64,
    pub log: u64,
    pub sessions: HashMap<Uuid, Session>,
    pub plans: HashMap<Uuid, Plan>,
    pub orders: HashMap<Uuid, (Priority, Overlap)>,
    /// The limits that annotations set.
    pub server_limits: HashMap<Uuid, u32>,
    pub limits: Arc<Limits>,
    pub looks: HashMap<Uuid, u64>,
    /// A session that was requested, and its plan, to copy.
    pub session: Session,
    pub plan: Plan,
}

/// What a test asks of a session.
pub struct AskedSession {
    pub namespace: &'static str,
    pub target: String,
    /// Configuration; by default each session has one of its own.
    pub invoker: Option<&'static str>,
    pub urgent: bool,
    pub priority: Priority,
    pub overlap: Overlap,
    pub time_out: Option<i64>,
    pub server_limit: Option<u32>,
}

pub fn asked(target: impl Into<String>) -> AskedSession {
    AskedSession {
        namespace: "demo",
        target: target.into(),
        invoker: None,
        urgent: false,
        priority: Priority::Normal,
        overlap: Overlap::Forbidden,
        time_out: None,
        server_limit: None,
    }
}

impl WaitingRig {
    pub fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            room: WaitingRoom::new(Uuid::from_u128(1), Arc::clone(&limits)),
            seconds: 0,
            log: 0,
            sessions: HashMap::new(),
            plans: HashMap::new(),
            orders: HashMap::new(),
            server_limits: HashMap::new(),
            limits,
            looks: HashMap::new(),
            session: story(SessionKind::Backup).end(),
            plan: sample(SessionKind::Backup),
        }
    }

    pub fn now(&self) -> Now {
        Now { wall: at(self.seconds.cast_signed()), tick: Duration::from_secs(self.seconds) }
    }

    pub fn request(&mut self, asked: &AskedSession) -> Uuid {
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
        self.server_limits.extend(asked.server_limit.map(|limit| (uid, limit)));
        self.sessions.insert(uid, session);
        self.fold(uid);
        uid
    }

    pub fn requests(&mut self, number: usize, asked: &AskedSession) -> Vec<Uuid> {
        (0..number).map(|_| self.request(asked)).collect()
    }

    pub fn fold(&mut self, uid: Uuid) {
        let session = Arc::new(self.sessions[&uid].clone());
        let now = self.now();
        self.room.fold(&session, now);
    }

    pub fn append(&mut self, uid: Uuid, fact: Fact) {
        self.log += 1;
        let (sequence, time) = (self.log, at(self.seconds.cast_signed()));
        let session = self.sessions.get_mut(&uid).unwrap();
        let pool = session.pool_of(&fact).map(str::to_owned);
        session.apply(Recorded { sequence, time, pool, content: RecordedContent::Fact(fact) });
        assert_eq!(session.illegal_facts, 0, "{session:?}");
        self.fold(uid);
    }

    pub fn holder(&self, uid: Uuid) -> Holder {
        Holder { attempt: self.sessions[&uid].attempts.max(1), worker: Uuid::from_u128(5) }
    }

    pub fn start(&mut self, uid: Uuid) {
        let holder = Holder { attempt: self.sessions[&uid].attempts + 1, worker: Uuid::from_u128(5) };
        self.append(uid, Fact::Started(Started { holder, host: "w".to_owned() }));
    }

    pub fn commit(&mut self, uid: Uuid) {
        let (holder, target, repository) = (self.holder(uid), "db".to_owned(), "demo/repo".to_owned());
        self.append(uid, Fact::Committing(Committing { holder, target, repository }));
    }

    pub fn end(&mut self, uid: Uuid) {
        let failure = Failure::new(Code::Expired, "ended");
        let (results, rejected_snapshots, conditions) = (Vec::new(), Vec::new(), Vec::new());
        let ended = Ended { holder: None, failure, results, rejected_snapshots, conditions };
        self.append(uid, Fact::Failed(ended));
    }

    pub fn retry(&mut self, uid: Uuid, code: Code, delay: i64) {
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
    pub fn turn(&mut self) -> Vec<Uuid> {
        let mut planned = Vec::new();
        while let Some(uid) = self.look() {
            if self.admit(uid) == Admission::Go {
                self.append(uid, Fact::Planned(Box::new(self.plans[&uid].clone())));
                planned.push(uid);
            }
        }
        planned
    }

    pub fn look(&mut self) -> Option<Uuid> {
        let now = self.now();
        let look = self.room.next(now)?;
        self.looks.insert(look.session.key.uid, look.number);
        Some(look.session.key.uid)
    }

    pub fn admit(&mut self, uid: Uuid) -> Admission {
        let (priority, overlap) = self.orders[&uid];
        let (session, plan) = (&self.sessions[&uid], &self.plans[&uid]);
        let mut uses = limited_uses(&session.key.namespace, plan, &View::default(), &self.limits);
        for (used, limit) in &mut uses {
            if let (Limited::Server(_), Some(own)) = (used, self.server_limits.get(&uid)) {
                *limit = *own;
            }
        }
        let needs = SessionNeeds {
            order: WaitOrder::of(session, priority),
            overlap,
            uses,
            objects: limiting_objects(plan),
            expires: plan.deadline,
            patience: AnswerPatience::of(session, plan),
        };
        let now = self.now();
        self.room.admit(uid, self.looks[&uid], needs, now)
    }

    pub fn wait(&mut self, uid: Uuid, cause: WaitCause, until: Until) {
        let (look, now) = (self.looks[&uid], self.now());
        self.room.wait(uid, look, cause, until, now);
    }

    pub fn cause(&self, uid: Uuid) -> &'static str {
        self.room.waiters[&uid].cause.reason()
    }
}

pub fn room() -> WaitingRig {
    WaitingRig::new(Limits::default())
}
