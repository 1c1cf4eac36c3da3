//! The waiting room: every session that is requested or retrying, folded from the facts, and what each one waits for. It says
//! which session is looked at next. Every planner has one, and all of them hold the same sessions.
//! It must not read a clock, do I/O, or decide how a session ends.

mod cause;
mod causes;
mod fold;
mod limited;
mod line;
mod lines;
mod notices;
mod outages;
mod quota;
mod siblings;
mod timers;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

pub(crate) use self::cause::{Until, WaitCause};
pub use self::limited::Limits;
pub(crate) use self::limited::{
    AnswerPatience, Limited, Overlap, SessionNeeds, WaitOrder, limited_uses, limiting_objects, lock_key,
};
use self::line::WaitingLine;
pub(crate) use self::notices::WaitNotice;
use self::notices::{WaitNotices, WaiterNotice};
pub(crate) use self::outages::retry_time;
use self::siblings::Siblings;
use self::usage::UsageCounts;

/// Time after which a planner looks at a session that is another's to look at.
const OTHERS: Duration = Duration::from_secs(2);
/// Time after which a session is looked at again although nothing happened to it: a fact that was appended did not come.
const LOST_SIGHT: Duration = Duration::from_secs(5);

/// Time after which a session looks again for another one that is in its way and that the room does not know.
const UNSEEN: Duration = Duration::from_secs(1);

/// The present time: of the wall clock, which timestamps in facts are compared with, and since the start, which never jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub wall: Timestamp,
    pub tick: Duration,
}

impl Now {
    /// Time until a timestamp; zero if it is past.
    fn until(self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.wall)).unwrap_or_default()
    }
}

/// The answer to a session that could be planned now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    Go,
    Waits,
    /// The other session of its configuration, by its name, and whether that one is under way.
    Skipped {
        behind: Uuid,
        name: String,
        waits: bool,
    },
}

/// A session that is to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct SessionLook {
    /// Names this look when its result comes.
    pub number: u64,
    pub session: Arc<Session>,
    pub cause: WaitCause,
    pub verdict: QuotaVerdict,
    /// It has waited for this one's answer for as long as it may.
    pub unanswering: Option<Limited>,
}

/// Whether the session may be planned at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaVerdict {
    Plan,
    /// Its namespace has too many open sessions.
    StandInLine,
    /// Too many sessions of its namespace wait already.
    Refuse,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It waits for its timer or for an event.
    Resting,
    Due,
    Looked,
    InLine(Limited),
}

struct Waiter {
    session: Arc<Session>,
    /// As far as it is known: the order is final once the session was looked at.
    needs: Option<SessionNeeds>,
    order: WaitOrder,
    cause: WaitCause,
    place: Place,
    verdict: QuotaVerdict,
    timer: Option<Duration>,
    behind: Option<Uuid>,
    lacks_objects: bool,
    /// A change of the objects does not call it before.
    not_before: Duration,
    /// Number of the last look. The result of an earlier one is void: the session has moved on since.
    look: u64,
    notice: WaiterNotice,
    /// The thing that does not answer, and since when it has waited for that.
    out_since: Option<(Limited, Duration)>,
}

pub(crate) struct WaitingRoom {
    me: Uuid,
    peers: Vec<Uuid>,
    limits: Arc<Limits>,
    waiters: HashMap<Uuid, Waiter>,
    timers: BTreeSet<(Duration, Uuid)>,
    due: WaitingLine,
    lines: HashMap<Limited, WaitingLine>,
    /// The sessions in line whose limits an object sets.
    limited_by: HashMap<ObjectKey, BTreeSet<Uuid>>,
    /// Objects that may set limits and have changed, with the number of looks until then.
    limit_changes: HashMap<ObjectKey, u64>,
    all_limits_changed: u64,
    /// The same as `out_since`, of the sessions that try for an answer now.
    trying: HashMap<Uuid, (Limited, Duration)>,
    /// Times at which something that did not answer is looked at again.
    reviews: BTreeSet<(Duration, Limited)>,
    usage: UsageCounts,
    /// The open sessions of each namespace that are within its quota.
    within_quota: HashMap<String, HashSet<Uuid>>,
    /// The sessions of each namespace that wait for its quota.
    beyond_quota: HashMap<String, HashSet<Uuid>>,
    behind: HashMap<Uuid, BTreeSet<Uuid>>,
    lacking: BTreeSet<Uuid>,
    siblings: HashMap<ObjectKey, Siblings>,
    counts: BTreeMap<&'static str, u64>,
    is_counted_anew: bool,
    notices: WaitNotices,
    /// Number of looks so far.
    looks: u64,
}

