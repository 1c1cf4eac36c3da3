//! Many configurations: what they cost an engine that starts and waits, and how fast the sessions of one slot are requested.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::Scale;
use super::figure::Figure;
use super::log::{self, BareFact};
use super::manifests::{Configured, binding, configuration, database, repository, write};
use super::rig::{BenchRig, PATIENCE, UNLIMITED, cpu_percent, memory_mib, quiet};
use crate::wait::eventually_async;

const NEVER: &str = "0 3 1 1 *";
const PUBLISHED: (&str, &str) = ("RESOURCES", "lagan.resource.local.lagan_dev.BackupConfiguration.>");
const SHOWN: (&str, &str) = ("STATUS", "lagan.status.local.lagan_dev.BackupConfiguration.>");
const REQUESTED: &str = "lagan.session.local.default.backup.*.*.*._.requested";
/// Bytes of a `requested` event, about.
const EVENT: usize = 1024;

/// 100,000 configurations that are not due.
pub(super) async fn armed(scale: Scale) -> Result<Vec<Figure>> {
    let number = scale.of(100_000, 100);
    let rig = BenchRig::one()?;
    rig.lagan.manifest("repository.yaml", &repository(&rig.lagan, "local"))?;
    rig.lagan.manifest("shop.yaml", &database("shop", 9))?;
    let given = Configured { binding: "shop".to_owned(), repository: "local".to_owned(), schedule: NEVER, more: "" };
    write(&rig.lagan, "c", number, |index| configuration(&format!("c-{index}"), &given))?;
    let first = rig.engine("publishes", &UNLIMITED)?;
    log::wait_for(&rig.nats, SHOWN, number).await?;
    quiet(&first.process).await?;
    drop(first.process);
    let (_, bare) = log::read(&rig.nats, PUBLISHED.0, PUBLISHED.1).await?;
    let began = std::time::Instant::now();
    let second = rig.engine("starts", &UNLIMITED)?.process;
    quiet(&second).await?;
    let armed = began.elapsed();
    let idle = cpu_percent(&[second.pid()], scale.seconds(60, 5))?;
    let name = |what: &str| format!("{number} configurations: {what}");
    Ok(vec![
        Figure::new(name("published for the first time"), first.ready.as_secs_f64(), "s"),
        Figure::new(name("schedules armed after a start"), armed.as_secs_f64(), "s")
            .wanted(60.0, 20.0)
            .limit("bare consumer", bare.as_secs_f64()),
        Figure::new(name("engine, resident"), memory_mib(&second, "VmRSS:")?, "MiB").wanted(600.0, 400.0),
        Figure::new(name("engine, idle"), idle, "% of a core").wanted(1.0, 0.7),
    ])
}

/// 10,000 configurations that are due at the same minute, with one server and with three.
pub(super) async fn due(scale: Scale) -> Result<Vec<Figure>> {
    let number = scale.of(10_000, 20);
    let mut figures = Vec::new();
    for (replicas, must, goal) in [(1, 6.0, 4.0), (3, 15.0, 8.0)] {
        let rig = BenchRig::with_replicas(replicas)?;
        let slot = DueSlot::ahead(number)?;
        slot.configure(&rig, number, "")?;
        let _engine = rig.engine("engine", &UNLIMITED)?;
        slot.is_ahead(&rig, number).await?;
        let facts = requested(&rig, number).await?;
        let last = facts.iter().map(|fact| fact.time).fold(0.0, f64::max);
        let bare = log::bare_publishes(&rig.nats, number, EVENT).await?;
        let name = format!("{number} configurations due in one slot, R{replicas}: all requested");
        figures.push(
            Figure::new(name, last - slot.time, "s").wanted(must, goal).limit("bare publishes", bare.as_secs_f64()),
        );
    }
    Ok(figures)
}

async fn requested(rig: &BenchRig, number: u64) -> Result<Vec<BareFact>> {
    log::wait_for(&rig.nats, ("SESSIONS", REQUESTED), number).await?;
    Ok(log::read(&rig.nats, "SESSIONS", REQUESTED).await?.0)
}

/// A minute that is far enough ahead for an engine to read all configurations before.
pub(super) struct DueSlot {
    /// Seconds since 1970.
    pub time: f64,
    schedule: String,
}

impl DueSlot {
    pub fn ahead(number: u64) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let minute = now / 60 + 2 + number / 2_000;
        let (hour, of_hour) = (minute / 60 % 24, minute % 60);
        let time = Duration::from_secs(minute * 60).as_secs_f64();
        Ok(Self { time, schedule: format!("{of_hour} {hour} * * *") })
    }

    /// Writes configurations that are due at this minute, each of a database and a server of its own.
    pub fn configure(&self, rig: &BenchRig, number: u64, more: &str) -> Result<()> {
        rig.lagan.manifest("repository.yaml", &repository(&rig.lagan, "local"))?;
        rig.lagan.manifest("login.yaml", &database("login", 1))?;
        write(&rig.lagan, "d", number, |index| {
            let address = format!("10.{}.{}.{}:3306", index / 65_536 % 256, index / 256 % 256, index % 256);
            binding(&format!("d-{index}"), &address, "login-db")
        })?;
        self.configurations(rig, number, more, |_| "local".to_owned())
    }

    pub fn configurations(
        &self,
        rig: &BenchRig,
        number: u64,
        more: &str,
        repository: impl Fn(u64) -> String,
    ) -> Result<()> {
        write(&rig.lagan, "c", number, |index| {
            let (binding, repository) = (format!("d-{index}"), repository(index));
            configuration(&format!("c-{index}"), &Configured { binding, repository, schedule: &self.schedule, more })
        })
    }

    /// Fails if the engine has not read everything before the slot.
    pub async fn is_ahead(&self, rig: &BenchRig, number: u64) -> Result<()> {
        log::wait_for(&rig.nats, PUBLISHED, number).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        ensure!(now < self.time, "the configurations were read {:.0} s after their slot", now - self.time);
        let context = log::context(&rig.nats).await.context("connecting")?;
        let context = &context;
        let begun = || async move {
            log::count(context, "SESSIONS", REQUESTED).await.ok().filter(|found| *found > 0).map(drop)
        };
        eventually_async("the slot to come", PATIENCE, begun).await
    }
}
