//! The session machine against a written table, random logs, and an exhaustive model of one backup session.
#![allow(clippy::unwrap_used, reason = "tests")]

mod model;
mod random_logs;
mod results;

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Author, Course, IllegalFact, Phase, Recorded, RecordedContent, Session, transition};
use crate::error::{Code, Failure};
use crate::fact::{
    CancelRequested, Cause, Committing, Counted, Ended, Fact, FactKind, Holder, Requested, Restoring, Retrying,
    Skipped, Started, Succeeded, Urgency,
};
use crate::plan::{Plan, RestoreMode, Work};
use crate::position::{Position, StoreId};
use crate::resource::{Kind, ObjectRef};
use crate::subject::{SessionKey, SessionKind};

const PHASES: [Phase; 11] = [
    Phase::Nothing,
    Phase::Requested,
    Phase::Planned,
    Phase::Started,
    Phase::Restoring,
    Phase::Committing,
    Phase::Retrying,
    Phase::Skipped,
    Phase::Succeeded,
    Phase::Failed,
    Phase::Cancelled,
];
const COURSES: [Course; 4] = [Course::Backup, Course::Restore, Course::DryRun, Course::Maintenance];
const AUTHORS: [Author; 4] = [Author::Scheduler, Author::Planner, Author::Holder, Author::Successor];

/// Course, phase, author, facts, phase after them (`=`: it stays). `backup` stands for maintenance too.
const LEGAL: &str = "
    any     Nothing    Scheduler  requested         Requested

    any     Requested  Planner    skipped           Skipped
    any     Requested  Planner    planned           Planned
    any     Requested  Planner    cancel-requested  =
    any     Requested  Planner    failed            Failed
    any     Requested  Planner    cancelled         Cancelled

    any     Planned    Successor  started           Started
    any     Planned    Planner    cancel-requested  =
    any     Planned    Planner    failed            Failed
    any     Planned    Planner    cancelled         Cancelled

    any     Started    Successor  started           Started
    restore Started    Holder     restoring         Restoring
    backup  Started    Holder     committing        Committing
    backup  Started    Holder     succeeded         Succeeded
    dry-run Started    Holder     succeeded         Succeeded
    any     Started    Holder     retrying          Retrying
    any     Started    Holder     failed            Failed
    any     Started    Holder     cancelled         Cancelled
    any     Started    Planner    cancel-requested  =
    any     Started    Planner    failed            Failed
    any     Started    Planner    cancelled         Cancelled

    any     Restoring  Holder     restoring         =
    any     Restoring  Holder     succeeded         Succeeded
    any     Restoring  Holder     failed            Failed
    any     Restoring  Planner    cancel-requested  =
    any     Restoring  Planner    failed            Failed
    any     Restoring  Successor  failed            Failed

    any     Committing Successor  started           Started
    backup  Committing Holder     committing        =
    backup  Committing Holder     succeeded         Succeeded
    any     Committing Holder     retrying          Retrying
    any     Committing Holder     failed            Failed
    any     Committing Holder     cancelled         Cancelled
    any     Committing Planner    cancel-requested  =
    any     Committing Planner    failed            Failed

    any     Retrying   Planner    planned           Planned
    any     Retrying   Planner    cancel-requested  =
    any     Retrying   Planner    failed            Failed
    any     Retrying   Planner    cancelled         Cancelled
";

