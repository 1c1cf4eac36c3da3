//! Outages of NATS that last several times as long as a worker may be silent. One that everybody sees kills nothing; a
//! worker that alone is cut off is fenced.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::nats::NatsServer;
use lagan_tests::process::Process;
use lagan_tests::proxy::Proxy;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, restore_session};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{FAST, Hold, SHOP, the_session, world_with};

/// Longer than five TTLs of these tests, and than the patience of a single request.
const OUTAGE: Duration = Duration::from_secs(26);

/// How a server comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// As it was, with requests that wait in its sockets.
    Continued,
    /// Without its memory, such as the heartbeats.
    Restarted,
}

struct Outage {
    nats: NatsServer,
    began: Instant,
}

impl Outage {
    fn begin(mut nats: NatsServer, back: Return) -> Result<Self> {
        match back {
            Return::Continued => nats.process().signal(Signal::SIGSTOP)?,
            Return::Restarted => nats.kill9()?,
        }
        Ok(Self { nats, began: Instant::now() })
    }

    fn end(mut self, back: Return) -> Result<NatsServer> {
        eventually("an outage of several TTLs", PATIENCE, || (self.began.elapsed() >= OUTAGE).then_some(()))?;
        match back {
            Return::Continued => self.nats.process().signal(Signal::SIGCONT)?,
            Return::Restarted => self.nats.restart()?,
        }
        Ok(self.nats)
    }
}

/// A client that reads only the first statements of a restore while the file exists.
struct Throttle {
    file: PathBuf,
    reading: PathBuf,
}

impl Throttle {
    fn new(world: &mut World) -> Result<Self> {
        let throttle = Self { file: world.lagan.path("hold"), reading: world.lagan.path("reading") };
        fs::write(&throttle.file, "")?;
        let script = format!(
            "case \"$*\" in *--sandbox*--binary-mode*) ;; *) exec $REAL \"$@\";; esac\n\
             {{ head -c 400000; echo > {}; while [ -e {} ]; do sleep 0.05; done; cat; }} | $REAL \"$@\"",
            throttle.reading.display(),
            throttle.file.display()
        );
        world.stub("mariadb", &script)?;
        Ok(throttle)
    }

    fn wait(&self) -> Result<()> {
        eventually("the client to be half way", PATIENCE, || self.reading.exists().then_some(()))
    }

    fn release(&self) -> Result<()> {
        Ok(fs::remove_file(&self.file)?)
    }
}

fn kinds(world: &World, session: &str, client: &[&str]) -> Result<Vec<String>> {
    let kind = |fact: Value| fact["type"].as_str().unwrap_or_default().split('.').nth(3).unwrap_or_default().to_owned();
    Ok(world.facts(session, client)?.into_iter().map(kind).collect())
}

/// A restore of many statements into `copy`, of which the client has read the first.
struct Restoring {
    world: World,
    copy: MariaDbServer,
    throttle: Throttle,
}

impl Restoring {
    fn prepare() -> Result<Self> {
        let mut world = world_with(3)?;
        let throttle = Throttle::new(&mut world)?;
        world.configure("shop", "local", SHOP, "")?;
        let copy = world.second_database("copy")?;
        Ok(Self { world, copy, throttle })
    }

    fn begin(&self, client: &[&str]) -> Result<()> {
        self.world.backup("shop", client)?.success()?;
        self.world.lagan.manifest("again.yaml", &restore_session("again", "local", "copy", ""))?;
        self.throttle.wait()
    }
}

fn a_restore_survives(back: Return) -> Result<()> {
    let restoring = Restoring::prepare()?;
    let world = &restoring.world;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut worker = world.part("worker", "worker-1", &url, &FAST)?;
    restoring.begin(&client)?;
    // It would take the session over.
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    let outage = Outage::begin(nats, back)?;
    let paused = worker.wait_for_log("the restore is paused", PATIENCE)?;
    assert!(paused.contains("86400 s"), "{paused}");
    restoring.throttle.release()?;
    let _nats = outage.end(back)?;
    let ended = world.ended("restoresessions", "again", &client)?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(kinds(world, "again", &client)?, ["requested", "planned", "started", "restoring", "succeeded"]);
    worker.wait_for_log("restore goes on", PATIENCE)?;
    assert_eq!(restoring.copy.checksums("shop")?, world.db.checksums("shop")?);
    world.judge()
}

