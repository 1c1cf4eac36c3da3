//! Faults of real processes: what is killed, cut or broken must not lose a session, double it, or pass for a success.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use lagan_tests::canary::Canaries;
use lagan_tests::nats::NatsServer;
use lagan_tests::process::Process;
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, restore_session};
use nix::sys::signal::Signal;
use serde_json::Value;

const SHOP: &str = "--databases shop";
const FAST: [&str; 2] = ["--failover", "3"];
const DUMP: [&str; 6] = ["--databases", "shop", "--routines", "--events", "--hex-blob", "--skip-dump-date"];

fn world_with(megabytes: u32) -> Result<World> {
    let world = World::new()?;
    world.db.load_sample("shop", Sample { megabytes: megabytes.into(), seed: 11 })?;
    Ok(world)
}

/// A dump that stops half way for as long as the file is there; each run leaves a line in `runs`.
struct Hold {
    file: PathBuf,
    runs: PathBuf,
}

impl Hold {
    fn new(world: &mut World) -> Result<Self> {
        let hold = Self { file: world.lagan.path("hold"), runs: world.lagan.path("runs") };
        fs::write(&hold.file, "")?;
        let script = format!(
            "$REAL \"$@\" | {{ head -c 1500000; echo run >> {}; while [ -e {} ]; do sleep 0.05; done; cat; }}",
            hold.runs.display(),
            hold.file.display()
        );
        world.stub("mariadb-dump", &script)?;
        Ok(hold)
    }

    fn runs(&self) -> usize {
        fs::read_to_string(&self.runs).map_or(0, |text| text.lines().count())
    }

    fn wait_for_runs(&self, count: usize) -> Result<()> {
        eventually(&format!("dump {count} to be half way"), PATIENCE, || (self.runs() >= count).then_some(()))
    }

    fn release(&self) -> Result<()> {
        Ok(fs::remove_file(&self.file)?)
    }
}

fn the_session(world: &World, more: &[&str]) -> Result<Value> {
    eventually("the session to end", PATIENCE, || {
        let session = world.list("backupsessions", more).ok()?.pop()?;
        ["Succeeded", "Failed"].contains(&session["status"]["phase"].as_str()?).then_some(session)
    })
}

#[test]
fn a_dump_that_breaks_leaves_no_snapshot_and_says_why() -> Result<()> {
    let mut world = world_with(3)?;
    let mode = world.lagan.path("mode");
    let script = format!(
        "case $(cat {}) in
good) exec $REAL \"$@\";;
exits) $REAL \"$@\" | head -c 1000000; echo 'mariadb-dump: Got error: 1146: no such table' >&2; exit 2;;
cut) $REAL \"$@\" | head -c 1000000; exit 0;;
empty) exit 0;;
rubbish) echo hello; exit 0;;
killed) $REAL \"$@\" | head -c 1000000; kill -9 $$;;
esac",
        mode.display()
    );
    world.stub("mariadb-dump", &script)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    fs::write(&mode, "good")?;
    let good = world.good_backup("shop")?;
    for (how, code, words) in [
        ("exits", "E0208", "Got error: 1146"),
        ("cut", "E0202", "cut off"),
        ("empty", "E0203", "empty"),
        ("rubbish", "E0202", "hello"),
        ("killed", "E0214", "signal 9"),
    ] {
        fs::write(&mode, how)?;
        let done = world.backup("shop", &[])?;
        assert_eq!(done.status.code(), Some(3), "{how}: {}", done.stderr);
        assert!(done.stderr.contains(code) && done.stderr.contains(words), "{how}: {}", done.stderr);
        let snapshots = world.restic()?.snapshots()?;
        assert_eq!(snapshots.len(), 1, "{how}");
        assert_eq!(snapshots[0]["id"], good["snapshot"], "{how}: the good one is still the latest");
    }
    world.judge()
}

#[test]
fn missing_rights_are_told_and_never_make_a_dump_with_holes() -> Result<()> {
    let world = world_with(1)?;
    world.db.query("CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON shop.customers TO poor@'127.0.0.1'")?;
    world.configure("shop", "local", SHOP, "")?;
    let mut yaml = lagan_tests::world::app_binding("shop", &world.db);
    yaml = yaml.replace(&format!("username: \"{}\"", world.db.user()), "username: \"poor\"");
    yaml = yaml.replace(&format!("password: \"{}\"", world.db.password()), "password: \"x\"");
    world.lagan.manifest("shop-db.yaml", &yaml)?;
    let _up = world.up(&FAST)?;
    let poor = world.backup("shop", &[])?;
    assert!(poor.stderr.contains("E0204") && poor.stderr.contains("SELECT"), "{}", poor.stderr);
    world.db.query("GRANT SELECT, SHOW VIEW, EVENT, LOCK TABLES ON shop.* TO poor@'127.0.0.1'")?;
    let no_triggers = world.backup("shop", &[])?;
    assert!(no_triggers.stderr.contains("E0204") && no_triggers.stderr.contains("TRIGGER"), "{}", no_triggers.stderr);
    world.db.query("GRANT TRIGGER ON shop.* TO poor@'127.0.0.1'")?;
    let no_routines = world.backup("shop", &[])?;
    assert!(no_routines.stderr.contains("E0204") && no_routines.stderr.contains("mysql.proc"), "{}", no_routines.stderr);
    assert_eq!(world.snapshots()?, 0);
    world.db.query("GRANT SELECT ON mysql.proc TO poor@'127.0.0.1'")?;
    world.good_backup("shop")?;
    world.judge()
}