#[test]
fn exactly_the_written_transitions_are_legal() {
    let mut written = BTreeSet::new();
    for line in LEGAL.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [course, phase, author, fact, next] = words[..] else { unreachable!("five words: {line}") };
        let next = if next == "=" { phase } else { next };
        for coded in COURSES {
            let word = match coded {
                Course::Backup | Course::Maintenance => "backup",
                Course::Restore => "restore",
                Course::DryRun => "dry-run",
            };
            if course == "any" || course == word {
                written.insert(format!("{coded:?} {phase} {author} {fact} {next}"));
            }
        }
    }
    let mut coded = BTreeSet::new();
    for course in COURSES {
        for phase in PHASES {
            for author in AUTHORS {
                for fact in FactKind::ALL {
                    if let Some(next) = transition(course, phase, author, fact) {
                        coded.insert(format!("{course:?} {phase:?} {author:?} {} {next:?}", fact.as_str()));
                    }
                }
            }
        }
    }
    assert_eq!(coded.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "legal, but not written down");
    assert_eq!(written.difference(&coded).collect::<Vec<_>>(), Vec::<&String>::new(), "written down, but not legal");
}

fn key(course: Course) -> SessionKey {
    let kind = match course {
        Course::Backup => SessionKind::Backup,
        Course::Restore | Course::DryRun => SessionKind::Restore,
        Course::Maintenance => SessionKind::Maintenance,
    };
    let cluster = "local".parse().unwrap();
    let (group, invoker) = ("lagan.dev".into(), "db".into());
    SessionKey { cluster, namespace: "shop".into(), kind, group, invoker, uid: Uuid::from_u128(7) }
}

fn reference() -> ObjectRef {
    ObjectRef {
        api_version: "lagan.dev/v1alpha1".into(),
        kind: Kind::BackupConfiguration,
        namespace: Some("shop".into()),
        name: "db".into(),
        uid: None,
        generation: 1,
    }
}

fn plan(course: Course) -> Plan {
    let text = match course {
        Course::Backup => include_str!("../../fixtures/v1/plans/backup.json"),
        Course::Restore | Course::DryRun => include_str!("../../fixtures/v1/plans/restore.json"),
        Course::Maintenance => include_str!("../../fixtures/v1/plans/wipe.json"),
    };
    let mut plan: Plan = serde_json::from_str(text).unwrap();
    if let (Course::DryRun, Work::Restore(work)) = (course, &mut plan.work) {
        work.mode = RestoreMode::DryRun;
    }
    plan
}

fn holder(attempt: u32) -> Holder {
    Holder { attempt, worker: Uuid::from_u128(u128::from(attempt)) }
}

/// A fact of that kind; what a worker writes is signed by `holder`.
fn fact(course: Course, kind: FactKind, holder: Option<Holder>) -> Fact {
    let signed = holder.unwrap_or(self::holder(0));
    let failure = Failure::new(Code::DumpFailed, "exit 3");
    let ended = Ended {
        holder,
        failure: failure.clone(),
        results: Vec::new(),
        rejected_snapshots: Vec::new(),
        conditions: Vec::new(),
    };
    let (target, repository) = ("db".to_owned(), "shop/repo".to_owned());
    match kind {
        FactKind::Requested => Fact::Requested(Box::new(Requested {
            name: "db-1".into(),
            invoker: reference(),
            cause: Cause::Object { object: reference() },
            resources_position: Position { store: StoreId::created(Timestamp::UNIX_EPOCH), sequence: 1 },
            priority: Urgency::Urgent,
        })),
        FactKind::Skipped => {
            Fact::Skipped(Skipped { reason: "PreviousRunning".into(), message: String::new(), behind: None })
        }
        FactKind::Planned => Fact::Planned(Box::new(plan(course))),
        FactKind::Started => Fact::Started(Started { holder: signed, host: "worker".into() }),
        FactKind::Restoring => {
            let snapshot = "abc".into();
            let (databases, database_count) = (vec!["shop".to_owned()], 1);
            Fact::Restoring(Restoring {
                holder: signed,
                target,
                repository,
                snapshot,
                size_bytes: 1,
                databases,
                database_count,
            })
        }
        FactKind::Committing => Fact::Committing(Committing { holder: signed, target, repository }),
        FactKind::Retrying => Fact::Retrying(Retrying {
            holder: signed,
            failure,
            after: Timestamp::UNIX_EPOCH,
            counted: Counted::Yes,
            results: Vec::new(),
            rejected_snapshots: Vec::new(),
            conditions: Vec::new(),
        }),
        FactKind::CancelRequested => {
            Fact::CancelRequested(CancelRequested { by: "ada".into(), reason: String::new(), code: Code::Cancelled })
        }
        FactKind::Succeeded => {
            Fact::Succeeded(Succeeded { holder: signed, results: Vec::new(), conditions: Vec::new() })
        }
        FactKind::Failed => Fact::Failed(ended),
        FactKind::Cancelled => Fact::Cancelled(ended),
    }
}

