//! The waiting room: every session that is requested or retrying, folded from the facts, and what each one waits for. It says
//! which session is looked at next. Every planner has one, and all of them hold the same sessions.
//! It must not read a clock, do I/O, or decide how a session ends.

mod cause;
mod limited;
mod line;
mod lines;
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
use lagan_schemas::resource::backup_configuration::Priority;
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

pub(crate) use self::cause::{Cause, Until};
pub use self::limited::Limits;
pub(crate) use self::limited::{Limited, MAX_CONCURRENT_ANNOTATION, Needs, Order, Overlap, limited_uses, lock_key};
use self::line::Line;
pub(crate) use self::outages::longest_retry;
use self::siblings::Siblings;
use self::usage::Usage;

/// Time after which a planner looks at a session that is another's to look at.
const OTHERS: Duration = Duration::from_secs(2);
/// Time after which a session is looked at again although nothing happened to it: a fact that was appended did not come.
const LOST_SIGHT: Duration = Duration::from_secs(5);

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
pub(crate) struct Look {
    pub session: Arc<Session>,
    pub cause: Cause,
    pub verdict: Verdict,
}

/// Whether the session may be planned at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Plan,
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
    needs: Option<Needs>,
    order: Order,
    cause: Cause,
    place: Place,
    verdict: Verdict,
    timer: Option<Duration>,
    behind: Option<Uuid>,
    lacks_objects: bool,
    /// A change of the objects does not call it before.
    not_before: Duration,
}

pub(crate) struct Room {
    me: Uuid,
    peers: Vec<Uuid>,
    limits: Arc<Limits>,
    waiters: HashMap<Uuid, Waiter>,
    timers: BTreeSet<(Duration, Uuid)>,
    due: Line,
    lines: HashMap<Limited, Line>,
    /// Times at which something that did not answer is looked at again.
    reviews: BTreeSet<(Duration, Limited)>,
    usage: Usage,
    /// The open sessions of each namespace that are within its quota.
    within_quota: HashMap<String, HashSet<Uuid>>,
    behind: HashMap<Uuid, BTreeSet<Uuid>>,
    lacking: BTreeSet<Uuid>,
    siblings: HashMap<ObjectKey, Siblings>,
    counts: BTreeMap<&'static str, u64>,
    is_counted_anew: bool,
}

impl Room {
    pub fn new(me: Uuid, limits: Arc<Limits>) -> Self {
        Self {
            me,
            peers: vec![me],
            limits,
            waiters: HashMap::new(),
            timers: BTreeSet::new(),
            due: Line::default(),
            lines: HashMap::new(),
            reviews: BTreeSet::new(),
            usage: Usage::default(),
            within_quota: HashMap::new(),
            behind: HashMap::new(),
            lacking: BTreeSet::new(),
            siblings: HashMap::new(),
            counts: BTreeMap::new(),
            is_counted_anew: false,
        }
    }

    /// Sets the planners that live, this one among them.
    pub fn set_peers(&mut self, mut peers: Vec<Uuid>) {
        if !peers.contains(&self.me) {
            peers.push(self.me);
        }
        self.peers = peers;
    }

    /// Takes in the newest state of a session.
    pub fn fold(&mut self, session: &Arc<Session>, now: Now) {
        let uid = session.key.uid;
        self.note_sibling(session);
        if session.phase.is_end() {
            self.note_answers(session, now);
            self.leave(uid);
            let freed = self.usage.clear(uid);
            self.leave_quota(&session.key.namespace, uid, now);
            self.freed(freed, now);
            self.wake_behind(uid, now);
            return;
        }
        if is_waiting(session) {
            return self.take_waiting(session, now);
        }
        self.leave(uid);
        self.within_quota.entry(session.key.namespace.clone()).or_default().insert(uid);
        let Some(plan) = &session.plan else { return };
        let mut uses = limited::uses(&session.key.namespace, plan);
        if session.phase == Phase::Planned {
            uses.push(limited::queue(plan));
        }
        let freed = self.usage.set(uid, uses);
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
            self.freed(freed, now);
        }
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
    pub fn next(&mut self, now: Now) -> Option<Look> {
        self.fire_timers(now);
        let order = self.due.best(|namespace| share(&self.usage, &self.limits, namespace))?;
        let waiter = self.waiters.get_mut(&order.session)?;
        self.due.remove(&waiter.session.key.namespace, &order);
        waiter.place = Place::Looked;
        Some(Look { session: Arc::clone(&waiter.session), cause: waiter.cause.clone(), verdict: waiter.verdict })
    }

    /// When the next timer fires.
    pub fn next_timer(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let review = self.reviews.first().map(|(at, _)| *at);
        timer.into_iter().chain(review).min()
    }