#[test]
fn a_transient_failure_is_tried_again_and_leaves_one_snapshot() -> Result<()> {
    let mut world = world_with(2)?;
    let failed = world.lagan.path("failed");
    let script = format!("if [ ! -e {0} ]; then touch {0}; echo half; exit 0; fi; exec $REAL \"$@\"", failed.display());
    world.stub("mariadb-dump", &script)?;
    world.configure("shop", "local", SHOP, "retryConfig: {maxRetry: 1, delay: 100ms}")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    let facts = world.facts("@latest", &[])?;
    let kinds: Vec<&str> = facts.iter().filter_map(|f| f["type"].as_str()?.split('.').nth(3)).collect();
    assert_eq!(kinds, ["requested", "planned", "started", "retrying", "planned", "started", "committing", "succeeded"]);
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn a_killed_worker_is_followed_by_another_and_there_is_one_snapshot() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut first = world.part("worker", "worker-1", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    first.kill9()?;
    hold.wait_for_runs(2)?;
    hold.release()?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(session["status"]["attempts"], 2);
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn a_worker_that_was_paused_for_too_long_can_not_commit_any_more() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut first = world.part("worker", "worker-1", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    first.signal(Signal::SIGSTOP)?;
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    hold.wait_for_runs(2)?;
    hold.release()?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    first.signal(Signal::SIGCONT)?;
    first.wait_for_log("taken over", PATIENCE)?;
    let snapshots = world.restic()?.snapshots()?;
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    assert_eq!(snapshots[0]["short_id"], session["status"]["snapshot"]);
    world.judge()
}

#[test]
fn everything_killed_at_once_goes_on_after_the_restart() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    let nats = up.descendants_named("nats-server");
    assert_eq!(nats.len(), 1);
    up.kill9()?;
    eventually("nats-server to die with its parent", PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", nats[0]));
        stat.map_or(true, |stat| stat.contains(") Z")).then_some(())
    })?;
    hold.release()?;
    let _up = world.up(&FAST)?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn a_snapshot_that_was_written_before_the_worker_died_is_adopted() -> Result<()> {
    let mut world = world_with(3)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut first = world.part("worker", "worker-1", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    hold.release()?;
    // The bus stands still as soon as a snapshot is there, so that its worker can't say so.
    eventually("the snapshot to be written", PATIENCE, || {
        let written = fs::read_dir(world.repository_dir().join("snapshots")).is_ok_and(|dir| dir.count() > 0);
        written.then_some(())
    })?;
    nats.process().signal(Signal::SIGSTOP)?;
    first.kill9()?;
    nats.process().signal(Signal::SIGCONT)?;
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(hold.runs(), 1, "nothing is dumped again");
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

/// Holds a restore in its first statements: it drops the tables one by one and meets a lock.
struct Locked {
    locker: Process,
}

impl Locked {
    fn new(world: &World) -> Result<Self> {
        let mut client = lagan_tests::process::guarded(&lagan_tests::tools::find("mariadb")?);
        client.arg(format!("--defaults-file={}", world.db.defaults_file().display()));
        client.args(["-e", "LOCK TABLES shop.orders WRITE; SELECT 'held'; SELECT SLEEP(600)"]);
        client.arg("--unbuffered");
        let log = world.lagan.path("locker.log");
        let locker = Process::spawn("locker", client, &log)?;
        eventually("the lock", PATIENCE, || {
            let rows = world.db.query("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'").ok()?;
            (rows.trim() == "1").then_some(())
        })?;
        Ok(Self { locker })
    }

    fn release(mut self) -> Result<()> {
        self.locker.kill9().map(drop)
    }
}

#[test]
fn a_restore_whose_worker_died_failed_and_is_not_run_again() -> Result<()> {
    let world = world_with(3)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut first = world.part("worker", "worker-1", &url, &FAST)?;
    world.backup("shop", &client)?.success()?;
    let original = world.db.dump(&DUMP)?;
    let locked = Locked::new(&world)?;
    world.lagan.manifest("again.yaml", &restore_session("again", "local", "shop", "overwrite: true"))?;
    eventually("the restore to write", PATIENCE, || {
        let facts = world.facts("again", &client).ok()?;
        facts.iter().any(|f| f["type"] == "dev.lagan.restore.restoring.v1").then_some(())
    })?;
    let clients = first.descendants_named("mariadb");
    assert!(!clients.is_empty(), "the client runs");
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    first.kill9()?;
    eventually("the client to die with its worker", PATIENCE, || {
        clients.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })?;
    locked.release()?;
    let ended = world.ended("restoresessions", "again", &client)?;
    assert_eq!(ended["status"]["phase"], "Failed");
    assert_eq!(ended["status"]["code"], "E0402", "{ended}");
    let facts = world.facts("again", &client)?;
    assert_eq!(facts.iter().filter(|f| f["type"] == "dev.lagan.restore.restoring.v1").count(), 1);

    // A person asks again, and gets all of it.
    world.lagan.manifest("repair.yaml", &restore_session("repair", "local", "shop", "overwrite: true"))?;
    assert_eq!(world.ended("restoresessions", "repair", &client)?["status"]["phase"], "Succeeded");
    assert!(world.db.dump(&DUMP)? == original);
    world.judge()
}

#[test]
fn nats_may_die_and_come_back_in_the_middle_of_a_session() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let mut nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    // A restart takes longer than this test's usual patience with a silent worker.
    let slow = ["--failover", "10"];
    let _engine = world.part("engine", "engine", &url, &slow)?;
    let _worker = world.part("worker", "worker", &url, &slow)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    nats.kill9()?;
    nats.restart()?;
    hold.release()?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn a_database_that_dies_in_the_middle_is_dumped_again() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "retryConfig: {maxRetry: 3, delay: 1s}")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    world.db.kill9()?;
    hold.release()?;
    eventually("the failure to be seen", PATIENCE, || {
        let facts = world.facts("@latest", &[]).ok()?;
        facts.iter().any(|f| f["type"] == "dev.lagan.backup.retrying.v1").then_some(())
    })?;
    assert_eq!(world.snapshots()?, 0);
    world.db.restart()?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn an_object_store_that_is_gone_fails_the_session_and_one_that_returns_does_not() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    let mut server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "p")?;
    world.configure("shop", "s3", SHOP, "retryConfig: {maxRetry: 5, delay: 1s}")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    server.kill9()?;
    server.restart()?;
    hold.release()?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let restic = lagan_tests::restic::Restic::s3(&server, "backups", "p", &world.password)?;
    assert_eq!(restic.snapshots()?.len(), 1);
    restic.check()
}

