#![allow(clippy::unwrap_used, reason = "tests")]
use lagan_schemas::fact::CancelRequested;
use lagan_schemas::plan::Work;
use lagan_schemas::subject::SessionKind;
use uuid::Uuid;

use super::*;
use crate::fixtures;

const HOLDER: Holder = Holder { attempt: 1, worker: Uuid::from_u128(4) };

fn session(wait_seconds: u32, max: u32) -> Session {
    let mut plan: Plan =
        serde_json::from_str(include_str!("../../../../schemas/fixtures/v1/plans/backup.json")).unwrap();
    (plan.retry.max, plan.retry.delay_seconds) = (max, 7);
    let Work::Backup(work) = &mut plan.work else { panic!("{plan:?}") };
    work.target.database.wait_seconds = wait_seconds;
    let mut session = fixtures::session(SessionKind::Backup);
    (session.phase, session.plan) = (Phase::Started, Some(Box::new(plan)));
    session
}

/// Fails with these codes in turn; answers each retry as its delay, and whether it counts, and the end as `None`.
fn fates(mut session: Session, work: WorkBegun, codes: impl IntoIterator<Item = Code>) -> Vec<Option<(i64, Counted)>> {
    let now = Timestamp::UNIX_EPOCH;
    let mut fates = Vec::new();
    for code in codes {
        let failed = Failed {
            failure: Failure::new(code, "no answer"),
            results: Vec::new(),
            rejected_snapshots: Vec::new(),
            conditions: Vec::new(),
        };
        let Fact::Retrying(retrying) = verdict(&session, None, (HOLDER, work), failed, now) else {
            fates.push(None);
            break;
        };
        fates.push(Some((retrying.after.as_second(), retrying.counted)));
        session.counted_retries += u32::from(retrying.counted == Counted::Yes);
        session.outage = Outage::after(session.outage, &retrying.failure, now);
    }
    fates
}

fn waits(delays: &[i64]) -> Vec<Option<(i64, Counted)>> {
    delays.iter().map(|delay| Some((*delay, Counted::No))).collect()
}

#[test]
fn an_outage_is_waited_for_between_attempts_and_counts_once_it_is_old() {
    let counted = Some((7, Counted::Yes));
    for (code, session) in [
        (Code::DatabaseUnreachable, session(300, 1)),
        (Code::StorageUnreachable, session(1, 1)),
        (Code::RepositoryLocked, session(1, 1)),
        (Code::SourceUnreachable, session(1, 1)),
    ] {
        let expected = [waits(&[5, 10, 20, 40, 60, 60, 60]), vec![counted, None]].concat();
        assert_eq!(fates(session, WorkBegun::No, [code; 20]), expected, "{code}");
    }
    // The user's limit is that of the database.
    let expected = [waits(&[5, 10]), vec![counted, None]].concat();
    assert_eq!(fates(session(30, 1), WorkBegun::No, [Code::DatabaseUnreachable; 20]), expected);
    assert_eq!(fates(session(10, 1), WorkBegun::No, [Code::DatabaseUnreachable; 20]), [counted, None]);
    assert_eq!(fates(session(10, 0), WorkBegun::No, [Code::DatabaseUnreachable; 20]), [None]);
}

#[test]
fn what_fails_after_the_work_began_counts() {
    let fates = fates(session(300, 1), WorkBegun::Yes, [Code::StorageUnreachable; 9]);
    assert_eq!(fates, [Some((7, Counted::Yes)), None]);
}

#[test]
fn an_outage_goes_on_when_something_else_does_not_answer_and_ends_with_another_reason() {
    let (database, storage) = (Code::DatabaseUnreachable, Code::StorageUnreachable);
    let codes = [database, database, storage, storage, Code::Interrupted, storage, Code::DumpTruncated, storage];
    let delays = fates(session(300, 9), WorkBegun::No, codes).into_iter().map(|fate| fate.unwrap());
    let no = Counted::No;
    assert_eq!(
        delays.collect::<Vec<_>>(),
        [(5, no), (10, no), (20, no), (40, no), (0, no), (60, no), (7, Counted::Yes), (5, no)]
    );
}

#[test]
fn a_restore_past_its_first_byte_and_a_cancelled_session_are_never_tried_again() {
    let failure = Failure::new(Code::DatabaseUnreachable, "no answer");
    let mut restoring = session(300, 9);
    restoring.phase = Phase::Restoring;
    let mut cancelled = session(300, 9);
    cancelled.cancel = Some(CancelRequested { by: "me".to_owned(), reason: String::new(), code: Code::Cancelled });
    for session in [restoring, cancelled] {
        assert_eq!(again(&session, None, WorkBegun::No, &failure), None);
    }
    assert_eq!(again(&session(300, 9), Some(&StopCause::Deadline), WorkBegun::No, &failure), None);
    assert_eq!(again(&session(300, 9), None, WorkBegun::No, &failure), Some(Counted::No));
}