impl WaitingRoom {
    pub fn new(me: Uuid, limits: Arc<Limits>) -> Self {
        Self {
            me,
            peers: vec![me],
            limits,
            waiters: HashMap::new(),
            timers: BTreeSet::new(),
            due: WaitingLine::default(),
            lines: HashMap::new(),
            limited_by: HashMap::new(),
            limit_changes: HashMap::new(),
            all_limits_changed: 0,
            trying: HashMap::new(),
            reviews: BTreeSet::new(),
            usage: UsageCounts::default(),
            within_quota: HashMap::new(),
            beyond_quota: HashMap::new(),
            behind: HashMap::new(),
            lacking: BTreeSet::new(),
            siblings: HashMap::new(),
            counts: BTreeMap::new(),
            is_counted_anew: false,
            notices: WaitNotices::default(),
            looks: 0,
        }
    }

    /// Sets the planners that live, this one among them.
    pub fn set_peers(&mut self, mut peers: Vec<Uuid>) {
        if !peers.contains(&self.me) {
            peers.push(self.me);
        }
        self.peers = peers;
    }

    /// Tells of a change of the objects: sessions that miss some are looked at soon. One that has waited for long is looked
    /// at less often.
    pub fn objects_changed(&mut self, now: Now) {
        for uid in self.lacking.clone() {
            let Some(waiter) = self.waiters.get(&uid) else { continue };
            let at = now.tick.max(waiter.not_before);
            if waiter.place == Place::Resting && waiter.timer.is_none_or(|timer| timer > at) {
                self.set_timer(uid, at);
            }
        }
    }

