//! Disks and stores that are full, and what administrators delete.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use lagan_tests::nats::NatsServer;
use lagan_tests::process::{guarded, run};
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::{Apart, FAST, HeldBackup, SHOP, world_with};

/// A file system in memory with a size of its own. It needs root, and says so.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let disk = Self { path: path.to_owned() };
        disk.run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])?;
        Ok(disk)
    }

    fn grow(&self, size: &str) -> Result<()> {
        self.run(&["mount", "-o", &format!("remount,size={size}")])
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let mut command: Command = guarded(Path::new(words[0]));
        command.args(&words[1..]).arg(&self.path);
        run(command, PATIENCE)?.success().map(drop).context("mounting a tmpfs, which needs root")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.run(&["umount", "--lazy"]);
    }
}

#[test]
#[ignore = "just test-faults"]
fn a_full_disk_leaves_no_snapshot_and_the_next_backup_succeeds_once_there_is_room() -> Result<()> {
    let world = world_with(8)?;
    let disk = SmallDisk::mount(&world.repository_dir(), "1m")?;
    world.configure("shop", "local", SHOP, "")?;
    let up = world.up(&FAST)?;
    let full = world.backup("shop", &[])?;
    assert_eq!(full.status.code(), Some(3), "{}", full.stderr);
    assert!(full.stderr.contains("E0306"), "{}", full.stderr);
    disk.grow("64m")?;
    assert_eq!(world.snapshots()?, 0);
    world.good_backup("shop")?;
    assert_eq!(world.snapshots()?, 1);
    world.judge()?;
    drop((up, disk));
    Ok(())
}

/// Deletes every consumer of the log of sessions.
async fn delete_consumers(nats: &NatsServer) -> Result<usize> {
    let context = async_nats::jetstream::new(nats.connect().await?);
    let stream = context.get_stream("SESSIONS").await?;
    let names: Vec<String> = stream.consumer_names().try_collect().await?;
    for name in &names {
        stream.delete_consumer(name).await?;
    }
    Ok(names.len())
}

#[test]
fn consumers_that_an_administrator_deletes_come_back_and_no_session_is_lost() -> Result<()> {
    let backup = HeldBackup::prepare(3, FAST)?;
    let _worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deleted = runtime.block_on(delete_consumers(&backup.apart.nats))?;
    assert!(deleted > 0, "there were consumers to delete");
    backup.release_and_hold_again()?;
    let session = backup.session()?;
    assert_eq!((backup.hold.runs(), &session["status"]["attempts"]), (1, &1.into()), "{session}");
    // New sessions reach the worker, which has no consumer any more.
    second_backup(&backup)?;
    assert_eq!(backup.apart.world.snapshots()?, 2);
    backup.apart.audit()
}

/// Makes one more backup, whose dump is held like the first one, and waits for its success.
fn second_backup(backup: &HeldBackup) -> Result<()> {
    let world = &backup.apart.world;
    world.lagan.ok(&["backup", "shop", "--nats-url", &backup.apart.url])?;
    backup.hold.wait_for_runs(2)?;
    backup.hold.release()?;
    eventually("the second session to succeed", PATIENCE, || {
        let sessions = world.list("backupsessions", &backup.apart.client()).ok()?;
        (sessions.iter().filter(|one| one["status"]["phase"] == "Succeeded").count() == 2).then_some(())
    })
}

/// Stores copies of the plan of the only session, as a server that delivers too often would, but as facts of their own.
async fn copy_plan(nats: &NatsServer, copies: usize) -> Result<()> {
    let context = async_nats::jetstream::new(nats.connect().await?);
    let stream = context.get_stream("SESSIONS").await?;
    let plan = stream.get_last_raw_message_by_subject("lagan.session.*.*.*.*.*.*.*.planned.*").await?;
    for _ in 0..copies {
        context.publish(plan.subject.clone(), plan.payload.clone()).await?.await?;
    }
    Ok(())
}

#[test]
fn copies_of_a_plan_start_no_second_dump() -> Result<()> {
    let backup = HeldBackup::prepare(3, FAST)?;
    let _workers =
        [backup.apart.worker("worker-1")?, backup.apart.worker("worker-2")?, backup.apart.worker("worker-3")?];
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(copy_plan(&backup.apart.nats, 10))?;
    backup.release_and_hold_again()?;
    let session = backup.session()?;
    runtime.block_on(copy_plan(&backup.apart.nats, 10))?;
    // A later session shows that the copies were delivered before it.
    second_backup(&backup)?;
    assert_eq!((backup.hold.runs(), &session["status"]["attempts"]), (2, &1.into()), "{session}");
    assert_eq!(backup.apart.world.snapshots()?, 2);
    backup.apart.world.judge()
}

/// Fills the log with what is no fact until the server refuses more.
async fn fill(nats: &NatsServer, limit: i64) -> Result<()> {
    let context = async_nats::jetstream::new(nats.connect().await?);
    let mut config = context.get_stream("SESSIONS").await?.cached_info().config.clone();
    config.max_bytes = limit;
    context.update_stream(config).await?;
    // Small messages find room where large ones do not.
    for length in [64 * 1024, 1024, 16] {
        let subject =
            || format!("lagan.session.local.default.backup.lagan_dev.other.{}._.requested", uuid::Uuid::new_v4());
        while context.publish(subject(), vec![b'x'; length].into()).await?.await.is_ok() {}
    }
    Ok(())
}

async fn purge_others(nats: &NatsServer) -> Result<()> {
    let context = async_nats::jetstream::new(nats.connect().await?);
    let stream = context.get_stream("SESSIONS").await?;
    stream.purge().filter("lagan.session.local.default.backup.lagan_dev.other.>").await?;
    Ok(())
}

