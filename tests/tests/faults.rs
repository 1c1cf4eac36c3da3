//! Faults of real processes: no killed, disconnected or broken part may lose a session, run it twice, or look like a
//! success.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "faults/dumps.rs"]
mod dumps;
#[path = "faults/gate.rs"]
mod gate;
#[path = "faults/loss.rs"]
mod loss;
#[path = "faults/outages.rs"]
mod outages;
#[path = "faults/places.rs"]
mod places;
#[path = "faults/restores.rs"]
mod restores;
#[path = "faults/rollback.rs"]
mod rollback;
#[path = "faults/schedules.rs"]
mod schedules;
#[path = "faults/storage.rs"]
mod storage;
#[path = "faults/store_table.rs"]
mod store_table;
#[path = "faults/stores.rs"]
mod stores;
#[path = "faults/tables.rs"]
mod tables;
#[path = "faults/tombstones.rs"]
mod tombstones;
#[path = "faults/waits.rs"]
mod waits;
#[path = "faults/workers.rs"]
mod workers;

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use lagan_tests::nats::NatsServer;
use lagan_tests::process::Process;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World};
use serde_json::Value;

const SHOP: &str = "--databases shop";
const FAST: [&str; 2] = ["--failover", "5"];
const DUMP: [&str; 6] = ["--databases", "shop", "--routines", "--events", "--hex-blob", "--skip-dump-date"];

fn world_with(megabytes: u32) -> Result<World> {
    let world = World::new()?;
    world.db.load_sample("shop", Sample { megabytes, seed: 11 })?;
    Ok(world)
}

/// A dump that waits half way while the file exists; each run adds a line to `runs`.
struct Hold {
    file: PathBuf,
    runs: PathBuf,
}

impl Hold {
    fn new(world: &mut World) -> Result<Self> {
        let hold = Self { file: world.lagan.path("hold"), runs: world.lagan.path("runs") };
        fs::write(&hold.file, "")?;
        let failed = world.lagan.path("failed");
        let script = format!(
            "{{ $REAL \"$@\" || echo $? > {2}.$$; }} | {{ head -c 1500000; echo run >> {0}; while [ -e {1} ]; do sleep 0.05; done; cat; }}\n\
             if [ -e {2}.$$ ]; then exit $(cat {2}.$$); fi",
            hold.runs.display(),
            hold.file.display(),
            failed.display()
        );
        world.stub("mariadb-dump", &script)?;
        Ok(hold)
    }

    fn runs(&self) -> usize {
        fs::read_to_string(&self.runs).map_or(0, |text| text.lines().count())
    }

    fn wait_for_runs(&self, count: usize) -> Result<()> {
        eventually(&format!("dump {count} to be half way"), PATIENCE, || (self.runs() >= count).then_some(()))
    }

    fn release(&self) -> Result<()> {
        Ok(fs::remove_file(&self.file)?)
    }
}

/// A NATS server and an engine as processes of their own, to which a test adds workers.
struct Apart {
    // Dropped in this order: an engine that outlives its server would only wait for it.
    engine: Process,
    nats: NatsServer,
    url: String,
    failover: [&'static str; 2],
    world: World,
}

impl Apart {
    fn start(world: World, failover: [&'static str; 2]) -> Result<Self> {
        let nats = NatsServer::start()?;
        let url = nats.url();
        let engine = world.part("engine", "engine", &url, &failover)?;
        Ok(Self { engine, nats, url, failover, world })
    }

    fn worker(&self, name: &str) -> Result<Process> {
        self.world.part("worker", name, &self.url, &self.failover)
    }

    fn client(&self) -> [&str; 2] {
        ["--nats-url", &self.url]
    }

    /// Checks everything that is known of all sessions; each must have ended.
    fn audit(&self) -> Result<()> {
        self.world.audit(Some(&self.url)).map(drop)
    }
}

/// A backup whose dump waits half way.
struct HeldBackup {
    apart: Apart,
    hold: Hold,
}

impl HeldBackup {
    fn prepare(megabytes: u32, failover: [&'static str; 2]) -> Result<Self> {
        Self::prepare_with(megabytes, failover, "")
    }

    /// `more` are lines of the configuration.
    fn prepare_with(megabytes: u32, failover: [&'static str; 2], more: &str) -> Result<Self> {
        let mut world = world_with(megabytes)?;
        let hold = Hold::new(&mut world)?;
        world.configure("shop", "local", SHOP, more)?;
        Ok(Self { apart: Apart::start(world, failover)?, hold })
    }

    /// Asks for the backup, and waits until a worker has read half of its dump.
    fn begin(&self) -> Result<()> {
        self.apart.world.lagan.ok(&["backup", "shop", "--nats-url", &self.apart.url])?;
        self.hold.wait_for_runs(1)
    }

    /// Lets the dump go on, and ends with a hold of the next one once its session has ended.
    fn release_and_hold_again(&self) -> Result<()> {
        self.hold.release()?;
        self.session()?;
        Ok(fs::write(&self.hold.file, "")?)
    }

    fn session(&self) -> Result<Value> {
        the_session(&self.apart.world, &self.apart.client())
    }

    /// Asserts that the session succeeded with the only snapshot of the repository.
    fn judge(&self, session: &Value) -> Result<()> {
        assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
        let snapshots = self.apart.world.restic()?.snapshots()?;
        assert_eq!(snapshots.len(), 1, "{snapshots:?}");
        assert_eq!(snapshots[0]["short_id"], session["status"]["snapshot"]);
        self.apart.audit()
    }
}

fn the_session(world: &World, more: &[&str]) -> Result<Value> {
    eventually("the session to end", PATIENCE, || {
        let session = world.list("backupsessions", more).ok()?.pop()?;
        ["Succeeded", "Failed"].contains(&session["status"]["phase"].as_str()?).then_some(session)
    })
}
