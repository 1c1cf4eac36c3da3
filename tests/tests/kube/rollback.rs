//! A log of sessions that returns to an older copy while the API server goes on: the objects say what ran.

use std::collections::BTreeMap;

use anyhow::Result;
use lagan_tests::audit::{LoggedFact, read_log};
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::{FOREVER, LAGAN, configuration, restore_session};

const BACKUPS: &str = "backupsessions.lagan.dev";
const RESTORES: &str = "restoresessions.lagan.dev";
/// The counter of a server of restores that began: the stream of a dump creates its database once.
const BEGUN: &str = "Com_create_db";

fn facts(world: &KubeWorld) -> Result<BTreeMap<String, Vec<LoggedFact>>> {
    let mut sessions: BTreeMap<String, Vec<LoggedFact>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for fact in read_log(&world.nats.url(), None)? {
        if let Some(name) = fact.event["data"]["name"].as_str().filter(|_| fact.name == "requested") {
            names.insert(fact.uid.clone(), name.to_owned());
        }
        if let Some(name) = names.get(&fact.uid) {
            sessions.entry(name.clone()).or_default().push(fact);
        }
    }
    Ok(sessions)
}

fn wait_for(world: &KubeWorld, name: &str, wanted: impl Fn(&LoggedFact) -> bool) -> Result<()> {
    eventually(&format!("the log of {name}"), PATIENCE, || {
        facts(world).ok()?.get(name)?.iter().any(&wanted).then_some(())
    })
}

/// In the copy both restores are planned. When the log is set back, `done` has ended, and `back` is past `restoring`.
fn nothing_runs_again(what: &str, streams: &[&str]) -> Result<()> {
    let mut world = KubeWorld::new(what)?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let (copy, third) = (world.second_database("copy")?, world.second_database("third")?);
    third.load_sample("shop", Sample { megabytes: 1, seed: 8 })?;
    let loaded = third.counter(BEGUN)?;
    let _engine = world.engine(&[])?;
    let mut first = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    assert_eq!(phase(&world.ended(BACKUPS, "first")?), "Succeeded");
    first.terminate(PATIENCE)?;
    for (name, target) in [("done", "copy"), ("back", "third")] {
        world.apply(&restore_session(name, target, "overwrite: true"))?;
        wait_for(&world, name, |fact| fact.name == "planned")?;
    }
    let kept = world.lagan.path("kept");
    world.nats.copy_store(&kept)?;
    let mut locked = third.lock_table("shop.orders")?;
    let _second = world.part("worker", "worker-2", &[])?;
    assert_eq!(phase(&world.ended(RESTORES, "done")?), "Succeeded");
    world.until("back to write", &[RESTORES, "back"], |object| object["status"]["snapshot"].is_string())?;
    eventually("its client to begin", PATIENCE, || (third.counter(BEGUN).ok()? > loaded).then_some(()))?;
    let restores = (copy.counter(BEGUN)?, third.counter(BEGUN)?);

    world.nats.set_back(&kept, streams)?;
    let _third = world.part("worker", "worker-3", &[])?;
    for name in ["done", "back"] {
        wait_for(&world, name, LoggedFact::is_end)?;
    }
    locked.kill9()?;
    let back = world.ended(RESTORES, "back")?;
    assert_eq!((phase(&back), &back["status"]["code"]), ("Failed", &"E0106".into()), "{back:#}");
    // Another session shows that everything before it was reported.
    world.apply(&backup_session(LAGAN, "last", "shop"))?;
    assert_eq!(phase(&world.ended(BACKUPS, "last")?), "Succeeded");
    let done = world.ended(RESTORES, "done")?;
    assert_eq!(phase(&done), "Succeeded", "{done:#}");
    assert_eq!((copy.counter(BEGUN)?, third.counter(BEGUN)?), restores, "no restore ran again");
    assert_eq!(world.restic("local")?.snapshots()?.len(), 2);
    Ok(())
}

#[test]
fn no_restore_runs_again_when_the_log_returns_to_an_older_copy() -> Result<()> {
    nothing_runs_again("set-back-log", &["SESSIONS"])
}

#[test]
fn no_restore_runs_again_when_log_and_statuses_return_to_an_older_copy() -> Result<()> {
    nothing_runs_again("set-back-all", &["SESSIONS", "STATUS", "RESOURCES", "KV_LOCKS", "KV_LEASES"])
}
