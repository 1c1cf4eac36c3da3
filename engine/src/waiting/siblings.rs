//! Sessions of the same configuration: a slot is skipped while an earlier session is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::{ObjectKey, SessionKind};
use uuid::Uuid;

use super::{Admission, Limited, Now, Overlap, Place, WaitingRoom};

/// The backups of one configuration that have not ended, by their first sequence.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    waiting: BTreeMap<u64, Sibling>,
    under_way: BTreeMap<u64, Sibling>,
}

#[derive(Debug, Clone)]
struct Sibling {
    session: Uuid,
    name: String,
}

impl Siblings {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }
}

impl WaitingRoom {
    /// Notes the phase of a backup for the others of its configuration.
    pub(super) fn note_sibling(&mut self, session: &Session) {
        let Some(key) = invoker(session) else { return };
        let siblings = self.siblings.entry(key.clone()).or_default();
        siblings.waiting.remove(&session.first_sequence);
        siblings.under_way.remove(&session.first_sequence);
        if !session.phase.is_end() {
            let name = session.request.as_ref().map(|request| request.name.clone()).unwrap_or_default();
            let sibling = Sibling { session: session.key.uid, name };
            let is_waiting = session.phase == Phase::Requested;
            let of_phase = if is_waiting { &mut siblings.waiting } else { &mut siblings.under_way };
            of_phase.insert(session.first_sequence, sibling);
        }
        if siblings.is_empty() {
            self.siblings.remove(&key);
        }
    }

    pub(super) fn sibling_in_the_way(&self, uid: Uuid, overlap: Overlap) -> Option<Admission> {
        let session = &self.waiters.get(&uid)?.session;
        if overlap == Overlap::Allowed || session.phase != Phase::Requested {
            return None;
        }
        let siblings = self.siblings.get(&invoker(session)?)?;
        let skipped = |sibling: &Sibling, waits: bool| Admission::Skipped {
            behind: sibling.session,
            name: sibling.name.clone(),
            waits,
        };
        if let Some(sibling) = siblings.under_way.values().find(|sibling| sibling.session != uid) {
            return Some(skipped(sibling, false));
        }
        let older = siblings.waiting.range(..session.first_sequence).next();
        older.filter(|_| overlap == Overlap::ForbiddenSlot).map(|(_, sibling)| skipped(sibling, true))
    }

    /// Wakes the sessions of a configuration that stand in line while another one of it was planned: they may be skipped.
    pub(super) fn wake_siblings(&mut self, session: &Session, now: Now) {
        if session.phase != Phase::Planned {
            return;
        }
        let Some(siblings) = invoker(session).and_then(|key| self.siblings.get(&key)) else { return };
        for uid in siblings.waiting.values().map(|sibling| sibling.session).collect::<Vec<_>>() {
            let may_be_skipped = self.waiters.get(&uid).is_some_and(|waiter| {
                let overlap = waiter.needs.as_ref().map_or(Overlap::Forbidden, |needs| needs.overlap);
                let is_in_line = matches!(&waiter.place, Place::InLine(of) if !matches!(of, Limited::Quota(_)));
                is_in_line && overlap != Overlap::Allowed
            });
            if may_be_skipped {
                self.wake_after(uid, Duration::ZERO, now);
            }
        }
    }
}

/// The configuration of a backup, with its group: objects of two groups may have the same name.
fn invoker(session: &Session) -> Option<ObjectKey> {
    let request = session.request.as_ref().filter(|_| session.key.kind == SessionKind::Backup)?;
    Some(request.invoker.key())
}
