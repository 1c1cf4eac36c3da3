//! Which slots of which configurations are due, and when to look again. It must not do I/O; marks are asked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::identity::slot_session;
use lagan_schemas::manifest;
use lagan_schemas::position::Position;
use lagan_schemas::resource::backup_configuration::BackupConfigurationSpec;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec};
use lagan_schemas::schedule::starting_deadline;
use lagan_schemas::subject::{Cluster, ObjectKey, SessionKind};
use lagan_sources::SourceError;
use lagan_sources::open_slot::{DecidedSlot, OpenSlot};
use uuid::Uuid;

use super::mark;
use super::request::{request, session_key, slot_request};
use crate::clock::is_ahead;
use crate::outside::Outside;

/// Time after which a slot that could not be requested is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// A configuration and the time of its next look. Its schedule is parsed anew then, because parsed schedules are large.
struct Armed {
    uid: Uuid,
    generation: i64,
    /// The last slot that is known to be decided, or the time from which slots count.
    mark: Timestamp,
    next: Timestamp,
}

/// Result of a look at a configuration.
enum Look {
    /// No slot is due; `None` if none will be.
    Next(Option<Timestamp>),
    Due(TakenSlot),
}

/// A slot that is decided, once its session is requested.
pub(crate) struct TakenSlot {
    key: ObjectKey,
    uid: Uuid,
    generation: i64,
    /// Its nominal time.
    time: Timestamp,
    missed: u32,
    /// Its session; `None` if the slot is passed over, or its session can't be named.
    session: Option<Box<OpenSlot>>,
    /// Time of the look after this slot.
    after: Option<Timestamp>,
}

/// Whether the session of a slot is in the log.
pub(crate) enum SlotOutcome {
    Requested,
    NotYet,
}

/// The result of looking at the configuration that is due first.
pub(crate) enum SlotLook {
    /// It is looked at again at its time.
    None,
    /// A paused configuration lets its slots go by: it does not run a backlog when it is resumed.
    Passed(TakenSlot),
    Asks(TakenSlot, Arc<Object>, Position),
}

/// Requests the session of a slot.
pub(crate) async fn request_slot(
    outside: &impl Outside,
    mut slot: TakenSlot,
    object: &Object,
    position: Position,
) -> (TakenSlot, SlotOutcome) {
    let invoker = object.reference();
    let asked = slot_request(invoker.clone(), slot.time, slot.missed, position);
    let asked = (SessionKind::Backup, invoker.name.clone(), asked);
    let session = slot_session(outside.cluster(), slot.uid, slot.time);
    slot.session = opened(outside.cluster(), session, slot.time, &invoker).map(Box::new);
    let is_requested = request(outside, &invoker, session, asked).await;
    (slot, if is_requested { SlotOutcome::Requested } else { SlotOutcome::NotYet })
}

/// The slot that the source remembers until its session has ended; `None` if the session can't be named, so that it is never
/// requested.
pub(super) fn opened(cluster: &Cluster, session: Uuid, slot: Timestamp, invoker: &ObjectRef) -> Option<OpenSlot> {
    let key = session_key(cluster, invoker, (SessionKind::Backup, invoker.name.clone()), session);
    key.check().is_ok().then(|| OpenSlot { session, slot, invoker: invoker.clone() })
}

pub(crate) struct SlotBook {
    armed: HashMap<ObjectKey, Armed>,
    /// Ordered by the time of the next look, so that idle configurations cost nothing. Configurations whose slot is being
    /// requested are not in it.
    heap: BTreeSet<(Timestamp, ObjectKey)>,
    /// Time of the last look.
    looked: Timestamp,
}

impl Default for SlotBook {
    fn default() -> Self {
        Self { armed: HashMap::new(), heap: BTreeSet::new(), looked: Timestamp::MIN }
    }
}

impl SlotBook {
    /// Sets the next look of changed configurations.
    pub fn arm(
        &mut self,
        outside: &impl Outside,
        changed: &BTreeSet<ObjectKey>,
        now: Timestamp,
    ) -> Result<(), SourceError> {
        for key in changed.iter().filter(|key| key.kind == Kind::BackupConfiguration) {
            let object = outside.resources().read().objects.get(key).cloned();
            let Some(object) = object else {
                self.disarm(key);
                continue;
            };
            let (Spec::BackupConfiguration(spec), Some(uid)) = (&object.spec, object.metadata.uid) else { continue };
            let known = self.armed.get(key);
            if known.is_some_and(|armed| (armed.uid, armed.generation) == (uid, object.metadata.generation)) {
                continue;
            }
            self.disarm(key);
            // A schedule that does not parse is shown as a condition; it must not stop the others.
            let Ok(schedule) = manifest::schedule(spec, uid) else { continue };
            let stored = outside.mark(uid)?;
            if stored.is_some_and(|mark| is_ahead(mark, now)) {
                tracing::warn!(object = %key, mark = %stored.unwrap_or_default(), "mark of the schedule lies in the future; it is ignored");
            }
            let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
            let mark = mark::first(stored, created, now);
            if let Some(next) = schedule.next_after(mark).map(|slot| schedule.fires_at(slot)) {
                self.heap.insert((next, key.clone()));
                self.armed.insert(key.clone(), Armed { uid, generation: object.metadata.generation, mark, next });
            }
        }
        Ok(())
    }

