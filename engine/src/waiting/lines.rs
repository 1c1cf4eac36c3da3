//! The lines before things of which there is no more at the moment.

use uuid::Uuid;

use std::time::Duration;

use lagan_schemas::subject::ObjectKey;

use super::{Limited, Now, Place, SessionNeeds, WaitCause, Waiter, WaitingRoom, outages, share};

/// Number of changed objects that are remembered one by one.
const LIMIT_CHANGES: usize = 1000;

impl Waiter {
    /// The limit that holds for its use of a thing; 0 without one.
    fn limit_of(&self, wanted: &Limited) -> u32 {
        let mut uses = self.needs.iter().flat_map(|needs| &needs.uses);
        uses.find(|(used, _)| used == wanted).map_or(0, |(_, limit)| *limit)
    }
}

impl WaitingRoom {
    /// The first thing that a session has to wait for.
    pub(super) fn first_missing(&self, needs: &SessionNeeds, now: Now) -> Option<Limited> {
        let missing = needs.uses.iter().find(|(wanted, limit)| !self.usage.has_room(wanted, *limit, now.tick));
        missing.map(|(wanted, _)| wanted.clone())
    }

    /// The first thing that a session has to wait for although everything was reserved for it: other planners plan too. The
    /// limits of others do not count, because it was called before them.
    pub(super) fn first_lost(&self, needs: &SessionNeeds, now: Now) -> Option<Limited> {
        let lost = needs.uses.iter().find(|(wanted, limit)| !self.usage.has_own_room(wanted, *limit, now.tick));
        lost.map(|(wanted, _)| wanted.clone())
    }

    pub(super) fn stand_in_line(&mut self, uid: Uuid, wanted: Limited, now: Now) {
        let out = self.usage.is_out(&wanted);
        self.set_cause(uid, if out { WaitCause::Answer(wanted.clone()) } else { WaitCause::Turn(wanted.clone()) });
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        waiter.place = Place::InLine(wanted.clone());
        self.notices.line_changed(&wanted);
        let limit = waiter.limit_of(&wanted);
        for object in waiter.needs.iter().filter(|_| limit > 0).flat_map(|needs| &needs.objects) {
            self.limited_by.entry(object.clone()).or_default().insert(uid);
        }
        self.lines.entry(wanted.clone()).or_default().insert(&waiter.session.key.namespace, limit, waiter.order);
        if out {
            self.be_patient(uid, &wanted, now);
        }
    }

    /// Lets a session wait for an answer for so long, counted from when it began to.
    pub(super) fn be_patient(&mut self, uid: Uuid, of: &Limited, now: Now) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        let known = waiter.out_since.take().filter(|(out, _)| out == of).map(|(_, since)| since);
        let since = known.unwrap_or_else(|| now.tick.saturating_sub(outages::tried_for(&waiter.session, of, now)));
        waiter.out_since = Some((of.clone(), since));
        let Some(patience) = waiter.needs.as_ref().map(|needs| needs.patience.with(of)) else { return };
        let ends = since.saturating_add(patience);
        if waiter.timer.is_none_or(|timer| timer > ends) {
            self.set_timer(uid, ends);
        }
    }

    /// Looks again at the sessions in line whose limits an object sets, because it has changed.
    pub fn limits_changed(&mut self, object: &ObjectKey, now: Now) {
        if self.limit_changes.len() >= LIMIT_CHANGES {
            // All of them count as changed now, which costs a second look at most.
            self.limit_changes.clear();
            self.all_limits_changed = self.looks;
        }
        self.limit_changes.insert(object.clone(), self.looks);
        for uid in self.limited_by.get(object).cloned().unwrap_or_default() {
            self.wake_after(uid, Duration::ZERO, now);
        }
    }

    /// Whether an object that sets limits of a session has changed since a look at it began.
    pub(super) fn has_outdated_limits(&self, needs: &SessionNeeds, look: u64) -> bool {
        let changed = |object: &ObjectKey| self.limit_changes.get(object).copied().unwrap_or_default();
        self.all_limits_changed >= look || needs.objects.iter().any(|object| changed(object) >= look)
    }

    pub(super) fn leave_line(&mut self, uid: Uuid) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        match std::mem::replace(&mut waiter.place, Place::Resting) {
            Place::InLine(wanted) => {
                self.notices.line_changed(&wanted);
                waiter.notice.left_line();
                let limit = waiter.limit_of(&wanted);
                for object in waiter.needs.iter().flat_map(|needs| &needs.objects) {
                    if let Some(limited) = self.limited_by.get_mut(object) {
                        limited.remove(&uid);
                        if limited.is_empty() {
                            self.limited_by.remove(object);
                        }
                    }
                }
                if let Some(line) = self.lines.get_mut(&wanted) {
                    line.remove(&waiter.session.key.namespace, limit, &waiter.order);
                    if line.is_empty() {
                        self.lines.remove(&wanted);
                    }
                }
            }
            Place::Due => self.due.remove(&waiter.session.key.namespace, 0, &waiter.order),
            Place::Resting | Place::Looked => {}
        }
    }

    /// Notes everything that a session uses; returns what it does not use any more.
    pub(super) fn reserve(
        &mut self,
        uid: Uuid,
        uses: Vec<Limited>,
        limits: Option<Vec<(Limited, u32)>>,
    ) -> Vec<Limited> {
        if let Some(target) = uses.first() {
            self.notices.line_changed(target);
        }
        self.usage.set(uid, uses, limits)
    }

    pub(super) fn reserve_for(&mut self, uid: Uuid, needs: SessionNeeds) {
        let uses = needs.uses.iter().map(|(used, _)| used.clone()).collect();
        self.reserve(uid, uses, Some(needs.uses));
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
    /// goes on to the next line. One whose own limit is reached holds up nobody behind it.
    pub(super) fn call(&mut self, wanted: &Limited, now: Now) {
        while let Some(line) = self.lines.get(wanted) {
            let fair = !matches!(wanted, Limited::Target(_));
            let best = line.best_of(
                |namespace| if fair { share(&self.usage, &self.limits, namespace) } else { 0 },
                |limit| self.usage.has_room(wanted, limit, now.tick),
            );
            let Some(best) = best else { return };
            let Some(needs) = self.waiters.get(&best.session).and_then(|waiter| waiter.needs.clone()) else { return };
            let missing = self.first_missing(&needs, now);
            if missing.as_ref() == Some(wanted) {
                return;
            }
            self.leave_line(best.session);
            match missing {
                Some(next) => self.stand_in_line(best.session, next, now),
                None => {
                    self.reserve_for(best.session, needs);
                    self.wake_after(best.session, Duration::ZERO, now);
                }
            }
        }
    }
}