#[test]
fn a_restore_goes_on_after_an_outage() -> Result<()> {
    a_restore_survives(Return::Continued)
}

#[test]
fn a_restore_goes_on_after_an_outage_that_cost_the_server_its_memory() -> Result<()> {
    a_restore_survives(Return::Restarted)
}

fn a_backup_survives(back: Return) -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let mut worker = world.part("worker", "worker-1", &url, &FAST)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    let outage = Outage::begin(nats, back)?;
    worker.wait_for_log("heartbeat not stored", PATIENCE)?;
    // The dump ends and is uploaded meanwhile; only the gate waits.
    hold.release()?;
    let gated = worker.wait_for_log("fact can't be appended yet", PATIENCE)?;
    assert!(gated.contains("committing"), "{gated}");
    assert_eq!(world.snapshots()?, 0, "the gate is shut");
    let _nats = outage.end(back)?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(kinds(&world, "@latest", &client)?, ["requested", "planned", "started", "committing", "succeeded"]);
    assert_eq!((hold.runs(), world.snapshots()?), (1, 1));
    world.judge()
}

#[test]
fn a_backup_goes_on_after_an_outage() -> Result<()> {
    a_backup_survives(Return::Continued)
}

#[test]
fn a_backup_goes_on_after_an_outage_that_cost_the_server_its_memory() -> Result<()> {
    a_backup_survives(Return::Restarted)
}

/// Starts a worker whose connection to NATS a test can cut.
fn worker_behind(world: &World, nats: &NatsServer) -> Result<(Proxy, Process)> {
    let port = nats.url().rsplit(':').next().unwrap_or_default().parse()?;
    let proxy = Proxy::start(port)?;
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let worker = world.part("worker", "worker-1", &url, &FAST)?;
    Ok((proxy, worker))
}

#[test]
fn a_worker_that_alone_is_cut_off_loses_its_backup_to_another() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let (proxy, mut first) = worker_behind(&world, &nats)?;
    world.lagan.ok(&["backup", "shop", "--nats-url", &url])?;
    hold.wait_for_runs(1)?;
    let _second = world.part("worker", "worker-2", &url, &FAST)?;
    proxy.close();
    hold.wait_for_runs(2)?;
    hold.release()?;
    let session = the_session(&world, &client)?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(session["status"]["attempts"], 2);
    proxy.open();
    first.wait_for_log("taken over", PATIENCE)?;
    let snapshots = world.restic()?.snapshots()?;
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    assert_eq!(snapshots[0]["short_id"], session["status"]["snapshot"]);
    world.judge()
}

#[test]
fn a_worker_that_alone_is_cut_off_writes_nothing_more_of_its_restore() -> Result<()> {
    let restoring = Restoring::prepare()?;
    let world = &restoring.world;
    let nats = NatsServer::start()?;
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    let _engine = world.part("engine", "engine", &url, &FAST)?;
    let (proxy, mut first) = worker_behind(world, &nats)?;
    restoring.begin(&client)?;
    proxy.close();
    let ended = world.ended("restoresessions", "again", &client)?;
    assert_eq!((&ended["status"]["phase"], &ended["status"]["code"]), (&"Failed".into(), &"E0402".into()), "{ended}");
    // The client is left alone until the worker learns of its end, and is fed nothing.
    restoring.throttle.release()?;
    let clients = first.descendants_named("mariadb")?;
    assert!(!clients.is_empty(), "the client waits");
    proxy.open();
    first.wait_for_log("taken over", PATIENCE)?;
    eventually("the client to be killed", PATIENCE, || {
        clients.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })?;
    assert_ne!(restoring.copy.checksums("shop")?, world.db.checksums("shop")?);
    let restored = kinds(world, "again", &client)?;
    assert_eq!(restored, ["requested", "planned", "started", "restoring", "failed"]);
    Ok(())
}
