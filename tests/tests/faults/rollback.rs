//! A store of NATS that returns to an older copy of itself.

use anyhow::Result;

use super::{FAST, HeldBackup};

#[test]
fn a_log_that_returns_to_an_older_copy_runs_nothing_again() -> Result<()> {
    let mut backup = HeldBackup::prepare(2, FAST)?;
    let _worker = backup.apart.worker("worker-1")?;
    backup.begin()?;
    backup.hold.release()?;
    backup.session()?;
    let kept = backup.apart.world.lagan.path("kept");
    backup.apart.nats.copy_store(&kept)?;
    let client = ["--nats-url", backup.apart.url.as_str()];
    backup.apart.world.backup("shop", &client)?.success()?;
    assert_eq!(backup.hold.runs(), 2);

    backup.apart.nats.set_back(&kept, &["RESOURCES", "SESSIONS", "STATUS", "DEAD", "KV_LOCKS", "KV_LEASES"])?;
    let world = &backup.apart.world;
    world.backup("shop", &client)?.success()?;
    assert_eq!(backup.hold.runs(), 3, "what had ended before the rollback does not run again");
    let running = world.list("backupsessions", &client)?;
    let running: Vec<_> = running.iter().filter(|one| one["status"]["phase"] == "Running").collect();
    assert!(running.is_empty(), "{running:?}");
    assert_eq!(world.snapshots()?, 3);
    world.judge()
}
