//! Unavailable storage, and secrets that must not be found anywhere.

use anyhow::Result;
use lagan_tests::canary::Canaries;
use lagan_tests::s3::S3Server;
use lagan_tests::world::PATIENCE;

use super::{FAST, Hold, SHOP, the_session, world_with};

#[test]
fn an_object_store_that_is_gone_fails_the_session_and_one_that_returns_does_not() -> Result<()> {
    let mut world = world_with(4)?;
    let hold = Hold::new(&mut world)?;
    let mut server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "p")?;
    world.configure("shop", "s3", SHOP, "retryConfig: {maxRetry: 5, delay: 1s}")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    server.kill9()?;
    server.restart()?;
    hold.release()?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let restic = lagan_tests::restic::Restic::s3(&server, "backups", "p", &world.password)?;
    assert_eq!(restic.snapshots()?.len(), 1);
    restic.check()
}

#[test]
fn no_secret_is_found_anywhere() -> Result<()> {
    let world = world_with(6)?;
    world.configure("shop", "local", SHOP, "")?;
    let server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "p")?;
    world.configure("remote", "s3", SHOP, "")?;
    let canaries = Canaries::new(&[
        ("repository password", world.password.as_str()),
        ("database password", world.db.password()),
        ("S3 secret key", server.secret_key()),
    ]);
    let mut up = world.up(&["-vv"])?;
    let watch = canaries.watch(up.pid());
    world.good_backup("shop")?;
    world.good_backup("remote")?;
    world.lagan.ok(&["restore", "shop", "--overwrite", "--yes", "--wait"])?;
    let report = watch.finish()?;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let events = world.lagan.ok(&["events", "-o", "jsonl"])?;
    assert!(canaries.found_in(events.as_bytes()).is_empty());
    up.terminate(PATIENCE)?;
    canaries.absent_below(&[&world.lagan.data_dir(), &world.lagan.logs_dir(), &world.repository_dir()])?;
    world.judge()
}
