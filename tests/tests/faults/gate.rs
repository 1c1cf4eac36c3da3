//! Workers that are killed or suspended at a certain request to the storage, the gate before the snapshot above all.

use anyhow::Result;
use lagan_tests::audit::{Evidence, LogRecorder, checked_snapshots};
use lagan_tests::http_proxy::{HttpFate, HttpProxy};
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Apart, FAST, SHOP, world_with};

const BUCKET: &str = "backups";

/// An engine and a repository in a bucket behind a proxy, to which a test adds workers.
struct Gated {
    apart: Apart,
    recorder: LogRecorder,
    proxy: HttpProxy,
    server: S3Server,
}

impl Gated {
    fn start() -> Result<Self> {
        let world = world_with(2)?;
        let server = S3Server::start()?;
        server.create_bucket(BUCKET)?;
        let proxy = HttpProxy::start(server.port())?;
        world.s3_repository_at(&server, proxy.port(), BUCKET, "p")?;
        world.configure("shop", "s3", SHOP, "")?;
        let apart = Apart::start(world, FAST)?;
        let recorder = LogRecorder::start(&apart.url)?;
        Ok(Self { apart, recorder, proxy, server })
    }

    /// The first request that stores a file with this in its path gets this fate; the worker that sends it then waits.
    fn stop_at(&self, path: &str, fate: HttpFate) {
        let (path, mut met) = (path.to_owned(), false);
        self.proxy.rule(move |request| {
            if met || request.method != "PUT" || !request.target.contains(&path) {
                return HttpFate::Relay;
            }
            met = true;
            fate.clone()
        });
    }

    fn ask(&self) -> Result<()> {
        self.apart.world.lagan.ok(&["backup", "shop", "--nats-url", &self.apart.url]).map(drop)
    }

    fn wait_for_the_fault(&self) -> Result<()> {
        eventually("the request to be there", PATIENCE, || (self.proxy.faults() > 0).then_some(()))
    }

    fn wait_for(&self, fact: &str, count: usize) -> Result<()> {
        eventually(&format!("{count} `{fact}`"), PATIENCE, || (self.recorder.count(fact) >= count).then_some(()))
    }

    fn restic(&self) -> Result<Restic> {
        Restic::s3(&self.server, BUCKET, "p", &self.apart.world.password)
    }

    fn statuses(&self) -> Result<Vec<Value>> {
        self.apart.world.list("backupsessions", &self.apart.client())
    }

    /// Asserts that this many sessions succeeded, with one snapshot each.
    fn audit(&self, sessions: usize) -> Result<()> {
        let shown = eventually("every end to be shown", PATIENCE, || {
            let statuses = self.statuses().ok()?;
            let ended = statuses.iter().filter(|one| one["status"]["phase"] == "Succeeded").count();
            (ended == sessions).then_some(statuses)
        })?;
        let facts = self.recorder.facts().clone();
        let ends = Evidence { facts, statuses: shown, snapshots: checked_snapshots(&self.restic()?)? }.audit()?;
        assert_eq!(ends.of("succeeded"), sessions, "{ends:?}");
        Ok(())
    }
}

fn a_worker_is_killed_at(path: &str) -> Result<()> {
    let gated = Gated::start()?;
    gated.stop_at(path, HttpFate::Hang);
    let mut first = gated.apart.worker("worker-1")?;
    gated.ask()?;
    gated.wait_for_the_fault()?;
    first.kill9()?;
    gated.proxy.heal();
    let _second = gated.apart.worker("worker-2")?;
    gated.wait_for("succeeded", 1)?;
    gated.audit(1)
}

#[test]
fn a_worker_that_is_killed_before_its_snapshot_is_followed_by_another() -> Result<()> {
    a_worker_is_killed_at("/p/snapshots/")
}

#[test]
#[ignore = "just test-faults"]
fn a_worker_that_is_killed_while_it_makes_a_repository_is_followed_by_another() -> Result<()> {
    a_worker_is_killed_at("/p/keys/")?;
    a_worker_is_killed_at("/p/config")
}

#[test]
#[ignore = "just test-faults"]
fn a_worker_that_is_killed_while_it_uploads_is_followed_by_another() -> Result<()> {
    a_worker_is_killed_at("/p/data/")?;
    a_worker_is_killed_at("/p/index/")
}

#[test]
fn a_snapshot_whose_writer_is_killed_before_it_knows_of_it_is_adopted() -> Result<()> {
    let gated = Gated::start()?;
    // The snapshot is stored, and each question whether it is there waits.
    let mut stored = false;
    gated.proxy.rule(move |request| {
        if stored {
            return HttpFate::Hang;
        }
        stored = request.method == "PUT" && request.target.contains("/p/snapshots/");
        if stored { HttpFate::LoseAnswer } else { HttpFate::Relay }
    });
    let mut first = gated.apart.worker("worker-1")?;
    gated.ask()?;
    eventually("the snapshot to be stored", PATIENCE, || {
        (gated.restic().ok()?.snapshots().ok()?.len() == 1).then_some(())
    })?;
    first.kill9()?;
    gated.proxy.heal();
    let _second = gated.apart.worker("worker-2")?;
    gated.wait_for("succeeded", 1)?;
    let end = gated.recorder.facts().last().cloned().unwrap();
    assert_eq!(end.event["data"]["results"][0]["adopted"], true, "nothing is dumped again: {}", end.event);
    gated.audit(1)
}

#[test]
fn a_worker_that_is_suspended_at_the_gate_leaves_one_snapshot_for_each_session() -> Result<()> {
    let gated = Gated::start()?;
    gated.stop_at("/p/snapshots/", HttpFate::Hang);
    let mut first = gated.apart.worker("worker-1")?;
    gated.ask()?;
    gated.wait_for_the_fault()?;
    first.signal(Signal::SIGSTOP)?;
    let _second = gated.apart.worker("worker-2")?;
    gated.wait_for("succeeded", 1)?;
    gated.proxy.heal();
    first.signal(Signal::SIGCONT)?;
    first.wait_for_log("taken over", PATIENCE)?;
    // It may have written its snapshot late. The next session removes it, and it never counts.
    gated.ask()?;
    gated.wait_for("succeeded", 2)?;
    gated.audit(2)
}
