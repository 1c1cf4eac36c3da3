//! Sessions per second: through the engine alone, with a worker of the benchmark that only appends facts, and whole ones with a
//! Function that prints a line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};

use super::Scale;
use super::configurations::DueSlot;
use super::figure::Figure;
use super::log;
use super::manifests::{binding, repository, write};
use super::rig::{BenchRig, UNLIMITED, float};
use super::start::kib_each;
use super::worker::BenchWorker;
use crate::mariadb::MariaDbServer;
use crate::world::secret;

const SUCCEEDED: (&str, &str) = ("SESSIONS", "lagan.session.local.default.backup.*.*.*.*.succeeded");
const FACTS: u64 = 5;
/// Bytes of a fact on the average, about.
const FACT: usize = 1024;
const REPOSITORIES: u64 = 10;

/// A worker of the benchmark appends the facts of sessions that the engine requests and plans.
pub(super) async fn engine_alone(scale: Scale) -> Result<Vec<Figure>> {
    let number = scale.of(4_000, 20);
    let mut figures = Vec::new();
    for (replicas, must, goal) in [(1, 200.0, 500.0), (3, 100.0, 250.0)] {
        let rig = BenchRig::with_replicas(replicas)?;
        let slot = DueSlot::ahead(number)?;
        slot.configure(&rig, number, "")?;
        let _engine = rig.engine("engine", &UNLIMITED)?;
        let worker = BenchWorker::start(rig.nats.connect().await?).await?;
        slot.is_ahead(&rig, number).await?;
        let rate = rate(&rig, &slot, number).await?;
        worker.stop().await?;
        let bare = log::bare_publishes(&rig.nats, number * FACTS, FACT).await?;
        let name = format!("{number} sessions through the engine alone, R{replicas}");
        let figure = Figure::new(name, rate, "sessions/s").wanted(must, goal).higher_is_better();
        figures.push(figure.limit("bare publishes of their facts", float(number) / bare.as_secs_f64()));
    }
    Ok(figures)
}

/// Sessions per second from the slot to the last success.
async fn rate(rig: &BenchRig, slot: &DueSlot, number: u64) -> Result<f64> {
    log::wait_for(&rig.nats, SUCCEEDED, number).await?;
    let (facts, _) = log::read(&rig.nats, SUCCEEDED.0, SUCCEEDED.1).await?;
    let last = facts.iter().map(|fact| fact.time).fold(0.0, f64::max);
    Ok(float(number) / (last - slot.time))
}

/// Whole sessions with a real worker, a real database and a program that prints a dump of one line.
pub(super) async fn whole(scale: Scale) -> Result<Vec<Figure>> {
    let number = scale.of(1_000, 10);
    let rig = BenchRig::one()?;
    let db = MariaDbServer::start()?;
    db.query("CREATE DATABASE line; CREATE TABLE line.t (v INT)")?;
    let dump = db.dump(&["--databases", "line", "--routines", "--events", "--triggers", "--hex-blob"])?;
    let (program, text) = (rig.lagan.path("prints-a-line"), rig.lagan.path("line.sql"));
    fs::write(&text, dump)?;
    fs::write(&program, format!("#!/bin/sh\nexec cat {}\n", text.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let program = program.to_string_lossy();
    rig.lagan.manifest("own.yaml", &function(&program))?;
    rig.lagan.manifest("login.yaml", &secret("login-db", &[("username", db.user()), ("password", db.password())]))?;
    let address = format!("{}:{}", db.host(), db.port());
    write(&rig.lagan, "d", number, |index| binding(&format!("d-{index}"), &address, "login-db"))?;
    for index in 0..REPOSITORIES {
        let name = format!("r-{index}");
        rig.lagan.manifest(&format!("{name}.yaml"), &repository(&rig.lagan, &name))?;
    }
    let slot = DueSlot::ahead(number)?;
    let task = "task: {name: own-backup, params: [{name: args, value: --databases line}]}";
    slot.configurations(&rig, number, task, |index| format!("r-{}", index % REPOSITORIES))?;
    let _engine = rig.engine("engine", &UNLIMITED)?;
    let _worker = rig.worker("worker", &["--slots", "16", "--allow-program", &program, "--no-sandbox"])?;
    slot.is_ahead(&rig, number).await?;
    let rate = rate(&rig, &slot, number).await.context("do all sessions succeed?")?;
    let (bytes, on_disk) = (log::bytes(&rig.nats, "SESSIONS").await?, rig.nats.bytes_on_disk("SESSIONS")?);
    let bare = log::bare_publishes(&rig.nats, number * FACTS, FACT).await?;
    let name = format!("{number} whole sessions into {REPOSITORIES} local repositories");
    Ok(vec![
        Figure::new(name, rate, "sessions/s")
            .wanted(15.0, 40.0)
            .higher_is_better()
            .limit("bare publishes of their facts", float(number) / bare.as_secs_f64()),
        Figure::new("bytes on disk of a whole session (size of the files)", kib_each(on_disk, number), "KiB")
            .wanted(6.0, 3.0),
        Figure::new(
            "bytes of a whole session as the server counts them for `max_bytes`",
            kib_each(bytes, number),
            "KiB",
        ),
    ])
}

fn function(program: &str) -> String {
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: Function
metadata: {{name: own-backup}}
spec:
  database: MariaDB
  command: [{program}]
  args: [--single-transaction, --routines, --events, --triggers, --hex-blob]
  extraArgs: \"${{args:=}}\"
  stream: {{stdout: dumpfile.sql}}
---
apiVersion: lagan.dev/v1alpha1
kind: Task
metadata: {{name: own-backup}}
spec:
  steps: [{{name: own-backup}}]
"
    )
}
