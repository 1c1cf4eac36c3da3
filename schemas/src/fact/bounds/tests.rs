//! The worst case of each fact, measured as the event that is appended.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::error::{Code, Failure};
use crate::fact::{Cause, Committing, Counted, FactKind, Holder, Requested, Restoring, Urgency};
use crate::fact::{RecordTotals, RepositoryStatistics, RetentionMode, RetentionResult, TargetResult};
use crate::position::{Position, StoreId};
use crate::resource::{Kind, ObjectRef};
use crate::subject::{SessionKey, SessionKind};

/// The longest name that Kubernetes accepts.
const NAME: usize = 253;

fn name() -> String {
    "n".repeat(NAME)
}

/// A text that is far too long, and longer still in JSON.
fn text() -> String {
    "\u{1}\"ü".repeat(20_000)
}

fn reference(kind: Kind) -> ObjectRef {
    ObjectRef {
        api_version: "stash.appscode.com/v1beta1".to_owned(),
        kind,
        namespace: Some("n".repeat(63)),
        name: name(),
        uid: Some(Uuid::max()),
        generation: i64::MAX,
    }
}

fn holder() -> Holder {
    Holder { attempt: u32::MAX, worker: Uuid::max() }
}

fn conditions() -> Vec<Notice> {
    let notice = || Notice { kind: text(), status: NoticeStatus::False, reason: text(), message: text() };
    std::iter::repeat_with(notice).take(100).collect()
}

fn result() -> TargetResult {
    TargetResult {
        target: name(),
        host: name(),
        repository: reference(Kind::Repository),
        path: "/dumpfile.sql".to_owned(),
        snapshot: "f".repeat(64),
        size_bytes: u64::MAX,
        added_bytes: u64::MAX,
        sha256: "f".repeat(64),
        duration_ms: u64::MAX,
        adopted: false,
        packs_read: u64::MAX,
        packs: u64::MAX,
        retention: Some(RetentionResult::new(u64::MAX, &vec!["f".repeat(64); 30_000], RetentionMode::Remove)),
        record: Some(RecordTotals {
            databases: u64::MAX,
            tables: u64::MAX,
            other_objects: u64::MAX,
            rows: u64::MAX,
            sha256: "f".repeat(64),
        }),
        statistics: Some(RepositoryStatistics { snapshots: u64::MAX, size_bytes: u64::MAX }),
    }
}

fn ended() -> Ended {
    Ended {
        holder: Some(holder()),
        failure: Failure::new(Code::TargetPartiallyRestored, text()),
        results: vec![result()],
        rejected_snapshots: vec!["f".repeat(64); 1000],
        conditions: conditions(),
    }
}

fn worst(kind: FactKind) -> Option<Fact> {
    Some(match kind {
        FactKind::Requested => Fact::Requested(Box::new(Requested {
            name: name(),
            invoker: reference(Kind::BackupConfiguration),
            cause: Cause::Object { object: reference(Kind::BackupSession) },
            resources_position: Position { store: StoreId::created(Timestamp::MAX), sequence: u64::MAX },
            priority: Urgency::Urgent,
        })),
        FactKind::Skipped => Fact::Skipped(Skipped { reason: text(), message: text(), behind: Some(Uuid::max()) }),
        // Its size follows from the objects that it is made of; the planner refuses one that is too large.
        FactKind::Planned => return None,
        FactKind::Started => Fact::Started(Started { holder: holder(), host: text() }),
        FactKind::Restoring => Fact::Restoring(Restoring {
            holder: holder(),
            target: name(),
            repository: name(),
            snapshot: "f".repeat(64),
            size_bytes: u64::MAX,
            databases: vec![text(); 1000],
            database_count: u64::MAX,
        }),
        FactKind::Committing => Fact::Committing(Committing { holder: holder(), target: name(), repository: name() }),
        FactKind::Retrying => Fact::Retrying(Retrying {
            holder: holder(),
            failure: Failure::new(Code::ReadBackFailed, text()),
            after: Timestamp::MAX,
            counted: Counted::Yes,
            results: Vec::new(),
            rejected_snapshots: vec!["f".repeat(64); 1000],
            conditions: conditions(),
        }),
        FactKind::CancelRequested => {
            Fact::CancelRequested(CancelRequested { by: text(), reason: text(), code: Code::Cancelled })
        }
        FactKind::Succeeded => {
            Fact::Succeeded(Succeeded { holder: holder(), results: vec![result()], conditions: conditions() })
        }
        FactKind::Failed => Fact::Failed(ended()),
        FactKind::Cancelled => Fact::Cancelled(ended()),
    })
}

#[test]
fn the_worst_case_of_each_fact_has_a_bounded_size() {
    let key = SessionKey {
        cluster: "c".repeat(63).parse().unwrap(),
        namespace: "n".repeat(63),
        kind: SessionKind::Maintenance,
        group: "stash.appscode.com".to_owned(),
        invoker: name(),
        uid: Uuid::max(),
    };
    for kind in FactKind::ALL {
        let Some(fact) = worst(kind) else { continue };
        let id = format!("{}.{}.{}.{}", key.cluster, key.uid, kind.as_str(), Uuid::max().simple());
        let size = |fact: &Fact| fact.event(&key, id.clone(), "worker", Timestamp::MAX).to_bytes().len();
        let bounded = fact.bounded();
        let limit = if kind == FactKind::Succeeded { 4096 } else { 8192 };
        assert!(size(&bounded) <= limit, "{}: {} bytes", kind.as_str(), size(&bounded));
        assert_eq!(bounded.clone().bounded(), bounded, "{}", kind.as_str());
    }
}

#[test]
fn a_fact_of_usual_size_stays_as_it_is() {
    let notice = Notice {
        kind: "HookRan".to_owned(),
        status: NoticeStatus::True,
        reason: "HookRan".to_owned(),
        message: "preBackup ran".to_owned(),
    };
    let mut fact = Succeeded { holder: holder(), results: vec![result()], conditions: vec![notice; 5] };
    fact.results[0].target = "shop".to_owned();
    let fact = Fact::Succeeded(fact);
    assert_eq!(fact.clone().bounded(), fact);
}

#[test]
fn conditions_that_do_not_fit_are_counted() {
    let Fact::Succeeded(fact) = worst(FactKind::Succeeded).unwrap().bounded() else { unreachable!("a success") };
    let kept = fact.conditions.len() - 1;
    let last = fact.conditions.last().unwrap();
    assert_eq!(last.message, format!("{} more conditions are left out here", 100 - kept));
}

#[test]
fn the_smallest_retry_still_says_which_hook_ran() {
    let hook = Notice {
        kind: "PreBackupHookExecutionSucceeded".to_owned(),
        status: NoticeStatus::True,
        reason: "Succeeded".to_owned(),
        message: text(),
    };
    let failure = Failure::new(Code::StorageUnreachable, text());
    let fact = Fact::Retrying(Retrying {
        holder: holder(),
        failure,
        after: Timestamp::UNIX_EPOCH,
        counted: Counted::No,
        results: vec![result()],
        rejected_snapshots: Vec::new(),
        conditions: conditions().into_iter().chain([hook]).collect(),
    });
    let Fact::Retrying(smallest) = fact.smallest() else { panic!("another fact") };
    let kinds: Vec<&str> = smallest.conditions.iter().map(|condition| condition.kind.as_str()).collect();
    assert_eq!(kinds, ["PreBackupHookExecutionSucceeded", "ConditionsOmitted"]);
    assert!(smallest.conditions[0].message.len() <= 64 && smallest.results.len() == 1);
}
