//! The quota of open sessions of each namespace.

use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::SessionKind;
use uuid::Uuid;

use super::line::Line;
use super::{Cause, Limited, Now, Room, Verdict};

/// Sessions of a namespace that may wait for its quota.
pub(crate) const QUOTA_LINE: usize = 1000;

impl Room {
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
        if self.lines.get(&quota).map_or(0, Line::len) < QUOTA_LINE {
            self.stand_in_line(uid, quota);
        } else {
            self.set_cause(uid, Cause::Turn(quota));
            if let Some(waiter) = self.waiters.get_mut(&uid) {
                waiter.verdict = Verdict::Refuse;
            }
            self.make_due(uid, now);
        }
    }

    pub(super) fn leave_quota(&mut self, namespace: &str, uid: Uuid, now: Now) {
        let Some(open) = self.within_quota.get_mut(namespace) else { return };
        open.remove(&uid);
        let quota = Limited::Quota(namespace.to_owned());
        while let Some(open) = self.within_quota.get_mut(namespace)
            && open.len() < self.limits.open as usize
            && let Some(next) = self.lines.get(&quota).and_then(|line| line.best(|_| 0))
        {
            open.insert(next.session);
            self.leave_line(next.session);
            self.make_due(next.session, now);
        }
        if self.within_quota.get(namespace).is_some_and(std::collections::HashSet::is_empty) {
            self.within_quota.remove(namespace);
        }
    }
}
