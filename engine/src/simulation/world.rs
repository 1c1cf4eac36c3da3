//! Everything outside the processes: a model of JetStream (logs with compare-and-set, key-value buckets, a consumer), of the
//! source of intent, of repositories, and the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::lock::LockHolder;
use lagan_schemas::fact::{Fact, FactKind};
use lagan_schemas::position::{Position, StoreId};
use lagan_schemas::resource::Object;
use lagan_schemas::session::{Author, Recorded, RecordedContent, Session};
use lagan_schemas::subject::SessionKey;
use uuid::Uuid;

use super::asked::AskedPlan;
use super::checks::{self, History};
use super::coverage::Coverage;
use crate::fixtures::START;

pub const SECOND: u64 = 1000;
/// Time without a heartbeat after which a worker counts as dead, and a message is delivered again.
pub const FAILOVER: u64 = 30 * SECOND;

/// A message of the log, by its sequence.
pub struct LogEntry {
    pub key: SessionKey,
    pub recorded: Recorded,
    pub id: Uuid,
}

/// The stream of facts.
pub struct SimLog {
    pub store: StoreId,
    pub last: u64,
    pub entries: BTreeMap<u64, LogEntry>,
    /// The fold of every session that has facts.
    pub sessions: BTreeMap<Uuid, Session>,
}

/// A `planned` message of the workers' consumer.
#[derive(Debug, Clone, Copy)]
pub struct SimDelivery {
    pub uid: Uuid,
    /// When it is delivered again.
    pub due: u64,
}

#[derive(Debug, Clone)]
pub struct SimSnapshot {
    pub session: Uuid,
    pub is_sound: bool,
}

/// How an effect fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// The request did not arrive.
    Lost,
    /// It was done, and the answer did not arrive.
    Unanswered,
}

pub struct SimWorld {
    pub rng: fastrand::Rng,
    /// Milliseconds of the true, steady time.
    pub now: u64,
    /// Seconds by which the NATS server's clock is ahead.
    pub server_ahead: i64,
    pub log: SimLog,
    /// Keys of LOCKS with their revisions.
    pub locks: BTreeMap<String, (u64, Option<LockHolder>)>,
    lock_revision: u64,
    /// Last heartbeats, by session and worker.
    pub beats: BTreeMap<(Uuid, Uuid), u64>,
    pub deliveries: BTreeMap<u64, SimDelivery>,
    pub snapshots: Vec<SimSnapshot>,
    pub asked: BTreeMap<Uuid, AskedPlan>,
    /// Messages of RESOURCES.
    pub objects: Vec<Arc<Object>>,
    /// The store of RESOURCES, and the sequence before its first message.
    pub objects_from: Position,
    /// The source of intent: restores that may begin, sessions that have ended, slots that were decided.
    pub recorded_restores: BTreeSet<Uuid>,
    pub ended_at_source: BTreeSet<Uuid>,
    pub marks: BTreeMap<Uuid, Timestamp>,
    /// Facts of ended sessions that the reporter has yet to report.
    pub unreported: VecDeque<Uuid>,
    /// Since when each worker process has been running without a stop.
    pub running_since: BTreeMap<Uuid, u64>,
    /// The age at which sessions end (P14): minutes, so that a simulation need not last for days.
    pub oldest: Duration,
    pub is_calm: bool,
    pub history: History,
    pub coverage: Coverage,
    pub violation: Option<String>,
    trace: Option<Vec<String>>,
}

impl SimWorld {
    pub fn new(seed: u64, traced: bool) -> Self {
        let store = |number: i64| StoreId::created(Timestamp::from_second(START - 1000 + number).unwrap());
        let mut rng = fastrand::Rng::with_seed(seed);
        let oldest = Duration::from_secs([90, 600, 3600, 3600][rng.usize(0..4)]);
        Self {
            rng,
            now: 0,
            server_ahead: 0,
            log: SimLog { store: store(1), last: 0, entries: BTreeMap::new(), sessions: BTreeMap::new() },
            locks: BTreeMap::new(),
            lock_revision: 0,
            beats: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            snapshots: Vec::new(),
            asked: BTreeMap::new(),
            objects: Vec::new(),
            objects_from: Position { store: store(0), sequence: 1000 },
            recorded_restores: BTreeSet::new(),
            ended_at_source: BTreeSet::new(),
            marks: BTreeMap::new(),
            unreported: VecDeque::new(),
            running_since: BTreeMap::new(),
            oldest,
            is_calm: false,
            history: History::default(),
            coverage: Coverage::default(),
            violation: None,
            trace: traced.then(Vec::new),
        }
    }

    /// The time by the clock of the NATS server.
    pub fn server_time(&self) -> Timestamp {
        Self::time_of(self.now, self.server_ahead)
    }

