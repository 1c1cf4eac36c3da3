//! How many sessions use what: those that are planned or run, by their facts, and those whose turn it is, by reservation.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::limited::Limited;

/// Time that a session must have run for its database and storage to count as reached. A worker gives up within a third
/// of it.
const REACHED_AFTER: Duration = Duration::from_secs(30);

/// Time after which an outage is forgotten if nobody tried again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A server or a place that did not answer. One session at a time tries it.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// No session is planned before.
    probe_at: Duration,
    /// The session that tries it.
    probe: Option<Uuid>,
    /// When that session must have failed if it was to fail, once it was started.
    reached_at: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct UsageCounts {
    by_session: HashMap<Uuid, Vec<Limited>>,
    counts: HashMap<Limited, u32>,
    outages: HashMap<Limited, Outage>,
    /// The session that uses each target.
    holders: HashMap<Limited, Uuid>,
}

impl UsageCounts {
    pub fn count(&self, used: &Limited) -> u32 {
        self.counts.get(used).copied().unwrap_or(0)
    }

    /// The session that uses a target.
    pub fn holder(&self, target: &Limited) -> Option<Uuid> {
        self.holders.get(target).copied()
    }

    pub fn has(&self, session: Uuid) -> bool {
        self.by_session.contains_key(&session)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_session.is_empty() && self.counts.is_empty()
    }

    /// Sets everything that a session uses, and returns what it does not use any more.
    pub fn set(&mut self, session: Uuid, uses: Vec<Limited>) -> Vec<Limited> {
        let mut freed = self.clear(session);
        for used in &uses {
            *self.counts.entry(used.clone()).or_default() += 1;
            if matches!(used, Limited::Target(_)) {
                self.holders.insert(used.clone(), session);
            }
            if let Some(outage) = self.outages.get_mut(used) {
                outage.probe.get_or_insert(session);
            }
        }
        freed.retain(|one| !uses.contains(one));
        self.by_session.insert(session, uses);
        freed
    }

    pub fn clear(&mut self, session: Uuid) -> Vec<Limited> {
        let freed = self.by_session.remove(&session).unwrap_or_default();
        for used in &freed {
            if self.holders.get(used) == Some(&session) {
                self.holders.remove(used);
            }
            if let Some(count) = self.counts.get_mut(used) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(used);
                }
            }
            if let Some(outage) = self.outages.get_mut(used)
                && outage.probe == Some(session)
            {
                (outage.probe, outage.reached_at) = (None, None);
            }
        }
        freed
    }

    /// Whether one more session may use it now. Zero means no limit.
    pub fn has_room(&self, wanted: &Limited, limit: u32, now: Duration) -> bool {
        let outage = self.outages.get(wanted);
        let may_try = outage.is_none_or(|outage| now >= outage.probe_at && outage.probe.is_none());
        let may_exceed = if mutant!("outage-beyond-limit") { outage.is_some() } else { mutant!("limit-ignored") };
        if may_exceed {
            return may_try;
        }
        may_try && (limit == 0 || self.count(wanted) < limit)
    }

    pub fn is_out(&self, wanted: &Limited) -> bool {
        self.outages.contains_key(wanted)
    }

    /// Notes that a server or a place did not answer. It is tried again after a while.
    /// Returns whether that is news.
    pub fn note_outage(&mut self, of: Limited, probe_at: Duration) -> bool {
        self.outages.insert(of, Outage { probe_at, probe: None, reached_at: None }).is_none()
    }

    /// Notes that a session was started. Returns when to look whether it reached what did not answer.
    pub fn note_probe(&mut self, session: Uuid, now: Duration) -> Vec<(Duration, Limited)> {
        let at = now + REACHED_AFTER;
        let tried = self.outages.iter_mut().filter(|(_, outage)| outage.probe == Some(session));
        tried
            .map(|(of, outage)| {
                outage.reached_at = Some(at);
                (at, of.clone())
            })
            .collect()
    }

    /// Notes that something answered; true if that was not known.
    pub fn note_answer(&mut self, of: &Limited) -> bool {
        self.outages.remove(of).is_some()
    }

    /// Looks at an outage when its time has come: it is over if the session that tries it still runs, or if nobody has
    /// tried for long. Returns whether it is over, and when to look again.
    pub fn review(&mut self, of: &Limited, now: Duration) -> (bool, Option<Duration>) {
        let Some(outage) = self.outages.get(of) else { return (false, None) };
        let is_reached = outage.reached_at.is_some_and(|at| now >= at);
        let forgotten_at = outage.probe_at + FORGOTTEN_AFTER;
        if is_reached || (outage.probe.is_none() && now >= forgotten_at) {
            self.outages.remove(of);
            return (true, None);
        }
        (false, Some(forgotten_at).filter(|at| *at > now))
    }
}