/// A stored fact, under the pool that its author belongs to.
fn recorded(sequence: u64, fact: Option<Fact>) -> Recorded {
    let time = Timestamp::from_second(i64::try_from(sequence).unwrap()).unwrap();
    let of_pool = |fact: &Fact| fact.holder().is_some() || matches!(fact, Fact::Planned(_));
    let pool = fact.as_ref().is_some_and(of_pool).then(|| "default".to_owned());
    Recorded { sequence, time, pool, content: fact.map_or(RecordedContent::Later, RecordedContent::Fact) }
}

#[test]
fn a_log_without_its_head_is_expired_and_still_shows_how_it_ended() {
    for (last, phase) in [
        (FactKind::Succeeded, Phase::Succeeded),
        (FactKind::Failed, Phase::Failed),
        (FactKind::Skipped, Phase::Skipped),
    ] {
        let session = Session::fold(key(Course::Backup), [recorded(9, Some(fact(Course::Backup, last, None)))]);
        assert!(session.is_expired());
        assert_eq!(session.phase, phase);
    }
    assert!(!Session::new(key(Course::Backup)).is_expired());
}

#[test]
fn a_worker_has_no_say_in_sessions_of_another_pool() {
    let started = || fact(Course::Backup, FactKind::Started, Some(holder(1)));
    let facts = [FactKind::Requested, FactKind::Planned].map(|kind| Some(fact(Course::Backup, kind, None)));
    let planned = Session::fold(key(Course::Backup), (1..).zip(facts).map(|(n, fact)| recorded(n, fact)));
    assert_eq!((planned.phase, planned.illegal_facts), (Phase::Planned, 0));
    for (pool, fact, foreign) in [
        (Some("disk"), Some(started()), false),
        (None, Some(started()), false),
        // A later version under another pool does not even lock the session.
        (Some("disk"), None, false),
        (Some("default"), None, true),
        (None, None, true),
    ] {
        let mut session = planned.clone();
        session.apply(Recorded { pool: pool.map(str::to_owned), ..recorded(3, fact) });
        assert_eq!((session.phase, session.foreign), (Phase::Planned, foreign), "{pool:?}");
        assert_eq!((session.illegal_facts, session.last_sequence), (u32::from(!foreign), 3), "{pool:?}");
    }
    let mut session = planned;
    session.apply(recorded(3, Some(started())));
    assert_eq!(session.phase, Phase::Started);
}

#[test]
fn garbage_harms_no_session() {
    let garbage = |sequence| Recorded { content: RecordedContent::Garbage("x".into()), ..recorded(sequence, None) };
    let requested = recorded(2, Some(fact(Course::Backup, FactKind::Requested, None)));
    let planned = recorded(4, Some(fact(Course::Backup, FactKind::Planned, None)));
    let log = [garbage(1), requested.clone(), garbage(3), planned.clone(), garbage(5)];
    let session = Session::fold(key(Course::Backup), log);
    let clean = Session::fold(key(Course::Backup), [requested, planned]);
    assert_eq!((session.last_sequence, session.illegal_facts, session.foreign), (5, 3, false));
    assert_eq!(Session { last_sequence: 4, illegal_facts: 0, ..session }, clean);
    assert!(!Session::fold(key(Course::Backup), [garbage(1)]).is_expired());
}
