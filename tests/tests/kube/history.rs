//! The history limit of sessions, and copies of session objects.

use std::collections::BTreeSet;

use anyhow::Result;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::intent::on_the_bus;
use super::{FOREVER, LAGAN, STASH, configuration, ready};

fn sessions(world: &KubeWorld, kind: &str) -> Result<BTreeSet<String>> {
    let names = world.kubectl(&["get", kind, "-o", "name"])?;
    Ok(names.lines().filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned())).collect())
}

#[test]
fn the_newest_sessions_stay_each_group_has_its_own_and_a_copy_runs() -> Result<()> {
    let world = KubeWorld::new("history")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let mut engine = world.engine(&["--stash-compat"])?;
    let _worker = world.worker(&[])?;
    let ours = configuration("shop", FOREVER, "").replace("backupHistoryLimit: 20", "backupHistoryLimit: 2");
    world.apply(&ours)?;
    world.apply(&ours.replace(LAGAN, STASH))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(STASH, "stash-1", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.stash.appscode.com", "stash-1")?), "Succeeded");
    // Small sessions end within one second, and by name `s-9` sorts after `s-10`.
    for name in ["s-8", "s-9", "s-10"] {
        world.apply(&backup_session(LAGAN, name, "shop"))?;
        assert_eq!(phase(&world.ended("backupsessions.lagan.dev", name)?), "Succeeded");
    }
    let kept: BTreeSet<String> = ["s-9", "s-10"].map(str::to_owned).into();
    eventually("the oldest to leave the history", PATIENCE, || {
        (sessions(&world, "backupsessions.lagan.dev").ok()? == kept).then_some(())
    })?;
    assert_eq!(sessions(&world, "backupsessions.stash.appscode.com")?, ["stash-1".to_owned()].into());
    // A person copies the YAML of a scheduled session under another name.
    let copy = backup_session(LAGAN, "again", "shop").replace(
        "metadata: {name: again}",
        &format!(
            "metadata: {{name: again, annotations: {{lagan.dev/session: {}/{}/shop-1800000000}}}}",
            uuid::Uuid::from_u128(5),
            world.namespace
        ),
    );
    world.apply(&copy)?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "again")?), "Succeeded");
    // A deleted object stays deleted, although a starting engine finds its session in the log.
    world.kubectl(&["delete", "backupsessions.lagan.dev", "again"])?;
    let on_the_bus = || on_the_bus(&world, "backupsessions");
    eventually("its status to go", PATIENCE, || (!on_the_bus()?.contains("again")).then_some(()))?;
    engine.kill9()?;
    let _engine = world.engine(&["--stash-compat"])?;
    world.apply(&backup_session(LAGAN, "later", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "later")?), "Succeeded");
    eventually("the new session to be shown", PATIENCE, || on_the_bus()?.contains("later").then_some(()))?;
    assert!(!on_the_bus().is_some_and(|names| names.contains("again")), "it came back");
    Ok(())
}
