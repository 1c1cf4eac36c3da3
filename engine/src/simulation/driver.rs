//! The driver: chooses by its seed which process does something next, when time passes and which faults occur.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use super::asked::{AskedPlan, CONFIGURATIONS, scheduled};
use super::coverage::Coverage;
use super::engine::SimEngine;
use super::outside::SharedWorld;
use super::worker::SimWorker;
use super::world::{SECOND, SimWorld, short};

const ENGINES: u128 = 2;
const WORKERS: u128 = 3;
/// Time within which every session ends once nothing is broken any more (I1, I14).
const HEALED: u64 = 2 * 3600 * SECOND;
/// Time in which views and rooms forget what has ended.
const SETTLED: u64 = 180 * SECOND;
const STEPS: u64 = 400_000;

enum Activity {
    Poll(usize),
    Read(usize),
    ReadObject(usize),
    Change(usize),
    Work(usize),
    Report,
}

pub struct SimDriver {
    pub(super) world: SharedWorld,
    pub(super) engines: Vec<SimEngine>,
    pub(super) workers: Vec<SimWorker>,
    sessions_left: u32,
    faults_left: u32,
    steps: u64,
}

impl SimDriver {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut world = SimWorld::new(seed, traced);
        let sessions_left = world.rng.u32(20..32);
        let faults_left = world.rng.u32(10..24);
        let workers = (1..=WORKERS).map(|number| SimWorker::new(&mut world, number)).collect();
        world.objects = (0..CONFIGURATIONS).map(|number| Arc::new(scheduled(number, false))).collect();
        let world = Arc::new(Mutex::new(world));
        let engines = (1..=ENGINES).map(|number| SimEngine::new(Arc::clone(&world), number)).collect();
        let mut driver = Self { world, engines, workers, sessions_left, faults_left, steps: 0 };
        driver.introduce();
        driver
    }

    pub(super) fn world(&self) -> MutexGuard<'_, SimWorld> {
        self.world.lock().unwrap()
    }

    pub fn coverage(&self) -> Coverage {
        let world = self.world();
        let sessions = u64::try_from(world.log.sessions.len()).unwrap();
        let mut coverage = world.coverage.clone();
        (coverage.sessions, coverage.steps) = (sessions, self.steps);
        coverage
    }

    pub fn trace(&self) -> Vec<String> {
        self.world().trace()
    }

    /// Runs until every session has ended and is forgotten; the error is the first violation.
    pub fn run(&mut self) -> Result<(), String> {
        while self.sessions_left + self.faults_left > 0 {
            self.step()?;
        }
        self.heal();
        let until = self.world().now + HEALED;
        while !self.world().is_done() {
            self.step()?;
            if self.world().now > until {
                return Err(self.stuck());
            }
        }
        let until = self.world().now + SETTLED;
        while self.world().now < until {
            self.step()?;
        }
        let left = self.engines.iter().map(SimEngine::leftovers).find(|left| !left.is_empty());
        left.map_or(Ok(()), |left| Err(format!("all sessions have ended, and a room still holds: {left:?}")))
    }

    fn stuck(&self) -> String {
        let world = self.world();
        let open = world.log.sessions.values().filter(|session| !session.phase.is_end());
        let open: Vec<String> = open.map(|one| format!("{} {:?}", short(one.key.uid), one.phase)).collect();
        format!("sessions do not end although nothing is broken any more: {open:?}")
    }

    /// Lets living engines know each other.
    pub(super) fn introduce(&mut self) {
        let living = self.engines.iter().filter(|engine| engine.down_until.is_none());
        let living: Vec<Uuid> = living.map(SimEngine::instance).collect();
        for engine in &mut self.engines {
            engine.set_peers(&living);
        }
    }

    fn heal(&mut self) {
        let now = {
            let mut world = self.world();
            world.is_calm = true;
            // From here on only a session that is stuck grows old.
            world.oldest = Duration::from_secs(7 * 86_400);
            // No more slots come.
            world.objects.extend((0..CONFIGURATIONS).map(|number| Arc::new(scheduled(number, true))));
            world.note(|| "everything is well from here on".to_owned());
            world.now
        };
        for engine in self.engines.iter_mut().filter(|engine| engine.down_until.is_some()) {
            engine.down_until = Some(now);
        }
        for worker in self.workers.iter_mut().filter(|worker| worker.away_until.is_some()) {
            worker.away_until = Some(now);
        }
        self.pass(0);
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if let Some(violation) = self.world().violation.take() {
            return Err(violation);
        }
        if self.steps > STEPS {
            return Err(format!("{STEPS} steps were not enough: {}", self.stuck()));
        }
        if self.sessions_left > 0 && self.world().rng.u32(0..40) == 0 {
            self.sessions_left -= 1;
            self.request();
        }
        if self.faults_left > 0 && self.world().rng.u32(0..80) == 0 {
            self.faults_left -= 1;
            self.strike();
        }
        if self.faults_left > 0 && self.world().rng.u32(0..200) == 0 {
            self.cancel_session();
        }
        let activities = self.activities();
        if activities.is_empty() {
            let wake = self.next_wake();
            let now = self.world().now;
            self.pass(wake.saturating_sub(now).clamp(1, 10 * SECOND));
            return Ok(());
        }
        if self.world().rng.u32(0..8) == 0 {
            let most = self.next_wake().saturating_sub(self.world().now).clamp(1, 2 * SECOND);
            let by = self.world().rng.u64(0..=most);
            self.pass(by);
        }
        let at = self.world().rng.usize(0..activities.len());
        match activities[at] {
            Activity::Poll(engine) => self.engines[engine].poll(),
            Activity::Read(engine) => {
                let number = self.world().rng.usize(1..4);
                self.engines[engine].read(number);
                self.engines[engine].look();
            }
            Activity::ReadObject(engine) => {
                self.engines[engine].read_object();
                self.engines[engine].look();
            }
            Activity::Change(engine) => drop(self.engines[engine].take_change()),
            Activity::Work(worker) => {
                let world = Arc::clone(&self.world);
                self.workers[worker].step(&mut world.lock().unwrap());
            }
            Activity::Report => {
                let mut world = self.world();
                if let Some(uid) = world.unreported.pop_front() {
                    world.ended_at_source.insert(uid);
                }
            }
        }
        Ok(())
    }

    fn activities(&self) -> Vec<Activity> {
        let mut activities = Vec::new();
        for (at, engine) in self.engines.iter().enumerate().filter(|(_, engine)| engine.down_until.is_none()) {
            if engine.has_tasks() {
                activities.extend([Activity::Poll(at), Activity::Poll(at)]);
            }
            if engine.has_unread() {
                activities.push(Activity::Read(at));
            }
            if engine.has_unread_objects() {
                activities.push(Activity::ReadObject(at));
            }
            if engine.has_changes() {
                activities.push(Activity::Change(at));
            }
        }
        let world = self.world();
        for (at, worker) in self.workers.iter().enumerate() {
            if worker.away_until.is_none() && worker.has_work(&world) {
                activities.push(Activity::Work(at));
            }
        }
        if !world.unreported.is_empty() {
            activities.push(Activity::Report);
        }
        activities
    }

    fn next_wake(&self) -> u64 {
        let engines = self.engines.iter().map(SimEngine::next_wake);
        let workers = self.workers.iter().map(SimWorker::next_wake);
        let world = self.world();
        let deliveries = world.deliveries.values().map(|delivery| delivery.due);
        engines.chain(workers).chain(deliveries).filter(|at| *at > world.now).min().unwrap_or(u64::MAX)
    }

    /// Lets time pass.
    fn pass(&mut self, milliseconds: u64) {
        let now = {
            let mut world = self.world();
            world.now += milliseconds;
            world.now
        };
        let is_due = |until: Option<u64>| until.is_some_and(|until| until <= now);
        let mut has_started = false;
        for engine in &mut self.engines {
            if is_due(engine.down_until) {
                engine.start();
                has_started = true;
            }
        }
        if has_started {
            self.introduce();
        }
        for engine in self.engines.iter_mut().filter(|engine| engine.down_until.is_none()) {
            engine.sweep();
            engine.look();
        }
        let world = Arc::clone(&self.world);
        let mut world = world.lock().unwrap();
        for worker in &mut self.workers {
            if is_due(worker.away_until) {
                worker.away_until = None;
                world.running_since.insert(worker.id, now);
            }
            if worker.away_until.is_none() {
                worker.beat(&mut world);
            }
        }
    }

    /// Applies an object that asks for a session.
    fn request(&mut self) {
        let mut world = self.world();
        let asked = AskedPlan::random(&mut world);
        let uid = Uuid::from_u128(world.rng.u128(..));
        let object = asked.object(uid, world.server_time());
        world.note(|| format!("{:?} {} is asked for", asked.kind, short(uid)));
        world.asked.insert(uid, asked);
        world.objects.push(Arc::new(object));
    }
}
