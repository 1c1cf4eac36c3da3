//! Complete narrations: facts in, lines out.
#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{
    Cause, Counted, Ended, Holder, Requested, Restoring, Retrying, Skipped, Started, Succeeded, Urgency,
};
use lagan_schemas::plan::{RestoreMode, Work};
use lagan_schemas::position::{Position, StoreId};
use lagan_schemas::resource::{Kind, ObjectRef};
use lagan_schemas::session::RecordedContent;
use lagan_schemas::subject::SessionKey;
use uuid::Uuid;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_341_200 + second).unwrap()
}

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: kind.api_versions()[0].into(),
        kind,
        namespace: Some("prod".into()),
        name: name.into(),
        uid: None,
        generation: 0,
    }
}

fn holder(attempt: u32) -> Holder {
    Holder { attempt, worker: Uuid::from_u128(5) }
}

fn narrator(kind: SessionKind) -> Narrator {
    let key = SessionKey {
        cluster: "local".parse().unwrap(),
        namespace: "prod".into(),
        kind,
        group: "lagan.dev".into(),
        invoker: "shop".into(),
        uid: Uuid::from_u128(7),
    };
    let context = NarrationContext {
        name: "shop-1795341200".into(),
        template: CommandTemplate::default().flag("-n", Some("prod")),
        glyphs: Glyphs::Unicode,
        last_run: Some(151),
        afterwards: Afterwards::Stays,
    };
    Narrator::new(context, Session::new(key))
}

/// The pool of `planned` in the subject of a fact that a worker writes.
fn pool_of(fact: &Fact) -> Option<String> {
    (fact.holder().is_some() || matches!(fact, Fact::Planned(_))).then(|| "default".to_owned())
}

fn position() -> Position {
    Position { store: StoreId::created(at(0)), sequence: 1 }
}

fn tell(narrator: &mut Narrator, facts: Vec<Fact>) -> Vec<String> {
    let first = narrator.session().last_sequence + 1;
    let recorded = (first..).zip(facts).map(|(sequence, fact)| Recorded {
        sequence,
        time: at(sequence.cast_signed()),
        pool: pool_of(&fact),
        content: RecordedContent::Fact(fact),
    });
    recorded.flat_map(|recorded| narrator.fact(recorded)).collect()
}

fn requested() -> Fact {
    let cause = Cause::Object { object: reference(Kind::BackupSession, "shop-1795341200") };
    let invoker = reference(Kind::BackupConfiguration, "shop");
    let name = "shop-1795341200".into();
    Fact::Requested(Box::new(Requested {
        name,
        invoker,
        cause,
        resources_position: position(),
        priority: Urgency::Urgent,
    }))
}

fn planned(kind: SessionKind) -> Fact {
    let text = match kind {
        SessionKind::Backup => include_str!("../../../schemas/fixtures/v1/plans/backup.json"),
        SessionKind::Restore => include_str!("../../../schemas/fixtures/v1/plans/restore.json"),
        SessionKind::Maintenance => include_str!("../../../schemas/fixtures/v1/plans/wipe.json"),
    };
    Fact::Planned(serde_json::from_str(text).unwrap())
}

fn started(attempt: u32) -> Fact {
    Fact::Started(Started { holder: holder(attempt), host: "node-1".into() })
}

fn result() -> TargetResult {
    serde_json::from_value(serde_json::json!({
        "target": "shop-db", "host": "host-0", "repository": reference(Kind::Repository, "main"), "path": "/dumpfile.sql",
        "snapshot": "4be1c0de11223344", "sizeBytes": 1_728_724_336_u64, "addedBytes": 40_055_603, "durationMs": 144_000,
        "packsRead": 3, "packs": 3,
    }))
    .unwrap()
}

fn progress(activity: Activity, total_bytes: Option<u64>) -> Progress {
    Progress {
        session: Uuid::from_u128(7),
        session_name: "shop-1795341200".into(),
        target: "shop".into(),
        activity,
        bytes: 1_524_713_390,
        bytes_per_second: 100_663_296,
        total_bytes,
    }
}

