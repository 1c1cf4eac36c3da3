//! The loss of the whole store while a scheduled session runs: its object, which the reporter made, ends.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lagan_tests::kube_world::{KubeWorld, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::configuration;

const SESSIONS: &str = "backupsessions.lagan.dev";

/// Applies configuration `shop`, of which a slot is due within a minute or so, and the next an hour later.
fn configure_soon(world: &KubeWorld) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let minute = ((now + 10) / 60 + 1) % 60;
    world.apply(&configuration("shop", &format!("{minute} * * * *"), "")).map(drop)
}

fn the_session(world: &KubeWorld) -> Result<Option<Value>> {
    let list = world.kubectl_json(&["get", SESSIONS])?;
    Ok(list["items"].as_array().context("a list")?.first().cloned())
}

#[test]
fn the_object_of_a_scheduled_session_ends_after_the_store_was_lost() -> Result<()> {
    let mut world = KubeWorld::new("lost")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let (hold, runs) = (world.lagan.path("hold"), world.lagan.path("runs"));
    fs::write(&hold, "")?;
    let wait = format!("while [ -e {} ]; do sleep 0.05; done; cat;", hold.display());
    let script = format!("$REAL \"$@\" | {{ head -c 300000; echo run >> {}; {wait} }}", runs.display());
    world.lagan.stub("mariadb-dump", &script)?;
    let mut engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    configure_soon(&world)?;
    let count = || fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    eventually("a dump", PATIENCE, || (count() == 1).then_some(()))?;
    let before =
        eventually("its object", PATIENCE, || the_session(&world).ok()?.filter(|session| phase(session) == "Running"))?;
    world.nats.delete_store()?;
    engine.kill9()?;
    world.nats.restart()?;
    let _engine = world.part("engine", "engine-2", &[])?;
    eventually("the dump of the session that was requested again", PATIENCE, || (count() == 2).then_some(()))?;
    fs::remove_file(&hold)?;
    let name = before["metadata"]["name"].as_str().unwrap_or_default();
    let ended = world.ended(SESSIONS, name)?;
    assert_eq!(phase(&ended), "Succeeded", "{ended:#}");
    assert_eq!(ended["metadata"]["uid"], before["metadata"]["uid"], "the object is the same");
    assert_eq!(world.restic("local")?.snapshots()?.len(), 1);
    let list = world.kubectl_json(&["get", SESSIONS])?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list:#}");
    Ok(())
}