    /// Answers a session that could be planned now. If it may go, everything that it needs is reserved for it.
    pub fn admit(&mut self, uid: Uuid, needs: Needs, now: Now) -> Admission {
        // It was decided meanwhile.
        let Some(waiter) = self.waiters.get_mut(&uid) else { return Admission::Waits };
        waiter.order = needs.order;
        if let Some(skipped) = self.sibling_in_the_way(uid, needs.overlap) {
            return skipped;
        }
        let freed = self.usage.clear(uid);
        let missing = self.first_missing(&needs, now);
        let expires = needs.expires.map(|at| now.until(at));
        let Some(waiter) = self.waiters.get_mut(&uid) else { return Admission::Waits };
        waiter.needs = Some(needs);
        let admission = match missing {
            None => {
                let uses = waiter.needs.iter().flat_map(|needs| needs.uses.iter().map(|(used, _)| used.clone()));
                let uses = uses.collect();
                self.usage.set(uid, uses);
                self.set_timer(uid, now.tick + LOST_SIGHT);
                Admission::Go
            }
            Some(wanted) => {
                self.stand_in_line(uid, wanted);
                if let Some(expires) = expires {
                    self.set_timer(uid, now.tick + expires + Duration::from_millis(1));
                }
                Admission::Waits
            }
        };
        self.freed(freed, now);
        admission
    }

    /// Notes that a session can't be decided yet.
    pub fn wait(&mut self, uid: Uuid, cause: Cause, until: Until, now: Now) {
        let freed = self.usage.clear(uid);
        self.set_cause(uid, cause);
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.place = Place::Resting;
            let delay = match until {
                Until::After(delay) => delay,
                Until::Objects { pause, latest } => {
                    waiter.lacks_objects = true;
                    waiter.not_before = now.tick + pause;
                    self.lacking.insert(uid);
                    latest
                }
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
    pub fn decided(&mut self, uid: Uuid, now: Now) {
        if let Some(waiter) = self.waiters.get_mut(&uid) {
            waiter.place = Place::Resting;
            self.set_timer(uid, now.tick + LOST_SIGHT);
        }
    }

    /// Numbers of waiting sessions by the reason of their wait, if they have changed since the last call.
    pub fn changed_counts(&mut self) -> Option<BTreeMap<&'static str, u64>> {
        std::mem::take(&mut self.is_counted_anew).then(|| self.counts.clone())
    }

    fn set_cause(&mut self, uid: Uuid, cause: Cause) {
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        let (old, new) = (waiter.cause.reason(), cause.reason());
        waiter.cause = cause;
        if old != new {
            self.count(old, false);
            self.count(new, true);
        }
    }

    fn count(&mut self, reason: &'static str, arrives: bool) {
        self.is_counted_anew = true;
        let count = self.counts.entry(reason).or_default();
        *count = if arrives { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.counts.remove(reason);
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
        let order = Order::of(session, Priority::Normal);
        let is_retry = session.phase == Phase::Retrying;
        let waiter = Waiter {
            session: Arc::clone(session),
            needs: None,
            order,
            cause: if is_retry { Cause::Retry } else { Cause::New },
            place: Place::Resting,
            verdict: Verdict::Plan,
            timer: None,
            behind: None,
            lacks_objects: false,
            not_before: now.tick,
        };
        self.count(waiter.cause.reason(), true);
        self.waiters.insert(uid, waiter);
        self.enter_quota(session, now);
        if is_retry {
            let delay = outages::retry_delay(session, now);
            self.note_failure(session, now.tick + delay);
            if session.cancel.is_none() {
                self.wake_after(uid, delay, now);
            } else {
                self.make_due(uid, now);
            }
            self.wake_behind(uid, now);
        }
        self.freed(freed, now);
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
            self.count(waiter.cause.reason(), false);
        }
    }

    fn is_mine(&self, uid: Uuid) -> bool {
        let weight = |peer: &&Uuid| Uuid::new_v5(peer, uid.as_bytes());
        self.peers.iter().max_by_key(weight).is_none_or(|owner| *owner == self.me)
    }
}

fn is_waiting(session: &Session) -> bool {
    matches!(session.phase, Phase::Requested | Phase::Retrying) && !session.foreign
}

/// What a namespace uses, in relation to its share.
fn share(usage: &Usage, limits: &Limits, namespace: &str) -> u64 {
    let weight = limits.weights.get(namespace).copied().unwrap_or(1).max(1);
    u64::from(usage.count(&Limited::Namespace(namespace.to_owned()))) * 1000 / u64::from(weight)
}
