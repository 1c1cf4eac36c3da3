//! Sessions that wait: they delay nobody, survive the engine, and end with words.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use lagan_tests::nats::NatsServer;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, app_binding};
use serde_json::Value;

use super::SHOP;

/// BackupSessions of a configuration, as a person would apply them.
fn sessions(configuration: &str, number: usize) -> String {
    let mut yaml = String::new();
    for index in 0..number {
        let _ = write!(
            yaml,
            "---
apiVersion: lagan.dev/v1alpha1
kind: BackupSession
metadata: {{name: {configuration}-{index:03}}}
spec:
  invoker: {{apiGroup: lagan.dev, kind: BackupConfiguration, name: {configuration}}}
"
        );
    }
    yaml
}

fn of<'a>(sessions: &'a [Value], configuration: &str) -> Vec<&'a Value> {
    sessions.iter().filter(|one| one["spec"]["invoker"]["name"] == configuration).collect()
}

fn phases(sessions: &[&Value], phase: &str) -> usize {
    sessions.iter().filter(|one| one["status"]["phase"] == phase).count()
}

/// Seconds in a duration such as `1.5s`; more than a minute counts as too long.
fn seconds(duration: &Value) -> Option<f64> {
    let text = duration.as_str()?;
    text.strip_suffix("ms")
        .map(|ms| ms.parse::<f64>().map(|ms| ms / 1000.0))
        .or(text.strip_suffix('s').map(str::parse))?
        .ok()
}

/// The condition that says what a session waits for.
fn waiting(session: &Value) -> Option<&Value> {
    session["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Waiting")
}

/// Nineteen sessions wait for the one that uses `shop`, and say so wherever a person looks.
fn sessions_tell_what_they_wait_for(world: &World, client: &[&str]) -> Result<()> {
    let told = eventually("each session that waits to say for what", PATIENCE, || {
        let all = world.list("backupsessions", client).ok()?;
        let told: Vec<Value> = of(&all, "locked").into_iter().filter(|one| waiting(one).is_some()).cloned().collect();
        let is_next = |one: &Value| waiting(one).is_some_and(|c| c["message"].to_string().contains("it is next"));
        (told.len() == 19 && told.iter().any(is_next)).then_some(told)
    })?;
    for session in &told {
        let condition = waiting(session).expect("it was filtered");
        let message = condition["message"].as_str().unwrap_or_default();
        assert_eq!(
            (session["status"]["phase"].as_str(), condition["reason"].as_str()),
            (Some("Pending"), Some("TargetBusy"))
        );
        assert!(message.starts_with("waits for AppBinding/default/shop, which "), "{message}");
    }
    let next = told.iter().find(|one| one.to_string().contains("it is next")).expect("one of them");
    let next = next["metadata"]["name"].as_str().unwrap_or_default();
    let mut args = vec!["describe", "session", next];
    args.extend(client);
    let described = world.lagan.ok(&args)?;
    let all = world.list("backupsessions", client)?;
    let running = of(&all, "locked").into_iter().find(|one| one["status"]["phase"] == "Running").expect("it holds");
    let holder =
        format!("which session `{}` uses; it is next", running["metadata"]["name"].as_str().unwrap_or_default());
    assert!(described.contains(&holder) && waiting(running).is_none(), "{described}");
    let mut args = vec!["get", "backupsessions"];
    args.extend(client);
    let table = world.lagan.ok(&args)?;
    assert!(table.matches("waits for AppBinding/default/shop").count() == 19, "{table}");
    // The command stops waiting, and its session goes on.
    let mut args = vec!["backup", "locked", "--wait", "--timeout", "8s"];
    args.extend(client);
    let told = world.lagan.run(&args)?;
    let errors = &told.stderr;
    assert!(errors.contains("waits for AppBinding/default/shop") && errors.contains("(TargetBusy)"), "{errors}");
    assert!(!errors.contains("waiting for a worker"), "{errors}");
    Ok(())
}

#[test]
fn sessions_that_wait_for_a_locked_database_delay_no_other_and_outlive_the_engine() -> Result<()> {
    let mut world = World::new()?;
    world.db.query(
        "CREATE DATABASE shop; CREATE TABLE shop.t (v INT); CREATE DATABASE free; CREATE TABLE free.t (v INT)",
    )?;
    let hold = world.lagan.path("hold");
    std::fs::write(&hold, "")?;
    let waits = format!(
        "case \"$*\" in *shop*) while [ -e {} ]; do sleep 0.05; done;; esac; exec $REAL \"$@\"",
        hold.display()
    );
    world.stub("mariadb-dump", &waits)?;
    world.lagan.manifest("free-db.yaml", &app_binding("free", &world.db))?;
    world.configure(
        "locked",
        "local",
        SHOP,
        "concurrencyPolicy: Allow\nretentionPolicy: {name: all, keepLast: 100}\nbackupHistoryLimit: 50",
    )?;
    world.configure("brief", "local", SHOP, "concurrencyPolicy: Allow\ntimeOut: 5s")?;
    world.configure("other", "local", "--databases free", "")?;
    let other = world.lagan.manifests_dir().join("other.yaml");
    std::fs::write(&other, std::fs::read_to_string(&other)?.replace("name: shop", "name: free"))?;
    // Two workers: the locked database occupies the only slot of one of them for sessions that people ask for.
    let nats = NatsServer::start()?;
    let url = nats.url();
    let (client, fast) = (["--nats-url", url.as_str()], ["--failover", "5"]);
    let mut engine = world.part("engine", "engine", &url, &fast)?;
    let _workers = [world.part("worker", "worker-1", &url, &fast)?, world.part("worker", "worker-2", &url, &fast)?];

    world.lagan.manifest("sessions.yaml", &sessions("locked", 20))?;
    eventually("one session that runs and nineteen that wait", PATIENCE, || {
        let all = world.list("backupsessions", &client).ok()?;
        let locked = of(&all, "locked");
        (phases(&locked, "Running") == 1 && phases(&locked, "Pending") == 19).then_some(())
    })?;
    sessions_tell_what_they_wait_for(&world, &client)?;
    world.lagan.manifest("brief-session.yaml", &sessions("brief", 1))?;
    let brief = world.ended("backupsessions", "brief-000", &client)?;
    assert_eq!(brief["status"]["code"], "E0507", "{brief}");
    let message = brief["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("AppBinding/default/shop"), "{message}");

    world.backup("other", &client)?.success()?;
    let all = world.list("backupsessions", &client)?;
    let waited = seconds(&of(&all, "other")[0]["status"]["waitingTime"]);
    assert!(waited.is_some_and(|seconds| seconds < 5.0), "{waited:?}");

    engine.kill9()?;
    let _engine = world.part("engine", "engine-2", &url, &fast)?;
    std::fs::remove_file(&hold)?;
    let all = eventually("every session to end", Duration::from_secs(180), || {
        let all = world.list("backupsessions", &client).ok()?;
        let locked = of(&all, "locked");
        let ended = phases(&locked, "Succeeded") + phases(&locked, "Failed");
        (ended == locked.len()).then_some(all)
    })?;
    assert!(all.iter().all(|one| waiting(one).is_none()), "{all:?}");
    let restic = world.restic()?;
    assert_eq!(restic.snapshots()?.len(), 22, "twenty, the one by hand and the other, each once");
    world.judge()
}
