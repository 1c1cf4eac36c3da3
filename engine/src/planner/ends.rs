//! When and with which failure a planner ends a session that it does not plan, as values.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::{Class, Code, Failure};
use lagan_schemas::fact::{Cause, Requested};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::SessionKind;

use crate::waiting::{Limited, WaitCause};

/// Time from the first attempt after which a session without `timeOut` is not tried again, beside the delays that its
/// `retryConfig` asks for. One attempt may take as long as it needs.
const RETRIES_WITHIN: Duration = Duration::from_secs(48 * 3600);

/// The failure of a session that was never begun.
fn timed_out(cause: &WaitCause) -> Failure {
    Failure::new(Code::TimedOutWaiting, format!("it was not begun in time: it waited for {cause}"))
}

/// The failure of a session that waited while others tried somebody who does not answer.
pub(super) fn unanswered(of: &Limited) -> Failure {
    let code = match of {
        Limited::Server(_) => Code::DatabaseUnreachable,
        _ => Code::StorageUnreachable,
    };
    Failure::new(code, format!("{of} has not answered for as long as the session may wait; other sessions tried it"))
}

/// When a session ends instead of being planned: before its first attempt at the end of its `timeOut`, and between attempts at
/// the end of that or, without one, of a time from the first attempt that is long enough for every retry. A worker that was stopped is
/// no reason to give up.
pub(super) fn planned_until(session: &Session, expires: Option<Timestamp>) -> Option<Timestamp> {
    // A deletion has a deadline of its own.
    if session.attempts == 0 || expires.is_some() || session.key.kind == SessionKind::Maintenance {
        return expires;
    }
    if session.last_failure.as_ref().is_some_and(|failure| failure.code.class() == Class::Interrupted) {
        return None;
    }
    let retry = session.plan.as_ref().map(|plan| plan.retry);
    let delays =
        retry.map_or(Duration::ZERO, |retry| Duration::from_secs(retry.delay_seconds).saturating_mul(retry.max));
    session.started_time?.checked_add(RETRIES_WITHIN.saturating_add(delays)).ok()
}

/// The end of a session whose time for attempts is over.
pub(super) fn overdue(session: &Session, cause: &WaitCause, expires: Option<Timestamp>) -> Failure {
    let Some(last) = session.last_failure.as_ref().filter(|_| session.phase == Phase::Retrying) else {
        return timed_out(cause);
    };
    let why = if expires.is_some() {
        "`timeOut` is over".to_owned()
    } else {
        format!("its first attempt began more than {} hours ago", RETRIES_WITHIN.as_secs() / 3600)
    };
    Failure::new(
        Code::DeadlineExceeded,
        format!("it is not tried again, because {why}; the last attempt failed: {last}"),
    )
}

/// The failure of a session whose slot was too old when it was requested. Its log was lost, and it is requested only to get its
/// end: another backup has long taken its place.
pub(super) fn lost_for_long(session: &Session, request: &Requested, kept: Duration) -> Option<Failure> {
    let Cause::Slot { slot, .. } = request.cause else { return None };
    let is_old = slot.checked_add(kept).is_ok_and(|until| session.first_time.is_some_and(|first| until < first));
    if !is_old || session.attempts > 0 {
        return None;
    }
    let message = format!(
        "the log of sessions lost it, and it does not run any more: its slot, {slot}, was more than {} h ago when that was found out",
        kept.as_secs() / 3600
    );
    Some(Failure::new(Code::Expired, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixtures::{at, story};

    const HOUR: i64 = 3600;

    fn retrying() -> Session {
        story(SessionKind::Backup).planned(1).started(HOUR).retrying(HOUR + 1, Code::StorageUnreachable).end()
    }

    #[test]
    fn retries_end_with_the_time_out_or_two_days_after_the_first_attempt() {
        let session = retrying();
        assert_eq!(planned_until(&session, Some(at(7200))), Some(at(7200)));
        let retry = session.plan.as_ref().unwrap().retry;
        let delays = i64::try_from(retry.delay_seconds * u64::from(retry.max)).unwrap();
        assert_eq!(planned_until(&session, None), Some(at(49 * HOUR + delays)));
        let new = story(SessionKind::Backup).end();
        assert_eq!(planned_until(&new, None), None, "one that was never begun waits for its turn");
    }

    #[test]
    fn a_session_whose_worker_was_stopped_is_tried_again_after_days() {
        let session = story(SessionKind::Backup).planned(1).started(2).retrying(3, Code::Interrupted).end();
        assert_eq!(planned_until(&session, None), None);
        assert_eq!(planned_until(&session, Some(at(7200))), Some(at(7200)));
    }

    #[test]
    fn a_session_that_was_requested_long_after_its_slot_does_not_run() {
        let session = story(SessionKind::Backup).end();
        let ends = |session: &Session, slot: i64| {
            let mut request = session.request.clone().unwrap();
            request.cause = Cause::Slot { slot: at(slot), missed: 0 };
            lost_for_long(session, &request, Duration::from_secs(24 * 3600)).map(|failure| failure.code)
        };
        assert_eq!(ends(&session, -24 * HOUR - 1), Some(Code::Expired));
        assert_eq!(ends(&session, -24 * HOUR), None);
        assert_eq!(ends(&session, HOUR), None, "a clock that is behind makes nothing old");
        assert_eq!(ends(&retrying(), -24 * HOUR - 1), None, "it runs already");
        let mut asked = session.request.clone().unwrap();
        asked.cause = Cause::Object { object: asked.invoker.clone() };
        assert_eq!(lost_for_long(&session, &asked, Duration::ZERO), None);
    }

    #[test]
    fn the_end_of_the_retries_says_why_and_what_failed() {
        let failure = overdue(&retrying(), &WaitCause::Retry, Some(at(0)));
        assert_eq!(failure.code, Code::DeadlineExceeded);
        assert!(failure.message.contains("`timeOut` is over") && failure.message.contains("E0304"), "{failure}");
        let failure = overdue(&retrying(), &WaitCause::Retry, None);
        assert!(failure.message.contains("48 hours"), "{failure}");
        let new = story(SessionKind::Backup).end();
        let failure = overdue(&new, &WaitCause::LogFull, Some(at(0)));
        assert_eq!(failure.code, Code::TimedOutWaiting);
    }
}
