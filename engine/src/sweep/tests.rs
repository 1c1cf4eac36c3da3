//! What the sweep ends, with which fact, and what it leaves alone.

use lagan_schemas::event::CloudEvent;
use lagan_schemas::subject::SessionKind::{Backup, Restore};
use uuid::Uuid;

use super::*;
use crate::fixtures::{at, story};

const OLDEST: Duration = Duration::from_secs(6 * 86_400);

/// Name, code and message of the fact that ends it.
fn verdict(session: &Session, held: HolderState, seconds: i64) -> Option<(&'static str, Code, String)> {
    judge(session, held, at(seconds), OLDEST).map(|fact| match fact {
        Fact::Failed(ended) => ("failed", ended.failure.code, ended.failure.message),
        Fact::Cancelled(ended) => ("cancelled", ended.failure.code, ended.failure.message),
        other => unreachable!("an end: {other:?}"),
    })
}

fn ends_with(session: &Session, held: HolderState, seconds: i64) -> Option<(&'static str, Code)> {
    verdict(session, held, seconds).map(|(fact, code, _)| (fact, code))
}

#[test]
fn what_is_held_alive_is_the_worker_s_to_end() {
    for session in [
        story(Backup).planned_until(1, 10).started(2).cancel_requested(3).end(),
        story(Restore).planned_until(1, 10).started(2).restoring(3).cancel_requested(4).end(),
    ] {
        assert_eq!(ends_with(&session, HolderState::Perhaps, 7 * 86_400), None);
    }
}

#[test]
fn a_cancelled_session_that_nobody_holds_is_ended_with_who_asked() {
    let cancelled = Some(("cancelled", Code::Cancelled, "cancelled by ada: wrong database".to_owned()));
    assert_eq!(verdict(&story(Backup).cancel_requested(1).end(), HolderState::Nobody, 2), cancelled);
    assert_eq!(verdict(&story(Backup).planned(1).cancel_requested(2).end(), HolderState::Nobody, 3), cancelled);
    assert_eq!(
        verdict(&story(Restore).planned(1).started(2).cancel_requested(3).end(), HolderState::Dead, 4),
        cancelled
    );
    assert_eq!(
        verdict(
            &story(Backup).planned(1).started(2).retrying(3, Code::Stalled).cancel_requested(4).end(),
            HolderState::Nobody,
            5
        ),
        cancelled
    );
}

#[test]
fn a_session_that_may_have_written_its_snapshot_is_left_to_a_worker() {
    let session = story(Backup).planned_until(1, 10).started(2).committing(3).cancel_requested(4).end();
    assert_eq!(ends_with(&session, HolderState::Dead, 6 * 86_400), None);
    // Before its log expires it ends all the same.
    let (fact, code, message) = verdict(&session, HolderState::Dead, 6 * 86_400 + 1).expect("it is ended");
    assert_eq!((fact, code), ("failed", Code::Expired));
    assert!(message.contains("may have written a snapshot"), "{message}");
    assert_eq!(ends_with(&session, HolderState::Perhaps, 7 * 86_400), None);
}

#[test]
fn a_restore_whose_worker_died_past_the_first_byte_has_failed() {
    let session = story(Restore).planned(1).started(2).restoring(3).end();
    let (fact, code, message) = verdict(&session, HolderState::Dead, 4).expect("it is ended");
    assert_eq!((fact, code), ("failed", Code::TargetPartiallyRestored));
    assert!(message.contains("0123456789abcdef"), "{message}");
    // Also when somebody asked for its end: the target holds part of the data all the same.
    let cancelled = story(Restore).planned(1).started(2).restoring(3).cancel_requested(4).end();
    assert_eq!(ends_with(&cancelled, HolderState::Dead, 5), Some(("failed", Code::TargetPartiallyRestored)));
}

