//! The faults that a driver brings about, beside those of single requests.

use std::sync::MutexGuard;

use uuid::Uuid;

use super::driver::SimDriver;
use super::world::{SECOND, SimWorld};

impl SimDriver {
    pub(super) fn strike(&mut self) {
        let chosen = self.world().rng.u32(0..20);
        match chosen {
            0..=2 => self.crash_engine(),
            3..=5 => self.crash_worker(),
            6 | 7 => self.suspend_worker(),
            8 => self.suspend_workers(),
            9 => self.drain_worker(),
            10..=12 => self.double_message(),
            13 => self.read_log_again(),
            14 => self.set_server_clock(),
            15 => self.lose_locks(),
            _ => self.cancel_session(),
        }
    }

    fn pick(&self, number: usize) -> usize {
        self.world().rng.usize(0..number)
    }

    fn told(&self, fault: &'static str, about: String) -> MutexGuard<'_, SimWorld> {
        let mut world = self.world();
        world.coverage.fault(fault);
        world.note(|| format!("FAULT {fault}: {about}"));
        world
    }

    fn crash_engine(&mut self) {
        let at = self.pick(self.engines.len());
        let until = {
            let mut world = self.told("engine crashed", format!("engine {}", at + 1));
            world.now + world.rng.u64(100..40 * SECOND)
        };
        self.engines[at].crash(until);
        if self.world().rng.bool() {
            self.introduce();
        }
    }

    fn crash_worker(&mut self) {
        let at = self.busy_worker();
        let until = {
            let mut world = self.told("worker crashed", format!("worker {}", at + 1));
            world.now + world.rng.u64(100..20 * SECOND)
        };
        let world = std::sync::Arc::clone(&self.world);
        self.workers[at].crash(&mut world.lock().unwrap(), until);
    }

    fn busy_worker(&self) -> usize {
        let busy: Vec<usize> = (0..self.workers.len()).filter(|at| self.workers[*at].is_busy()).collect();
        if busy.is_empty() { self.pick(self.workers.len()) } else { busy[self.pick(busy.len())] }
    }

    fn suspend_worker(&mut self) {
        let at = self.busy_worker();
        let until = {
            let mut world = self.told("worker suspended", format!("worker {}", at + 1));
            world.now + world.rng.u64(SECOND..100 * SECOND)
        };
        self.workers[at].away_until = Some(until);
    }

    fn suspend_workers(&mut self) {
        let until = {
            let mut world = self.told("all workers away", String::new());
            world.now + world.rng.u64(10 * SECOND..300 * SECOND)
        };
        for worker in &mut self.workers {
            worker.away_until = Some(until);
        }
    }

    fn drain_worker(&mut self) {
        let at = self.busy_worker();
        drop(self.told("worker drained", format!("worker {}", at + 1)));
        let world = std::sync::Arc::clone(&self.world);
        self.workers[at].drain(&mut world.lock().unwrap());
    }

    fn double_message(&mut self) {
        let to = self.pick(self.workers.len());
        let chosen = {
            let mut world = self.world();
            let number = world.deliveries.len();
            (number > 0)
                .then(|| world.rng.usize(0..number))
                .and_then(|at| world.deliveries.iter().nth(at).map(|(sequence, delivery)| (*sequence, delivery.uid)))
        };
        let Some((sequence, uid)) = chosen.filter(|_| self.workers[to].away_until.is_none()) else { return };
        drop(self.told("message doubled", format!("{sequence} to worker {}", to + 1)));
        let world = std::sync::Arc::clone(&self.world);
        self.workers[to].deliver(&mut world.lock().unwrap(), sequence, uid);
    }

    fn read_log_again(&mut self) {
        let at = self.pick(self.engines.len());
        drop(self.told("log read again", format!("engine {}", at + 1)));
        self.engines[at].read_again();
    }

    fn set_server_clock(&mut self) {
        let mut world = self.world();
        let by = world.rng.i64(-100..100);
        world.server_ahead += by;
        world.coverage.fault("server clock set");
        world.note(|| format!("FAULT server clock set by {by} s"));
    }

    fn lose_locks(&mut self) {
        let mut world = self.told("locks lost", String::new());
        world.locks.clear();
        world.history.locks_lost = true;
    }

    pub(super) fn cancel_session(&mut self) {
        let at = self.pick(self.engines.len());
        let open: Vec<Uuid> = {
            let world = self.world();
            world.log.sessions.values().filter(|one| !one.phase.is_end()).map(|one| one.key.uid).collect()
        };
        if !open.is_empty() && self.engines[at].down_until.is_none() {
            let session = open[self.pick(open.len())];
            self.engines[at].cancel(session);
        }
    }
}