    /// Arms everything anew after the time went back: looks were planned for a future that is further away now.
    pub fn notice_time(&mut self, outside: &impl Outside, now: Timestamp) -> Result<(), SourceError> {
        let before = std::mem::replace(&mut self.looked, now);
        if !is_ahead(before, now) {
            return Ok(());
        }
        tracing::warn!(%before, %now, "time went back: every schedule is looked at again");
        let keys = self.armed.keys().cloned().collect();
        self.armed.clear();
        self.heap.clear();
        self.arm(outside, &keys, now)
    }

    fn disarm(&mut self, key: &ObjectKey) {
        if let Some(old) = self.armed.remove(key) {
            self.heap.remove(&(old.next, key.clone()));
        }
    }

    pub fn has_due(&self, now: Timestamp) -> bool {
        self.heap.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Looks at the configuration that is due first.
    pub fn take_due(&mut self, outside: &impl Outside, now: Timestamp) -> Result<SlotLook, SourceError> {
        let Some((at, key)) = self.heap.first().cloned().filter(|(at, _)| *at <= now) else {
            return Ok(SlotLook::None);
        };
        self.heap.remove(&(at, key.clone()));
        let (object, position) = {
            let view = outside.resources().read();
            (view.objects.get(&key).cloned(), view.position)
        };
        let Some(object) = object else {
            self.armed.remove(&key);
            return Ok(SlotLook::None);
        };
        let Spec::BackupConfiguration(spec) = &object.spec else { return Ok(SlotLook::None) };
        match (self.decide(outside, &key, spec, now)?, position) {
            (Look::Next(next), _) => self.look_again(&key, next),
            (Look::Due(slot), _) if spec.paused => return Ok(SlotLook::Passed(slot)),
            (Look::Due(_), None) => self.look_again(&key, Some(now + AGAIN)),
            (Look::Due(slot), Some(position)) => return Ok(SlotLook::Asks(slot, object, position)),
        }
        Ok(SlotLook::None)
    }

    /// Finds the slot that is due, if there is one.
    fn decide(
        &self,
        outside: &impl Outside,
        key: &ObjectKey,
        spec: &BackupConfigurationSpec,
        now: Timestamp,
    ) -> Result<Look, SourceError> {
        let Some(&Armed { uid, generation, mark, .. }) = self.armed.get(key) else { return Ok(Look::Next(None)) };
        let Ok(schedule) = manifest::schedule(spec, uid) else { return Ok(Look::Next(None)) };
        let mark = mark::believed(outside.mark(uid)?, mark, now);
        let next = |after| schedule.next_after(after).map(|slot| schedule.fires_at(slot));
        Ok(match schedule.due(mark, now, starting_deadline(spec.starting_deadline_seconds)) {
            Some(due) => {
                let after = next(due.slot);
                Look::Due(TakenSlot {
                    key: key.clone(),
                    uid,
                    generation,
                    time: due.slot,
                    missed: due.missed,
                    session: None,
                    after,
                })
            }
            // The slot was decided by another scheduler, or is too old to catch up.
            None => Look::Next(next(mark.max(now))),
        })
    }

    /// Sets the marks of slots that are requested, and the next looks.
    pub fn settle(&mut self, outside: &impl Outside, slots: Vec<(TakenSlot, SlotOutcome)>) -> Result<(), SourceError> {
        let requested = slots.iter().filter(|(_, outcome)| matches!(outcome, SlotOutcome::Requested));
        let decided = requested.map(|(slot, _)| DecidedSlot {
            configuration: slot.uid,
            slot: slot.time,
            opened: slot.session.as_deref().cloned(),
        });
        outside.set_marks(decided.collect())?;
        for (slot, outcome) in slots {
            let armed = self.armed.get_mut(&slot.key);
            // A configuration that has changed since then was armed anew.
            let Some(armed) = armed.filter(|armed| (armed.uid, armed.generation) == (slot.uid, slot.generation)) else {
                continue;
            };
            let next = match outcome {
                // It was found while the time was wrong.
                SlotOutcome::Requested if is_ahead(slot.time, outside.now()) => Some(outside.now()),
                SlotOutcome::Requested => {
                    armed.mark = slot.time;
                    slot.after
                }
                SlotOutcome::NotYet => Some(outside.now() + AGAIN),
            };
            self.look_again(&slot.key, next);
        }
        Ok(())
    }

    fn look_again(&mut self, key: &ObjectKey, next: Option<Timestamp>) {
        let (Some(armed), Some(next)) = (self.armed.get_mut(key), next) else { return };
        self.heap.remove(&(armed.next, key.clone()));
        armed.next = next;
        self.heap.insert((next, key.clone()));
    }
}
