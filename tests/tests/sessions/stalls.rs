//! A restore whose client gets nowhere ends; one whose server works does not.

use std::thread;

use anyhow::{Context as _, Result};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::postgres::PostgresServer;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, configuration, restore_session};

use super::postgres::app_binding;
use super::{SHOP, sample};

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
    let copy = world.second_database("copy")?;
    copy.query("CREATE DATABASE shop; CREATE TABLE shop.customers (v INT)")?;
    let _up = world.up(&["--stall", "3s"])?;
    world.good_backup("shop")?;

    // Another connection of the same login holds a table that the restore replaces, and is busy all the time.
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
    copy.query(
        "CREATE DATABASE slow; CREATE TABLE slow.t (v INT);
         CREATE TRIGGER slow.sleeps BEFORE INSERT ON slow.t FOR EACH ROW SET NEW.v = NEW.v + SLEEP(10)",
    )?;
    let body = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `slow`;\nUSE `slow`;\nINSERT INTO `t` VALUES (1);\n";
    let head = "-- MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for Linux (x86_64)\n";
    let restic = world.restic()?;
    restic.backup_stream("slow", "dumpfile.sql", format!("{head}{body}-- Dump completed\n").as_bytes())?;
    let listed = restic.snapshots()?;
    let slow = listed.iter().find(|one| one["hostname"] == "slow").context("restic made it")?;
    let id = slow["short_id"].as_str().context("an id")?;
    world.lagan.manifest(
        "slow.yaml",
        &restore_session("slow", "local", "copy", &format!("existing: Merge\nrules: [{{snapshots: [{id}]}}]")),
    )?;
    let ended = world.ended("restoresessions", "slow", &[])?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended:#}");
    assert_eq!(copy.query("SELECT v FROM slow.t")?, "1");
    world.judge()
}

#[test]
fn a_restore_of_postgresql_that_waits_for_a_lock_ends() -> Result<()> {
    let (world, source, copy) = (World::new()?, PostgresServer::start()?, PostgresServer::start()?);
    for (name, server) in [("crm", &source), ("copy", &copy)] {
        world.lagan.manifest(&format!("{name}.yaml"), &app_binding(name, server, "root", server.password()))?;
        server.query("postgres", "CREATE DATABASE crm")?;
        server.query("crm", "CREATE TABLE t (v int); INSERT INTO t VALUES (1)")?;
    }
    let configured = configuration("nightly", "local", "--dbname=crm", "").replace("name: shop}}", "name: crm}}");
    world.lagan.manifest("nightly.yaml", &configured.replace("task: {", "task: {name: postgres-backup-15.1, "))?;
    let _up = world.up(&["--stall", "3s"])?;
    world.good_backup("nightly")?;
    let sleeping = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep(50)%' AND pid <> pg_backend_pid()";
    // The questions of this test are in a file of their own.
    let script = world.lagan.path("hold.sql");
    std::fs::write(&script, "BEGIN; LOCK TABLE t; SELECT pg_sleep(50)")?;
    let ended = thread::scope(|scope| {
        let holder = scope.spawn(|| copy.load("crm", &script));
        eventually("the lock to be held", PATIENCE, || {
            let found = copy.query("crm", &format!("SELECT count(*) {sleeping} AND wait_event = 'PgSleep'")).ok()?;
            (found.trim() == "1").then_some(())
        })?;
        world.lagan.manifest("waits.yaml", &restore_session("waits", "local", "copy", "existing: Replace"))?;
        let ended = world.ended("restoresessions", "waits", &[]);
        copy.query("postgres", &format!("SELECT pg_terminate_backend(pid) {sleeping}"))?;
        let _ = holder.join();
        ended
    })?;
    let told = ended["status"].to_string();
    assert_eq!(ended["status"]["phase"], "Failed", "{told}");
    assert!(told.contains("waits for somebody else (Lock ") && told.contains("got no further for 3 s"), "{told}");
    world.judge()
}
