//! A fact of each kind, with every field that it can have.

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{
    CancelRequested, Cause, Committing, Counted, Ended, Fact, FactKind, Holder, Notice, NoticeStatus,
    RepositoryStatistics, Requested, Restoring, RetentionMode, RetentionResult, Retrying, Skipped, Started, Succeeded,
    TargetResult, Urgency,
};
use lagan_schemas::plan::Plan;
use lagan_schemas::position::{Position, StoreId};
use lagan_schemas::resource::{Kind, ObjectRef};
use lagan_schemas::subject::SessionKind;
use uuid::Uuid;

use crate::time;

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: kind.api_versions()[0].to_owned(),
        kind,
        namespace: Some("demo".to_owned()),
        name: name.to_owned(),
        uid: Some(Uuid::from_u128(2)),
        generation: 3,
    }
}

pub fn invoker(session: SessionKind) -> ObjectRef {
    match session {
        SessionKind::Backup => reference(Kind::BackupConfiguration, "shop"),
        SessionKind::Restore => reference(Kind::RestoreSession, "shop"),
        SessionKind::Maintenance => reference(Kind::Repository, "shop"),
    }
}

fn holder() -> Holder {
    Holder { attempt: 2, worker: Uuid::from_u128(9) }
}

fn conditions() -> Vec<Notice> {
    vec![Notice {
        kind: "HookRan".to_owned(),
        status: NoticeStatus::True,
        reason: "PreBackup".to_owned(),
        message: "preBackup ran".to_owned(),
    }]
}

fn ended(code: Code) -> Ended {
    Ended {
        holder: Some(holder()),
        failure: Failure::new(code, "mariadb-dump exited 2"),
        results: vec![result()],
        rejected_snapshots: vec!["f".repeat(64)],
        conditions: conditions(),
    }
}

fn result() -> TargetResult {
    TargetResult {
        target: "shop".to_owned(),
        host: "host-0".to_owned(),
        repository: reference(Kind::Repository, "repo"),
        path: "/dumpfile.sql".to_owned(),
        snapshot: "e".repeat(64),
        size_bytes: 214_950_321,
        added_bytes: 81_362_647,
        sha256: "a".repeat(64),
        duration_ms: 69_000,
        adopted: true,
        packs_read: 3,
        packs: 9,
        retention: Some(RetentionResult::new(5, &["c".repeat(64)], RetentionMode::DryRun)),
        record: None,
        statistics: Some(RepositoryStatistics { snapshots: 6, size_bytes: 1 << 30 }),
    }
}

pub fn plan(session: SessionKind) -> Plan {
    let text = match session {
        SessionKind::Backup => include_str!("../../fixtures/v1/plans/backup.json"),
        SessionKind::Restore => include_str!("../../fixtures/v1/plans/restore.json"),
        SessionKind::Maintenance => include_str!("../../fixtures/v1/plans/wipe.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// `None` for facts that sessions of this kind do not have.
pub fn sample(session: SessionKind, kind: FactKind) -> Option<Fact> {
    let (target, repository) = ("shop".to_owned(), "demo/repo".to_owned());
    let cause = match session {
        SessionKind::Backup => Cause::Slot { slot: time(), missed: 1 },
        _ => Cause::Object { object: invoker(session) },
    };
    Some(match kind {
        FactKind::Requested => Fact::Requested(Box::new(Requested {
            name: "shop-1795341200".to_owned(),
            invoker: invoker(session),
            cause,
            resources_position: Position { store: StoreId::created(time()), sequence: 42 },
            priority: Urgency::Normal,
        })),
        FactKind::Skipped => Fact::Skipped(Skipped {
            reason: "PreviousRunning".to_owned(),
            message: "session `shop-1795341140` is still running".to_owned(),
            behind: Some(Uuid::from_u128(6)),
        }),
        FactKind::Planned => Fact::Planned(Box::new(plan(session))),
        FactKind::Started => Fact::Started(Started { holder: holder(), host: "worker-0".to_owned() }),
        FactKind::Restoring if session != SessionKind::Restore => return None,
        FactKind::Restoring => Fact::Restoring(Restoring {
            holder: holder(),
            target,
            repository,
            snapshot: "e".repeat(64),
            size_bytes: 214_950_321,
            databases: vec!["shop".to_owned(), "till".to_owned()],
            database_count: 2,
        }),
        FactKind::Committing if session != SessionKind::Backup => return None,
        FactKind::Committing => Fact::Committing(Committing { holder: holder(), target, repository }),
        FactKind::Retrying => Fact::Retrying(Retrying {
            holder: holder(),
            failure: Failure::new(Code::StorageUnreachable, "connection refused"),
            after: time(),
            counted: Counted::Yes,
            results: vec![result()],
            rejected_snapshots: vec!["f".repeat(64)],
            conditions: conditions(),
        }),
        FactKind::CancelRequested => Fact::CancelRequested(CancelRequested {
            by: "ada".to_owned(),
            reason: "wrong database".to_owned(),
            code: Code::Cancelled,
        }),
        FactKind::Succeeded => {
            Fact::Succeeded(Succeeded { holder: holder(), results: vec![result()], conditions: conditions() })
        }
        FactKind::Failed => Fact::Failed(ended(Code::DumpFailed)),
        FactKind::Cancelled => Fact::Cancelled(ended(Code::Cancelled)),
    })
}
