//! Statuses of sessions, from their facts.

use super::*;

fn reference() -> Value {
    json!({"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db", "namespace": "demo"})
}

#[test]
fn a_backup_that_succeeded() {
    let mut result = result();
    result.retention = Some(RetentionResult::new(5, &["a"], RetentionMode::Remove));
    let status = session::backup(&story(Backup).planned(1).started(2).committing(60).succeeded(69, result).end());
    assert_eq!(
        shape(&status),
        json!({
            "phase": "Succeeded",
            "sessionDuration": "1m9s",
            "trigger": "Slot",
            "requestedTime": "2027-01-15T08:00:00Z",
            "startTime": "2027-01-15T08:00:02Z",
            "waitingTime": "2s",
            "completionTime": "2027-01-15T08:01:09Z",
            "snapshot": "01234567",
            "sizeBytes": 5_242_880,
            "addedBytes": 1536,
            "size": "5.000 MiB",
            "added": "1.500 KiB",
            "progress": "100%",
            "attempts": 1,
            "worker": "worker-0",
            "foldedSequence": 5,
            "targets": [{
                "ref": reference(),
                "totalHosts": 1,
                "phase": "Succeeded",
                "preBackupActions": ["InitializeBackendRepository"],
                "postBackupActions": ["ApplyRetentionPolicy", "VerifyRepositoryIntegrity"],
                "stats": [{
                    "hostname": "host-0",
                    "phase": "Succeeded",
                    "duration": "1m1s",
                    "snapshots": [{
                        "name": "01234567",
                        "path": "/dumpfile.sql",
                        "totalSize": "5.000 MiB",
                        "uploaded": "1.500 KiB",
                        "processingTime": "1:01",
                        "fileStats": {"totalFiles": 1, "newFiles": 1, "modifiedFiles": 0, "unmodifiedFiles": 0},
                    }],
                }],
            }],
        })
    );
    assert_eq!(
        conditions(&status),
        [
            "BackendRepositoryInitialized=True SuccessfullyInitializedBackendRepository: repository is ready",
            "RetentionPolicyApplied=True SuccessfullyAppliedRetentionPolicy: kept 5, forgot 1",
            "RepositoryIntegrityVerified=True SuccessfullyVerifiedRepositoryIntegrity: snapshot read back: 1 of 3 packs whole",
            "Succeeded=True Completed: the session succeeded",
        ]
    );
    assert!(status.conditions.iter().all(|condition| condition.last_transition_time == at(69)));
}

#[test]
fn a_backup_that_failed() {
    let status = session::backup(&story(Backup).planned_until(1, 3600).started(2).failed(5, Code::DumpFailed).end());
    assert_eq!(
        shape(&status),
        json!({
            "phase": "Failed",
            "sessionDuration": "5s",
            "sessionDeadline": "2027-01-15T09:00:00Z",
            "trigger": "Slot",
            "requestedTime": "2027-01-15T08:00:00Z",
            "startTime": "2027-01-15T08:00:02Z",
            "waitingTime": "2s",
            "completionTime": "2027-01-15T08:00:05Z",
            "attempts": 1,
            "worker": "worker-0",
            "code": "E0201",
            "reason": "DumpFailed",
            "message": "what happened",
            "foldedSequence": 4,
            "targets": [{
                "ref": reference(),
                "totalHosts": 1,
                "phase": "Failed",
                "stats": [{"hostname": "host-0", "phase": "Failed", "error": "what happened (E0201)"}],
            }],
        })
    );
    assert_eq!(conditions(&status), ["Succeeded=False DumpFailed: what happened (E0201)"]);
}

#[test]
fn failures_that_stash_has_a_condition_for_have_it() {
    for (code, condition) in [
        (Code::DeadlineExceeded, "DeadlineExceeded=True FailedToCompleteWithinDeadline: what happened"),
        (Code::WorkerLost, "BackupDisrupted=True FailedToCompleteDueToDisruption: what happened"),
        (Code::ReadBackFailed, "RepositoryIntegrityVerified=False FailedToVerifyRepositoryIntegrity: what happened"),
    ] {
        let status = session::backup(&story(Backup).planned(1).started(2).failed(5, code).end());
        assert_eq!(conditions(&status)[0], condition);
    }
}

