//! Every document on the wire is written and read as its fixture says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "manifests/bases.rs"]
mod bases;
#[path = "../fixtures/check.rs"]
mod check;
#[path = "upgrade/facts.rs"]
mod facts;

use std::collections::BTreeSet;
use std::path::Path;

use bases::{BINDING, CONFIGURATION, FUNCTION, LOCAL, REPOSITORY, RESTORE, SERVICE, SESSION, TASK};
use jiff::Timestamp;
use lagan_schemas::consent::ConsentPolicy;
use lagan_schemas::event::{Activity, CloudEvent, Progress, ResourceEvent};
use lagan_schemas::fact::{Fact, FactKind};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::origin::ConfigurationKey;
use lagan_schemas::position::{Position, StoreId};
use lagan_schemas::request::{Answer, CancelSession, Outcome};
use lagan_schemas::resource::backup_blueprint::BackupBlueprintStatus;
use lagan_schemas::resource::backup_configuration::BackupConfigurationStatus;
use lagan_schemas::resource::backup_session::{BackupSessionStatus, RunStatus};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::restore_session::RestoreSessionStatus;
use lagan_schemas::resource::{Condition, ConditionStatus};
use lagan_schemas::subject::{SessionKey, SessionKind};
use lagan_schemas::tag::Tag;
use uuid::Uuid;

fn time() -> Timestamp {
    "2026-11-23T00:45:02.350Z".parse().unwrap()
}

fn key(kind: SessionKind) -> SessionKey {
    SessionKey {
        cluster: "local".parse().unwrap(),
        namespace: "demo".to_owned(),
        kind,
        group: "lagan.dev".to_owned(),
        invoker: "shop".to_owned(),
        uid: Uuid::from_u128(7),
    }
}

fn event(kind: &str, data: serde_json::Value) -> CloudEvent {
    CloudEvent::new("local.1".to_owned(), "/lagan/local/test".to_owned(), kind.to_owned(), time(), data)
        .about("demo/shop".to_owned())
        .in_cluster("local")
}

#[test]
fn facts_are_kept() {
    for session in SessionKind::ALL {
        for kind in FactKind::ALL {
            let Some(fact) = facts::sample(session, kind) else { continue };
            let event = fact.event(&key(session), "local.1".to_owned(), "test", time());
            check::is_kept(&format!("facts/{}.json", kind.event_type(session)), &event);
            assert_eq!(Fact::decode(event).unwrap(), fact, "{}", kind.event_type(session));
        }
    }
    check::is_kept("session-key.json", &key(SessionKind::Backup));
}

#[test]
fn objects_are_kept() {
    let bases = [
        ("configuration", CONFIGURATION),
        ("repository-s3", REPOSITORY),
        ("repository-local", LOCAL),
        ("binding-url", BINDING),
        ("binding-service", SERVICE),
        ("restore", RESTORE),
        ("session", SESSION),
        ("task", TASK),
        ("function", FUNCTION),
    ];
    for (name, text) in bases {
        let Ok(Manifest::Object(object)) = parse(name, text).remove(0) else { unreachable!("{text}") };
        let object = object.published();
        let applied = ResourceEvent {
            object: Some(object.to_json()),
            uid: Uuid::from_u128(1),
            ignored_fields: object.ignored_fields.clone(),
            problem: None,
        };
        let event = event(applied.kind(), serde_json::to_value(&applied).unwrap());
        check::is_kept(&format!("objects/{name}.json"), &event);
        assert_eq!(ResourceEvent::from_bytes(&event.to_bytes()).unwrap(), applied, "{name}");
    }
    let problem = Some("schedule: expected 5 fields, got 4".to_owned());
    let refused = ResourceEvent {
        object: Some(serde_json::json!({})),
        uid: Uuid::from_u128(1),
        ignored_fields: Vec::new(),
        problem,
    };
    check::is_kept("objects/refused.json", &event(refused.kind(), serde_json::to_value(&refused).unwrap()));
    let deleted = ResourceEvent { object: None, uid: Uuid::from_u128(1), ignored_fields: Vec::new(), problem: None };
    check::is_kept("objects/deleted.json", &event(deleted.kind(), serde_json::to_value(&deleted).unwrap()));
}

