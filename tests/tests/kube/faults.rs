//! Faults of the API server: requests that fail are repeated, and in the end it shows what happened.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::http;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::ports::ReservedPort;
use lagan_tests::process::Process;
use lagan_tests::proxy::Proxy;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::intent::on_the_bus;
use super::{FOREVER, LAGAN, configuration, ready};

const SESSIONS: &str = "backupsessions.lagan.dev";
/// Minimal time for which the API server is down during a backup.
const OUTAGE: Duration = Duration::from_secs(60);
/// The part of this time in which the dump still runs.
const DUMPING: Duration = Duration::from_secs(40);

/// A dump that waits half way while `file` exists.
struct Hold {
    file: PathBuf,
    runs: PathBuf,
}

impl Hold {
    fn new(world: &mut KubeWorld) -> Result<Self> {
        let hold = Self { file: world.lagan.path("hold"), runs: world.lagan.path("runs") };
        fs::write(&hold.file, "")?;
        let (runs, file) = (hold.runs.display(), hold.file.display());
        let wait = format!("head -c 500000; echo run >> {runs}; while [ -e {file} ]; do sleep 0.05; done; cat;");
        world.lagan.stub("mariadb-dump", &format!("$REAL \"$@\" | {{ {wait} }}"))?;
        Ok(hold)
    }

    fn wait_for_a_run(&self) -> Result<()> {
        eventually("a dump to be half way", PATIENCE, || self.runs.exists().then_some(()))
    }

    fn release(&self) -> Result<()> {
        Ok(fs::remove_file(&self.file)?)
    }
}

fn sample(world: &KubeWorld) -> Result<()> {
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })
}

/// Lists the names of a kind on the API server.
fn there(world: &KubeWorld, kind: &str) -> Result<BTreeSet<String>> {
    let names = world.kubectl(&["get", kind, "-o", "name"])?;
    Ok(names.lines().map(|line| line.rsplit('/').next().unwrap_or(line).to_owned()).collect())
}

fn same_on_the_bus(world: &KubeWorld) -> Result<()> {
    let kind = "backupconfigurations.lagan.dev";
    let expected = there(world, kind)?;
    eventually("the bus to have what the API server has", PATIENCE, || {
        (on_the_bus(world, kind)? == expected).then_some(())
    })
}

#[test]
fn a_watch_that_is_cut_every_second_misses_nothing() -> Result<()> {
    let mut world = KubeWorld::new("cut")?;
    let proxy = Arc::new(Proxy::start(world.plane.port())?);
    world.kubeconfig = world.plane.admin_through(proxy.port())?;
    let mut engine = world.engine(&[])?;
    let stop = Arc::new(AtomicBool::new(false));
    let cutter = {
        let (stop, proxy) = (Arc::clone(&stop), Arc::clone(&proxy));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                // Waiting for a connection made since the last cut sets the pace.
                let before = proxy.accepted();
                proxy.cut();
                let made = || (proxy.accepted() > before || stop.load(Ordering::SeqCst)).then_some(());
                let _ = eventually("a new connection", Duration::from_secs(1), made);
                let _ = eventually("a second to pass", Duration::from_secs(1), || None::<()>);
            }
        })
    };
    for round in 0..6 {
        for name in ["a", "b", "c"] {
            world.apply(&configuration(&format!("{name}-{round}"), FOREVER, ""))?;
        }
        if round > 0 {
            let name = format!("a-{}", round - 1);
            world.kubectl(&["delete", "backupconfigurations.lagan.dev", &name])?;
        }
    }
    let cut_many = eventually("several connections to be cut", PATIENCE, || (proxy.accepted() > 20).then_some(()));
    let seen = cut_many.and_then(|()| same_on_the_bus(&world));
    stop.store(true, Ordering::SeqCst);
    cutter.join().expect("the cutter ends");
    seen?;
    same_on_the_bus(&world)?;
    assert!(engine.exit_status().is_none());
    Ok(())
}

