//! An engine on a folder of manifests, its NATS servers, and the consumption of both.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cluster::Nats;
use crate::http;
use crate::lagan::Lagan;
use crate::nats::SyncInterval;
use crate::ports::ReservedPort;
use crate::process::Process;
use crate::wait::eventually;

pub(super) const PATIENCE: Duration = Duration::from_secs(1800);
/// No limit of the engine may stand before the figure.
pub(super) const UNLIMITED: [&str; 12] = [
    "--max-per-repository",
    "0",
    "--max-per-server",
    "0",
    "--max-per-namespace",
    "0",
    "--max-per-pool",
    "0",
    "--max-sessions",
    "0",
    "--max-open-sessions",
    "0",
];
/// Clock ticks of a second in /proc.
const TICKS: f64 = 100.0;
/// An engine that uses less than this of a core has nothing left to do.
const QUIET: f64 = 5.0;

pub(super) struct BenchRig {
    pub nats: Nats,
    pub lagan: Lagan,
}

/// A process of the engine, with the time that it took until it was ready.
pub(super) struct EngineProcess {
    pub process: Process,
    pub ready: Duration,
}

impl BenchRig {
    pub fn one() -> Result<Self> {
        Ok(Self { nats: Nats::one(SyncInterval::Always)?, lagan: Lagan::new()? })
    }

    /// One server if `replicas` is 1, else three.
    pub fn with_replicas(replicas: usize) -> Result<Self> {
        let nats = if replicas == 1 { Nats::one(SyncInterval::Always)? } else { Nats::three()? };
        Ok(Self { nats, lagan: Lagan::new()? })
    }

    /// Starts an engine and waits until it is ready.
    pub fn engine(&self, name: &str, more: &[&str]) -> Result<EngineProcess> {
        let began = Instant::now();
        let port = ReservedPort::reserve()?;
        let (listen, url) = (format!("127.0.0.1:{}", port.number()), self.nats.url());
        let (manifests, data) = (self.lagan.manifests_dir(), self.lagan.data_dir());
        let (manifests, data) = (manifests.to_string_lossy(), data.to_string_lossy());
        let replicas = self.nats.replicas().to_string();
        let mut args = vec!["engine", "--manifests", &manifests, "--data-dir", &data, "--nats-url", &url];
        args.extend(["--nats-replicas", &replicas, "--listen", &listen]);
        args.extend(more);
        let process = self.lagan.start(name, &args)?;
        let answers =
            || http::request("GET", port.number(), "/readyz").ok().filter(|answer| answer.status == 200).map(drop);
        eventually("the engine to be ready", PATIENCE, answers)?;
        Ok(EngineProcess { process, ready: began.elapsed() })
    }

    /// Starts a worker with this many slots.
    pub fn worker(&self, name: &str, more: &[&str]) -> Result<Process> {
        let url = self.nats.url();
        let (manifests, data) = (self.lagan.manifests_dir(), self.lagan.data_dir());
        let (manifests, data) = (manifests.to_string_lossy(), data.to_string_lossy());
        let mut args = vec!["worker", "--manifests", &manifests, "--data-dir", &data, "--nats-url", &url];
        let replicas = self.nats.replicas().to_string();
        args.extend(["--nats-replicas", &replicas]);
        args.extend(more);
        let mut process = self.lagan.start(name, &args)?;
        process.wait_for_log("ready", PATIENCE)?;
        Ok(process)
    }

    /// Returns the share of a core, in percent, that the engine and the NATS servers use together for a while.
    pub fn cpu(&self, engine: &Process, during: Duration) -> Result<f64> {
        let mut pids = self.nats.pids();
        pids.push(engine.pid());
        cpu_percent(&pids, during)
    }
}

/// Waits until a process has nothing left to do.
pub(super) async fn quiet(process: &Process) -> Result<()> {
    let pid = process.pid();
    let is_quiet = || cpu_percent(&[pid], Duration::from_secs(1)).ok().filter(|percent| *percent < QUIET).map(drop);
    eventually("the engine to be idle", PATIENCE, is_quiet)
}

pub(super) fn cpu_percent(pids: &[u32], during: Duration) -> Result<f64> {
    let used = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>();
    let (before, began) = (used()?, Instant::now());
    std::thread::sleep(during);
    Ok((used()? - before) / began.elapsed().as_secs_f64() * 100.0)
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, tail) = stat.rsplit_once(')').context("a stat line")?;
    let ticks: f64 = tail.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}

/// Resident memory in MiB: `VmRSS` now, or `VmHWM` at most.
pub(super) fn memory_mib(process: &Process, what: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find(|line| line.starts_with(what)).context("a size")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
