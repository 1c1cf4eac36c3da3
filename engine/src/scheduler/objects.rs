//! Objects that ask for a session: whether one may be requested now. It must not look at schedules.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::error::chain;
use lagan_schemas::position::Position;
use lagan_schemas::resource::{Kind, Object, ObjectRef};
use lagan_schemas::subject::SessionKind;
use lagan_sources::{Standing, stand_in};
use uuid::Uuid;

use super::request::{object_request, request};
use crate::outside::Outside;

/// ObjectAnswer to an object that may ask for a session.
pub(crate) enum ObjectAnswer {
    /// It needs no further look; objects of sessions never change.
    Decided,
    /// A restore that may have run before and waits for a person (P5).
    Unconfirmed,
    /// Not known yet: the object is looked at again.
    Later,
}

/// An object that asks for a session with this uid.
pub(crate) struct SessionAsking {
    pub object: ObjectRef,
    pub uid: Uuid,
    pub kind: SessionKind,
}

/// Finds out whether an object asks for a session that is not known yet.
pub(crate) fn asks(outside: &impl Outside, object: &Object) -> Option<SessionAsking> {
    let kind = match object.kind() {
        Kind::BackupSession => SessionKind::Backup,
        Kind::RestoreSession => SessionKind::Restore,
        Kind::Repository if object.wants_wipe() && outside.deletes_data() => SessionKind::Maintenance,
        _ => return None,
    };
    let uid = object.metadata.uid?;
    // An object that the reporter made belongs to a session that exists already (P2).
    let is_new = stand_in::session_of(&object.metadata).is_none() && !outside.sessions().knows(uid);
    is_new.then(|| SessionAsking { object: object.reference(), uid, kind })
}

/// Requests the session that an object asks for, unless its source or the log says that it was run before.
pub(crate) async fn answer(
    outside: &impl Outside,
    object: &Object,
    position: Position,
    now: Timestamp,
) -> ObjectAnswer {
    let Some(uid) = object.metadata.uid else { return ObjectAnswer::Decided };
    let Some(asked) = object_request(object, position) else { return ObjectAnswer::Decided };
    let standing = match outside.standing(object).await {
        Ok(standing) => standing,
        Err(error) => {
            // The object must not run on a guess; the next look asks again.
            tracing::warn!(object = %object.key(), error = chain(&error), "the object's standing is not known yet");
            return ObjectAnswer::Later;
        }
    };
    if mutant!("ended-asked-again") {
        return if request(outside, &object.reference(), uid, asked).await {
            ObjectAnswer::Decided
        } else {
            ObjectAnswer::Later
        };
    }
    if matches!(standing, Standing::Ended | Standing::Gone) {
        return ObjectAnswer::Decided;
    }
    if object.kind() == Kind::RestoreSession
        && (standing == Standing::Recorded || is_old(object, now, outside.sessions_max_age()))
    {
        // Another engine may have begun it a moment ago: the log has it even if our view does not yet.
        return match outside.find_session(uid).await {
            Ok(None) => ObjectAnswer::Unconfirmed,
            Ok(Some(_)) => ObjectAnswer::Decided,
            Err(_) => ObjectAnswer::Later,
        };
    }
    // The API server may have refused the status that says so.
    match outside.has_ended(&object.key(), uid).await {
        Some(false) => {}
        Some(true) => return ObjectAnswer::Decided,
        None => return ObjectAnswer::Later,
    }
    if request(outside, &object.reference(), uid, asked).await { ObjectAnswer::Decided } else { ObjectAnswer::Later }
}

/// Whether an object is older than the retention of the log. Such a restore is not started without a person (P5). An object
/// from the future is new.
fn is_old(object: &Object, now: Timestamp, retention: Duration) -> bool {
    let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
    now.duration_since(created) > retention
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;
    use crate::scheduler::tests::configuration;

    #[test]
    fn an_object_that_a_fast_clock_created_is_not_old() {
        let object = configuration(1, "");
        let is_old = |seconds| is_old(&object, at(seconds), Duration::from_secs(60));
        assert!(!is_old(-61) && !is_old(60));
        assert!(is_old(61));
    }
}