fn waiting_condition(reason: &str) -> Vec<Condition> {
    let message = "waits for AppBinding/prod/shop, which session `a` uses; it is next";
    let time = at(0);
    vec![
        serde_json::from_value(serde_json::json!({
            "type": "Waiting", "status": "True", "reason": reason, "message": message, "lastTransitionTime": time,
        }))
        .unwrap(),
    ]
}

#[test]
fn a_session_that_waits_says_for_what_until_it_is_planned() {
    let mut narrator = narrator(SessionKind::Backup);
    tell(&mut narrator, vec![requested()]);
    assert_eq!(narrator.waits(&[]), None);
    let busy = waiting_condition("TargetBusy");
    let line = "◎ waits for AppBinding/prod/shop, which session `a` uses; it is next (TargetBusy)";
    assert_eq!(narrator.waits(&busy).as_deref(), Some(line));
    assert_eq!(narrator.waits(&waiting_condition("RetryLater")), None, "another line says when it is tried again");
    tell(&mut narrator, vec![planned(SessionKind::Backup)]);
    assert_eq!(narrator.waits(&busy), None, "the status may be a moment behind");
}

#[test]
fn an_object_whose_session_waits_says_for_what() {
    let context = narrator(SessionKind::Backup).context;
    let told = |conditions: Vec<Condition>| {
        let object = crate::objects::tests::view(serde_json::json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession", "metadata": {"name": "shop-1", "namespace": "prod"},
            "status": {"phase": "Pending", "conditions": conditions},
        }));
        let mut narrator = StatusNarrator::new(context.clone(), object.clone());
        narrator.object(object);
        narrator.live_line(at(0))
    };
    assert!(told(waiting_condition("TargetBusy")).is_some_and(|line| line.ends_with("; it is next (TargetBusy)")));
    assert_eq!(told(waiting_condition("RetryLater")), None);
}

#[test]
fn a_backup_is_narrated_to_its_end() {
    let mut narrator = narrator(SessionKind::Backup);
    assert_eq!(narrator.context.opening(), "◎ waiting to start");
    assert!(tell(&mut narrator, vec![requested(), planned(SessionKind::Backup), started(1)]).is_empty());
    assert_eq!(narrator.live_line().as_deref(), Some("● started on node-1"));
    assert_eq!(
        narrator.progress(&progress(Activity::Dumping, None), at(84)),
        "● dump     shop   1.42 GiB   96 MiB/s   eta ~1m10s (last run 2m31s)"
    );
    assert_eq!(narrator.exit(), None);
    let end = Fact::Succeeded(Succeeded { holder: holder(1), results: vec![result()], conditions: Vec::new() });
    assert_eq!(
        tell(&mut narrator, vec![end]),
        [
            "✔ committed snapshot 4be1c0de  (1.61 GiB read, 38.20 MiB new, 2m24s)",
            "✔ verified: dump footer present, 3 of 3 packs read back",
            "  next: lagan describe session/shop-1795341200 -n prod · lagan restore shop --snapshot 4be1c0de --dry-run -n prod",
        ]
    );
    assert_eq!(narrator.exit(), Some(Exit::Ok));
}

#[test]
fn a_failure_names_reason_and_next_command() {
    let mut narrator = narrator(SessionKind::Backup);
    let failure = Failure::new(Code::DumpFailed, "mariadb-dump exited 2:\n\u{1b}[31mLost connection");
    let lost = Failure::new(Code::DatabaseUnreachable, "no answer from 127.0.0.1:3306");
    let facts = vec![
        requested(),
        planned(SessionKind::Backup),
        started(1),
        Fact::Retrying(Retrying {
            holder: holder(1),
            failure: lost,
            after: at(60),
            counted: Counted::Yes,
            results: Vec::new(),
            rejected_snapshots: vec![],
            conditions: vec![],
        }),
        planned(SessionKind::Backup),
        started(2),
        Fact::Failed(Ended {
            holder: Some(holder(2)),
            failure,
            results: vec![],
            rejected_snapshots: vec![],
            conditions: vec![],
        }),
    ];
    assert_eq!(
        tell(&mut narrator, facts),
        [
            "‼ no answer from 127.0.0.1:3306 (E0205); trying again at 09:54:20Z",
            "● attempt 2 on node-1",
            "✖ shop-1795341200 failed after 6s: mariadb-dump exited 2: [31mLost connection (E0201)",
            format!("  help: {}", Code::DumpFailed.help()).as_str(),
            "  next: lagan describe session/shop-1795341200 -n prod",
        ]
    );
    assert_eq!(narrator.exit(), Some(Exit::EndedFailed));
}

