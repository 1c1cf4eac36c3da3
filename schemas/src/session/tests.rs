//! The session machine against a written table, random logs, and an exhaustive model of one backup session.
#![allow(clippy::unwrap_used, reason = "tests")]

mod model;

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Author, Course, IllegalFact, Phase, Recorded, Session, transition};
use crate::error::{Code, Failure};
use crate::fact::{
    CancelRequested, Cause, Committing, Counted, Ended, Fact, FactKind, Holder, Priority, Requested, Restoring,
    Retrying, Skipped, Started, Succeeded,
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
            priority: Priority::Urgent,
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
    Recorded { sequence, time, pool, fact }
}

/// A log of chosen facts: three of four choices are legal ones, so that the walks get somewhere.
fn log(course: Course, choices: &[u16]) -> Vec<Recorded> {
    let mut session = Session::new(key(course));
    let mut facts = Vec::new();
    for (sequence, choice) in (1..).zip(choices) {
        let (arbitrary, choice) = (choice % 4 == 0, usize::from(choice / 4));
        let legal: Vec<(Author, FactKind)> = AUTHORS
            .into_iter()
            .flat_map(|author| FactKind::ALL.map(|fact| (author, fact)))
            .filter(|(author, fact)| arbitrary || transition(session.course(), session.phase, *author, *fact).is_some())
            .collect();
        let Some((author, chosen)) = (!legal.is_empty()).then(|| legal[choice % legal.len()]) else { break };
        let signed = match (chosen, author) {
            (FactKind::Started, _) => Some(holder(session.attempts + 1)),
            (_, Author::Holder) => session.holder,
            _ => None,
        };
        let next = recorded(sequence, Some(fact(course, chosen, signed)));
        session.apply(next.clone());
        facts.push(next);
    }
    facts
}

/// What a session says, without the position it has read to.
fn said(session: &Session) -> Session {
    Session { last_sequence: 0, last_time: None, illegal_facts: 0, ..session.clone() }
}

fn courses() -> impl Strategy<Value = Course> {
    prop_oneof![Just(Course::Backup), Just(Course::Restore), Just(Course::DryRun)]
}

proptest! {
    #[test]
    fn an_ended_session_never_changes(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..60)) {
        let mut session = Session::new(key(course));
        for recorded in log(course, &choices) {
            let before = session.clone();
            session.apply(recorded);
            if before.phase.is_end() {
                prop_assert_eq!(said(&before), said(&session));
            }
        }
        if session.phase.is_end() {
            for (sequence, late) in (1000..).zip(FactKind::ALL) {
                let before = said(&session);
                session.apply(recorded(sequence, Some(fact(course, late, session.holder))));
                prop_assert_eq!(before, said(&session));
            }
        }
    }

    #[test]
    fn a_replay_changes_nothing(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..60), again in any::<prop::sample::Index>()) {
        let facts = log(course, &choices);
        let whole = Session::fold(key(course), facts.clone());
        let cut = again.index(facts.len() + 1);
        let replayed = facts[..cut].iter().chain(&facts[..cut]).chain(&facts[cut / 2..]).cloned();
        prop_assert_eq!(&whole, &Session::fold(key(course), replayed));
        let doubled = facts.iter().flat_map(|fact| [fact.clone(), fact.clone()]);
        prop_assert_eq!(whole, Session::fold(key(course), doubled));
    }

    #[test]
    fn a_fact_of_a_worker_that_does_not_hold_the_session_changes_nothing(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..40)) {
        let mut session = Session::fold(key(course), log(course, &choices));
        let before = said(&session);
        for (sequence, late) in (1000..).zip(FactKind::ALL) {
            let signed = Some(holder(99));
            let is_the_workers = fact(course, late, signed).holder().is_some();
            // `started` makes a holder; past `restoring` whoever is handed the session says that its holder died.
            let takes_over = late == FactKind::Started || (session.phase == Phase::Restoring && late == FactKind::Failed);
            if is_the_workers && !takes_over && session.phase != Phase::Nothing {
                session.apply(recorded(sequence, Some(fact(course, late, signed))));
                prop_assert_eq!(&before, &said(&session), "{:?}", late);
            }
        }
    }

    #[test]
    fn a_restore_that_fed_bytes_is_never_started_again(choices in prop::collection::vec(any::<u16>(), 1..80)) {
        let mut session = Session::new(key(Course::Restore));
        let mut attempts = None;
        for recorded in log(Course::Restore, &choices) {
            session.apply(recorded);
            if session.phase == Phase::Restoring {
                attempts.get_or_insert(session.attempts);
            }
            if let Some(attempts) = attempts {
                prop_assert_eq!(session.attempts, attempts);
                prop_assert!(session.phase == Phase::Restoring || session.phase.is_end());
            }
        }
    }

    #[test]
    fn a_dry_run_never_restores(choices in prop::collection::vec(any::<u16>(), 1..80)) {
        let mut session = Session::new(key(Course::DryRun));
        let planned = [FactKind::Requested, FactKind::Planned].map(|kind| Some(fact(Course::DryRun, kind, None)));
        for (sequence, fact) in (1..).zip(planned) {
            session.apply(recorded(sequence, fact));
        }
        for recorded in log(Course::DryRun, &choices) {
            session.apply(Recorded { sequence: recorded.sequence + 2, ..recorded });
            prop_assert!(session.phase != Phase::Restoring && session.restoring_snapshot.is_none());
        }
    }

    #[test]
    fn after_an_unknown_fact_nothing_may_be_appended(course in courses(), choices in prop::collection::vec(any::<u16>(), 1..40)) {
        let mut session = Session::fold(key(course), log(course, &choices));
        let phase = session.phase;
        session.apply(recorded(1000, None));
        prop_assert_eq!((session.phase, session.last_sequence), (phase, 1000));
        for author in AUTHORS {
            for fact in FactKind::ALL {
                prop_assert_eq!(session.check(author, fact), Err(IllegalFact::LaterVersion));
            }
        }
    }
}

#[test]
fn random_logs_reach_every_phase() {
    let mut seen = BTreeSet::new();
    for seed in 0..500u16 {
        let choices: Vec<u16> = (1..40u16)
            .map(|i| seed.wrapping_mul(40_503).wrapping_add(i.wrapping_mul(i)).wrapping_mul(25_173))
            .collect();
        for course in [Course::Backup, Course::Restore] {
            let mut session = Session::new(key(course));
            for recorded in log(course, &choices) {
                session.apply(recorded);
                seen.insert(format!("{:?}", session.phase));
            }
        }
    }
    for phase in &PHASES[1..] {
        assert!(seen.contains(&format!("{phase:?}")), "{phase:?} not among {seen:?}");
    }
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
        // Garbage under another pool does not even lock the session.
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
