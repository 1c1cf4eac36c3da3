//! How facts change the room.

use std::sync::Arc;

use lagan_schemas::resource::backup_configuration::Priority;
use lagan_schemas::session::{Phase, Session};
use uuid::Uuid;

use std::time::Duration;

use super::{Now, Place, QuotaVerdict, WaitCause, WaitOrder, Waiter, WaiterNotice, WaitingRoom, limited, outages};

impl WaitingRoom {
    /// Takes in the newest state of a session.
    pub fn fold(&mut self, session: &Arc<Session>, now: Now) {
        let uid = session.key.uid;
        self.note_sibling(session);
        if session.phase.is_end() {
            self.note_answers(session, now);
            self.trying.remove(&uid);
            self.leave(uid);
            if mutant!("usage-not-freed") {
                return;
            }
            let freed = self.usage.clear(uid);
            self.leave_quota(&session.key.namespace, uid, now);
            self.freed(freed, now);
            self.wake_behind(uid, now);
            return;
        }
        if is_waiting(session) {
            return self.take_waiting(session, now);
        }
        // The facts do not tell them.
        let waiter = self.waiters.get(&uid);
        let limits = waiter.and_then(|waiter| waiter.needs.as_ref()).map(|needs| needs.uses.clone());
        self.trying.extend(waiter.and_then(|waiter| waiter.out_since.clone()).map(|since| (uid, since)));
        self.leave(uid);
        self.within_quota.entry(session.key.namespace.clone()).or_default().insert(uid);
        let Some(plan) = &session.plan else {
            // A later version wrote to it, before it was planned.
            let freed = self.usage.clear(uid);
            return self.freed(freed, now);
        };
        let mut uses = limited::uses(&session.key.namespace, plan);
        if session.phase == Phase::Planned {
            uses.push(limited::queue(plan));
        }
        let freed = self.reserve(uid, uses, limits);
        if session.phase == Phase::Started {
            self.reviews.extend(self.usage.note_probe(uid, now.tick));
        }
        self.note_answers(session, now);
        self.freed(freed, now);
        self.wake_siblings(session, now);
    }

    /// Forgets sessions that are not in the log any more.
    pub fn retain(&mut self, is_known: impl Fn(Uuid) -> bool, now: Now) {
        let gone: Vec<Uuid> = self.waiters.keys().copied().filter(|uid| !is_known(*uid)).collect();
        for uid in gone {
            if let Some(waiter) = self.waiters.get(&uid) {
                let namespace = waiter.session.key.namespace.clone();
                self.leave(uid);
                self.leave_quota(&namespace, uid, now);
            }
            let freed = self.usage.clear(uid);
            self.trying.remove(&uid);
            self.freed(freed, now);
        }
    }

    fn take_waiting(&mut self, session: &Arc<Session>, now: Now) {
        let uid = session.key.uid;
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            // A cancel request, or a fact that another version knows.
            waiter.session = Arc::clone(session);
            if session.cancel.is_some() && waiter.place != Place::Looked {
                self.make_due(uid, now);
            }
            return;
        }
        let freed = self.usage.clear(uid);
        let order = WaitOrder::of(session, Priority::Normal);
        let is_retry = session.phase == Phase::Retrying;
        let waiter = Waiter {
            session: Arc::clone(session),
            needs: None,
            order,
            cause: if is_retry { WaitCause::Retry } else { WaitCause::New },
            place: Place::Resting,
            verdict: QuotaVerdict::Plan,
            timer: None,
            behind: None,
            lacks_objects: false,
            not_before: now.tick,
            look: 0,
            notice: WaiterNotice::default(),
            out_since: outages::out_since(session, self.trying.remove(&uid), now.tick),
        };
        self.count(waiter.cause.reason(), true);
        self.waiters.insert(uid, waiter);
        self.notices.session_changed(uid);
        self.enter_quota(session, now);
        if is_retry {
            let delay = outages::retry_time(session).map_or(Duration::ZERO, |at| now.until(at));
            self.note_failure(session, now.tick + delay, now);
            if session.cancel.is_none() {
                self.wake_after(uid, delay, now);
            } else {
                self.make_due(uid, now);
            }
            self.wake_behind(uid, now);
        }
        self.freed(freed, now);
    }
}

fn is_waiting(session: &Session) -> bool {
    matches!(session.phase, Phase::Requested | Phase::Retrying) && !session.foreign
}
