//! `wipeOut`: data is deleted only if that was asked for, completely and nothing else, and the object is always released in
//! the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use lagan_tests::kube_world::{KubeWorld, backup_session, condition, phase};
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, secret};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{FOREVER, LAGAN, configuration, ready};

const REPOSITORIES: &str = "repositories.lagan.dev";
pub(super) const BUCKET: &str = "backups";
const FINALIZER: &str = "lagan.dev/wipe-out";
/// More objects than one page of a listing has.
const MANY: usize = 1100;
/// The time for which a worker may be silent in these tests.
const TTL: Duration = Duration::from_secs(5);

/// The manifests of Secret `s3` and of a Repository in the bucket.
pub(super) fn repository(world: &KubeWorld, server: &S3Server, name: &str, prefix: &str, wipe_out: &str) -> Result<()> {
    let keys = [
        ("RESTIC_PASSWORD", world.password.as_str()),
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
    ];
    let yaml = format!(
        "{}---
apiVersion: {LAGAN}
kind: Repository
metadata: {{name: {name}, finalizers: [example.org/other]}}
spec:
  {wipe_out}
  backend:
    storageSecretName: s3
    s3: {{endpoint: \"{}\", bucket: {BUCKET}, prefix: {prefix}, region: us-east-1}}
",
        secret("s3", &keys),
        server.endpoint()
    );
    world.apply(&yaml).map(drop)
}

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn held(world: &KubeWorld, name: &str) -> Result<Value> {
    world.until("the finalizer", &[REPOSITORIES, name], |o| finalizers(o) == ["example.org/other", FINALIZER])
}

/// A finalizer of another program, which Lagan must not remove.
fn free_of_others(world: &KubeWorld, name: &str) -> Result<()> {
    let object = world.kubectl_json(&["get", REPOSITORIES, name])?;
    let ours = finalizers(&object).contains(&FINALIZER);
    let patch = format!(
        "{{\"metadata\":{{\"finalizers\":[{}]}}}}",
        if ours { format!("\"{FINALIZER}\"") } else { String::new() }
    );
    world.kubectl(&["patch", REPOSITORIES, name, "--type=merge", "-p", &patch]).map(drop)
}

pub(super) fn delete(world: &KubeWorld, name: &str) -> Result<()> {
    free_of_others(world, name)?;
    world.kubectl(&["delete", REPOSITORIES, name, "--wait=false"]).map(drop)
}

pub(super) fn gone(world: &KubeWorld, name: &str) -> Result<()> {
    let path = format!("{REPOSITORIES}/{name}");
    eventually(&format!("{path} to be gone"), PATIENCE, || {
        let found = world.kubectl(&["get", &path, "-o", "name", "--ignore-not-found"]).ok()?;
        found.trim().is_empty().then_some(())
    })
}

/// Lists type, reason and text of the Events of a Repository.
pub(super) fn told(world: &KubeWorld, name: &str) -> Result<Vec<(String, String, String)>> {
    let list = world.kubectl_json(&["get", "events"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of =
        |event: &&Value| event["involvedObject"]["kind"] == "Repository" && event["involvedObject"]["name"] == name;
    let events = list["items"].as_array().cloned().unwrap_or_default();
    Ok(events.iter().filter(of).map(|e| (text(&e["type"]), text(&e["reason"]), text(&e["message"]))).collect())
}

/// Lists what is left below a prefix. The server's filer may keep empty folders, which are no objects.
pub(super) fn files(server: &S3Server, prefix: &str) -> Result<Vec<String>> {
    let top = server.list(BUCKET, prefix)?;
    let (folders, mut files): (Vec<String>, Vec<String>) = top.into_iter().partition(|name| name != "config");
    for folder in folders {
        for name in server.list(BUCKET, &format!("{prefix}{folder}/"))? {
            let is_pack_folder = folder == "data" && name.len() == 2;
            let below =
                if is_pack_folder { server.list(BUCKET, &format!("{prefix}data/{name}/"))? } else { vec![name] };
            files.extend(below);
        }
    }
    Ok(files)
}

pub(super) fn backup(world: &KubeWorld, session: &str, name: &str) -> Result<Value> {
    let yaml =
        configuration(name, FOREVER, "").replace("repository: {name: local}", &format!("repository: {{name: {name}}}"));
    world.apply(&yaml)?;
    ready(world, name)?;
    world.apply(&backup_session(LAGAN, session, name))?;
    world.ended("backupsessions.lagan.dev", session)
}

#[test]
fn wipe_out_deletes_all_of_one_repository_and_nothing_of_another() -> Result<()> {
    let world = KubeWorld::new("wipe")?;
    let server = S3Server::start()?;
    server.create_bucket(BUCKET)?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    repository(&world, &server, "goes", "demo/shop", "wipeOut: true")?;
    repository(&world, &server, "stays", "demo/shop2", "wipeOut: false")?;
    held(&world, "goes")?;
    for name in ["goes", "stays"] {
        assert_eq!(phase(&backup(&world, &format!("{name}-1"), name)?), "Succeeded", "{name}");
    }
    for n in 0..MANY {
        server.put(BUCKET, &format!("demo/shop/data/00/{n:064}"), "x")?;
    }
    server.put(BUCKET, "demo/shop/index/notes.txt", "not restic's")?;
    let sibling = server.list(BUCKET, "demo/shop2/snapshots/")?;
    assert_eq!(sibling.len(), 1);

    delete(&world, "goes")?;
    gone(&world, "goes")?;
    assert_eq!(files(&server, "demo/shop/")?, ["notes.txt"]);
    let events = told(&world, "goes")?;
    let wiped = events.iter().find(|(_, reason, _)| reason == "RepositoryWiped");
    let (kind, _, text) = wiped.unwrap_or_else(|| unreachable!("{events:?}"));
    let count: usize = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    assert!(kind == "Normal" && count > MANY && text.contains("1 objects stay"), "{text}");

    // Without `wipeOut` Lagan sets no finalizer, and the data stays.
    assert_eq!(finalizers(&world.kubectl_json(&["get", REPOSITORIES, "stays"])?), ["example.org/other"]);
    delete(&world, "stays")?;
    gone(&world, "stays")?;
    assert_eq!(server.list(BUCKET, "demo/shop2/snapshots/")?, sibling);
    assert!(told(&world, "stays")?.is_empty());
    Ok(())
}

#[test]
fn switching_wipe_out_off_takes_only_our_finalizer_away() -> Result<()> {
    let world = KubeWorld::new("unwipe")?;
    let server = S3Server::start()?;
    let _engine = world.engine(&[])?;
    repository(&world, &server, "mind", "demo", "wipeOut: true")?;
    held(&world, "mind")?;
    world.kubectl(&["patch", REPOSITORIES, "mind", "--type=merge", "-p", "{\"spec\":{\"wipeOut\":false}}"])?;
    world
        .until("only our finalizer to be gone", &[REPOSITORIES, "mind"], |o| finalizers(o) == ["example.org/other"])?;
    free_of_others(&world, "mind")
}

#[test]
fn a_dead_storage_does_not_hold_the_object_for_ever() -> Result<()> {
    let world = KubeWorld::new("nowipe")?;
    let mut server = S3Server::start()?;
    server.create_bucket(BUCKET)?;
    let _engine = world.engine(&["--wipe-within", "6s"])?;
    let _worker = world.worker(&[])?;
    repository(&world, &server, "dead", "demo/shop", "wipeOut: true")?;
    held(&world, "dead")?;
    server.kill9()?;
    // While it waits it accepts no new backup. The finalizer of another program holds it after that.
    world.kubectl(&["delete", REPOSITORIES, "dead", "--wait=false"])?;
    let refused = backup(&world, "late", "dead")?;
    let (_, reason, message) = condition(&refused, "Succeeded").unwrap_or_default();
    assert!(reason == "RepositoryBeingDeleted" && message.contains("is being deleted"), "{refused:#}");
    world.until("our finalizer to be gone", &[REPOSITORIES, "dead"], |o| finalizers(o) == ["example.org/other"])?;
    let events = told(&world, "dead")?;
    let warned = |(kind, reason, text): &(String, String, String)| {
        kind == "Warning" && reason == "DeadlineExceeded" && text.starts_with("data was NOT deleted: ")
    };
    assert!(events.iter().any(warned), "{events:?}");
    free_of_others(&world, "dead")?;
    gone(&world, "dead")
}

#[test]
fn an_engine_and_a_worker_that_were_killed_meanwhile_do_not_matter() -> Result<()> {
    let world = KubeWorld::new("killwipe")?;
    let server = S3Server::start()?;
    server.create_bucket(BUCKET)?;
    Restic::s3(&server, BUCKET, "demo/shop", &world.password)?.init()?;
    for n in 0..MANY {
        server.put(BUCKET, &format!("demo/shop/data/00/{n:064}"), "x")?;
    }
    let mut engine = world.engine(&[])?;
    repository(&world, &server, "goes", "demo/shop", "wipeOut: true")?;
    held(&world, "goes")?;
    // The wipe is requested and planned without a worker; then all parts restart.
    delete(&world, "goes")?;
    engine.wait_for_log("session requested", PATIENCE)?;
    engine.kill9()?;
    let mut worker = world.worker(&[])?;
    let _engine = world.part("engine", "engine-2", &[])?;
    let began = eventually("a page to be deleted", PATIENCE, || {
        (server.list(BUCKET, "demo/shop/data/00/").ok()?.len() < MANY).then_some(())
    });
    began?;
    worker.kill9()?;
    let _worker = world.part("worker", "worker-2", &[])?;
    gone(&world, "goes")?;
    assert!(server.list(BUCKET, "demo/shop/data/00/")?.is_empty());
    assert!(told(&world, "goes")?.iter().any(|(_, reason, _)| reason == "RepositoryWiped"));
    Ok(())
}

#[test]
fn a_wipe_goes_on_after_an_outage_of_nats() -> Result<()> {
    let mut world = KubeWorld::new("outwipe")?;
    let mut server = S3Server::start()?;
    server.create_bucket(BUCKET)?;
    Restic::s3(&server, BUCKET, "demo/shop", &world.password)?.init()?;
    for n in 0..MANY {
        server.put(BUCKET, &format!("demo/shop/data/00/{n:064}"), "x")?;
    }
    let _engine = world.engine(&[])?;
    repository(&world, &server, "goes", "demo/shop", "wipeOut: true")?;
    held(&world, "goes")?;
    delete(&world, "goes")?;
    let mut worker = world.worker(&[])?;
    let left = |server: &S3Server| server.list(BUCKET, "demo/shop/data/00/").ok().map(|names| names.len());
    eventually("a page to be deleted", PATIENCE, || left(&server).filter(|left| *left < MANY))?;
    // The storage stands still until the lease is not confirmed any more.
    server.process().signal(Signal::SIGSTOP)?;
    world.nats.process().signal(Signal::SIGSTOP)?;
    let began = Instant::now();
    worker.wait_for_log("heartbeat not stored", PATIENCE)?;
    eventually("more than a TTL to pass", PATIENCE, || (began.elapsed() > TTL * 6 / 5).then_some(()))?;
    server.process().signal(Signal::SIGCONT)?;
    // The page is finished, and the next one waits.
    eventually("several TTLs to pass", PATIENCE, || (began.elapsed() > TTL * 5).then_some(()))?;
    let stays = server.list(BUCKET, "demo/shop/")?;
    assert!(stays.contains(&"config".to_owned()), "deleted without a lease: {stays:?}");
    let before = left(&server);
    world.nats.process().signal(Signal::SIGCONT)?;
    gone(&world, "goes")?;
    assert!(before > Some(0), "the outage came too late");
    assert_eq!(files(&server, "demo/shop/")?, [""; 0]);
    let events = told(&world, "goes")?;
    let (_, _, text) = events.iter().find(|(_, reason, _)| reason == "RepositoryWiped").expect("it says so");
    assert!(!text.contains("earlier attempts"), "{text}");
    Ok(())
}
