//! Sessions that wait: the consumption of their waiting, and the delay of one that need not wait.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Scale;
use super::figure::Figure;
use super::log;
use super::manifests::{Configured, configuration, database, repository, session, write};
use super::rig::{BenchRig, UNLIMITED, quiet};
use crate::synthetic::Generator;

const NEVER: &str = "0 3 1 1 *";
const REQUESTED: (&str, &str) = ("SESSIONS", "lagan.session.local.default.backup.*.*.*._.requested");
const PLANNED: (&str, &str) = ("SESSIONS", "lagan.session.local.default.backup.*.*.*.*.planned.>");
const RESTORES: &str = "lagan.session.local.default.restore.>";

/// Writes configurations of one database.
fn configure(rig: &BenchRig, number: u64) -> Result<()> {
    rig.lagan.manifest("repository.yaml", &repository(&rig.lagan, "local"))?;
    rig.lagan.manifest("busy.yaml", &database("busy", 9))?;
    let given = Configured { binding: "busy".to_owned(), repository: "local".to_owned(), schedule: NEVER, more: "" };
    write(&rig.lagan, "configurations", number, |index| configuration(&format!("w-{index}"), &given))
}

/// Asks for a session of each configuration. The first one is planned and holds the database, because there is no worker.
async fn ask(rig: &BenchRig, number: u64) -> Result<()> {
    write(&rig.lagan, "sessions", number, |index| session(&format!("s-{index}"), &format!("w-{index}")))?;
    log::wait_for(&rig.nats, REQUESTED, number).await?;
    log::wait_for(&rig.nats, PLANNED, 1).await
}

/// 80 sessions wait for a locked database.
pub(super) async fn idle(scale: Scale) -> Result<Vec<Figure>> {
    let (waiting, during) = (80, scale.seconds(60, 5));
    let rig = BenchRig::one()?;
    configure(&rig, waiting + 1)?;
    let engine = rig.engine("engine", &UNLIMITED)?.process;
    quiet(&engine).await?;
    let alone = rig.cpu(&engine, during)?;
    ask(&rig, waiting + 1).await?;
    quiet(&engine).await?;
    let used = rig.cpu(&engine, during)?;
    let figure =
        Figure::new(format!("{waiting} sessions wait for a locked database: engine and NATS"), used, "% of a core");
    Ok(vec![figure.wanted(2.0, 0.5).limit("idle engine", alone)])
}

/// 300 sessions wait for locks and 3,000 for retries, then a restore of a free target is asked for.
pub(super) async fn urgent(scale: Scale) -> Result<Vec<Figure>> {
    let (locked, retrying) = (scale.of(300, 3), scale.of(3_000, 10));
    let rig = BenchRig::one()?;
    configure(&rig, locked + 1)?;
    rig.lagan.manifest("free.yaml", &database("free", 10))?;
    let engine = rig.engine("engine", &UNLIMITED)?.process;
    Generator::retrying(&rig.nats.url(), retrying).await?.append(0..retrying).await?;
    ask(&rig, locked + 1).await?;
    quiet(&engine).await?;
    let restore = "apiVersion: lagan.dev/v1alpha1
kind: RestoreSession
metadata: {name: urgent}
spec:
  repository: {name: local}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: free}}
";
    rig.lagan.manifest("urgent.yaml", restore)?;
    log::wait_for(&rig.nats, ("SESSIONS", "lagan.session.local.default.restore.*.*.*.*.planned.>"), 1).await?;
    let (facts, _) = log::read(&rig.nats, "SESSIONS", RESTORES).await?;
    let time = |word: &str| facts.iter().find(|fact| fact.subject.contains(word)).map(|fact| fact.time);
    let took = time(".planned.").context("a plan")? - time(".requested").context("a request")?;
    let bare: Duration = log::bare_publishes(&rig.nats, 1, 8 * 1024).await?;
    let name = format!("{locked} sessions wait for locks, {retrying} for retries: an urgent restore is planned");
    Ok(vec![Figure::new(name, took, "s").wanted(5.0, 1.0).limit("a bare publish", bare.as_secs_f64())])
}
