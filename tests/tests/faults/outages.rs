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

use super::{Apart, FAST, HeldBackup, SHOP, world_with};

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
    back: Return,
    began: Instant,
}

impl Outage {
    fn begin(nats: &mut NatsServer, back: Return) -> Result<Self> {
        match back {
            Return::Continued => nats.process().signal(Signal::SIGSTOP)?,
            Return::Restarted => nats.kill9()?,
        }
        Ok(Self { back, began: Instant::now() })
    }

    fn end(self, nats: &mut NatsServer) -> Result<()> {
        eventually("an outage of several TTLs", PATIENCE, || (self.began.elapsed() >= OUTAGE).then_some(()))?;
        match self.back {
            Return::Continued => nats.process().signal(Signal::SIGCONT)?,
            Return::Restarted => nats.restart()?,
        }
        Ok(())
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

fn kinds(apart: &Apart, session: &str) -> Result<Vec<String>> {
    let kind = |fact: Value| fact["type"].as_str().unwrap_or_default().split('.').nth(3).unwrap_or_default().to_owned();
    Ok(apart.world.facts(session, &apart.client())?.into_iter().map(kind).collect())
}

/// A restore of many statements into `copy`, of which the client has read the first.
struct Restoring {
    apart: Apart,
    copy: MariaDbServer,
    throttle: Throttle,
}

impl Restoring {
    fn prepare() -> Result<Self> {
        let mut world = world_with(3)?;
        let throttle = Throttle::new(&mut world)?;
        world.configure("shop", "local", SHOP, "")?;
        let copy = world.second_database("copy")?;
        Ok(Self { apart: Apart::start(world, FAST)?, copy, throttle })
    }

    fn begin(&self) -> Result<()> {
        self.apart.world.backup("shop", &self.apart.client())?.success()?;
        self.apart.world.lagan.manifest("again.yaml", &restore_session("again", "local", "copy", ""))?;
        self.throttle.wait()
    }

    fn ended(&self) -> Result<Value> {
        self.apart.world.ended("restoresessions", "again", &self.apart.client())
    }

    fn kinds(&self) -> Result<Vec<String>> {
        kinds(&self.apart, "again")
    }
}

fn a_restore_survives(back: Return) -> Result<()> {
    let mut restoring = Restoring::prepare()?;
    let mut worker = restoring.apart.worker("worker-1")?;
    restoring.begin()?;
    // It would take the session over.
    let _second = restoring.apart.worker("worker-2")?;
    let outage = Outage::begin(&mut restoring.apart.nats, back)?;
    let paused = worker.wait_for_log("the restore is paused", PATIENCE)?;
    assert!(paused.contains("86400 s"), "{paused}");
    restoring.throttle.release()?;
    outage.end(&mut restoring.apart.nats)?;
    let ended = restoring.ended()?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(restoring.kinds()?, ["requested", "planned", "started", "restoring", "succeeded"]);
    worker.wait_for_log("restore goes on", PATIENCE)?;
    let world = &restoring.apart.world;
    assert_eq!(restoring.copy.checksums("shop")?, world.db.checksums("shop")?);
    restoring.apart.audit()
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
    let mut backup = HeldBackup::prepare(4, FAST)?;
    let mut worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    let _second = backup.apart.worker("worker-2")?;
    let outage = Outage::begin(&mut backup.apart.nats, back)?;
    worker.wait_for_log("heartbeat not stored", PATIENCE)?;
    // The dump ends and is uploaded meanwhile; only the gate waits.
    backup.hold.release()?;
    let gated = worker.wait_for_log("fact can't be appended yet", PATIENCE)?;
    assert!(gated.contains("committing"), "{gated}");
    assert_eq!(backup.apart.world.snapshots()?, 0, "the gate is shut");
    outage.end(&mut backup.apart.nats)?;
    let session = backup.session()?;
    assert_eq!(kinds(&backup.apart, "@latest")?, ["requested", "planned", "started", "committing", "succeeded"]);
    assert_eq!(backup.hold.runs(), 1);
    backup.judge(&session)
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
fn worker_behind(apart: &Apart) -> Result<(Proxy, Process)> {
    let port = apart.url.rsplit(':').next().unwrap_or_default().parse()?;
    let proxy = Proxy::start(port)?;
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let worker = apart.world.part("worker", "worker-1", &url, &FAST)?;
    Ok((proxy, worker))
}

#[test]
fn a_worker_that_alone_is_cut_off_loses_its_backup_to_another() -> Result<()> {
    let backup = HeldBackup::prepare(4, FAST)?;
    let (proxy, mut first) = worker_behind(&backup.apart)?;
    backup.begin()?;
    let _second = backup.apart.worker("worker-2")?;
    proxy.close();
    backup.hold.wait_for_runs(2)?;
    backup.hold.release()?;
    let session = backup.session()?;
    assert_eq!(session["status"]["attempts"], 2);
    proxy.open();
    first.wait_for_log("taken over", PATIENCE)?;
    backup.judge(&session)
}

#[test]
fn a_worker_that_alone_is_cut_off_writes_nothing_more_of_its_restore() -> Result<()> {
    let restoring = Restoring::prepare()?;
    let (proxy, mut first) = worker_behind(&restoring.apart)?;
    restoring.begin()?;
    proxy.close();
    let ended = restoring.ended()?;
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
    assert_ne!(restoring.copy.checksums("shop")?, restoring.apart.world.db.checksums("shop")?);
    assert_eq!(restoring.kinds()?, ["requested", "planned", "started", "restoring", "failed"]);
    Ok(())
}