#[test]
fn a_deadline_ends_what_nobody_holds_and_not_a_second_early() {
    let session = story(Backup).planned_until(1, 60).end();
    assert_eq!(ends_with(&session, HolderState::Nobody, 60), None);
    let (_, code, message) = verdict(&session, HolderState::Nobody, 61).expect("it is ended");
    assert_eq!(code, Code::TimedOutWaiting);
    assert!(message.contains("workers of pool `default`"), "{message}");
    let started = story(Backup).planned_until(1, 60).started(2).end();
    assert_eq!(ends_with(&started, HolderState::Dead, 61), Some(("failed", Code::DeadlineExceeded)));
    assert_eq!(ends_with(&story(Backup).planned(1).end(), HolderState::Nobody, 5 * 86_400), None);
}

#[test]
fn a_plan_that_no_worker_can_read_fails_after_an_hour() {
    let session = story(Backup).planned(10).end();
    assert!(!has_waited_for_upgrade(&session, at(10 + 3600)));
    assert!(has_waited_for_upgrade(&session, at(10 + 3601)));
    // The clock may have been set back meanwhile.
    assert!(!has_waited_for_upgrade(&session, at(-3601)));
    let (fact, code, message) = verdict(&session, HolderState::Unreadable, 4000).expect("it is ended");
    assert_eq!((fact, code), ("failed", Code::WorkersTooOld));
    assert!(message.contains("pool `default`"), "{message}");
    // A session that only waits for a free worker goes on waiting, and a new plan begins a new hour.
    assert_eq!(ends_with(&session, HolderState::Nobody, 4000), None);
    let again = story(Backup).planned(10).started(20).retrying(30, Code::Stalled).planned(4000).end();
    assert!(!has_waited_for_upgrade(&again, at(4001)));
    let taken = story(Backup).planned(10).started(20).end();
    assert!(!has_waited_for_upgrade(&taken, at(4000)));
}

#[test]
fn only_a_recent_sign_of_a_worker_says_that_it_cannot_read_a_plan() {
    let sign = |activity: &str, seconds: i64| {
        let progress = serde_json::json!({"session": Uuid::nil(), "sessionName": "s", "target": "", "activity": activity,
            "bytes": 0, "bytesPerSecond": 0});
        let event = CloudEvent::new("1".to_owned(), "/x".to_owned(), Progress::TYPE.to_owned(), at(seconds), progress);
        event.to_bytes()
    };
    assert!(says_waiting(&sign("waiting", 100), at(100), at(160)));
    assert!(!says_waiting(&sign("waiting", 100), at(100), at(161)));
    assert!(!says_waiting(&sign("dumping", 100), at(100), at(101)));
    assert!(!says_waiting(&sign("something later", 100), at(100), at(101)));
}

#[test]
fn no_session_outlives_its_log() {
    let six_days = 6 * 86_400;
    for session in [
        // A session that waits has no other end if it has no `timeOut`.
        story(Backup).end(),
        story(Backup).planned(1).started(2).retrying(3, Code::RepositoryLocked).end(),
        story(Backup).planned(1).end(),
        story(Backup).planned(1).started(2).end(),
    ] {
        assert_eq!(ends_with(&session, HolderState::Nobody, six_days), None);
        assert!(!concerns(&session, at(six_days), OLDEST));
        assert!(concerns(&session, at(six_days + 1), OLDEST));
        assert_eq!(ends_with(&session, HolderState::Nobody, six_days + 1), Some(("failed", Code::Expired)));
    }
}

#[test]
fn what_has_ended_or_goes_well_is_left_alone() {
    let ended = story(Backup).planned(1).started(2).failed(3, Code::DumpFailed).end();
    assert_eq!(ends_with(&ended, HolderState::Nobody, 7 * 86_400), None);
    for session in [
        story(Backup).end(),
        story(Backup).planned_until(1, 60).end(),
        story(Backup).planned_until(1, 60).started(2).end(),
    ] {
        assert!(!concerns(&session, at(10), OLDEST));
        assert_eq!(ends_with(&session, HolderState::Dead, 10), None);
    }
}
