//! The lines before things of which there is no more at the moment.

use uuid::Uuid;

use std::time::Duration;

use super::{Limited, Now, Place, SessionNeeds, WaitCause, WaitingRoom, share};

impl WaitingRoom {
    /// The first thing that a session has to wait for.
    pub(super) fn first_missing(&self, needs: &SessionNeeds, now: Now) -> Option<Limited> {
        let missing = needs.uses.iter().find(|(wanted, limit)| !self.usage.has_room(wanted, *limit, now.tick));
        missing.map(|(wanted, _)| wanted.clone())
    }

    pub(super) fn stand_in_line(&mut self, uid: Uuid, wanted: Limited) {
        let out = self.usage.is_out(&wanted);
        self.set_cause(uid, if out { WaitCause::Answer(wanted.clone()) } else { WaitCause::Turn(wanted.clone()) });
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        waiter.place = Place::InLine(wanted.clone());
        self.notices.line_changed(&wanted);
        self.lines.entry(wanted).or_default().insert(&waiter.session.key.namespace, waiter.order);
    }

    pub(super) fn leave_line(&mut self, uid: Uuid) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        match std::mem::replace(&mut waiter.place, Place::Resting) {
            Place::InLine(wanted) => {
                self.notices.line_changed(&wanted);
                waiter.notice.left_line();
                if let Some(line) = self.lines.get_mut(&wanted) {
                    line.remove(&waiter.session.key.namespace, &waiter.order);
                    if line.is_empty() {
                        self.lines.remove(&wanted);
                    }
                }
            }
            Place::Due => self.due.remove(&waiter.session.key.namespace, &waiter.order),
            Place::Resting | Place::Looked => {}
        }
    }

    /// Notes everything that a session uses; returns what it does not use any more.
    pub(super) fn reserve(&mut self, uid: Uuid, uses: Vec<Limited>) -> Vec<Limited> {
        if let Some(target) = uses.first() {
            self.notices.line_changed(target);
        }
        self.usage.set(uid, uses)
    }

    /// Calls those whose turn it is, for everything that was freed.
    pub(super) fn freed(&mut self, freed: Vec<Limited>, now: Now) {
        if mutant!("line-not-called") {
            return;
        }
        for one in freed {
            self.call(&one, now);
        }
    }

    /// Calls the sessions in line for one thing, as long as there is room. Each gets everything that it needs reserved, or
    /// goes on to the next line.
    pub(super) fn call(&mut self, wanted: &Limited, now: Now) {
        while let Some(line) = self.lines.get(wanted) {
            let fair = !matches!(wanted, Limited::Target(_));
            let best = line.best(|namespace| if fair { share(&self.usage, &self.limits, namespace) } else { 0 });
            let Some(best) = best else { return };
            let Some(needs) = self.waiters.get(&best.session).and_then(|waiter| waiter.needs.clone()) else { return };
            let missing = self.first_missing(&needs, now);
            if missing.as_ref() == Some(wanted) {
                return;
            }
            self.leave_line(best.session);
            match missing {
                Some(next) => self.stand_in_line(best.session, next),
                None => {
                    self.reserve(best.session, needs.uses.into_iter().map(|(used, _)| used).collect());
                    self.wake_after(best.session, Duration::ZERO, now);
                }
            }
        }
    }
}
