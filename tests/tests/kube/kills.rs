//! Kills at random points: in the end objects, facts and repository agree.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::{Random, Sample};
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::intent::facts;
use super::{FOREVER, LAGAN, configuration, ready};

const SESSIONS: &str = "backupsessions.lagan.dev";
const ROUNDS: u64 = 6;
/// Environment variable with the seed of a failed run, to repeat it as far as timing allows.
const SEED: &str = "LAGAN_KILL_SEED";

fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED}={text} is not a number")),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into()),
    }
}

#[test]
fn kills_at_random_points_leave_statuses_that_converge_to_the_facts() -> Result<()> {
    let seed = seed()?;
    killed_at_random(seed).with_context(|| format!("to see it again: {SEED}={seed}"))
}

fn killed_at_random(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut world = KubeWorld::new("random")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    // A slow dump, so that kills hit it at many points.
    world
        .lagan
        .stub("mariadb-dump", "$REAL \"$@\" | { head -c 300000; sleep 0.4; head -c 300000; sleep 0.4; cat; }")?;
    let mut engine = world.engine(&[])?;
    let mut worker = world.worker(&[])?;
    // High limits, so that everything is still there for the comparison at the end.
    let yaml = configuration("shop", FOREVER, "retryConfig: {maxRetry: 5}").replace("keepLast: 5", "keepLast: 100");
    world.apply(&yaml)?;
    ready(&world, "shop")?;
    let begun = Instant::now();
    backed_up(&world, "typical")?;
    let typical = begun.elapsed();
    let mut story = Vec::new();
    for round in 0..ROUNDS {
        let (part, percent) = (["engine", "worker"][usize::from(random.below(2) == 1)], random.below(110));
        story.push(format!("{part} at {percent} %"));
        let name = format!("s-{round}");
        let begun = Instant::now();
        world.apply(&backup_session(LAGAN, &name, "shop"))?;
        // The time itself is awaited: any point of a run will do.
        let at = typical.mul_f64(f64::from(u32::try_from(percent)?) / 100.0);
        eventually("the moment to kill", PATIENCE, || (begun.elapsed() >= at).then_some(()))?;
        let process = if part == "engine" { &mut engine } else { &mut worker };
        process.kill9()?;
        *process = world.part(part, &format!("{part}-{round}"), &[])?;
        backed_up_already(&world, &name).with_context(|| story.join(", "))?;
    }
    converged(&world).with_context(|| story.join(", "))
}

fn backed_up(world: &KubeWorld, name: &str) -> Result<()> {
    world.apply(&backup_session(LAGAN, name, "shop"))?;
    backed_up_already(world, name)
}

fn backed_up_already(world: &KubeWorld, name: &str) -> Result<()> {
    let done = world.ended(SESSIONS, name)?;
    ensure!(phase(&done) == "Succeeded", "{done:#}");
    Ok(())
}

/// Checks that every status agrees with the facts and the repository.
fn converged(world: &KubeWorld) -> Result<()> {
    let list = world.kubectl_json(&["get", SESSIONS])?;
    let sessions = list["items"].as_array().context("a list of sessions")?;
    ensure!(u64::try_from(sessions.len())? == ROUNDS + 1, "{list:#}");
    let restic = world.restic("local")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kept: BTreeSet<String> = restic.snapshots()?.iter().map(|snapshot| text(&snapshot["short_id"])).collect();
    let mut shown = BTreeSet::new();
    let mut last = <(String, String)>::default();
    for session in sessions {
        let name = text(&session["metadata"]["name"]);
        let facts = facts(world, &name)?;
        let end = facts.last().context("a session without facts")?;
        ensure!(end["type"] == "dev.lagan.backup.succeeded.v1", "{name} is {} and ends with {end:#}", phase(session));
        let snapshot = text(&session["status"]["snapshot"]);
        let told = end["data"]["results"].to_string();
        ensure!(!snapshot.is_empty() && told.contains(&snapshot), "{name} shows snapshot {snapshot}; its fact: {told}");
        shown.insert(snapshot);
        last = last.max((text(&end["time"]), text(&session["metadata"]["uid"])));
    }
    // There is one snapshot per session: a snapshot that a dead worker had finished was adopted.
    ensure!(shown == kept && kept.len() == sessions.len(), "shown {shown:?}, kept {kept:?}");
    world.until("the Repository to count what restic lists", &["repositories.lagan.dev", "local"], |o| {
        o["status"]["snapshotCount"].as_u64() == u64::try_from(kept.len()).ok()
    })?;
    let (time, uid) = last;
    world.until("the configuration to show its last session", &["backupconfigurations.lagan.dev", "shop"], |o| {
        let status = &o["status"];
        let success = status["lastSuccessTime"].as_str().unwrap_or_default().trim_end_matches('Z');
        let same = status["lastSession"]["uid"] == uid.as_str() && status["lastSession"]["phase"] == "Succeeded";
        same && !success.is_empty() && time.starts_with(success)
    })?;
    restic.check()
}