#[test]
fn a_damaged_repository_is_never_restored_as_if_it_were_whole() -> Result<()> {
    let world = world_with(3)?;
    world.configure("shop", "local", SHOP, "")?;
    let copy = world.second_database("copy")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    // One byte in the middle of the largest pack.
    let packs = fs::read_dir(world.repository_dir().join("data"))?.flatten().flat_map(|dir| fs::read_dir(dir.path()).unwrap().flatten());
    let pack = packs.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap().path();
    let mut bytes = fs::read(&pack)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&pack)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&pack, permissions)?;
    fs::write(&pack, bytes)?;
    let done = world.lagan.run(&["restore", "shop", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("E0402") || done.stderr.contains("E0307"), "{}", done.stderr);
    drop(copy);
    Ok(())
}

#[test]
fn a_hostile_dump_can_not_run_commands_on_the_worker() -> Result<()> {
    let world = world_with(1)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    let (evil, witness) = (world.lagan.path("dumpfile.sql"), world.lagan.path("witness"));
    let text = format!("-- MariaDB dump\n\\! touch {0}\nsystem touch {0}\nsource /etc/passwd\n-- Dump completed\n", witness.display());
    fs::write(&evil, text)?;
    let backup = format!("restic backup --stdin --stdin-filename dumpfile.sql --host evil < {}", evil.display());
    let mut shell = lagan_tests::process::guarded(std::path::Path::new("sh"));
    shell.args(["-c", &backup]);
    shell.env("RESTIC_REPOSITORY", world.repository_dir()).env("RESTIC_PASSWORD", &world.password);
    lagan_tests::process::run(shell, PATIENCE)?.success()?;
    let rule = "  rules: [{sourceHost: evil, snapshots: [latest]}]\noverwrite: true";
    world.lagan.manifest("evil.yaml", &restore_session("evil", "local", "shop", rule))?;
    let ended = world.ended("restoresessions", "evil", &[])?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert!(!witness.exists(), "a dump ran a command");
    world.judge()
}

#[test]
fn no_secret_is_found_anywhere() -> Result<()> {
    let world = world_with(6)?;
    world.configure("shop", "local", SHOP, "")?;
    let server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "p")?;
    world.configure("remote", "s3", SHOP, "")?;
    let canaries = Canaries::new(&[
        ("repository password", world.password.as_str()),
        ("database password", world.db.password()),
        ("S3 secret key", server.secret_key()),
    ]);
    let mut up = world.up(&["-vv"])?;
    let watch = canaries.watch(up.pid());
    world.good_backup("shop")?;
    world.good_backup("remote")?;
    world.lagan.ok(&["restore", "shop", "--overwrite", "--yes", "--wait"])?;
    let report = watch.finish();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let events = world.lagan.ok(&["events", "-o", "jsonl"])?;
    assert!(canaries.found_in(events.as_bytes()).is_empty());
    up.terminate(PATIENCE)?;
    canaries.absent_below(&[&world.lagan.data_dir(), &world.lagan.logs_dir(), &world.repository_dir()])?;
    world.judge()
}
