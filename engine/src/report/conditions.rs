//! A list of conditions under construction. All of them share one observed generation and one point in time.

use jiff::Timestamp;
use lagan_schemas::resource::condition::{Condition, ConditionStatus, set};

use crate::plan::manifests::{self, MANIFEST_READ};

pub(super) struct Conditions {
    list: Vec<Condition>,
    observed_generation: i64,
    now: Timestamp,
}

impl Conditions {
    pub fn new(list: Vec<Condition>, observed_generation: i64, now: Timestamp) -> Self {
        Self { list, observed_generation, now }
    }

    /// Adds a condition, or replaces the one of the same type and keeps its transition time while its status stays.
    pub fn set(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: impl Into<String>) {
        set(
            &mut self.list,
            Condition {
                kind: kind.to_owned(),
                status,
                reason: reason.to_owned(),
                message: message.into(),
                observed_generation: self.observed_generation,
                last_transition_time: self.now,
            },
        );
    }

    /// Sets a condition that is only there while it holds.
    pub fn set_while(&mut self, kind: &str, reason: &str, message: Option<String>) {
        match message {
            Some(message) => self.set(kind, ConditionStatus::True, reason, message),
            None => self.list.retain(|condition| condition.kind != kind),
        }
    }

    /// Sets the condition about a file that can't be read, which is only there while there is one.
    pub fn set_unread(&mut self, message: Option<String>) {
        match message {
            Some(message) => self.set(MANIFEST_READ, ConditionStatus::False, manifests::REASON, message),
            None => self.list.retain(|condition| condition.kind != MANIFEST_READ),
        }
    }

    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}
