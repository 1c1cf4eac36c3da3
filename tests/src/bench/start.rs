//! What a log of ended sessions costs an engine: the time and memory of a start, the growth of a standby, and its bytes.

use anyhow::{Context as _, Result};
use async_nats::jetstream;

use super::Scale;
use super::cluster::Nats;
use super::figure::Figure;
use super::log;
use super::rig::{BenchRig, PATIENCE, float, memory_mib, quiet};
use crate::lagan::Lagan;
use crate::nats::SyncInterval;
use crate::synthetic::Generator;
use crate::wait::eventually_async;

/// Sessions of each configuration, as many as a schedule of every 50 minutes leaves in a log of seven days.
const SESSIONS_EACH: u64 = 200;
/// Bytes of the log for each session, rounded up.
const SESSION_BYTES: u64 = 16 * 1024;
/// Where the reporter stores the position up to which every end was reported.
const POSITION: &str = "lagan.status.local.lagan_dev.ReporterPosition._.sessions";
const ALL: &str = "lagan.session.local.>";

pub(super) async fn measure(scale: Scale) -> Result<Vec<Figure>> {
    let (ended, meanwhile) = (scale.of(200_000, 50), scale.of(50_000, 20));
    // The facts are appended without waiting for the disk, and no figure depends on that.
    let rig = BenchRig { nats: Nats::one(SyncInterval::ServerDefault)?, lagan: Lagan::new()? };
    drop(rig.engine("makes-streams", &[])?);
    let generator = Generator::connect(&rig.nats.url(), (ended / SESSIONS_EACH).max(1)).await?;
    generator.make_room((ended + meanwhile) * SESSION_BYTES).await?;
    generator.append(0..ended).await?;
    let (bytes, on_disk) = (log::bytes(&rig.nats, "SESSIONS").await?, rig.nats.bytes_on_disk("SESSIONS")?);
    let (facts, bare) = log::read(&rig.nats, "SESSIONS", ALL).await?;
    let facts = u64::try_from(facts.len())?;

    let first = rig.engine("starts", &[])?;
    let at_start = memory_mib(&first.process, "VmHWM:")?;
    reported(&rig.nats, facts).await?;
    let at_most = memory_mib(&first.process, "VmHWM:")?;
    let standby = rig.engine("standby", &[])?.process;
    quiet(&standby).await?;
    let before = memory_mib(&standby, "VmRSS:")?;
    generator.append(ended..ended + meanwhile).await?;
    reported(&rig.nats, facts + meanwhile * (facts / ended)).await?;
    quiet(&standby).await?;
    let growth = memory_mib(&standby, "VmRSS:")? - before;
    let name = |what: &str| format!("start with {facts} facts of {ended} ended sessions: {what}");
    Ok(vec![
        Figure::new(name("ready"), first.ready.as_secs_f64(), "s")
            .wanted(30.0, 15.0)
            .limit("bare consumer", bare.as_secs_f64()),
        Figure::new(name("peak RSS"), at_start, "MiB").wanted(256.0, 128.0),
        Figure::new(name("peak RSS when all ends are reported"), at_most, "MiB"),
        Figure::new(format!("standby engine after {meanwhile} sessions: growth of RSS"), growth, "MiB")
            .wanted(10.0, 0.0),
        Figure::new("bytes on disk of an ended session (size of the files)", kib_each(on_disk, ended), "KiB")
            .wanted(6.0, 3.0),
        Figure::new(
            "bytes of an ended session as the server counts them for `max_bytes`",
            kib_each(bytes, ended),
            "KiB",
        ),
    ])
}

pub(super) fn kib_each(bytes: u64, sessions: u64) -> f64 {
    float(bytes) / float(sessions) / 1024.0
}

/// Waits until the reporter has stored that the end with this sequence was reported.
async fn reported(nats: &Nats, last: u64) -> Result<()> {
    let statuses = jetstream::new(nats.connect().await?).get_stream("STATUS").await?;
    let statuses = &statuses;
    let is_reported = || async move {
        let message = statuses.get_last_raw_message_by_subject(POSITION).await.ok()?;
        let event: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
        (event["data"]["sequence"].as_u64() >= Some(last)).then_some(())
    };
    eventually_async("all ends to be reported", PATIENCE, is_reported).await.context("the reporter")
}
