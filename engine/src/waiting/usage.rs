//! How many sessions use what: those that are planned or run, by their facts, and those whose turn it is, by reservation.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use uuid::Uuid;

use super::limited::Limited;

/// Time that a session must have run for its database and storage to count as reached. A worker gives up within a third
/// of it.
pub(super) const REACHED_AFTER: Duration = Duration::from_secs(30);

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

/// Everything that a session uses, and the limits that hold for it.
#[derive(Debug, Default)]
struct SessionUses {
    uses: Vec<Limited>,
    limits: Vec<(Limited, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct UsageCounts {
    by_session: HashMap<Uuid, SessionUses>,
    counts: HashMap<Limited, u32>,
    /// The counts of namespaces, by name.
    by_namespace: HashMap<String, u32>,
    /// The limits that objects set, of those sessions that use the thing: the least counts. Two AppBindings
    /// of one server, or two Repositories of one place, may set different ones.
    limits: HashMap<Limited, BTreeMap<u32, usize>>,
    outages: HashMap<Limited, Outage>,
    /// The session that uses each target.
    holders: HashMap<Limited, Uuid>,
}

impl UsageCounts {
    pub fn count(&self, used: &Limited) -> u32 {
        self.counts.get(used).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub fn has_no_limits(&self) -> bool {
        self.limits.is_empty() && self.by_namespace.is_empty()
    }

    pub fn of_namespace(&self, namespace: &str) -> u32 {
        self.by_namespace.get(namespace).copied().unwrap_or(0)
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
        self.by_session.is_empty() && self.counts.is_empty() && self.has_no_limits()
    }

    /// Sets everything that a session uses, and returns what it does not use any more. Without `limits` those stay that were
    /// known.
    pub fn set(&mut self, session: Uuid, uses: Vec<Limited>, limits: Option<Vec<(Limited, u32)>>) -> Vec<Limited> {
        let known = self.by_session.get(&session).map(|uses| uses.limits.clone());
        let mut freed = self.clear(session);
        let mut limits = limits.or(known).unwrap_or_default();
        limits.retain(|(used, limit)| is_set_by_objects(used) && *limit > 0 && uses.contains(used));
        for (used, limit) in &limits {
            self.add_limit(used, *limit);
        }
        for used in &uses {
            *self.counts.entry(used.clone()).or_default() += 1;
            if let Limited::Namespace(name) = used {
                *self.by_namespace.entry(name.clone()).or_default() += 1;
            }
            if matches!(used, Limited::Target(_)) {
                self.holders.insert(used.clone(), session);
            }
            if let Some(outage) = self.outages.get_mut(used) {
                outage.probe.get_or_insert(session);
            }
        }
        freed.retain(|one| !uses.contains(one));
        self.by_session.insert(session, SessionUses { uses, limits });
        freed
    }

    /// Adds the limit of a session that uses a thing.
    fn add_limit(&mut self, of: &Limited, limit: u32) {
        if is_set_by_objects(of) && limit > 0 {
            *self.limits.entry(of.clone()).or_default().entry(limit).or_default() += 1;
        }
    }

    fn remove_limit(&mut self, of: &Limited, limit: u32) {
        let Some(limits) = self.limits.get_mut(of) else { return };
        let Some(times) = limits.get_mut(&limit) else { return };
        *times -= 1;
        if *times == 0 {
            limits.remove(&limit);
        }
        if limits.is_empty() {
            self.limits.remove(of);
        }
    }

    pub fn clear(&mut self, session: Uuid) -> Vec<Limited> {
        let SessionUses { uses: freed, limits } = self.by_session.remove(&session).unwrap_or_default();
        for (used, limit) in &limits {
            self.remove_limit(used, *limit);
        }
        for used in &freed {
            if let Limited::Namespace(name) = used
                && let Some(count) = self.by_namespace.get_mut(name)
            {
                *count -= 1;
                if *count == 0 {
                    self.by_namespace.remove(name);
                }
            }
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
        let least = self.limits.get(wanted).and_then(|limits| limits.first_key_value()).map(|(limit, _)| *limit);
        self.has_own_room(wanted, limit, now) && least.is_none_or(|least| self.count(wanted) < least)
    }

    /// The same, without the limits of others.
    pub fn has_own_room(&self, wanted: &Limited, limit: u32, now: Duration) -> bool {
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

/// Whether objects set its limit, so that several limits may hold for it.
const fn is_set_by_objects(limited: &Limited) -> bool {
    matches!(limited, Limited::Server(_) | Limited::Repository(_))
}