#[test]
fn a_log_that_is_full_ends_no_session_and_they_go_on_when_there_is_room() -> Result<()> {
    let backup = HeldBackup::prepare(3, FAST)?;
    let mut worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&backup.apart.nats, 4 << 20))?;
    backup.hold.release()?;
    worker.wait_for_log("fact can't be appended yet", PATIENCE)?;
    runtime.block_on(purge_others(&backup.apart.nats))?;
    let session = backup.session()?;
    assert_eq!(session["status"]["attempts"], 1, "{session}");
    backup.judge(&session)?;
    let world = &backup.apart.world;
    world.lagan.ok(&["backup", "shop", "--nats-url", &backup.apart.url])?;
    eventually("another session to succeed", PATIENCE, || (world.snapshots().ok()? == 2).then_some(()))
}

#[test]
fn the_gate_at_a_full_log_closes_when_the_time_of_the_session_is_over() -> Result<()> {
    let backup = HeldBackup::prepare_with(3, FAST, "timeOut: 20s")?;
    let mut worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&backup.apart.nats, 4 << 20))?;
    backup.hold.release()?;
    worker.wait_for_log("fact can't be appended yet", PATIENCE)?;
    // A cancel has no room either, and says so.
    let client = backup.apart.client();
    let cancel = [&["cancel", "@latest"][..], &client[..]].concat();
    let refused = backup.apart.world.lagan.run(&cancel)?;
    assert!(!refused.status.success() && refused.stderr.contains("is full"), "{}", refused.stderr);
    worker.wait_for_log("session did not succeed", PATIENCE)?;
    runtime.block_on(purge_others(&backup.apart.nats))?;
    let session = backup.session()?;
    assert_eq!(
        (&session["status"]["phase"], &session["status"]["code"]),
        (&"Failed".into(), &"E0502".into()),
        "{session}"
    );
    assert_eq!(backup.apart.world.snapshots()?, 0);
    backup.apart.world.judge()
}

#[test]
#[ignore = "just test-faults"]
fn a_thousand_unreadable_messages_hold_no_session_up() -> Result<()> {
    let world = world_with(1)?;
    world.configure("shop", "local", SHOP, "")?;
    let apart = Apart::start(world, FAST)?;
    let _worker = apart.worker("worker-1")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let context = async_nats::jetstream::new(apart.nats.connect().await?);
        for number in 0..1000 {
            let uid = uuid::Uuid::new_v4();
            let fact = ["_.requested", "default.planned.normal", "default.started", "default.succeeded"][number % 4];
            let payload = ["", "{}", "null", "\u{feff}{\"type\":1}", "[[[[[[", "{\"specversion\":\"1.0\"}"][number % 6];
            let subject = format!("lagan.session.local.default.backup.lagan_dev.shop.{uid}.{fact}");
            context.publish(subject, payload.into()).await?.await?;
        }
        anyhow::Ok(())
    })?;
    apart.world.backup("shop", &apart.client())?.success()?;
    assert_eq!(apart.world.snapshots()?, 1);
    apart.world.judge()
}

#[derive(Clone, Copy)]
enum MadeAnew {
    /// An administrator did it, under connections that last.
    AtOnce,
    /// The server came back without it.
    ByEngine,
}

fn make_anew(apart: &mut Apart, anew: MadeAnew) -> Result<()> {
    match anew {
        MadeAnew::AtOnce => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let context = async_nats::jetstream::new(apart.nats.connect().await?);
            let config = context.get_stream("SESSIONS").await?.cached_info().config.clone();
            context.delete_stream("SESSIONS").await?;
            context.create_stream(config).await?;
            Ok(())
        }),
        MadeAnew::ByEngine => {
            apart.nats.kill9()?;
            std::fs::remove_dir_all(apart.nats.store_dir().join("jetstream/$G/streams/SESSIONS"))?;
            apart.nats.restart()
        }
    }
}

/// Plans a session late in the log, makes the log anew, and only then starts a worker.
fn a_planned_session_ends(anew: MadeAnew) -> Result<()> {
    let world = world_with(1)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut apart = Apart::start(world, FAST)?;
    let mut worker = apart.worker("worker-1")?;
    for _ in 0..2 {
        apart.world.backup("shop", &apart.client())?.success()?;
    }
    worker.terminate(PATIENCE)?;
    apart.world.lagan.ok(&["backup", "shop", "--nats-url", &apart.url])?;
    eventually("the third session to be planned", PATIENCE, || {
        let sessions = apart.world.list("backupsessions", &apart.client()).ok()?;
        let third = sessions.into_iter().find(|one| one["status"]["phase"] != "Succeeded")?;
        let last = apart.world.facts(third["metadata"]["name"].as_str()?, &apart.client()).ok()?.pop()?;
        last["type"].as_str()?.contains("planned").then_some(())
    })?;
    make_anew(&mut apart, anew)?;
    let _worker = apart.worker("worker-2")?;
    eventually("the third session to succeed", PATIENCE, || {
        let sessions = apart.world.list("backupsessions", &apart.client()).ok()?;
        (sessions.iter().filter(|one| one["status"]["phase"] == "Succeeded").count() == 3).then_some(())
    })?;
    assert_eq!(apart.world.snapshots()?, 3);
    apart.world.judge()
}

#[test]
fn a_planned_session_ends_although_its_log_is_made_anew_and_its_lock_is_not() -> Result<()> {
    a_planned_session_ends(MadeAnew::AtOnce)
}

#[test]
fn a_planned_session_ends_although_the_server_comes_back_without_its_log() -> Result<()> {
    a_planned_session_ends(MadeAnew::ByEngine)
}
