//! `./just bench-engine`: measures what a log of ended sessions costs an engine: the time and memory of a start, the
//! memory of a standby, and on a real kube-apiserver the time until many ends are shown. The figures hold for this machine
//! and this run.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::consumer;
use futures::StreamExt as _;
use lagan_tests::http;
use lagan_tests::kube_world::KubeWorld;
use lagan_tests::lagan::Lagan;
use lagan_tests::nats::{NatsOptions, NatsServer, SyncInterval};
use lagan_tests::ports::ReservedPort;
use lagan_tests::process::Process;
use lagan_tests::synthetic::Generator;
use lagan_tests::wait::eventually;

/// Sessions of each configuration, as many as a schedule of every 50 minutes leaves in a log of seven days.
const SESSIONS_EACH: u64 = 200;
/// Bytes of the log for each session, rounded up.
const SESSION_BYTES: u64 = 16 * 1024;
/// Where the reporter stores the position up to which every end was reported.
const POSITION: &str = "lagan.status.local.lagan_dev.ReporterPosition._.sessions";
const READY: Duration = Duration::from_secs(600);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<()> {
    match number("ENDED", 200_000) {
        0 => {}
        ended => start_and_standby(ended, number("MEANWHILE", 50_000)).await?,
    }
    match number("SHOWN", 10_000) {
        0 => Ok(()),
        shown => ends_shown(shown).await,
    }
}

/// The time until the ends of scheduled sessions, one of each configuration, are shown by their objects.
async fn ends_shown(count: u64) -> Result<()> {
    let world = KubeWorld::new("ends")?;
    world.kubectl(&["create", "namespace", "demo"])?;
    let engine = world.engine(&[])?;
    let generator = Generator::connect(&world.nats.url(), count).await?;
    let began = Instant::now();
    generator.append(0..count).await?;
    let appended = began.elapsed();
    let shown = || {
        // A list of all objects costs the API server more than the engine does.
        std::thread::sleep(Duration::from_secs(5));
        let phases = ["get", "backupsessions.lagan.dev", "-n", "demo", "-o", "jsonpath={.items[*].status.phase}"];
        let phases = world.kubectl(&phases).ok()?;
        (phases.split_whitespace().filter(|phase| *phase == "Succeeded").count() as u64 == count).then_some(())
    };
    eventually("all ends to be shown", READY, shown)?;
    println!(
        "{count} ends, appended in {:.1} s: all statuses applied after {:.1} s, engine at most {} MiB",
        appended.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        memory_mib(&engine, "VmHWM:")?,
    );
    Ok(())
}

async fn start_and_standby(ended: u64, meanwhile: u64) -> Result<()> {
    // The facts are appended without waiting for the disk, and no figure depends on that.
    let nats = NatsServer::start_with(NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() })?;
    let lagan = Lagan::new()?;
    drop(engine(&lagan, &nats, "makes-streams")?);
    let generator = Generator::connect(&nats.url(), (ended / SESSIONS_EACH).max(1)).await?;
    generator.make_room((ended + meanwhile) * SESSION_BYTES).await?;
    generator.append(0..ended).await?;

    let (reader, read) = bare_read(&nats).await?;
    println!("limit: a bare consumer reads {read} facts in {:.1} s", reader.as_secs_f64());
    let began = Instant::now();
    let first = engine(&lagan, &nats, "starts")?;
    println!(
        "engine start with {read} facts of {ended} ended sessions: ready in {:.1} s, at most {} MiB",
        began.elapsed().as_secs_f64(),
        memory_mib(&first, "VmHWM:")?,
    );
    reported(&nats, read).await?;
    println!(
        "all ends reported, of which none had been: {:.1} s after the start, at most {} MiB",
        began.elapsed().as_secs_f64(),
        memory_mib(&first, "VmHWM:")?,
    );
    let standby = engine(&lagan, &nats, "standby")?;
    let before = memory_mib(&standby, "VmRSS:")?;
    generator.append(ended..ended + meanwhile).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "standby engine after {meanwhile} more sessions: {before} MiB before, {} MiB after, at most {} MiB",
        memory_mib(&standby, "VmRSS:")?,
        memory_mib(&standby, "VmHWM:")?,
    );
    Ok(())
}

/// Starts an engine on the log and waits until it is ready.
fn engine(lagan: &Lagan, nats: &NatsServer, name: &str) -> Result<Process> {
    let port = ReservedPort::reserve()?;
    let (manifests, listen) = (lagan.manifests_dir(), format!("127.0.0.1:{}", port.number()));
    let url = nats.url();
    let args = ["engine", "--nats-url", &url, "--manifests", &manifests.to_string_lossy(), "--listen", &listen];
    let process = lagan.start(name, &args)?;
    let answers =
        || http::request("GET", port.number(), "/readyz").ok().filter(|answer| answer.status == 200).map(drop);
    eventually("the engine to be ready", READY, answers)?;
    Ok(process)
}

/// Waits until the reporter has stored that the end with this sequence was reported.
async fn reported(nats: &NatsServer, last: u64) -> Result<()> {
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let statuses = context.get_stream("STATUS").await?;
    let began = Instant::now();
    while began.elapsed() < READY {
        if let Ok(message) = statuses.get_last_raw_message_by_subject(POSITION).await {
            let event: serde_json::Value = serde_json::from_slice(&message.payload)?;
            if event["data"]["sequence"].as_u64() >= Some(last) {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the missed ends were not reported within {} s", READY.as_secs())
}

/// Reads all facts with a bare consumer.
async fn bare_read(nats: &NatsServer) -> Result<(Duration, u64)> {
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let stream = context.get_stream("SESSIONS").await?;
    let config = consumer::pull::Config {
        ack_policy: consumer::AckPolicy::None,
        memory_storage: true,
        ..consumer::pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let expected = consumer.cached_info().num_pending;
    let began = Instant::now();
    let mut read = 0;
    let mut messages = consumer.stream().max_messages_per_batch(500).messages().await?;
    while read < expected {
        messages.next().await.context("the end of the stream")??;
        read += 1;
    }
    Ok((began.elapsed(), read))
}

fn memory_mib(process: &Process, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find(|line| line.starts_with(what)).context("a size")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024)
}
