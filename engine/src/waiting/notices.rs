//! Notices about waiting sessions: which session waits for what, for people. A wait is told once it is older than a moment, and
//! again when what it waits for, who uses that, or roughly its position has changed. Nothing is counted while nobody listens.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{Limited, Place, WaitCause, WaitingRoom};

/// Time after which a wait is told.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Time after which it is told that no planner has looked at a session.
const UNSEEN_TOLD_AFTER: Duration = Duration::from_secs(10);
/// Least time between two notices of one session, and between two counts of one line.
const PAUSE: Duration = Duration::from_secs(10);
/// The most notices of one batch, and the least time between two batches. Each costs a status.
pub(super) const BATCH: usize = 100;
const BATCH_PAUSE: Duration = Duration::from_secs(1);
/// Positions below it are told exactly.
const EXACT: usize = 4;

/// What one session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitNotice {
    pub session: Uuid,
    pub cause: WaitCause,
    /// The session that uses the target, for those that are near the front of its line.
    pub holder: Option<Uuid>,
    pub ahead: Option<SessionsAhead>,
    /// The number of sessions that may use it at a time.
    pub limit: Option<u32>,
}

impl WaitNotice {
    /// The sentence for people, with the name of the holder if it is known.
    pub fn message(&self, holder: Option<&str>) -> String {
        let mut text = match (&self.cause, holder) {
            (WaitCause::Turn(Limited::Target(key)), Some(name)) => {
                format!("waits for {key}, which session `{name}` uses")
            }
            (cause, _) => format!("waits for {cause}"),
        };
        if let Some(limit) = self.limit {
            text.push_str(&format!(": at most {limit} at a time"));
        }
        if let Some(ahead) = self.ahead {
            text.push_str(&format!("; {ahead}"));
        }
        text
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.cause, self.holder, self.ahead) == (&other.cause, other.holder, other.ahead)
    }
}

/// The number of sessions whose turn comes first: exact if it is small, else within a factor of two, so that a line of
/// thousands does not change thousands of statuses whenever it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionsAhead {
    least: usize,
    most: usize,
}

impl SessionsAhead {
    pub fn of(number: usize) -> Self {
        if number < EXACT {
            return Self { least: number, most: number };
        }
        let least = 1 << number.ilog2();
        Self { least, most: 2 * least - 1 }
    }

    const fn is_exact(self) -> bool {
        self.least == self.most
    }
}

impl fmt::Display for SessionsAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (0, 0) => f.write_str("it is next"),
            (1, 1) => f.write_str("1 session is ahead of it"),
            (least, _) if self.is_exact() => write!(f, "{least} sessions are ahead of it"),
            (least, most) => write!(f, "{least} to {most} sessions are ahead of it"),
        }
    }
}

/// What was told of one session.
#[derive(Default)]
pub(super) struct WaiterNotice {
    told: Option<WaitNotice>,
    told_at: Duration,
    /// When the next notice is due.
    due: Option<(NoticeUrgency, Duration)>,
    ahead: Option<SessionsAhead>,
}

