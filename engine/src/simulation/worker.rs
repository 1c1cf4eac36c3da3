//! Simulated workers: a model of the rules P7 to P13 over the real fold and the real table of transitions.

mod attempt;

use lagan_schemas::error::Code;
use lagan_schemas::fact::{Fact, Holder};
use lagan_schemas::session::{Author, Phase, Session};
use uuid::Uuid;

use self::attempt::{SimAttempt, ended};
use super::engine::{BeatWatch, is_alive};
use super::world::{FAILOVER, SECOND, SimWorld, short};

const SLOTS: usize = 2;
/// A session whose holder a worker watches before it takes its place.
struct SimAsking {
    uid: Uuid,
    delivery: u64,
    holder: Holder,
    watch: Option<BeatWatch>,
    next_at: u64,
}

pub struct SimWorker {
    pub id: Uuid,
    number: u128,
    attempts: Vec<SimAttempt>,
    asking: Vec<SimAsking>,
    /// Until when the process stands still, or is not there.
    pub away_until: Option<u64>,
    /// Seconds by which its clock is ahead.
    clock_ahead: i64,
}

impl SimWorker {
    pub fn new(world: &mut SimWorld, number: u128) -> Self {
        let clock_ahead = if world.rng.u32(0..4) == 0 { world.rng.i64(-7200..7200) } else { 0 };
        let id = Uuid::from_u128(world.rng.u128(..));
        world.running_since.insert(id, world.now);
        Self { id, number, attempts: Vec::new(), asking: Vec::new(), away_until: None, clock_ahead }
    }

    pub fn next_wake(&self) -> u64 {
        if let Some(until) = self.away_until {
            return until;
        }
        let attempts = self.attempts.iter().map(|attempt| attempt.next_at.min(attempt.beat_at + FAILOVER / 3));
        attempts.chain(self.asking.iter().map(|asking| asking.next_at)).min().unwrap_or(u64::MAX)
    }

    pub fn is_busy(&self) -> bool {
        !self.attempts.is_empty()
    }

    pub fn has_work(&self, world: &SimWorld) -> bool {
        let now = world.now;
        let is_free = self.attempts.len() + self.asking.len() < SLOTS;
        self.attempts.iter().any(|attempt| attempt.next_at <= now)
            || self.asking.iter().any(|asking| asking.next_at <= now)
            || (is_free && world.deliveries.values().any(|delivery| delivery.due <= now))
    }

    /// A new process takes the place of one that was killed.
    pub fn crash(&mut self, world: &mut SimWorld, until: u64) {
        *self = Self { away_until: Some(until), ..Self::new(world, self.number) };
    }

    /// Heartbeats and signs of life on messages, which go on whatever the work does.
    pub fn beat(&mut self, world: &mut SimWorld) {
        let now = world.now;
        for attempt in self.attempts.iter_mut().filter(|attempt| now >= attempt.beat_at + FAILOVER / 3) {
            if world.fault(30) {
                world.coverage.fault("heartbeat missed");
                attempt.beat_at += SECOND;
                continue;
            }
            attempt.beat_at = now;
            world.beats.insert((attempt.session.key.uid, self.id), now);
        }
        let signs = self.attempts.iter().map(|attempt| attempt.delivery);
        for delivery in signs.chain(self.asking.iter().map(|asking| asking.delivery)) {
            if let Some(delivery) = world.deliveries.get_mut(&delivery) {
                delivery.due = now + FAILOVER;
            }
        }
    }

    /// Does one thing; false if there is nothing to do now.
    pub fn step(&mut self, world: &mut SimWorld) -> bool {
        let now = world.now;
        let ready: Vec<usize> = (0..self.attempts.len()).filter(|at| self.attempts[*at].next_at <= now).collect();
        if !ready.is_empty() && world.rng.u32(0..3) > 0 {
            let at = ready[world.rng.usize(0..ready.len())];
            self.attempt(world, at);
            return true;
        }
        if let Some(at) = self.asking.iter().position(|asking| asking.next_at <= now) {
            self.ask(world, at);
            return true;
        }
        if self.attempts.len() + self.asking.len() < SLOTS && self.receive(world) {
            return true;
        }
        if let Some(at) = ready.first() {
            self.attempt(world, *at);
        }
        !ready.is_empty()
    }

