//! A restore whose client gets nowhere ends; one whose server works does not.

use std::thread;

use anyhow::{Context as _, Result};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, app_binding, restore_session};

use super::{SHOP, sample};

/// The restore logs in with another account than the tests, so that the server's connections of it are its own.
const ACCOUNT: &str = "CREATE USER restorer@'%' IDENTIFIED BY 'r3storer'; GRANT ALL ON *.* TO restorer@'%'";

fn target(world: &World) -> Result<MariaDbServer> {
    let copy = MariaDbServer::start()?;
    copy.query(ACCOUNT)?;
    let binding = app_binding("copy", &copy);
    let binding = binding.replace(&format!("{:?}", copy.user()), "\"restorer\"");
    let binding = binding.replace(&format!("{:?}", copy.password()), "\"r3storer\"");
    anyhow::ensure!(binding.contains("restorer") && binding.contains("r3storer"), "{binding}");
    world.lagan.manifest("copy-db.yaml", &binding)?;
    Ok(copy)
}

/// The connections of the test that run a statement with this text.
fn connections(server: &MariaDbServer, text: &str) -> Option<Vec<String>> {
    let sql =
        format!("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND info LIKE '%{text}%'");
    let found: Vec<String> = server.query(&sql).ok()?.lines().map(str::to_owned).collect();
    (!found.is_empty()).then_some(found)
}

#[test]
fn a_restore_that_waits_for_a_lock_ends_and_one_whose_statement_runs_does_not() -> Result<()> {
    let world = World::new()?;
    world.db.load_sample("shop", sample(1))?;
    world.configure("shop", "local", SHOP, "")?;
    let copy = target(&world)?;
    copy.query("CREATE DATABASE shop; CREATE TABLE shop.customers (v INT)")?;
    let _up = world.up(&["--stall", "3s"])?;
    world.good_backup("shop")?;

    // Somebody else holds a table that the restore replaces.
    let told = thread::scope(|scope| -> Result<String> {
        let holder = scope.spawn(|| copy.query("LOCK TABLES shop.customers WRITE; SELECT SLEEP(80)"));
        let held = eventually("the lock to be held", PATIENCE, || connections(&copy, "SLEEP(80)"))?;
        let waits = restore_session("waits", "local", "copy", "existing: Merge");
        world.lagan.manifest("waits.yaml", &waits)?;
        let ended = world.ended("restoresessions", "waits", &[]);
        copy.query(&format!("KILL {}", held.first().context("a connection")?))?;
        // The client of a connection that was killed fails.
        let _ = holder.join();
        let ended = ended?;
        assert_eq!(ended["status"]["phase"], "Failed", "{ended:#}");
        Ok(ended["status"].to_string())
    })?;
    assert!(told.contains("metadata lock") && told.contains("got no further for 3 s"), "{told}");
    // The server has ended the statement of the client that was killed.
    eventually("the statement to be gone", PATIENCE, || match connections(&copy, "customers") {
        None => Some(()),
        Some(_) => None,
    })?;

    // A statement that runs for longer than the limit is no stall.
    let body =
        "CREATE DATABASE `slow`;\nUSE `slow`;\nCREATE TABLE `t` (`v` int);\nINSERT INTO `t` SELECT 1 + SLEEP(10);\n";
    let head = "-- MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for Linux (x86_64)\n";
    let restic = world.restic()?;
    restic.backup_stream("slow", "dumpfile.sql", format!("{head}{body}-- Dump completed\n").as_bytes())?;
    let listed = restic.snapshots()?;
    let slow = listed.iter().find(|one| one["hostname"] == "slow").context("restic made it")?;
    let id = slow["short_id"].as_str().context("an id")?;
    world
        .lagan
        .manifest("slow.yaml", &restore_session("slow", "local", "copy", &format!("rules: [{{snapshots: [{id}]}}]")))?;
    let ended = world.ended("restoresessions", "slow", &[])?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended:#}");
    assert_eq!(copy.query("SELECT v FROM slow.t")?, "1");
    world.judge()
}
