//! Interrupted restores, and repositories that attack a worker.

use std::fs;

use anyhow::Result;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use lagan_tests::world::restore_session;

use super::{Apart, DUMP, FAST, SHOP, world_with};

#[test]
fn a_restore_whose_worker_died_failed_and_is_not_run_again() -> Result<()> {
    let world = world_with(3)?;
    world.configure("shop", "local", SHOP, "")?;
    let apart = Apart::start(world, FAST)?;
    let (world, client) = (&apart.world, apart.client());
    let mut first = apart.worker("worker-1")?;
    world.backup("shop", &client)?.success()?;
    let original = world.db.dump(&DUMP)?;
    // The restore is held in its first statements, which drop the tables one by one.
    let mut locked = world.db.lock_table("shop.orders")?;
    world.lagan.manifest("again.yaml", &restore_session("again", "local", "shop", "overwrite: true"))?;
    eventually("the restore to write", PATIENCE, || {
        let facts = world.facts("again", &client).ok()?;
        facts.iter().any(|f| f["type"] == "dev.lagan.restore.restoring.v1").then_some(())
    })?;
    let clients = first.descendants_named("mariadb")?;
    assert!(!clients.is_empty(), "the client runs");
    let _second = apart.worker("worker-2")?;
    first.kill9()?;
    eventually("the client to die with its worker", PATIENCE, || {
        clients.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })?;
    locked.kill9()?;
    let ended = world.ended("restoresessions", "again", &client)?;
    assert_eq!(ended["status"]["phase"], "Failed");
    assert_eq!(ended["status"]["code"], "E0402", "{ended}");
    let facts = world.facts("again", &client)?;
    assert_eq!(facts.iter().filter(|f| f["type"] == "dev.lagan.restore.restoring.v1").count(), 1);

    // A person requests it again, and it restores everything.
    world.lagan.manifest("repair.yaml", &restore_session("repair", "local", "shop", "overwrite: true"))?;
    assert_eq!(world.ended("restoresessions", "repair", &client)?["status"]["phase"], "Succeeded");
    assert!(world.db.dump(&DUMP)? == original);
    apart.audit()
}

#[test]
fn a_restore_that_is_cancelled_after_its_last_statement_says_that_all_of_them_ran() -> Result<()> {
    let mut world = world_with(1)?;
    let (fed, asked) = (world.lagan.path("fed"), world.lagan.path("asked"));
    // From the end of the restore's own client on, questions wait.
    let script = format!(
        "case \"$*\" in *--unbuffered*) if [ -e {0} ]; then touch {1}; while [ -e {0} ]; do sleep 0.05; done; fi; exec $REAL \"$@\";; esac\n\
         $REAL \"$@\"; code=$?; touch {0}; exit $code",
        fed.display(),
        asked.display()
    );
    world.stub("mariadb", &script)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    let original = world.db.checksums("shop")?;
    world.db.query("DROP DATABASE shop")?;
    world.lagan.manifest("back.yaml", &restore_session("back", "local", "shop", ""))?;
    eventually("the comparison to begin", PATIENCE, || asked.exists().then_some(()))?;
    world.lagan.ok(&["cancel", "back"])?;
    let ended = world.ended("restoresessions", "back", &[])?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert_eq!(ended["status"]["code"], "E0407", "{ended}");
    let message = ended["status"]["message"].to_string();
    assert!(message.contains("every statement ran, but the target was not compared: cancelled by"), "{message}");
    assert_eq!(world.db.checksums("shop")?, original);
    world.audit(None).map(drop)
}

#[test]
fn a_damaged_repository_is_never_restored_as_if_it_were_whole() -> Result<()> {
    let world = world_with(3)?;
    world.configure("shop", "local", SHOP, "")?;
    let copy = world.second_database("copy")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    // Change one byte in the middle of the largest pack.
    let packs = fs::read_dir(world.repository_dir().join("data"))?
        .flatten()
        .flat_map(|dir| fs::read_dir(dir.path()).unwrap().flatten());
    let pack = packs.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap().path();
    let mut bytes = fs::read(&pack)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&pack)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&pack, permissions)?;
    fs::write(&pack, bytes)?;
    let done = world.lagan.run(&["restore", "shop", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("E0402") || done.stderr.contains("E0307"), "{}", done.stderr);
    drop(copy);
    Ok(())
}

#[test]
fn a_hostile_dump_can_not_run_commands_on_the_worker() -> Result<()> {
    let world = world_with(1)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    let (evil, witness) = (world.lagan.path("dumpfile.sql"), world.lagan.path("witness"));
    let text = format!(
        "-- MariaDB dump\n\\! touch {0}\nsystem touch {0}\nsource /etc/passwd\n-- Dump completed\n",
        witness.display()
    );
    fs::write(&evil, text)?;
    let backup = format!("restic backup --stdin --stdin-filename dumpfile.sql --host evil < {}", evil.display());
    let mut shell = lagan_tests::process::guarded(std::path::Path::new("sh"));
    shell.args(["-c", &backup]);
    shell.env("RESTIC_REPOSITORY", world.repository_dir()).env("RESTIC_PASSWORD", &world.password);
    lagan_tests::process::run(shell, PATIENCE)?.success()?;
    let rule = "  rules: [{sourceHost: evil, snapshots: [latest]}]\noverwrite: true";
    world.lagan.manifest("evil.yaml", &restore_session("evil", "local", "shop", rule))?;
    let ended = world.ended("restoresessions", "evil", &[])?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert!(!witness.exists(), "a dump ran a command");
    world.audit(None).map(drop)
}
