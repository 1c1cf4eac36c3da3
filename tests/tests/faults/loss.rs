//! The loss of the whole store while a scheduled session runs: the session is requested again under its uid, and ends.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World};
use serde_json::{Value, json};

use super::{Apart, FAST, Hold, SHOP, the_session, world_with};

/// Writes configuration `shop`, of which a slot was due two minutes ago, and the next is due in most of an hour. The ledger
/// says that it is older than that; it is one of an earlier version.
fn configure_due(world: &World, more: &str) -> Result<()> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let minute = (now / 60 - 2).rem_euclid(60);
    world.configure("shop", "local", SHOP, &format!("schedule: \"{minute} * * * *\"\n{more}"))?;
    let created = jiff::Timestamp::from_second(now - 600)?;
    let key = json!({ "group": "lagan.dev", "kind": "BackupConfiguration", "namespace": "default", "name": "shop" });
    let (uid, nil) = (uuid::Uuid::new_v4(), uuid::Uuid::nil());
    let identity = json!({ "uid": uid, "generation": 1, "content": nil, "created": created });
    let lines = [
        json!({ "ledger": { "version": 1, "id": uuid::Uuid::new_v4() } }),
        json!({ "object": { "key": key, "identity": identity } }),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Ok(std::fs::write(world.lagan.data_dir().join("ledger.jsonl"), text)?)
}

/// A process that ends and is started anew while the store is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restarts {
    Engine,
    Nothing,
}

fn lost_while_it_dumps(restarts: Restarts) -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    configure_due(&world, "")?;
    let mut apart = Apart::start(world, FAST)?;
    let _worker = apart.worker("worker-1")?;
    hold.wait_for_runs(1)?;
    let before = the_only_session(&apart)?;
    apart.nats.delete_store()?;
    if restarts == Restarts::Engine {
        apart.engine.kill9()?;
    }
    apart.nats.restart()?;
    if restarts == Restarts::Engine {
        apart.engine = apart.world.part("engine", "engine-2", &apart.url, &FAST)?;
    }
    hold.wait_for_runs(2)?;
    hold.release()?;
    let session = the_session(&apart.world, &apart.client())?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(session["metadata"]["uid"], before["metadata"]["uid"], "it is the same session");
    assert_eq!(apart.world.snapshots()?, 1);
    is_forgotten(&apart)?;
    apart.world.judge()
}

fn the_only_session(apart: &Apart) -> Result<Value> {
    let mut sessions = apart.world.list("backupsessions", &apart.client())?;
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    sessions.pop().context("a session")
}

/// Waits until the ledger says that the session has ended, so that it is not requested after the next loss.
fn is_forgotten(apart: &Apart) -> Result<()> {
    let ledger = apart.world.lagan.data_dir().join("ledger-2.jsonl");
    eventually("the ledger to know the end", PATIENCE, || {
        let text = std::fs::read_to_string(&ledger).ok()?;
        text.lines().any(|line| line.starts_with("{\"closed\"")).then_some(())
    })
}

#[test]
fn a_scheduled_session_that_runs_when_the_store_is_lost_is_requested_again_and_ends() -> Result<()> {
    lost_while_it_dumps(Restarts::Nothing)
}

#[test]
fn a_scheduled_session_is_requested_again_by_an_engine_that_was_away_when_the_store_was_lost() -> Result<()> {
    lost_while_it_dumps(Restarts::Engine)
}

#[test]
fn a_scheduled_session_that_had_written_its_snapshot_when_the_store_was_lost_adopts_it() -> Result<()> {
    let world = world_with(1)?;
    // The first worker waits for an answer to its last hook, when its snapshot is there.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    configure_due(&world, &format!("hooks: {{postBackup: {{httpGet: {{port: {port}, path: /}}}}}}"))?;
    let mut apart = Apart::start(world, FAST)?;
    let allowed = format!("127.0.0.1:{port}");
    let more = [FAST[0], FAST[1], "--allow-hook-host", &allowed];
    let mut worker = apart.world.part("worker", "worker-1", &apart.url, &more)?;
    let (asked, _) = listener.accept()?;
    worker.kill9()?;
    drop(asked);
    apart.nats.delete_store()?;
    apart.nats.restart()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let _worker = apart.world.part("worker", "worker-2", &apart.url, &more)?;
    let session = the_session(&apart.world, &apart.client())?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let result = apart.world.result("@latest", &apart.client())?;
    assert_eq!(result["adopted"], true, "nothing is dumped again: {result}");
    assert_eq!(apart.world.snapshots()?, 1);
    apart.world.judge()
}
