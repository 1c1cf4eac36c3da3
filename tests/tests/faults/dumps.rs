//! Broken dumps: no snapshot, a clear failure, and a retry if one can help.

use std::fs;

use anyhow::Result;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;

use super::{FAST, Hold, SHOP, the_session, world_with};

#[test]
fn a_dump_that_breaks_leaves_no_snapshot_and_says_why() -> Result<()> {
    let mut world = world_with(3)?;
    let mode = world.lagan.path("mode");
    let script = format!(
        "case $(cat {}) in
good) exec $REAL \"$@\";;
exits) $REAL \"$@\" | head -c 1000000; echo 'mariadb-dump: Got error: 1146: no such table' >&2; exit 2;;
cut) $REAL \"$@\" | head -c 1000000; exit 0;;
empty) exit 0;;
rubbish) echo hello; exit 0;;
killed) $REAL \"$@\" | head -c 1000000; kill -9 $$;;
esac",
        mode.display()
    );
    world.stub("mariadb-dump", &script)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    fs::write(&mode, "good")?;
    let good = world.good_backup("shop")?;
    for (how, code, words) in [
        ("exits", "E0208", "Got error: 1146"),
        ("cut", "E0202", "cut off"),
        ("empty", "E0203", "empty"),
        ("rubbish", "E0202", "hello"),
        ("killed", "E0214", "signal 9"),
    ] {
        fs::write(&mode, how)?;
        let done = world.backup("shop", &[])?;
        assert_eq!(done.status.code(), Some(3), "{how}: {}", done.stderr);
        assert!(done.stderr.contains(code) && done.stderr.contains(words), "{how}: {}", done.stderr);
        let snapshots = world.restic()?.snapshots()?;
        assert_eq!(snapshots.len(), 1, "{how}");
        assert_eq!(snapshots[0]["id"], good["snapshot"], "{how}: the good one is still the latest");
    }
    world.audit(None).map(drop)
}

#[test]
fn missing_rights_are_told_and_never_make_a_dump_with_holes() -> Result<()> {
    let world = world_with(1)?;
    world
        .db
        .query("CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON shop.customers TO poor@'127.0.0.1'")?;
    world.configure("shop", "local", SHOP, "")?;
    let mut yaml = lagan_tests::world::app_binding("shop", &world.db);
    yaml = yaml.replace(&format!("username: \"{}\"", world.db.user()), "username: \"poor\"");
    yaml = yaml.replace(&format!("password: \"{}\"", world.db.password()), "password: \"x\"");
    world.lagan.manifest("shop-db.yaml", &yaml)?;
    let _up = world.up(&FAST)?;
    let poor = world.backup("shop", &[])?;
    assert!(poor.stderr.contains("E0204") && poor.stderr.contains("SELECT"), "{}", poor.stderr);
    world.db.query("GRANT SELECT, SHOW VIEW, EVENT, LOCK TABLES ON shop.* TO poor@'127.0.0.1'")?;
    let no_triggers = world.backup("shop", &[])?;
    assert!(no_triggers.stderr.contains("E0204") && no_triggers.stderr.contains("TRIGGER"), "{}", no_triggers.stderr);
    world.db.query("GRANT TRIGGER ON shop.* TO poor@'127.0.0.1'")?;
    let no_routines = world.backup("shop", &[])?;
    assert!(
        no_routines.stderr.contains("E0204") && no_routines.stderr.contains("mysql.proc"),
        "{}",
        no_routines.stderr
    );
    assert_eq!(world.snapshots()?, 0);
    world.db.query("GRANT SELECT ON mysql.proc TO poor@'127.0.0.1'")?;
    world.good_backup("shop")?;
    world.audit(None).map(drop)
}

#[test]
fn a_transient_failure_is_tried_again_and_leaves_one_snapshot() -> Result<()> {
    let mut world = world_with(2)?;
    let failed = world.lagan.path("failed");
    let script = format!("if [ ! -e {0} ]; then touch {0}; echo half; exit 0; fi; exec $REAL \"$@\"", failed.display());
    world.stub("mariadb-dump", &script)?;
    world.configure("shop", "local", SHOP, "retryConfig: {maxRetry: 1, delay: 100ms}")?;
    let _up = world.up(&FAST)?;
    world.good_backup("shop")?;
    let facts = world.facts("@latest", &[])?;
    let kinds: Vec<&str> = facts.iter().filter_map(|f| f["type"].as_str()?.split('.').nth(3)).collect();
    assert_eq!(kinds, ["requested", "planned", "started", "retrying", "planned", "started", "committing", "succeeded"]);
    assert_eq!(world.snapshots()?, 1);
    world.audit(None).map(drop)
}

#[test]
fn a_database_that_dies_in_the_middle_is_dumped_again() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "retryConfig: {maxRetry: 3, delay: 1s}")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    world.db.kill9()?;
    hold.release()?;
    eventually("the failure to be seen", PATIENCE, || {
        let facts = world.facts("@latest", &[]).ok()?;
        facts.iter().any(|f| f["type"] == "dev.lagan.backup.retrying.v1").then_some(())
    })?;
    assert_eq!(world.snapshots()?, 0);
    world.db.restart()?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.audit(None).map(drop)
}
