//! The API server returns to an older copy of its objects: what had ended stays ended, and what is gone counts as deleted.

use std::sync::Arc;

use anyhow::Result;
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::intent::{facts, on_the_bus};
use super::{FOREVER, LAGAN, configuration, ready, restore_session};

const RESTORES: &str = "restoresessions.lagan.dev";
const BACKUPS: &str = "backupsessions.lagan.dev";

#[test]
fn an_api_server_that_returns_to_an_older_copy_runs_nothing_again() -> Result<()> {
    let mut world = KubeWorld::on(Arc::new(ControlPlane::start()?), "older")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let mut engine = world.engine(&[])?;
    let mut worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    assert_eq!(phase(&world.ended(BACKUPS, "first")?), "Succeeded");
    // The copy is made while two restores and a backup are asked for and have not begun. One of the restores is deleted later.
    worker.kill9()?;
    world.apply(&restore_session("back", "copy", "overwrite: true"))?;
    world.apply(&backup_session(LAGAN, "second", "shop"))?;
    world.until("the restore to be recorded", &[RESTORES, "back"], |o| o["status"]["recordedTime"].is_string())?;
    world.apply(&restore_session("goes", "copy", "overwrite: true"))?;
    world.plane.copy_etcd()?;
    let _worker = world.part("worker", "worker-2", &[])?;
    for (kind, name) in [(RESTORES, "back"), (RESTORES, "goes"), (BACKUPS, "second")] {
        let ended = world.ended(kind, name)?;
        assert_eq!(phase(&ended), "Succeeded", "{ended:#}");
    }
    world.kubectl(&["delete", RESTORES, "goes"])?;
    world.apply(&configuration("later", FOREVER, ""))?;
    ready(&world, "later")?;
    // A restore that runs again would take this table away.
    let changed = "DROP TABLE shop.after_the_restore";
    copy.query("CREATE TABLE shop.after_the_restore (n INT)")?;
    world.plane.roll_etcd_back()?;
    eventually("the configuration that is gone to count as deleted", PATIENCE, || {
        (!on_the_bus(&world, "backupconfigurations")?.contains("later")).then_some(())
    })?;
    // A new request runs as ever.
    world.apply(&backup_session(LAGAN, "third", "shop"))?;
    assert_eq!(phase(&world.ended(BACKUPS, "third")?), "Succeeded");
    for (session, kind) in [("back", "restore"), ("goes", "restore"), ("second", "backup")] {
        let started = facts(&world, session)?;
        let started = started.iter().filter(|fact| fact["type"] == format!("dev.lagan.{kind}.started.v1")).count();
        assert_eq!(started, 1, "{session}");
    }
    // Statuses are compared every ten minutes, and when an engine starts.
    engine.kill9()?;
    let _engine = world.part("engine", "engine-2", &[])?;
    for (kind, name) in [(RESTORES, "back"), (BACKUPS, "second")] {
        world.until("its end to be shown again", &[kind, name], |o| phase(o) == "Succeeded")?;
    }
    copy.query(changed)?;
    world.restic("local")?.check()?;
    assert_eq!(world.restic("local")?.snapshots()?.len(), 3);
    Ok(())
}