impl WaiterNotice {
    /// Forgets a position that is no longer its own.
    pub const fn left_line(&mut self) {
        self.ahead = None;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoticeUrgency {
    Urgent,
    Normal,
}

#[derive(Default)]
pub(super) struct WaitNotices {
    is_wanted: bool,
    changed: HashSet<Uuid>,
    /// Sessions that a person asked for are told first.
    urgent: BTreeSet<(Duration, Uuid)>,
    normal: BTreeSet<(Duration, Uuid)>,
    /// Lines that have changed since they were counted.
    lines: HashSet<Limited>,
    next_batch: Duration,
    next_count: Duration,
}

impl WaitNotices {
    pub fn session_changed(&mut self, uid: Uuid) {
        if self.is_wanted {
            self.changed.insert(uid);
        }
    }

    /// Notes that a line moved, or that something else has the thing that it waits for.
    pub fn line_changed(&mut self, of: &Limited) {
        if self.is_wanted && is_counted(of) && !self.lines.contains(of) {
            self.lines.insert(of.clone());
        }
    }

    fn of(&mut self, urgency: NoticeUrgency) -> &mut BTreeSet<(Duration, Uuid)> {
        match urgency {
            NoticeUrgency::Urgent => &mut self.urgent,
            NoticeUrgency::Normal => &mut self.normal,
        }
    }

    pub fn forget(&mut self, uid: Uuid, of_waiter: &WaiterNotice) {
        self.changed.remove(&uid);
        if let Some((urgency, at)) = of_waiter.due {
            self.of(urgency).remove(&(at, uid));
        }
    }

    fn first_due(&self) -> Option<Duration> {
        self.urgent.first().into_iter().chain(self.normal.first()).map(|(at, _)| *at).min()
    }

    fn pop(&mut self, now: Duration) -> Option<Uuid> {
        for line in [&mut self.urgent, &mut self.normal] {
            if line.first().is_some_and(|(at, _)| *at <= now) {
                return line.pop_first().map(|(_, uid)| uid);
            }
        }
        None
    }
}

/// Whether positions in its line are known: elsewhere the order follows from what others use.
const fn is_counted(of: &Limited) -> bool {
    matches!(of, Limited::Target(_) | Limited::Quota(_))
}

impl WaitingRoom {
    /// Begins to make notices, of all sessions anew, or stops it.
    pub fn want_notices(&mut self, is_wanted: bool) {
        let (changed, lines) = if is_wanted {
            (self.waiters.keys().copied().collect(), self.lines.keys().filter(|of| is_counted(of)).cloned().collect())
        } else {
            (HashSet::new(), HashSet::new())
        };
        self.notices = WaitNotices { is_wanted, changed, lines, ..WaitNotices::default() };
        for waiter in self.waiters.values_mut() {
            waiter.notice = WaiterNotice::default();
        }
    }

    /// The notices that are due.
    pub fn take_notices(&mut self, now: Duration) -> Vec<WaitNotice> {
        for uid in std::mem::take(&mut self.notices.changed) {
            self.plan_notice(uid, now);
        }
        if self.are_notices_due(now) || now >= self.notices.next_count {
            self.count_lines(now);
        }
        if !self.are_notices_due(now) {
            return Vec::new();
        }
        let mut notices = Vec::new();
        while notices.len() < BATCH
            && let Some(uid) = self.notices.pop(now)
        {
            let notice = self.notice_of(uid);
            let Some(waiter) = self.waiters.get_mut(&uid) else { continue };
            waiter.notice.due = None;
            let Some(notice) = notice.filter(|new| is_news(&waiter.notice, new)) else { continue };
            (waiter.notice.told, waiter.notice.told_at) = (Some(notice.clone()), now);
            notices.push(notice);
        }
        self.notices.next_batch = now + BATCH_PAUSE;
        notices
    }

    fn are_notices_due(&self, now: Duration) -> bool {
        now >= self.notices.next_batch && self.notices.first_due().is_some_and(|at| at <= now)
    }

    /// When notices are due next.
    pub fn next_notice(&self) -> Option<Duration> {
        let counts = (!self.notices.lines.is_empty()).then_some(self.notices.next_count);
        let due = self.notices.first_due().map(|at| at.max(self.notices.next_batch));
        due.into_iter().chain(counts).min()
    }

    fn notice_of(&self, uid: Uuid) -> Option<WaitNotice> {
        let waiter = self.waiters.get(&uid)?;
        // The status of a session that retries says this by itself.
        if waiter.cause == WaitCause::Retry {
            return None;
        }
        let in_line = match &waiter.place {
            Place::InLine(wanted) => Some(wanted),
            _ => None,
        };
        let uses = waiter.needs.iter().flat_map(|needs| &needs.uses);
        let is_shared = |used: &Limited| !matches!(used, Limited::Target(_)) && !self.usage.is_out(used);
        let of_line = uses.filter(|(used, _)| Some(used) == in_line && is_shared(used));
        let limit = of_line.map(|(_, limit)| *limit).find(|limit| *limit > 0);
        let ahead = in_line.and(waiter.notice.ahead);
        let is_near = ahead.is_some_and(SessionsAhead::is_exact);
        Some(WaitNotice {
            session: uid,
            cause: waiter.cause.clone(),
            holder: in_line.filter(|_| is_near).and_then(|wanted| self.usage.holder(wanted)),
            ahead,
            limit,
        })
    }

    fn plan_notice(&mut self, uid: Uuid, now: Duration) {
        let Some(notice) = self.notice_of(uid) else { return };
        let Some(waiter) = self.waiters.get_mut(&uid) else { return };
        if !is_news(&waiter.notice, &notice) {
            return;
        }
        let at = match (&waiter.notice.told, &notice.cause) {
            (Some(_), _) => now.max(waiter.notice.told_at + PAUSE),
            (None, WaitCause::New) => now + UNSEEN_TOLD_AFTER,
            (None, _) => now + TOLD_AFTER,
        };
        if let Some((urgency, due)) = waiter.notice.due {
            if due <= at {
                return;
            }
            self.notices.of(urgency).remove(&(due, uid));
        }
        let urgency = if waiter.order.urgency == 0 { NoticeUrgency::Urgent } else { NoticeUrgency::Normal };
        waiter.notice.due = Some((urgency, at));
        self.notices.of(urgency).insert((at, uid));
    }

    /// Counts the lines that have changed, and plans notices for those whose position or holder did.
    fn count_lines(&mut self, now: Duration) {
        if self.notices.lines.is_empty() {
            return;
        }
        self.notices.next_count = now + PAUSE;
        for of in std::mem::take(&mut self.notices.lines) {
            let Some(line) = self.lines.get(&of) else { continue };
            for (number, uid) in line.in_order().into_iter().enumerate() {
                if let Some(waiter) = self.waiters.get_mut(&uid) {
                    waiter.notice.ahead = Some(SessionsAhead::of(number));
                }
                self.plan_notice(uid, now);
            }
        }
    }
}

fn is_news(of_waiter: &WaiterNotice, notice: &WaitNotice) -> bool {
    of_waiter.told.as_ref().is_none_or(|told| !told.is_like(notice))
}
