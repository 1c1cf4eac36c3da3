//! A store of NATS that returns to an older copy of itself.

use std::path::Path;

use anyhow::{Context as _, Result};
use lagan_tests::process::{guarded, run};
use lagan_tests::world::PATIENCE;

use super::{FAST, HeldBackup};

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = guarded(Path::new("cp"));
    command.arg("-a").arg(from).arg(to);
    run(command, PATIENCE)?.success().map(drop).context("copying the store")
}

#[test]
fn a_log_that_returns_to_an_older_copy_runs_nothing_again() -> Result<()> {
    let mut backup = HeldBackup::prepare(2, FAST)?;
    let _worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    backup.hold.release()?;
    backup.session()?;
    let (store, kept) = (backup.apart.nats.store_dir(), backup.apart.world.lagan.path("kept"));
    backup.apart.nats.kill9()?;
    copy(&store, &kept)?;
    backup.apart.nats.restart()?;
    let client = ["--nats-url", backup.apart.url.as_str()];
    backup.apart.world.backup("shop", &client)?.success()?;
    assert_eq!(backup.hold.runs(), 2);

    backup.apart.nats.delete_store()?;
    copy(&kept, &store)?;
    backup.apart.nats.restart()?;
    let world = &backup.apart.world;
    world.backup("shop", &client)?.success()?;
    assert_eq!(backup.hold.runs(), 3, "what had ended before the rollback does not run again");
    let running = world.list("backupsessions", &client)?;
    let running: Vec<_> = running.iter().filter(|one| one["status"]["phase"] == "Running").collect();
    assert!(running.is_empty(), "{running:?}");
    assert_eq!(world.snapshots()?, 3);
    world.judge()
}
