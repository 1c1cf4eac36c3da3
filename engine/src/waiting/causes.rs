//! The causes for which the sessions of the room wait, and the number of sessions of each.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Limited, Now, WaitCause, Waiter, WaitingRoom};

impl Waiter {
    /// Who has not answered for as long as it may wait for that.
    pub(super) fn unanswering(&self, now: Now) -> Option<Limited> {
        let (WaitCause::Answer(of), Some((_, since)), Some(needs)) =
            (&self.cause, self.out_since.as_ref().filter(|(out, _)| self.cause.is_answer_of(out)), &self.needs)
        else {
            return None;
        };
        (now.tick >= since.saturating_add(needs.patience.with(of))).then(|| of.clone())
    }
}

impl WaitingRoom {
    /// Numbers of waiting sessions by the reason of their wait, if they have changed since the last call.
    pub fn changed_counts(&mut self) -> Option<BTreeMap<&'static str, u64>> {
        std::mem::take(&mut self.is_counted_anew).then(|| self.counts.clone())
    }

    pub(super) fn set_cause(&mut self, uid: Uuid, cause: WaitCause) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        let (old, new) = (waiter.cause.reason(), cause.reason());
        waiter.out_since.take_if(|(out, _)| !matches!(cause, WaitCause::Retry) && !cause.is_answer_of(out));
        waiter.cause = cause;
        self.notices.session_changed(uid);
        if old != new {
            self.count(old, false);
            self.count(new, true);
        }
    }

    pub(super) fn count(&mut self, reason: &'static str, arrives: bool) {
        self.is_counted_anew = true;
        let count = self.counts.entry(reason).or_default();
        *count = if arrives { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.counts.remove(reason);
        }
    }
}
