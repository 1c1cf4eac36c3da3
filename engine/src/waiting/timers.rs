//! When sessions are looked at: at once, after a delay, or by a timer.

use std::time::Duration;

use uuid::Uuid;

use super::{Now, OTHERS, Place, WaitingRoom};

impl WaitingRoom {
    /// Lets a session be looked at after a delay: by the planner that its uid belongs to, and by the others a little later.
    pub(super) fn wake_after(&mut self, uid: Uuid, delay: Duration, now: Now) {
        if !self.waiters.contains_key(&uid) {
            return;
        }
        let delay = if self.is_mine(uid) { delay } else { delay + OTHERS };
        if delay.is_zero() {
            return self.put_due(uid);
        }
        self.set_timer(uid, now.tick + delay);
    }

    pub(super) fn make_due(&mut self, uid: Uuid, now: Now) {
        self.wake_after(uid, Duration::ZERO, now);
    }

    pub(super) fn put_due(&mut self, uid: Uuid) {
        self.clear_timer(uid);
        if self.waiters.get(&uid).is_none_or(|waiter| waiter.place == Place::Looked) {
            return;
        }
        self.leave_line(uid);
        self.stop_waiting_for_others(uid);
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        waiter.place = Place::Due;
        self.due.insert(&waiter.session.key.namespace, 0, waiter.order);
    }

    pub(super) fn fire_timers(&mut self, now: Now) {
        while let Some((at, of)) = self.reviews.first().cloned()
            && at <= now.tick
        {
            self.reviews.remove(&(at, of.clone()));
            let (is_over, again) = self.usage.review(&of, now.tick);
            self.reviews.extend(again.map(|at| (at, of.clone())));
            if is_over {
                self.tell_line(&of, now);
            }
            self.call(&of, now);
        }
        while let Some((at, uid)) = self.timers.first().copied()
            && at <= now.tick
        {
            self.put_due(uid);
        }
    }

    pub(super) fn set_timer(&mut self, uid: Uuid, at: Duration) {
        self.clear_timer(uid);
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.timer = Some(at);
            self.timers.insert((at, uid));
        }
    }

    pub(super) fn clear_timer(&mut self, uid: Uuid) {
        if let Some(at) = self.waiters.get_mut(&uid).and_then(|waiter| waiter.timer.take()) {
            self.timers.remove(&(at, uid));
        }
    }

    pub(super) fn stop_waiting_for_others(&mut self, uid: Uuid) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        if std::mem::take(&mut waiter.lacks_objects) {
            self.lacking.remove(&uid);
        }
        if let Some(other) = waiter.behind.take()
            && let Some(waiting) = self.behind.get_mut(&other)
        {
            waiting.remove(&uid);
            if waiting.is_empty() {
                self.behind.remove(&other);
            }
        }
    }
}