    /// Takes the next message of the consumer, and decides by the facts alone what to do with it (P7).
    fn receive(&mut self, world: &mut SimWorld) -> bool {
        let now = world.now;
        let due =
            world.deliveries.iter().find(|(_, delivery)| delivery.due <= now).map(|(at, delivery)| (*at, *delivery));
        let Some((sequence, delivery)) = due else { return false };
        self.deliver(world, sequence, delivery.uid);
        true
    }

    pub fn deliver(&mut self, world: &mut SimWorld, sequence: u64, uid: Uuid) {
        let now = world.now;
        let put_back = |world: &mut SimWorld, delay: u64| {
            if let Some(delivery) = world.deliveries.get_mut(&sequence) {
                delivery.due = now + delay;
            }
        };
        let settle = |world: &mut SimWorld| {
            world.deliveries.remove(&sequence);
        };
        put_back(world, FAILOVER);
        let Some(session) = world.log.sessions.get(&uid).cloned() else {
            world.deliveries.remove(&sequence);
            return;
        };
        let is_ours = self.attempts.iter().any(|attempt| attempt.session.key.uid == uid);
        match session.phase {
            _ if session.planned_sequence != sequence || session.phase.is_end() => settle(world),
            Phase::Planned if !is_ours => self.start(world, session, sequence),
            Phase::Started | Phase::Committing | Phase::Restoring if !is_ours => {
                let holder = session.holder.unwrap();
                self.asking.push(SimAsking { uid, delivery: sequence, holder, watch: None, next_at: now });
            }
            Phase::Planned | Phase::Started | Phase::Committing | Phase::Restoring => {}
            _ => settle(world),
        }
    }

    fn start(&mut self, world: &mut SimWorld, session: Session, delivery: u64) {
        if mutant!("settled-before-started") {
            world.deliveries.remove(&delivery);
        }
        let holder = Holder { attempt: session.attempts + 1, worker: self.id };
        // The heartbeat beats before the fact says so.
        world.beats.insert((session.key.uid, self.id), world.now);
        let (id, now) = (Uuid::from_u128(world.rng.u128(..)), world.now);
        self.attempts.push(SimAttempt::new(session, holder, (delivery, id), now));
    }

    /// Looks at the heartbeat of a holder (P7).
    fn ask(&mut self, world: &mut SimWorld, at: usize) {
        let asking = &mut self.asking[at];
        let beat = world.beats.get(&(asking.uid, asking.holder.worker)).copied();
        asking.next_at = world.now + 3 * SECOND;
        let Some(alive) = is_alive(&mut asking.watch, beat, world.now) else { return };
        let SimAsking { uid, delivery, holder, .. } = self.asking.swap_remove(at);
        let Some(session) = world.log.sessions.get(&uid).cloned() else { return };
        if alive || session.holder != Some(holder) {
            if let Some(delivery) = world.deliveries.get_mut(&delivery) {
                delivery.due = world.now + if alive { FAILOVER } else { 0 };
            }
            return;
        }
        world.note(|| format!("worker {}: the holder of {} is dead", self.number, short(uid)));
        match session.phase {
            Phase::Restoring if mutant!("restore-again") => self.start(world, session, delivery),
            Phase::Started | Phase::Committing => self.start(world, session, delivery),
            Phase::Restoring => {
                let id = Uuid::from_u128(world.rng.u128(..));
                let fact = Fact::Failed(ended(None, Code::TargetPartiallyRestored));
                let by = format!("worker {}", self.number);
                world.append(&session, id, (Author::Successor, &by), fact);
            }
            _ => {}
        }
    }

    fn attempt(&mut self, world: &mut SimWorld, at: usize) {
        let clock = SimWorld::time_of(world.now, self.clock_ahead);
        let name = format!("worker {}", self.number);
        if self.attempts[at].advance(world, clock, &name) {
            return;
        }
        let attempt = self.attempts.swap_remove(at);
        world.beats.remove(&(attempt.session.key.uid, self.id));
    }

    /// Gives every session back (P8).
    pub fn drain(&mut self, world: &mut SimWorld) {
        let clock = SimWorld::time_of(world.now, self.clock_ahead);
        for attempt in &mut self.attempts {
            attempt.interrupt(world, clock);
        }
    }
}
