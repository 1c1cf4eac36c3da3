//! What this process knows of the slots that were decided, beside the statuses and objects that the reporter writes: those
//! come a moment later, and a loss of the whole store before that moment must lose no session (P16).

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;
use lagan_schemas::resource::Kind;
use serde_json::Value;
use uuid::Uuid;

use super::{Kubernetes, KubernetesError};
use crate::open_slot::{self, DecidedSlot, OpenSlot};

#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The last slot of each configuration.
    marks: HashMap<Uuid, Timestamp>,
    /// Slots whose sessions are not known to have ended, by session.
    open: HashMap<Uuid, OpenSlot>,
}

impl Decided {
    /// Moves a mark forward, never back.
    fn mark(&mut self, configuration: Uuid, slot: Timestamp) {
        let mark = self.marks.entry(configuration).or_insert(slot);
        *mark = slot.max(*mark);
    }

    fn take(&mut self, decided: Vec<DecidedSlot>) {
        for DecidedSlot { configuration, slot, opened } in decided {
            self.mark(configuration, slot);
            self.open.extend(opened.map(|open| (open.session, open)));
        }
    }

    /// The open slots that are shown by objects, and those that have none yet.
    fn with(&self, shown: Vec<OpenSlot>) -> Vec<OpenSlot> {
        let mut all: HashMap<Uuid, OpenSlot> = shown.into_iter().map(|open| (open.session, open)).collect();
        all.extend(self.open.iter().map(|(session, open)| (*session, open.clone())));
        all.into_values().collect()
    }
}

impl Kubernetes {
    fn decided(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the schedule marks in the statuses of configurations, once at the start of an engine.
    pub async fn recall_marks(&self) -> Result<(), KubernetesError> {
        for group in self.groups() {
            let remember = |object: Value| {
                let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
                let uid = text("/metadata/uid").and_then(|uid| uid.parse().ok());
                let mark = text("/status/lastSlotTime").and_then(|time| time.parse().ok());
                if let (Some(uid), Some(mark)) = (uid, mark) {
                    self.decided().mark(uid, mark);
                }
            };
            self.each(group, Kind::BackupConfiguration, remember).await?;
        }
        Ok(())
    }

    #[must_use]
    pub fn mark(&self, configuration: Uuid) -> Option<Timestamp> {
        self.decided().marks.get(&configuration).copied()
    }

    /// Moves marks forward, and remembers the sessions of the slots until they are closed. The reporter writes the marks into
    /// the statuses of the configurations, and makes the objects that show the sessions.
    pub fn set_marks(&self, decided: Vec<DecidedSlot>) {
        self.decided().take(decided);
    }

    /// Lists the slots whose sessions have objects that do not say that they have ended, and those that this process has
    /// decided and not closed.
    pub async fn open_slots(&self) -> Result<Vec<OpenSlot>, KubernetesError> {
        let mut shown = Vec::new();
        for group in self.groups() {
            self.each(group, Kind::BackupSession, |object| shown.extend(open_slot::of_stand_in(&object))).await?;
        }
        Ok(self.decided().with(shown))
    }

    /// Lists the sessions of slots that this process has decided and not closed.
    #[must_use]
    pub fn remembered_slots(&self) -> Vec<Uuid> {
        self.decided().open.keys().copied().collect()
    }

    pub fn close_slots(&self, sessions: &[Uuid]) {
        let mut decided = self.decided();
        for session in sessions {
            decided.open.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::resource::ObjectRef;

    use super::*;

    fn open(session: u128, name: &str) -> OpenSlot {
        let invoker = ObjectRef {
            api_version: "lagan.dev/v1alpha1".to_owned(),
            kind: Kind::BackupConfiguration,
            namespace: Some("demo".to_owned()),
            name: name.to_owned(),
            uid: Some(Uuid::from_u128(1)),
            generation: 1,
        };
        OpenSlot { session: Uuid::from_u128(session), slot: Timestamp::from_second(5).unwrap(), invoker }
    }

    #[test]
    fn a_slot_without_an_object_is_open_and_one_with_an_object_is_open_once() {
        let slot = Timestamp::from_second(5).unwrap();
        let of = |opened| DecidedSlot { configuration: Uuid::from_u128(1), slot, opened };
        let mut decided = Decided::default();
        decided.take(vec![of(Some(open(2, "a"))), of(Some(open(3, "a"))), of(None)]);
        let mut sessions: Vec<_> =
            decided.with(vec![open(3, "a"), open(4, "b")]).iter().map(|open| open.session.as_u128()).collect();
        sessions.sort_unstable();
        assert_eq!(sessions, [2, 3, 4]);
    }

    #[test]
    fn a_mark_never_goes_back() {
        let [first, second] = [5, 6].map(|second| Timestamp::from_second(second).unwrap());
        let mut decided = Decided::default();
        for slot in [first, second, first] {
            decided.mark(Uuid::from_u128(1), slot);
        }
        assert_eq!(decided.marks[&Uuid::from_u128(1)], second);
    }
}
