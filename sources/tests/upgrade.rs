//! The documents in the data directory are written and read as their fixtures say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../schemas/fixtures/check.rs"]
mod check;

use lagan_schemas::resource::{Kind, ObjectRef};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::endpoint::Endpoint;
use lagan_sources::ledger::{Identity, Ledger, LedgerEntry};
use lagan_sources::open_slot::OpenSlot;
use uuid::Uuid;

#[test]
fn the_ledger_is_kept() {
    let uid = Uuid::from_u128(7);
    let key = ObjectKey {
        group: "lagan.dev".to_owned(),
        kind: Kind::RestoreSession,
        namespace: Some("demo".to_owned()),
        name: "shop".to_owned(),
    };
    let created = "2026-11-23T00:45:02Z".parse().unwrap();
    let invoker = ObjectRef {
        api_version: "lagan.dev/v1alpha1".to_owned(),
        kind: Kind::BackupConfiguration,
        namespace: Some("demo".to_owned()),
        name: "shop".to_owned(),
        uid: Some(uid),
        generation: 2,
    };
    let identity = Identity { uid, generation: 2, content: Uuid::from_u128(8), created, deleted: false };
    let entries = [
        ("ledger", LedgerEntry::Ledger { version: 1, id: uid }),
        ("object", LedgerEntry::Object { key: key.clone(), identity }),
        ("deleted", LedgerEntry::Deleted { key }),
        ("mark", LedgerEntry::Mark { configuration: uid, slot: created }),
        ("recorded", LedgerEntry::Recorded { session: uid, writes_since: None }),
        ("ended", LedgerEntry::Ended { session: uid, phase: "Succeeded".to_owned() }),
        ("adopted", LedgerEntry::Adopted { identity: uid }),
    ];
    let mut text = String::new();
    for (name, entry) in &entries {
        check::is_kept(&format!("ledger/{name}.json"), entry);
        text.push_str(&serde_json::to_string(entry).unwrap());
        text.push('\n');
    }
    check::is_written("ledger/ledger.jsonl", &text);
    let opened = LedgerEntry::Opened(OpenSlot { session: Uuid::from_u128(9), slot: created, invoker });
    check::is_kept("ledger/opened.json", &opened);
    let writing = LedgerEntry::Recorded { session: uid, writes_since: Some(created) };
    check::is_kept("ledger/recorded-writing.json", &writing);
    check::is_kept("ledger/closed.json", &LedgerEntry::Closed { session: Uuid::from_u128(9) });
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ledger.jsonl"), text).unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let compacted = std::fs::read_to_string(directory.path().join("ledger-2.jsonl")).unwrap();
    check::is_written("ledger/ledger-2.jsonl", &compacted);
    ledger
        .read(|state| {
            assert_eq!((state.id, state.marks.len(), state.recorded.len(), state.ended.len()), (Some(uid), 1, 1, 1));
            assert!(state.objects.values().next().unwrap().deleted);
        })
        .unwrap();
}

#[test]
fn the_endpoint_file_is_kept() {
    let endpoint = Endpoint {
        nats_url: "nats://127.0.0.1:4222".to_owned(),
        token: Some("token".to_owned().into()),
        nats_domain: Some("hub".to_owned()),
        cluster: "local".to_owned(),
        manifests: "/srv/manifests".into(),
        objects: "/srv/objects".into(),
        pid: 42,
    };
    let directory = tempfile::tempdir().unwrap();
    endpoint.write(directory.path()).unwrap();
    let file = directory.path().join("endpoint.json");
    check::is_written("endpoint.json", &std::fs::read_to_string(&file).unwrap());
    let read = Endpoint::read(directory.path()).unwrap();
    assert_eq!((read.nats_url, read.nats_domain, read.pid), (endpoint.nats_url, endpoint.nats_domain, 42));
}