    pub fn time_of(now: u64, ahead: i64) -> Timestamp {
        Timestamp::from_millisecond((START + ahead) * 1000 + now.cast_signed()).unwrap()
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", Duration::from_millis(now).as_secs_f64(), text()));
        }
    }

    pub fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    pub fn violate(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            self.note(|| format!("VIOLATION {what}"));
            self.violation = Some(what);
        }
    }

    /// One in `n`; never once faults are over.
    pub fn fault(&mut self, n: u32) -> bool {
        !self.is_calm && self.rng.u32(0..n) == 0
    }

    pub fn fate(&mut self) -> Fate {
        if !self.fault(40) {
            return Fate::Done;
        }
        let fate = if self.rng.bool() { Fate::Lost } else { Fate::Unanswered };
        self.coverage.fault(if fate == Fate::Lost { "request lost" } else { "answer lost" });
        fate
    }

    pub fn session(&self, key: &SessionKey) -> Session {
        self.log.sessions.get(&key.uid).cloned().unwrap_or_else(|| Session::new(key.clone()))
    }

    /// Stores a fact behind `expected`, the last sequence of its session. The same id is stored once. `None` if another
    /// writer was first.
    pub fn append(&mut self, seen: &Session, id: Uuid, (author, name): (Author, &str), fact: Fact) -> Option<u64> {
        let (key, expected) = (&seen.key, seen.last_sequence);
        let before = self.session(key);
        if self.log.entries.get(&before.last_sequence).is_some_and(|last| last.id == id) {
            return Some(before.last_sequence);
        }
        let expected = if mutant!("append-without-compare") { before.last_sequence } else { expected };
        if before.last_sequence != expected {
            self.coverage.fault("lost race");
            return None;
        }
        let kind = fact.kind();
        let pool = before.pool_of(&fact).map(str::to_owned);
        let (sequence, time) = (self.log.last + 1, self.server_time());
        let recorded = Recorded { sequence, time, pool, content: RecordedContent::Fact(fact) };
        let mut after = before.clone();
        after.apply(recorded.clone());
        self.note(|| format!("{name}: {} of {} is {sequence}", kind.as_str(), short(key.uid)));
        checks::appended(self, author, &before, &after, &recorded);
        self.log.last = sequence;
        if kind == FactKind::Planned {
            self.deliveries.insert(sequence, SimDelivery { uid: key.uid, due: self.now });
        }
        if after.phase.is_end() {
            self.unreported.push_back(key.uid);
        }
        self.log.sessions.insert(key.uid, after);
        self.log.entries.insert(sequence, LogEntry { key: key.clone(), recorded, id });
        Some(sequence)
    }

    /// Writes a key of LOCKS if its revision is still `seen`.
    pub fn put_lock(&mut self, key: &str, seen: u64, holder: Option<LockHolder>) -> bool {
        if self.locks.get(key).map_or(0, |(revision, _)| *revision) != seen {
            return false;
        }
        self.lock_revision += 1;
        self.note(|| format!("lock {key} is of {:?}", holder.as_ref().map(|holder| short_text(&holder.owner))));
        self.locks.insert(key.to_owned(), (self.lock_revision, holder));
        true
    }

    /// Stores a message that is no fact on the subject of a session.
    pub fn append_garbage(&mut self, uid: Uuid) {
        let Some(session) = self.log.sessions.get_mut(&uid) else { return };
        let (sequence, key) = (self.log.last + 1, session.key.clone());
        let content = RecordedContent::Garbage("garbage".to_owned());
        let recorded = Recorded { sequence, time: Timestamp::UNIX_EPOCH, pool: None, content };
        session.apply(recorded.clone());
        self.log.last = sequence;
        self.log.entries.insert(sequence, LogEntry { key, recorded, id: Uuid::nil() });
    }

    /// Forgets the facts of a session, as the stream does when they are old.
    pub fn expire(&mut self, uid: Uuid) {
        self.log.sessions.remove(&uid);
        self.log.entries.retain(|_, entry| entry.key.uid != uid);
    }

    /// Position of the message of RESOURCES with this number.
    pub fn object_position(&self, number: usize) -> Position {
        let sequence = self.objects_from.sequence + u64::try_from(number).unwrap();
        Position { sequence, ..self.objects_from }
    }

    /// Whether every session that was accepted has ended, and its end was reported.
    pub fn is_done(&self) -> bool {
        let is_known = |uid| self.log.sessions.contains_key(uid) || self.ended_at_source.contains(uid);
        self.log.sessions.values().all(|session| session.phase.is_end())
            && self.unreported.is_empty()
            && self.asked.keys().all(is_known)
    }
}

/// The end of a uid, for people.
pub fn short(uid: Uuid) -> String {
    short_text(&uid.to_string())
}

fn short_text(text: &str) -> String {
    text.get(text.len().saturating_sub(6)..).unwrap_or(text).to_owned()
}
