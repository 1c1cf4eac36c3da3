//! One attempt of a simulated worker at a session: `started`, the gate, the snapshot, the read-back, or the restore.

use std::sync::OnceLock;

use lagan_schemas::error::{Class, Code, Failure};
use lagan_schemas::fact::{
    Committing, Counted, Ended, Fact, Holder, Restoring, Retrying, Started, Succeeded, TargetResult,
};
use lagan_schemas::session::{Author, Course, Phase, Session};
use uuid::Uuid;

use crate::fixtures::result;
use crate::simulation::world::{FAILOVER, Fate, SECOND, SimSnapshot, SimWorld};

const LOST_WORKERS: u32 = 3;
/// Failures of attempts, as a database, a storage, a dump and a server that refuses cause them.
const CODES: [Code; 5] = [
    Code::DatabaseUnreachable,
    Code::StorageUnreachable,
    Code::DumpTruncated,
    Code::ConnectionLost,
    Code::AccessDenied,
];

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Start,
    Work,
    Commit,
    Write,
    ReadBack(usize),
    Restore,
    Feed(u32),
    Conclude(Box<Fact>),
}

/// A session that a worker holds.
pub struct SimAttempt {
    pub session: Session,
    holder: Holder,
    pub delivery: u64,
    stage: Stage,
    /// The id of the fact that is being appended, kept while its outcome is unknown.
    id: Uuid,
    pub next_at: u64,
    pub beat_at: u64,
    rejected: Vec<String>,
}

/// The result of an append.
enum Appended {
    Yes,
    Later,
    Fenced,
}

impl SimAttempt {
    pub fn new(session: Session, holder: Holder, (delivery, id): (u64, Uuid), now: u64) -> Self {
        let (stage, rejected) = (Stage::Start, Vec::new());
        Self { session, holder, delivery, stage, id, next_at: now, beat_at: now, rejected }
    }

    /// Gives the session back. A fact whose outcome is unknown is not asked for any more.
    pub fn interrupt(&mut self, world: &mut SimWorld, clock: jiff::Timestamp) {
        if !matches!(self.stage, Stage::Conclude(_) | Stage::Start) {
            self.id = Uuid::from_u128(world.rng.u128(..));
            self.fail(Code::Interrupted, clock);
            self.next_at = world.now;
        }
    }

    /// Does the next thing; false if the session is not held any more.
    pub fn advance(&mut self, world: &mut SimWorld, clock: jiff::Timestamp, name: &str) -> bool {
        let now = world.now;
        self.next_at = now + world.rng.u64(0..2 * SECOND);
        match self.stage.clone() {
            Stage::Start => {
                let fact = Fact::Started(Started { holder: self.holder, host: "host".to_owned() });
                self.say(world, Author::Successor, fact, name, Stage::Work)
            }
            Stage::Work => {
                self.next_at = now + world.rng.u64(0..20 * SECOND);
                self.work(world, clock)
            }
            Stage::Commit => {
                let (holder, target, repository) = (self.holder, "db".to_owned(), "demo/repo".to_owned());
                let fact = Fact::Committing(Committing { holder, target, repository });
                self.say(world, Author::Holder, fact, name, Stage::Write)
            }
            Stage::Write => {
                let is_sound = world.rng.u32(0..8) > 0;
                world.snapshots.push(SimSnapshot { session: self.session.key.uid, is_sound });
                self.stage = Stage::ReadBack(world.snapshots.len() - 1);
                true
            }
            Stage::ReadBack(snapshot) => {
                self.read_back(world, snapshot, clock);
                true
            }
            Stage::Restore => {
                let fact = Fact::Restoring(Restoring {
                    holder: self.holder,
                    target: "db".to_owned(),
                    repository: "demo/repo".to_owned(),
                    snapshot: "s".to_owned(),
                    size_bytes: 1,
                    databases: Vec::new(),
                    database_count: 0,
                });
                let blocks = world.rng.u32(0..6);
                self.say(world, Author::Holder, fact, name, Stage::Feed(blocks))
            }
            Stage::Feed(blocks) => self.feed(world, blocks, clock),
            Stage::Conclude(fact) => self.conclude(world, *fact, name),
        }
    }

