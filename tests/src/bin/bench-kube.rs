//! `./just bench-kube`: measures the time from the creation of a BackupSession to the first byte of its dump, and the cost
//! of 10,000 BackupConfigurations. The figures hold for this machine and this run.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lagan_tests::kube_world::{KubeWorld, backup_session};
use lagan_tests::process::Process;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;

const LAGAN: &str = "lagan.dev/v1alpha1";
const IDLE: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_secs(5);

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    match number("SESSIONS", 60) {
        0 => {}
        sessions => first_byte(sessions)?,
    }
    match number("CONFIGURATIONS", 10_000) {
        0 => Ok(()),
        configurations => many_configurations(configurations),
    }
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// The time from just before `kubectl create` to the first byte of the dump program.
fn first_byte(sessions: usize) -> Result<()> {
    let mut world = KubeWorld::new("latency")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let marks = world.lagan.path("marks");
    // `head` takes the first block, and the time of that is recorded.
    let script = format!(
        "$REAL \"$@\" | {{ IFS= read -r line; date +%s.%N >> {}; printf '%s\\n' \"$line\"; cat; }}",
        marks.display()
    );
    world.lagan.stub("mariadb-dump", &script)?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop"))?;
    world.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "backupconfigurations.lagan.dev", "shop"])?;
    let (mut from_kubectl, mut from_answer) = (Vec::new(), Vec::new());
    for session in 0..=sessions {
        let name = format!("s-{session}");
        let before = now()?;
        let made = world.plane.manifest("create", &world.namespace, &backup_session(LAGAN, &name, "shop"))?;
        made.success()?;
        let answered = now()?;
        world.ended("backupsessions.lagan.dev", &name)?;
        let text = fs::read_to_string(&marks)?;
        let first: f64 = text.lines().nth(session).context("a mark for each dump")?.parse()?;
        // The first session opens connections and the repository, so it is not counted.
        if session > 0 {
            from_kubectl.push((first - before) * 1000.0);
            from_answer.push((first - answered) * 1000.0);
        }
    }
    println!(
        "from the start of `kubectl create` to the first dump byte, {sessions} sessions, ms: {}",
        spread(from_kubectl)
    );
    println!("from the end of `kubectl create` to the first dump byte, ms: {}", spread(from_answer));
    Ok(())
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = |part: f64| values.get(((values.len() - 1) as f64 * part).round() as usize).copied().unwrap_or(f64::NAN);
    format!("p50 {:.0}, p90 {:.0}, p99 {:.0}", at(0.5), at(0.9), at(0.99))
}

fn configuration(name: &str) -> String {
    format!(
        "apiVersion: {LAGAN}
kind: BackupConfiguration
metadata: {{name: {name}}}
spec:
  schedule: \"0 3 1 1 *\"
  task: {{name: mariadb-backup, params: [{{name: args, value: --databases shop}}]}}
  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}}}
  repository: {{name: local}}
  retentionPolicy: {{name: keep, keepLast: 3}}
"
    )
}

fn many_configurations(count: usize) -> Result<()> {
    let world = KubeWorld::new("many")?;
    let engine = world.engine(&[])?;
    let alone = memory_mib(&engine, "VmRSS:")?;
    drop(engine);
    let names = (0..count).map(|number| configuration(&format!("c-{number:05}")));
    for batch in names.collect::<Vec<_>>().chunks(250) {
        world.plane.manifest("create", &world.namespace, &batch.join("---\n"))?.success()?;
    }
    let (made, began) = (requests(&world)?, Instant::now());
    let engine = world.engine(&[])?;
    let listed = began.elapsed();
    let ready = || {
        // A list of all objects costs the API server more than the engine does.
        sleep(Duration::from_secs(5));
        let shown = world.kubectl(&["get", "backupconfigurations.lagan.dev", "--no-headers"]).ok()?;
        let (all, ready) = (shown.lines().count(), shown.lines().filter(|line| line.contains(" Ready ")).count());
        (all == count && ready == count).then_some(())
    };
    eventually("all configurations to be Ready", Duration::from_secs(1800), ready)?;
    let told = began.elapsed();
    let before = requests(&world)?;
    // The watch reports each applied status, and then the engine is not idle yet.
    let quiet = || {
        let before = cpu_seconds(&engine).ok()?;
        sleep(SETTLED);
        (cpu_seconds(&engine).ok()? - before < 0.05 * SETTLED.as_secs_f64()).then_some(())
    };
    eventually("the engine to be idle", Duration::from_secs(300), quiet)?;
    let settled = began.elapsed();
    let (asked, cpu, at) = (requests(&world)?, cpu_seconds(&engine)?, Instant::now());
    sleep(IDLE);
    let idle = (cpu_seconds(&engine)? - cpu) / at.elapsed().as_secs_f64() * 100.0;
    println!(
        "{count} configurations: read and published in {:.1} s, all statuses applied after {:.1} s, idle after {:.1} s; {} API requests, {} of them after all were applied",
        listed.as_secs_f64(),
        told.as_secs_f64(),
        settled.as_secs_f64(),
        asked - made,
        asked - before,
    );
    println!(
        "engine {} MiB, at most {} MiB (empty {alone} MiB); over {} s idle: {idle:.2} % of a core, {} API requests",
        memory_mib(&engine, "VmRSS:")?,
        memory_mib(&engine, "VmHWM:")?,
        IDLE.as_secs(),
        requests(&world)? - asked,
    );
    Ok(())
}

/// Number of requests for Lagan's kinds that the API server has answered.
fn requests(world: &KubeWorld) -> Result<u64> {
    let text = world.kubectl(&["get", "--raw", "/metrics"])?;
    let ours = |line: &&str| line.starts_with("apiserver_request_total{") && line.contains("group=\"lagan.dev\"");
    let count = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(text.lines().filter(ours).filter_map(count).sum::<f64>() as u64)
}

fn memory_mib(process: &Process, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find(|line| line.starts_with(what)).context("a size")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024)
}

fn cpu_seconds(process: &Process) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let after = stat.rsplit_once(')').context("a process's stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a field")?.parse()?) };
    // utime and stime, in hundredths of a second.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
