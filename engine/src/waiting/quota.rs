//! The quota of open sessions of each namespace.

use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::SessionKind;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Admission, Limited, Now, Overlap, QuotaVerdict, WaitCause, WaitingRoom};

/// Sessions of a namespace that may wait for its quota.
pub(crate) const QUOTA_LINE: usize = 1000;

impl WaitingRoom {
    /// Counts a new session in its namespace. Beyond the quota it stands in line, and beyond the line it is refused.
    pub(super) fn enter_quota(&mut self, session: &Session, now: Now) {
        let (uid, namespace) = (session.key.uid, session.key.namespace.as_str());
        let exempt = session.phase == Phase::Retrying || session.key.kind == SessionKind::Maintenance;
        let open = self.within_quota.entry(namespace.to_owned()).or_default();
        if exempt || self.limits.open == 0 || open.len() < self.limits.open as usize {
            open.insert(uid);
            if session.phase != Phase::Retrying {
                self.make_due(uid, now);
            }
            return;
        }
        let quota = Limited::Quota(namespace.to_owned());
        let beyond = self.beyond_quota.entry(namespace.to_owned()).or_default();
        let is_line_full = beyond.len() >= QUOTA_LINE;
        if !is_line_full {
            beyond.insert(uid);
        }
        self.set_cause(uid, WaitCause::Turn(quota));
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.verdict = if is_line_full { QuotaVerdict::Refuse } else { QuotaVerdict::StandInLine };
        }
        // The look finds out when its time is over.
        self.make_due(uid, now);
    }

    /// Lets a session stand in line for the quota of its namespace until its time is over, unless it is skipped.
    pub fn stand_in_quota_line(
        &mut self,
        uid: Uuid,
        look: u64,
        (overlap, expires): (Overlap, Option<Timestamp>),
        now: Now,
    ) -> Admission {
        if !self.is_looked_at(uid, look) {
            return Admission::Waits;
        }
        if let Some(skipped) = self.sibling_in_the_way(uid, overlap) {
            return skipped;
        }
        let Some(namespace) = self.waiters.get(&uid).map(|waiter| waiter.session.key.namespace.clone()) else {
            return Admission::Waits;
        };
        self.stand_in_line(uid, Limited::Quota(namespace.clone()), now);
        if let Some(expires) = expires {
            self.set_timer(uid, now.tick + now.until(expires) + Duration::from_millis(1));
        }
        // Somebody may have left meanwhile.
        self.call_quota(&namespace, now);
        Admission::Waits
    }

    pub(super) fn leave_quota(&mut self, namespace: &str, uid: Uuid, now: Now) {
        if mutant!("quota-not-freed") {
            return;
        }
        if let Some(beyond) = self.beyond_quota.get_mut(namespace) {
            beyond.remove(&uid);
            if beyond.is_empty() {
                self.beyond_quota.remove(namespace);
            }
        }
        let Some(open) = self.within_quota.get_mut(namespace) else { return };
        open.remove(&uid);
        self.call_quota(namespace, now);
        if self.within_quota.get(namespace).is_some_and(std::collections::HashSet::is_empty) {
            self.within_quota.remove(namespace);
        }
    }

    fn call_quota(&mut self, namespace: &str, now: Now) {
        let quota = Limited::Quota(namespace.to_owned());
        while let Some(open) = self.within_quota.get_mut(namespace)
            && open.len() < self.limits.open as usize
            && let Some(next) = self.lines.get(&quota).and_then(|line| line.best(|_| 0))
        {
            open.insert(next.session);
            if let Some(beyond) = self.beyond_quota.get_mut(namespace) {
                beyond.remove(&next.session);
            }
            self.leave_line(next.session);
            if let Some(waiter) = self.waiters.get_mut(&next.session) {
                waiter.verdict = QuotaVerdict::Plan;
            }
            self.make_due(next.session, now);
        }
    }
}