    /// Reads the log again; false if another has taken the session over.
    fn refresh(&mut self, world: &SimWorld) -> bool {
        let newest = world.session(&self.session.key);
        let is_ours = newest.holder == Some(self.holder) && newest.phase == self.session.phase;
        self.session = newest;
        is_ours
    }

    fn append(&mut self, world: &mut SimWorld, author: Author, fact: &Fact, name: &str) -> Appended {
        // As `Held` does: who has read that another holds the session is fenced.
        if author == Author::Holder && self.session.holder != Some(self.holder) {
            return Appended::Fenced;
        }
        let fate = world.fate();
        if fate == Fate::Lost {
            return Appended::Later;
        }
        let is_legal = if mutant!("restore-again") { true } else { self.session.check(author, fact.kind()).is_ok() };
        if !is_legal {
            return Appended::Fenced;
        }
        let fact = self.session.completed(fact.clone());
        let stored = world.append(&self.session, self.id, (author, name), fact);
        if fate == Fate::Unanswered {
            return Appended::Later;
        }
        if stored.is_some() {
            self.session = world.session(&self.session.key);
            self.id = Uuid::from_u128(world.rng.u128(..));
            return Appended::Yes;
        }
        // Only a cancel request may have come between (P1).
        let known = self.session.last_sequence;
        if author == Author::Holder && self.refresh(world) && self.session.last_sequence > known {
            return Appended::Later;
        }
        Appended::Fenced
    }

    fn say(&mut self, world: &mut SimWorld, author: Author, fact: Fact, name: &str, next: Stage) -> bool {
        match self.append(world, author, &fact, name) {
            Appended::Yes => self.stage = next,
            Appended::Later => self.next_at = world.now + SECOND,
            Appended::Fenced => {
                if author == Author::Successor
                    && let Some(delivery) = world.deliveries.get_mut(&self.delivery)
                {
                    delivery.due = world.now;
                }
                return false;
            }
        }
        true
    }

    fn conclude(&mut self, world: &mut SimWorld, fact: Fact, name: &str) -> bool {
        match self.append(world, Author::Holder, &fact, name) {
            Appended::Yes => {
                world.deliveries.remove(&self.delivery);
                false
            }
            Appended::Later => {
                self.next_at = world.now + SECOND;
                true
            }
            Appended::Fenced => false,
        }
    }

    fn work(&mut self, world: &mut SimWorld, clock: jiff::Timestamp) -> bool {
        if !self.refresh(world) {
            return false;
        }
        let plan = self.session.plan.clone().unwrap();
        if self.session.cancel.is_some() {
            self.fail(Code::Cancelled, clock);
        } else if plan.deadline.is_some_and(|deadline| world.server_time() > deadline) {
            self.fail(Code::DeadlineExceeded, clock);
        } else if self.session.lost_workers > LOST_WORKERS {
            self.fail(Code::WorkerLost, clock);
        } else if let Some(snapshot) = self.own_snapshot(world) {
            self.succeed(vec![snapshot]);
        } else if world.rng.u32(0..if world.is_calm { 12 } else { 4 }) == 0 {
            let code = CODES[world.rng.usize(0..CODES.len())];
            self.fail(code, clock);
        } else {
            match self.session.course() {
                Course::Backup | Course::Maintenance => self.stage = Stage::Commit,
                Course::Restore => self.stage = Stage::Restore,
                Course::DryRun => self.succeed(Vec::new()),
            }
        }
        true
    }

    /// The sound snapshot of an earlier attempt, which is adopted (P10).
    fn own_snapshot(&mut self, world: &SimWorld) -> Option<usize> {
        if self.session.course() != Course::Backup {
            return None;
        }
        let own = world.snapshots.iter().enumerate().filter(|(_, one)| one.session == self.session.key.uid);
        let (sound, broken): (Vec<_>, Vec<_>) =
            own.partition(|(_, one)| if mutant!("broken-adopted") { true } else { one.is_sound });
        self.rejected = broken.into_iter().map(|(at, _)| at.to_string()).collect();
        sound.first().map(|(at, _)| *at)
    }