#[test]
fn a_dry_run_does_not_say_that_it_restored() {
    let mut narrator = narrator(SessionKind::Restore);
    narrator.context.afterwards = Afterwards::Removed;
    let Fact::Planned(mut plan) = planned(SessionKind::Restore) else { unreachable!() };
    let Work::Restore(work) = &mut plan.work else { unreachable!() };
    work.mode = RestoreMode::DryRun;
    let found = Notice {
        kind: "DryRun".into(),
        status: NoticeStatus::True,
        reason: "NothingWritten".into(),
        message: "shown elsewhere".into(),
    };
    let end = Fact::Succeeded(Succeeded { holder: holder(1), results: vec![result()], conditions: vec![found] });
    assert_eq!(
        tell(&mut narrator, vec![requested(), Fact::Planned(plan), started(1), end]),
        ["✔ dry run shop-1795341200: a restore would run now, and nothing was written"]
    );
    assert_eq!(narrator.exit(), Some(Exit::Ok));
}

#[test]
fn a_restore_shows_its_size() {
    let mut narrator = narrator(SessionKind::Restore);
    let restoring = Fact::Restoring(Restoring {
        holder: holder(1),
        target: "shop-db".into(),
        repository: "prod/main".into(),
        snapshot: "4be1c0de11223344".into(),
        size_bytes: 1_728_724_336,
        databases: vec!["shop".into(), "till".into()],
        database_count: 3,
    });
    let lines = tell(&mut narrator, vec![requested(), planned(SessionKind::Restore), started(1), restoring]);
    assert_eq!(lines, ["● restoring snapshot 4be1c0de (1.61 GiB) into shop-db: shop, till and 1 more"]);
    assert_eq!(
        narrator.progress(&progress(Activity::Restoring, Some(1_728_724_336)), at(20)),
        "● restore  shop   1.42 GiB of 1.61 GiB (88 %)   96 MiB/s   eta 2s"
    );
    let end = Fact::Succeeded(Succeeded { holder: holder(1), results: vec![result()], conditions: Vec::new() });
    assert_eq!(
        tell(&mut narrator, vec![end]),
        [
            "✔ restored snapshot 4be1c0de into shop-db  (1.61 GiB, 2m24s)",
            "  next: lagan describe restoresession/shop-1795341200 -n prod",
        ]
    );
}

#[test]
fn a_skipped_session_is_no_success() {
    let mut narrator = narrator(SessionKind::Backup);
    let skipped = Fact::Skipped(Skipped { reason: "Busy".into(), message: "shop-1 still runs".into(), behind: None });
    let lines = tell(&mut narrator, vec![requested(), skipped]);
    assert_eq!(lines[0], "○ shop-1795341200 was skipped: shop-1 still runs");
    assert_eq!(narrator.exit(), Some(Exit::EndedFailed));
    assert_eq!(
        narrator.stopped_waiting("stopped waiting"),
        "  stopped waiting; the backup goes on in the background: lagan describe session/shop-1795341200 -n prod"
    );
}

#[test]
fn a_fact_that_is_read_twice_is_narrated_once() {
    let mut narrator = narrator(SessionKind::Backup);
    let skipped = Fact::Skipped(Skipped { reason: "Busy".into(), message: "busy".into(), behind: None });
    let recorded = Recorded { sequence: 2, time: at(2), pool: None, content: RecordedContent::Fact(skipped) };
    assert!(tell(&mut narrator, vec![requested()]).is_empty());
    assert_eq!(narrator.fact(recorded.clone()).len(), 2);
    assert!(narrator.fact(recorded).is_empty());
}
