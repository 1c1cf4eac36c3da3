//! `kill -9` of each process while sessions run: the time until every session that was accepted has gone on or ended.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::Scale;
use super::figure::Figure;
use super::log;
use super::manifests::{Configured, binding, configuration, repository, session};
use super::rig::{BenchRig, PATIENCE, UNLIMITED};
use crate::mariadb::MariaDbServer;
use crate::wait::eventually_async;
use crate::world::secret;

const SESSIONS: u64 = 4;
const ALL: &str = "lagan.session.local.default.backup.>";

pub(super) async fn measure(_scale: Scale) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for killed in ["engine", "worker", "nats-server"] {
        let took = kill(killed).await.with_context(|| format!("killing the {killed}"))?;
        let name = format!("kill -9 of the {killed}: all of {SESSIONS} running sessions go on or end");
        figures.push(Figure::new(name, took, "s").wanted(60.0, 35.0));
    }
    Ok(figures)
}

/// Returns the time from the kill to the last session's next fact, in seconds. Whatever is killed is started again at once.
async fn kill(killed: &str) -> Result<f64> {
    let mut rig = BenchRig::one()?;
    let db = MariaDbServer::start()?;
    db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    let hold = rig.lagan.path("hold");
    fs::write(&hold, "")?;
    let script = format!("while [ -e {} ]; do sleep 0.05; done; exec $REAL \"$@\"", hold.display());
    rig.lagan.stub("mariadb-dump", &script)?;
    rig.lagan.manifest("login.yaml", &secret("login-db", &[("username", db.user()), ("password", db.password())]))?;
    rig.lagan.manifest("repository.yaml", &repository(&rig.lagan, "local"))?;
    let address = format!("{}:{}", db.host(), db.port());
    for index in 0..SESSIONS {
        let name = format!("d-{index}");
        let given = Configured {
            binding: name.clone(),
            repository: "local".to_owned(),
            schedule: "0 3 1 1 *",
            more: "task: {params: [{name: args, value: --databases shop}]}",
        };
        let objects =
            [binding(&name, &address, "login-db"), configuration(&name, &given), session(&format!("s-{index}"), &name)];
        rig.lagan.manifest(&format!("{name}.yaml"), &objects.join("---\n"))?;
    }
    let mut engine = rig.engine("engine", &UNLIMITED)?.process;
    // A session that a person asked for runs in the one urgent slot of a worker.
    let slots = ["--slots", "4"];
    let mut workers = Vec::new();
    for index in 0..SESSIONS {
        workers.push(rig.worker(&format!("worker-{index}"), &slots)?);
    }
    let started = "lagan.session.local.default.backup.*.*.*.default.started";
    log::wait_for(&rig.nats, ("SESSIONS", started), SESSIONS).await?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    match killed {
        "engine" => {
            engine.kill9()?;
            engine = rig.engine("engine-again", &UNLIMITED)?.process;
        }
        "worker" => {
            for worker in &mut workers {
                worker.kill9()?;
            }
            for index in 0..SESSIONS {
                workers.push(rig.worker(&format!("worker-again-{index}"), &slots)?);
            }
        }
        _ => rig.nats.restart()?,
    }
    fs::remove_file(&hold)?;
    let took = all_went_on(&rig, at).await?;
    drop((engine, workers));
    Ok(took)
}

/// Waits until each session has a fact that is later than `at`, and returns the time of the last one of these.
async fn all_went_on(rig: &BenchRig, at: f64) -> Result<f64> {
    let nats = &rig.nats;
    let next = || async move {
        let (facts, _) = log::read(nats, "SESSIONS", ALL).await.ok()?;
        let mut sessions = std::collections::BTreeMap::<String, f64>::new();
        for fact in facts.iter().filter(|fact| fact.time > at) {
            let uid = fact.subject.split('.').nth(7).unwrap_or_default().to_owned();
            sessions.entry(uid).or_insert(fact.time);
        }
        let all = u64::try_from(sessions.len()).ok()? == SESSIONS;
        all.then(|| sessions.values().copied().fold(at, f64::max) - at)
    };
    eventually_async("every session to go on", PATIENCE, next).await
}