#[test]
fn statuses_are_kept() {
    let conditions = vec![Condition {
        kind: "Succeeded".to_owned(),
        status: ConditionStatus::True,
        reason: "Succeeded".to_owned(),
        message: "the session succeeded".to_owned(),
        observed_generation: 1,
        last_transition_time: time(),
    }];
    let run = RunStatus {
        requested_time: Some(time()),
        start_time: Some(time()),
        completion_time: Some(time()),
        snapshot: Some("ea4d03df".to_owned()),
        size_bytes: Some(1),
        attempts: 1,
        folded_sequence: 5,
        folded_store: Some(StoreId::created(time())),
        ..RunStatus::default()
    };
    check::is_kept(
        "status/backup-session.json",
        &BackupSessionStatus {
            phase: "Succeeded".to_owned(),
            run: run.clone(),
            conditions: conditions.clone(),
            ..BackupSessionStatus::default()
        },
    );
    check::is_kept(
        "status/restore-session.json",
        &RestoreSessionStatus {
            phase: "Succeeded".to_owned(),
            recorded_time: Some(time()),
            run,
            conditions: conditions.clone(),
            ..RestoreSessionStatus::default()
        },
    );
    check::is_kept(
        "status/repository.json",
        &RepositoryStatus {
            observed_generation: 1,
            last_backup_time: Some(time()),
            location: Some("s3:s3.example.org/backups".to_owned()),
            integrity: Some(true),
            conditions: conditions.clone(),
            ..RepositoryStatus::default()
        },
    );
    check::is_kept(
        "status/backup-configuration.json",
        &BackupConfigurationStatus { conditions: conditions.clone(), ..BackupConfigurationStatus::default() },
    );
    let position = Position { store: StoreId::created(time()), sequence: 42 };
    check::is_kept("status/reporter-position.json", &position);
    check::is_kept(
        "status/backup-blueprint.json",
        &BackupBlueprintStatus { observed_generation: 1, usages: Some(2), conditions },
    );
}

#[test]
fn plans_are_kept() {
    for (name, session) in
        [("backup", SessionKind::Backup), ("restore", SessionKind::Restore), ("wipe", SessionKind::Maintenance)]
    {
        check::is_kept(&format!("plans/{name}.json"), &facts::plan(session));
    }
}

#[test]
fn tags_of_snapshots_are_kept() {
    let value = |tag: Tag| match tag {
        Tag::Session => Uuid::from_u128(7).to_string(),
        Tag::Configuration => ConfigurationKey::of(&facts::invoker(SessionKind::Backup)).to_string(),
        Tag::ConfigurationUid => Uuid::from_u128(1).to_string(),
        Tag::Cluster => "local".to_owned(),
        Tag::Identity => Uuid::from_u128(2).to_string(),
        Tag::Attempt => "1".to_owned(),
        Tag::Target => "shop".to_owned(),
        Tag::Consent => {
            ConsentPolicy::Namespaces(["audit", "prod"].map(str::to_owned).into_iter().collect()).to_string()
        }
    };
    let tags: Vec<String> = Tag::ALL.iter().map(|tag| tag.format(&value(*tag)).unwrap()).collect();
    check::is_kept("snapshot/tags.json", &tags);
    for tag in Tag::ALL {
        assert_eq!(tag.find(&tags), Some(value(tag).as_str()));
    }
}

/// Every document has its row in docs/protocol.md and its fixture, and no fixture is without a row.
#[test]
fn the_list_of_documents_is_that_of_the_fixtures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protocol = std::fs::read_to_string(root.join("../docs/protocol.md")).unwrap();
    let rows = protocol.lines().skip_while(|line| *line != "| fixtures | documents |").skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    let kept = std::fs::read_dir(root.join("fixtures/v1")).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() { format!("{name}/") } else { name }
    });
    let kept: BTreeSet<String> = kept.collect();
    assert_eq!(listed, kept.iter().map(String::as_str).collect());
}

#[test]
fn progress_and_requests_are_kept() {
    let progress = Progress {
        session: Uuid::from_u128(7),
        session_name: "shop-1795341200".to_owned(),
        target: "shop".to_owned(),
        activity: Activity::Restoring,
        bytes: 1,
        bytes_per_second: 2,
        total_bytes: Some(3),
    };
    check::is_kept("progress.json", &event(Progress::TYPE, serde_json::to_value(&progress).unwrap()));
    check::is_kept("progress-data.json", &progress);
    let cancel =
        CancelSession { session: Uuid::from_u128(7), by: "ada".to_owned(), reason: "wrong database".to_owned() };
    check::is_kept("request-cancel.json", &cancel);
    check::is_kept("answer.json", &Answer { outcome: Outcome::Accepted, message: "accepted".to_owned() });
}
