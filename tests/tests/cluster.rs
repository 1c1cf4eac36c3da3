//! A NATS cluster of three servers that fail, are parted and lose their disks while two engines and two workers run
//! backups: no session is lost, and none is run twice.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use anyhow::Result;
use lagan_tests::fleet::Fleet;
use lagan_tests::nats_cluster::{NODES, NatsCluster};
use lagan_tests::proxy::Proxy;
use lagan_tests::wait::eventually;
use nix::sys::signal::Signal;

const OPTIONS: [&str; 4] = ["--failover", "10", "--nats-replicas", "3"];
const TARGETS: usize = 3;
/// Patience with elections that follow each other on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longer than an election, than the patience of a request, and than the time after which a worker is presumed dead.
const OUTAGE: Duration = Duration::from_secs(25);

/// A fleet on a cluster of servers, with backups that run.
struct Scene {
    // Dropped first: processes that outlive their servers would only wait for them.
    fleet: Fleet,
    nats: NatsCluster,
}

impl Scene {
    /// Asks for some backups, and waits until one of them has succeeded and another one has begun.
    fn begin() -> Result<Self> {
        let nats = NatsCluster::start()?;
        let mut fleet = Fleet::prepare(&nats.urls(), &OPTIONS, TARGETS)?;
        fleet.start(2, 2)?;
        fleet.ask_for(2 * TARGETS)?;
        fleet.wait_for("succeeded", 1, PATIENCE)?;
        fleet.wait_for("started", 2, PATIENCE)?;
        Ok(Self { fleet, nats })
    }

    /// Waits for the end of an outage, and asks for more backups meanwhile.
    fn endure(&mut self) -> Result<()> {
        let began = Instant::now();
        self.fleet.ask_for(TARGETS)?;
        eventually("the outage to last", PATIENCE, || (began.elapsed() >= OUTAGE).then_some(()))
    }

    /// Waits until backups that are asked for while one server is away have succeeded with the help of the other two.
    fn go_on(&mut self) -> Result<()> {
        self.endure()?;
        let asked = self.fleet.asked();
        self.fleet.wait_for("succeeded", asked, PATIENCE)
    }

    /// Asks for more backups on healthy servers, and asserts that all of them succeeded, with one snapshot each.
    fn judge(mut self) -> Result<()> {
        self.nats.wait_until_healthy()?;
        self.fleet.ask_for(TARGETS)?;
        let tally = self.fleet.audit(PATIENCE)?;
        assert_eq!(tally.of("succeeded"), self.fleet.asked(), "{tally:?}");
        Ok(())
    }
}

/// An engine and a worker that are both connected to the first server, though they know all.
struct OneServer {
    scene: Scene,
    ways: Vec<Proxy>,
}

impl OneServer {
    fn begin() -> Result<Self> {
        let nats = NatsCluster::start()?;
        let ways = nats.client_proxies()?;
        let urls = ways.iter().map(|way| format!("nats://127.0.0.1:{}", way.port())).collect::<Vec<_>>().join(",");
        let mut fleet = Fleet::prepare(&format!("{},{}", nats.url(1), nats.url(2)), &OPTIONS, TARGETS)?;
        ways[1..].iter().for_each(Proxy::close);
        fleet.start_at(1, 1, &urls)?;
        ways[1..].iter().for_each(Proxy::open);
        fleet.ask_for(1)?;
        fleet.wait_for("succeeded", 1, PATIENCE)?;
        Ok(Self { scene: Scene { fleet, nats }, ways })
    }

    /// Waits until both have left the first server, and work goes on. Each must have gone once.
    fn both_leave_within(&mut self, limit: Duration) -> Result<()> {
        self.scene.fleet.ask_for(TARGETS)?;
        let moves = |ways: &[Proxy]| ways[1..].iter().map(Proxy::accepted).sum::<usize>();
        let began = Instant::now();
        eventually("engine and worker to leave the first server", limit, || (moves(&self.ways) >= 2).then_some(()))?;
        eprintln!("both left after {:.1} s", began.elapsed().as_secs_f32());
        self.scene.fleet.wait_for("succeeded", 1 + TARGETS, PATIENCE)?;
        assert_eq!(moves(&self.ways), 2, "they stay where JetStream answers");
        Ok(())
    }
}

#[test]
fn clients_leave_a_server_that_is_cut_off_from_the_others() -> Result<()> {
    let mut one = OneServer::begin()?;
    one.scene.nats.isolate(0);
    one.both_leave_within(Duration::from_secs(30))?;
    one.scene.nats.heal();
    one.scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn clients_leave_a_server_that_is_suspended() -> Result<()> {
    let mut one = OneServer::begin()?;
    one.scene.nats.process(0).signal(Signal::SIGSTOP)?;
    one.both_leave_within(Duration::from_secs(30))?;
    one.scene.nats.process(0).signal(Signal::SIGCONT)?;
    one.scene.judge()
}

#[test]
fn the_leader_of_the_log_is_killed_and_no_session_is_lost_or_doubled() -> Result<()> {
    let mut scene = Scene::begin()?;
    let leader = scene.nats.leader("SESSIONS")?;
    scene.nats.kill9(leader)?;
    scene.fleet.ask_for(TARGETS)?;
    scene.fleet.wait_for("succeeded", TARGETS + 1, PATIENCE)?;
    scene.nats.start_again(leader)?;
    scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn a_leader_that_is_cut_off_from_the_others_loses_no_session() -> Result<()> {
    let mut scene = Scene::begin()?;
    let leader = scene.nats.leader("SESSIONS")?;
    scene.nats.isolate(leader);
    scene.go_on()?;
    scene.nats.heal();
    scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn servers_that_do_not_see_each_other_lose_no_session() -> Result<()> {
    let mut scene = Scene::begin()?;
    scene.nats.part_all();
    scene.endure()?;
    scene.nats.heal();
    scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn a_leader_that_is_suspended_loses_no_session() -> Result<()> {
    let mut scene = Scene::begin()?;
    let leader = scene.nats.leader("SESSIONS")?;
    scene.nats.process(leader).signal(Signal::SIGSTOP)?;
    scene.go_on()?;
    scene.nats.process(leader).signal(Signal::SIGCONT)?;
    scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn servers_that_are_updated_one_after_the_other_lose_no_session() -> Result<()> {
    let mut scene = Scene::begin()?;
    for node in 0..NODES {
        scene.fleet.ask_for(TARGETS)?;
        scene.nats.stop(node)?;
        scene.fleet.ask_for(TARGETS)?;
        scene.nats.start_again(node)?;
        scene.nats.wait_until_healthy()?;
    }
    scene.judge()
}

#[test]
#[ignore = "just test-faults"]
fn a_server_that_lost_its_disk_gets_everything_back() -> Result<()> {
    let mut scene = Scene::begin()?;
    let leader = scene.nats.leader("SESSIONS")?;
    scene.nats.kill9(leader)?;
    scene.nats.lose_disk(leader)?;
    scene.fleet.ask_for(TARGETS)?;
    scene.nats.start_again(leader)?;
    scene.nats.wait_until_healthy()?;
    // The server that came back empty must be able to stand for the one that goes.
    let other = (leader + 1) % NODES;
    scene.nats.kill9(other)?;
    scene.fleet.ask_for(TARGETS)?;
    scene.fleet.wait_for("succeeded", 3 * TARGETS, PATIENCE)?;
    scene.nats.start_again(other)?;
    scene.judge()
}
