//! The condition of a session that waits, which is only there while it does.

use jiff::Timestamp;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};

use super::note::{NOTE_LIMIT, cut};
use crate::waiting::WaitNotice;

pub(crate) const WAITING: &str = "Waiting";

/// Makes the condition from a notice, and the name of the session that is in the way.
pub(crate) fn condition(notice: &WaitNotice, holder: Option<&str>, now: Timestamp) -> Condition {
    Condition {
        kind: WAITING.to_owned(),
        status: ConditionStatus::True,
        reason: notice.cause.reason().to_owned(),
        message: cut(notice.message(holder), NOTE_LIMIT),
        observed_generation: 0,
        last_transition_time: now,
    }
}
