//! Servers that do not answer. Whoever waits for one occupies no worker.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, configuration, restore_session};
use serde_json::Value;

use super::{SHOP, world_with};

const ONE_SLOT: [&str; 4] = ["--failover", "5", "--slots", "1"];

/// Waits until a session has given its slot back, and returns the fact that says so.
fn gives_back(world: &World, session: &str) -> Result<Value> {
    let began = Instant::now();
    let fact = eventually("the slot to be given back", PATIENCE, || {
        let facts = world.facts(session, &[]).ok()?;
        facts.into_iter().find(|fact| fact["type"].as_str().is_some_and(|kind| kind.contains(".retrying.")))
    })?;
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    Ok(fact)
}

/// Asserts that a session with `maxRetry: 0` succeeded, after attempts that did not count.
fn succeeds_in_the_end(world: &World, kind: &str, name: &str) -> Result<()> {
    let ended = world.ended(kind, name, &[])?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    let facts = world.facts(name, &[])?;
    let counted: Vec<&str> = facts.iter().filter_map(|fact| fact["data"]["counted"].as_str()).collect();
    assert!(!counted.is_empty() && counted.iter().all(|counted| *counted == "no"), "{counted:?}");
    Ok(())
}

fn newest(world: &World) -> Result<String> {
    let sessions = world.list("backupsessions", &[])?;
    let newest = sessions.last().context("no session")?;
    Ok(newest["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_backup_whose_database_is_down_leaves_its_slot_to_others() -> Result<()> {
    let mut world = world_with(1)?;
    let other = world.second_database("other")?;
    other.load_sample("shop", Sample { megabytes: 1, seed: 3 })?;
    world.configure("shop", "local", SHOP, "")?;
    let configured =
        configuration("other", "local", SHOP, "").replace("AppBinding, name: shop", "AppBinding, name: other");
    world.lagan.manifest("other.yaml", &configured)?;
    world.db.kill9()?;
    let _up = world.up(&ONE_SLOT)?;
    world.lagan.ok(&["backup", "shop"])?;
    let waiting = eventually("the session", PATIENCE, || newest(&world).ok())?;
    let fact = gives_back(&world, &waiting)?;
    assert_eq!(fact["data"]["code"], "E0205", "{fact}");
    world.good_backup("other")?;
    let shown = world.list("backupsessions", &[])?;
    let shown = shown.iter().find(|one| one["metadata"]["name"] == *waiting).context("it is listed")?;
    assert_eq!(shown["status"]["phase"], "Running", "{shown}");
    world.db.restart()?;
    succeeds_in_the_end(&world, "backupsessions", &waiting)?;
    world.audit(None).map(drop)
}

#[test]
fn a_restore_whose_database_is_down_delays_no_other_restore() -> Result<()> {
    let world = world_with(1)?;
    let mut down = world.second_database("down")?;
    let copy = world.second_database("copy")?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&ONE_SLOT)?;
    world.good_backup("shop")?;
    down.kill9()?;
    world.lagan.manifest("first.yaml", &restore_session("first", "local", "down", ""))?;
    let fact = gives_back(&world, "first")?;
    assert_eq!(fact["data"]["code"], "E0205", "{fact}");
    world.lagan.manifest("second.yaml", &restore_session("second", "local", "copy", ""))?;
    let ended = world.ended("restoresessions", "second", &[])?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);
    down.restart()?;
    succeeds_in_the_end(&world, "restoresessions", "first")?;
    assert_eq!(down.checksums("shop")?, world.db.checksums("shop")?);
    world.audit(None).map(drop)
}

#[test]
fn a_session_whose_storage_is_down_leaves_its_slot_to_others() -> Result<()> {
    let world = world_with(1)?;
    let mut server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "p")?;
    world.configure("remote", "s3", SHOP, "")?;
    let _other = world.second_database("other")?;
    let configured = configuration("near", "local", "--all-databases", "")
        .replace("AppBinding, name: shop", "AppBinding, name: other");
    world.lagan.manifest("near.yaml", &configured)?;
    server.kill9()?;
    let _up = world.up(&ONE_SLOT)?;
    world.lagan.ok(&["backup", "remote"])?;
    let waiting = eventually("the session", PATIENCE, || newest(&world).ok())?;
    let fact = gives_back(&world, &waiting)?;
    assert_eq!(fact["data"]["code"], "E0304", "{fact}");
    world.good_backup("near")?;
    server.restart()?;
    succeeds_in_the_end(&world, "backupsessions", &waiting)
}