    fn read_back(&mut self, world: &mut SimWorld, snapshot: usize, clock: jiff::Timestamp) {
        let is_sound = if mutant!("not-read-back") { true } else { world.snapshots[snapshot].is_sound };
        if world.session(&self.session.key).cancel.is_some() {
            self.refresh(world);
            self.fail(Code::Cancelled, clock);
        } else if !is_sound {
            self.rejected.push(snapshot.to_string());
            // It is written once more at once, or by another attempt.
            if world.rng.bool() { self.stage = Stage::Commit } else { self.fail(Code::ReadBackFailed, clock) }
        } else if world.rng.u32(0..8) == 0 {
            self.fail(Code::ConnectionLost, clock);
        } else {
            self.succeed(vec![snapshot]);
        }
    }

    fn feed(&mut self, world: &mut SimWorld, blocks: u32, clock: jiff::Timestamp) -> bool {
        // A worker that stood still feeds nothing before the log confirms that it still holds the session (P12).
        let is_stale = world.now > self.beat_at + FAILOVER / 2;
        let is_ours = self.refresh(world);
        if !is_ours {
            return false;
        }
        if is_stale {
            return true;
        }
        if self.session.cancel.is_some() {
            self.fail(Code::Cancelled, clock);
        } else if world.rng.u32(0..16) == 0 {
            self.fail(Code::RestoreFailed, clock);
        } else if blocks == 0 {
            self.succeed(Vec::new());
        } else {
            // The next database begins now and then.
            self.stage = if world.rng.u32(0..4) == 0 { Stage::Restore } else { Stage::Feed(blocks - 1) };
        }
        true
    }

    fn succeed(&mut self, snapshots: Vec<usize>) {
        let results: Vec<TargetResult> =
            snapshots.into_iter().map(|at| TargetResult { snapshot: at.to_string(), ..any_result() }).collect();
        let (holder, conditions) = (self.holder, Vec::new());
        self.stage = Stage::Conclude(Box::new(Fact::Succeeded(Succeeded { holder, results, conditions })));
    }

    /// Decides about a failure as `verdict` does: another attempt, counted or not, or the end.
    fn fail(&mut self, code: Code, clock: jiff::Timestamp) {
        let session = &self.session;
        let retries = session.plan.as_ref().map_or(0, |plan| plan.retry.max);
        let is_left = session.counted_retries < retries;
        let counted = match code.class() {
            Class::Interrupted => Some(Counted::No),
            Class::Transient if code.is_unavailability() && session.outage.is_none_or(|outage| outage.tries < 5) => {
                Some(Counted::No)
            }
            Class::Transient if is_left => Some(Counted::Yes),
            Class::Transient | Class::Permanent => None,
        };
        let counted = counted.filter(|_| session.phase != Phase::Restoring && session.cancel.is_none());
        let fact = match counted {
            Some(counted) => Fact::Retrying(Retrying {
                holder: self.holder,
                failure: Failure::new(code, "what happened"),
                after: clock + jiff::SignedDuration::from_secs(if code == Code::Interrupted { 0 } else { 10 }),
                counted,
                results: Vec::new(),
                rejected_snapshots: std::mem::take(&mut self.rejected),
                conditions: Vec::new(),
            }),
            None if code == Code::Cancelled && session.phase != Phase::Restoring => {
                Fact::Cancelled(ended(Some(self.holder), code))
            }
            None => Fact::Failed(ended(Some(self.holder), code)),
        };
        self.stage = Stage::Conclude(Box::new(fact));
    }
}

pub fn ended(holder: Option<Holder>, code: Code) -> Ended {
    let (results, rejected_snapshots, conditions) = (Vec::new(), Vec::new(), Vec::new());
    Ended { holder, failure: Failure::new(code, "what happened"), results, rejected_snapshots, conditions }
}

fn any_result() -> TargetResult {
    static RESULT: OnceLock<TargetResult> = OnceLock::new();
    RESULT.get_or_init(result).clone()
}