#[test]
fn what_changes_while_nats_is_away_is_published_when_it_is_back() -> Result<()> {
    let mut world = KubeWorld::new("away")?;
    let port = ReservedPort::reserve()?;
    let _engine = world.engine(&["--listen", &format!("127.0.0.1:{}", port.number())])?;
    let is_ready = |status: u16| {
        let what = format!("/readyz to answer {status}");
        eventually(&what, PATIENCE, || {
            let answer = http::request("GET", port.number(), "/readyz").ok()?;
            (answer.status == status).then_some(answer.body)
        })
    };
    is_ready(200)?;
    world.apply(&configuration("goes", FOREVER, ""))?;
    ready(&world, "goes")?;
    world.nats.kill9()?;
    // It gets no events, and that must not end it.
    assert_eq!(is_ready(503)?.trim(), "no connection to NATS");
    assert_eq!(http::request("GET", port.number(), "/healthz")?.status, 200);
    world.apply(&configuration("new", FOREVER, ""))?;
    world.kubectl(&["delete", "backupconfigurations.lagan.dev", "goes"])?;
    // The events arrived and could not be published; they are not sent again.
    world.nats.restart()?;
    is_ready(200)?;
    ready(&world, "new")?;
    same_on_the_bus(&world)
}

#[test]
fn a_resource_version_that_is_too_old_leads_to_a_new_list() -> Result<()> {
    let plane = Arc::new(ControlPlane::start()?);
    let mut world = KubeWorld::on(Arc::clone(&plane), "old")?;
    let proxy = Proxy::start(plane.port())?;
    world.kubeconfig = plane.admin_through(proxy.port())?;
    let _engine = world.engine(&[])?;
    for name in ["stays", "goes"] {
        world.apply(&configuration(name, FOREVER, ""))?;
        ready(&world, name)?;
    }
    proxy.close();
    world.apply(&configuration("new", FOREVER, ""))?;
    world.kubectl(&["delete", "backupconfigurations.lagan.dev", "goes"])?;
    plane.compact()?;
    // A restarted server has no revisions from before the compaction.
    plane.stop_api()?;
    plane.start_api()?;
    proxy.open();
    ready(&world, "new")?;
    same_on_the_bus(&world)
}

#[test]
fn a_backup_outlives_the_api_server_and_the_status_catches_up() -> Result<()> {
    let plane = Arc::new(ControlPlane::start()?);
    let mut world = KubeWorld::on(Arc::clone(&plane), "down")?;
    sample(&world)?;
    let hold = Hold::new(&mut world)?;
    let mut engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "one", "shop"))?;
    hold.wait_for_a_run()?;
    // The plain listing shows its progress.
    let running = world.until("the session's progress", &[SESSIONS, "one"], |o| o["status"]["progress"].is_string())?;
    let progress = running["status"]["progress"].as_str().unwrap();
    let shown = world.kubectl(&["get", SESSIONS, "one"])?;
    assert!(progress.ends_with(" KiB") && shown.contains("PROGRESS") && shown.contains(progress), "{shown}");
    plane.stop_api()?;
    let stopped = Instant::now();
    let url = world.nats.url();
    let on_the_bus = || {
        let args = ["get", "sessions", "one", "-n", &world.namespace, "-o", "json", "--nats-url", &url];
        world.lagan.json(&args).ok()
    };
    // Heartbeats go through NATS, so the worker is not presumed dead however long this lasts.
    eventually("the dump to have taken most of the outage", PATIENCE, || (stopped.elapsed() > DUMPING).then_some(()))?;
    assert_eq!(on_the_bus().as_ref().map(phase), Some("Running"));
    hold.release()?;
    eventually("the session to succeed on the bus", PATIENCE, || (phase(&on_the_bus()?) == "Succeeded").then_some(()))?;
    // The status is known but can't be written for a while.
    engine.wait_for_log("status was not applied", PATIENCE)?;
    eventually("the outage to end", PATIENCE, || (stopped.elapsed() > OUTAGE).then_some(()))?;
    plane.start_api()?;
    let done = world.ended(SESSIONS, "one")?;
    assert_eq!((phase(&done), done["status"]["attempts"].as_u64()), ("Succeeded", Some(1)), "{done:#}");
    assert_eq!(world.restic("local")?.snapshots()?.len(), 1);
    // Later requests are seen.
    world.apply(&backup_session(LAGAN, "two", "shop"))?;
    assert_eq!(phase(&world.ended(SESSIONS, "two")?), "Succeeded");
    Ok(())
}