#[test]
fn a_backup_that_is_tried_again_runs_and_says_why() {
    let status = session::backup(&story(Backup).planned(1).started(2).retrying(5, Code::StorageUnreachable).end());
    assert_eq!(
        shape(&status),
        json!({
            "phase": "Running",
            "trigger": "Slot",
            "requestedTime": "2027-01-15T08:00:00Z",
            "startTime": "2027-01-15T08:00:02Z",
            "waitingTime": "2s",
            "attempts": 1,
            "worker": "worker-0",
            "code": "E0304",
            "reason": "StorageUnreachable",
            "message": "what happened",
            "foldedSequence": 4,
            "targets": [{"ref": reference(), "totalHosts": 1, "phase": "Running"}],
        })
    );
    assert_eq!(
        conditions(&status),
        [
            "Succeeded=Unknown Retrying: will be tried again: what happened (E0304)",
            "Waiting=True RetryLater: waits for the time of its next attempt, 2027-01-15T08:00:15Z",
        ]
    );
}

#[test]
fn a_success_after_a_failure_does_not_show_the_failure() {
    let again = story(Backup).planned(1).started(2).retrying(5, Code::StorageUnreachable).planned(16).started(17);
    let status = session::backup(&again.committing(18).succeeded(20, result()).end());
    assert_eq!((status.run.code, status.run.message, status.run.attempts), (None, None, 2));
    assert_eq!(status.targets[0].stats[0].error, None);
    // The start time is that of the first attempt.
    assert_eq!(status.run.start_time, Some(at(2)));
}

#[test]
fn a_backup_that_was_skipped() {
    let status = session::backup(&story(Backup).skipped(1).end());
    assert_eq!(
        shape(&status),
        json!({
            "phase": "Skipped",
            "sessionDuration": "1s",
            "trigger": "Slot",
            "requestedTime": "2027-01-15T08:00:00Z",
            "waitingTime": "1s",
            "completionTime": "2027-01-15T08:00:01Z",
            "attempts": 0,
            "foldedSequence": 2,
        })
    );
    assert_eq!(
        conditions(&status),
        [
            "BackupSkipped=True PreviousRunning: session `x` is still running",
            "Succeeded=False Skipped: another session was running",
        ]
    );
}

#[test]
fn a_restore_that_succeeded() {
    let status = session::restore(&story(Restore).planned(1).started(2).restoring(3).succeeded(63, result()).end());
    assert_eq!(
        shape(&status),
        json!({
            "phase": "Succeeded",
            "totalHosts": 1,
            "sessionDuration": "1m3s",
            "trigger": "Slot",
            "requestedTime": "2027-01-15T08:00:00Z",
            "startTime": "2027-01-15T08:00:02Z",
            "waitingTime": "2s",
            "completionTime": "2027-01-15T08:01:03Z",
            "snapshot": "01234567",
            "sizeBytes": 5_242_880,
            "addedBytes": 1536,
            "size": "5.000 MiB",
            "added": "1.500 KiB",
            "progress": "100%",
            "attempts": 1,
            "worker": "worker-0",
            "foldedSequence": 5,
            "stats": [{
                "hostname": "host-0",
                "phase": "Succeeded",
                "duration": "1m1s",
                "snapshots": [{
                    "name": "01234567",
                    "path": "/dumpfile.sql",
                    "totalSize": "5.000 MiB",
                    "uploaded": "1.500 KiB",
                    "processingTime": "1:01",
                    "fileStats": {"totalFiles": 1, "newFiles": 1, "modifiedFiles": 0, "unmodifiedFiles": 0},
                }],
            }],
        })
    );
    assert_eq!(
        conditions(&status),
        [
            "RestoreCompleted=True RestoreSucceeded: the restore succeeded",
            "Succeeded=True Completed: the session succeeded",
        ]
    );
}

#[test]
fn a_restore_that_broke_off_names_the_snapshot_it_was_at() {
    let status = session::restore(
        &story(Restore).planned(1).started(2).restoring(3).failed(9, Code::TargetPartiallyRestored).end(),
    );
    assert_eq!(
        (status.phase.as_str(), status.run.snapshot.as_deref(), status.run.code.as_deref()),
        ("Failed", Some("01234567"), Some("E0402"))
    );
    assert_eq!(
        conditions(&status),
        [
            "RestoreCompleted=False RestoreFailed: what happened (E0402)",
            "Succeeded=False TargetPartiallyRestored: what happened (E0402)",
        ]
    );
}

#[test]
fn phases_are_the_words_of_stash() {
    let phase = |session: &Session| session::backup(session).phase;
    assert_eq!(phase(&story(Backup).end()), "Pending");
    assert_eq!(phase(&story(Backup).planned(1).end()), "Pending");
    assert_eq!(phase(&story(Backup).planned(1).started(2).committing(3).end()), "Running");
}