    pub fn lacks_objects(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// The next session to look at, if one is due.
    pub fn next(&mut self, now: Now) -> Option<SessionLook> {
        self.fire_timers(now);
        let order = self.due.best(|namespace| share(&self.usage, &self.limits, namespace))?;
        let waiter = self.waiters.get_mut(&order.session)?;
        self.due.remove(&waiter.session.key.namespace, 0, &order);
        self.looks += 1;
        (waiter.place, waiter.look) = (Place::Looked, self.looks);
        Some(SessionLook {
            number: self.looks,
            session: Arc::clone(&waiter.session),
            cause: waiter.cause.clone(),
            verdict: waiter.verdict,
            unanswering: waiter.unanswering(now),
        })
    }

    /// When the next timer fires.
    pub fn next_timer(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let review = self.reviews.first().map(|(at, _)| *at);
        timer.into_iter().chain(review).min()
    }

    /// The parts of the room that are not empty. When every session has ended, nothing may be left.
    #[cfg(test)]
    pub fn leftovers(&self) -> Vec<&'static str> {
        let parts = [
            ("waiters", self.waiters.is_empty()),
            ("timers", self.timers.is_empty()),
            ("due", self.due.is_empty()),
            ("lines", self.lines.is_empty()),
            ("usage", self.usage.is_empty()),
            ("within quota", self.within_quota.is_empty()),
            ("beyond quota", self.beyond_quota.is_empty()),
            ("behind", self.behind.is_empty()),
            ("lacking", self.lacking.is_empty()),
            ("siblings", self.siblings.is_empty()),
            ("trying", self.trying.is_empty()),
            ("limited by", self.limited_by.is_empty()),
            ("counts", self.counts.is_empty()),
        ];
        parts.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name).collect()
    }

    fn is_looked_at(&self, uid: Uuid, look: u64) -> bool {
        self.waiters.get(&uid).is_some_and(|waiter| waiter.look == look && waiter.place == Place::Looked)
    }

    /// Answers a session that could be planned now. If it may go, everything that it needs is reserved for it.
    pub fn admit(&mut self, uid: Uuid, look: u64, needs: SessionNeeds, now: Now) -> Admission {
        if !self.is_looked_at(uid, look) {
            return Admission::Waits;
        }
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.order = needs.order;
        }
        if let Some(skipped) = self.sibling_in_the_way(uid, needs.overlap) {
            return skipped;
        }
        let freed = self.usage.clear(uid);
        let was_reserved = needs.uses.iter().all(|(used, _)| freed.contains(used));
        let missing = if was_reserved { self.first_lost(&needs, now) } else { self.first_missing(&needs, now) };
        let is_outdated = self.has_outdated_limits(&needs, look);
        let expires = needs.expires.map(|at| now.until(at));
        let Some(waiter) = self.waiters.get_mut(&uid) else { return Admission::Waits };
        waiter.needs = Some(needs);
        let admission = match missing {
            None => {
                if let Some(needs) = waiter.needs.clone() {
                    self.reserve_for(uid, needs);
                }
                self.set_timer(uid, now.tick + LOST_SIGHT);
                Admission::Go
            }
            Some(wanted) => {
                self.stand_in_line(uid, wanted, now);
                if let Some(expires) = expires {
                    let at = now.tick + expires + Duration::from_millis(1);
                    let earlier = self.waiters.get(&uid).and_then(|waiter| waiter.timer).filter(|timer| *timer < at);
                    self.set_timer(uid, earlier.unwrap_or(at));
                }
                if is_outdated {
                    self.make_due(uid, now);
                }
                Admission::Waits
            }
        };
        self.freed(freed, now);
        admission
    }

    /// Notes that a session can't be decided yet.
    pub fn wait(&mut self, uid: Uuid, look: u64, cause: WaitCause, until: Until, now: Now) {
        if !self.is_looked_at(uid, look) {
            return;
        }
        let keeps = matches!(until, Until::AfterWithLock(_));
        let freed = if keeps { Vec::new() } else { self.usage.clear(uid) };
        self.set_cause(uid, cause);
        let is_in_sight = match until {
            Until::SessionEnds(other, _) => self.waiters.contains_key(&other) || self.usage.has(other),
            Until::After(_) | Until::AfterWithLock(_) | Until::Objects { .. } => true,
        };
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.place = Place::Resting;
            let delay = match until {
                Until::After(delay) | Until::AfterWithLock(delay) => delay,
                Until::Objects { pause, latest } => {
                    waiter.lacks_objects = true;
                    waiter.not_before = now.tick + pause;
                    self.lacking.insert(uid);
                    latest
                }
                // It has ended meanwhile, or is not in sight yet.
                Until::SessionEnds(..) if !is_in_sight => UNSEEN,
                Until::SessionEnds(other, delay) => {
                    waiter.behind = Some(other);
                    self.behind.entry(other).or_default().insert(uid);
                    delay
                }
            };
            self.set_timer(uid, now.tick + delay);
        }
        self.freed(freed, now);
    }

    /// Notes that a fact was appended. It comes back through the log.
    pub fn decided(&mut self, uid: Uuid, look: u64, now: Now) {
        if !self.is_looked_at(uid, look) {
            return;
        }
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.place = Place::Resting;
            self.set_timer(uid, now.tick + LOST_SIGHT);
        }
    }

    fn wake_behind(&mut self, uid: Uuid, now: Now) {
        for waiter in self.behind.remove(&uid).unwrap_or_default() {
            self.wake_after(waiter, Duration::ZERO, now);
        }
    }

    fn leave(&mut self, uid: Uuid) {
        self.leave_line(uid);
        self.clear_timer(uid);
        self.stop_waiting_for_others(uid);
        if let Some(waiter) = self.waiters.remove(&uid) {
            self.notices.forget(uid, &waiter.notice);
            self.count(waiter.cause.reason(), false);
        }
    }

    fn is_mine(&self, uid: Uuid) -> bool {
        let weight = |peer: &&Uuid| Uuid::new_v5(peer, uid.as_bytes());
        self.peers.iter().max_by_key(weight).is_none_or(|owner| *owner == self.me)
    }
}

/// The use of a namespace, in relation to its share.
fn share(usage: &UsageCounts, limits: &Limits, namespace: &str) -> u64 {
    let weight = limits.weights.get(namespace).copied().unwrap_or(1).max(1);
    u64::from(usage.of_namespace(namespace)) * 1000 / u64::from(weight)
}