#[test]
fn killed_engines_and_workers_leave_statuses_that_converge() -> Result<()> {
    let world = KubeWorld::new("kills")?;
    sample(&world)?;
    let mut engine = world.engine(&[])?;
    let mut worker = world.worker(&[])?;
    let names = ["a", "b", "c"];
    for name in names {
        world.apply(&configuration(name, FOREVER, "retryConfig: {maxRetry: 3}"))?;
        ready(&world, name)?;
    }
    for round in 0..4 {
        for name in names {
            world.apply(&backup_session(LAGAN, &format!("{name}-{round}"), name))?;
        }
        let watched = format!("{}-{round}", names[round % names.len()]);
        // Each time it is killed at another point of the session's life.
        let at: fn(&Value) -> bool = match round {
            0 => |_| true,
            1 => |o| !phase(o).is_empty(),
            2 => |o| phase(o) == "Running" || phase(o) == "Succeeded",
            _ => |o| phase(o) == "Succeeded",
        };
        world.until("the moment to kill", &[SESSIONS, &watched], at)?;
        kill(&mut engine)?;
        kill(&mut worker)?;
        worker = world.part("worker", &format!("worker-{round}"), &[])?;
        engine = world.part("engine", &format!("engine-{round}"), &[])?;
        for name in names {
            let done = world.ended(SESSIONS, &format!("{name}-{round}"))?;
            assert_eq!(phase(&done), "Succeeded", "{done:#}");
        }
    }
    // There is one snapshot per session, and each status names its own.
    let list = world.kubectl_json(&["get", SESSIONS])?;
    let shown: BTreeSet<String> = list["items"].as_array().unwrap().iter().map(snapshot_of).collect();
    let kept = world.restic("local")?.snapshots()?;
    assert_eq!(shown.len(), 12, "{shown:?}");
    let kept: BTreeSet<String> = kept.iter().map(|s| s["short_id"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(shown.iter().filter(|id| kept.contains(*id)).count() >= 10, "{shown:?} {kept:?}");
    world.restic("local")?.check()?;
    Ok(())
}

fn snapshot_of(object: &Value) -> String {
    object["status"]["snapshot"].as_str().unwrap_or_default().to_owned()
}

fn kill(process: &mut Process) -> Result<()> {
    process.kill9().map(drop)
}

#[test]
fn a_status_that_somebody_wrote_by_hand_becomes_the_truth_again() -> Result<()> {
    let world = KubeWorld::new("hand")?;
    sample(&world)?;
    let mut engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "one", "shop"))?;
    world.ended(SESSIONS, "one")?;
    let lie = "{\"status\":{\"phase\":\"Failed\",\"snapshot\":\"00000000\"}}";
    world.kubectl(&["patch", SESSIONS, "one", "--subresource=status", "--type=merge", "-p", lie])?;
    // Statuses are compared when a reporter starts, and every ten minutes.
    kill(&mut engine)?;
    let _engine = world.part("engine", "engine-2", &[])?;
    world.until("the truth to be back", &[SESSIONS, "one"], |o| {
        phase(o) == "Succeeded" && snapshot_of(o) != "00000000"
    })?;
    Ok(())
}
