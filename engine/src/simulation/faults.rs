//! The faults that a driver brings about, beside those of single requests.

use std::sync::MutexGuard;

use lagan_schemas::fact::Cause;
use lagan_schemas::position::{Position, StoreId};
use uuid::Uuid;

use super::driver::SimDriver;
use super::world::{SECOND, SimWorld, short};

impl SimDriver {
    pub(super) fn strike(&mut self) {
        let chosen = self.world().rng.u32(0..21);
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
            16 => self.write_garbage(),
            17 => self.make_objects_anew(),
            18 => self.expire_session(),
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
        world.history.clock_set = true;
        world.coverage.fault("server clock set");
        world.note(|| format!("FAULT server clock set by {by} s"));
    }

    fn lose_locks(&mut self) {
        let mut world = self.told("locks lost", String::new());
        world.locks.clear();
        world.history.locks_lost = true;
    }

    fn write_garbage(&mut self) {
        let Some(session) = self.open_session() else { return };
        self.told("garbage written", short(session)).append_garbage(session);
    }

    /// RESOURCES is made anew: every object is published again, under lower sequences.
    fn make_objects_anew(&mut self) {
        {
            let mut world = self.told("objects made anew", String::new());
            let time = world.server_time();
            world.objects_from = Position { store: StoreId::created(time), sequence: 0 };
        }
        // An engine starts anew when a store under it was replaced (P16).
        let soon = self.world().now + 200;
        for engine in &mut self.engines {
            engine.crash(soon);
        }
    }

    /// The facts of an ended session leave the log; its object stays.
    fn expire_session(&mut self) {
        let expired = {
            let world = self.world();
            let mut ended = world.log.sessions.values().filter(|one| {
                let is_of_object =
                    matches!(&one.request, Some(request) if matches!(request.cause, Cause::Object { .. }));
                // Facts stay for days, so every engine has read them.
                let is_read = self.engines.iter().all(|engine| engine.is_past(one.last_sequence));
                is_of_object && is_read && one.phase.is_end() && world.ended_at_source.contains(&one.key.uid)
            });
            ended.next().map(|one| one.key.uid)
        };
        if let Some(uid) = expired {
            self.told("facts expired", short(uid)).expire(uid);
        }
    }

    fn open_session(&self) -> Option<Uuid> {
        let open: Vec<Uuid> = {
            let world = self.world();
            world.log.sessions.values().filter(|one| !one.phase.is_end()).map(|one| one.key.uid).collect()
        };
        (!open.is_empty()).then(|| open[self.pick(open.len())])
    }

    pub(super) fn cancel_session(&mut self) {
        let at = self.pick(self.engines.len());
        if let Some(session) = self.open_session().filter(|_| self.engines[at].down_until.is_none()) {
            self.engines[at].cancel(session);
        }
    }
}
