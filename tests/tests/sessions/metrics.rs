//! Metrics on /metrics and in a real Pushgateway.

use anyhow::{Context as _, Result};
use lagan_tests::http;
use lagan_tests::ports::ReservedPort;
use lagan_tests::pushgateway::Pushgateway;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, restore_session};
use serde_json::Value;

use super::SHOP;

/// Status and reason of the condition `MetricsPushed` of a backup.
fn pushed(world: &World) -> Option<String> {
    condition(&newest(world)?)
}

/// The newest session, which the list has first.
fn newest(world: &World) -> Option<Value> {
    world.list("backupsessions", &[]).ok()?.into_iter().next()
}

fn condition(session: &Value) -> Option<String> {
    let conditions = session["status"]["conditions"].as_array()?.clone();
    let condition = conditions.into_iter().find(|condition| condition["type"] == "MetricsPushed")?;
    Some(format!("{} {}", condition["status"].as_str()?, condition["reason"].as_str()?))
}

fn a_small_world() -> Result<World> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    world.configure("nightly", "local", SHOP, "")?;
    Ok(world)
}

#[test]
fn metrics_are_pushed_under_stashs_names_and_go_with_their_configuration() -> Result<()> {
    let world = a_small_world()?;
    let gateway = Pushgateway::start()?;
    let port = ReservedPort::reserve()?;
    let listen = format!("127.0.0.1:{}", port.number());
    let mut up = world.up(&["--failover", "5", "--listen", &listen, "--pushgateway", &gateway.url()])?;
    for path in ["/healthz", "/readyz"] {
        eventually(path, PATIENCE, || (http::request("GET", port.number(), path).ok()?.status == 200).then_some(()))?;
    }
    world.good_backup("nightly")?;
    let text = eventually("the gateway to have the session", PATIENCE, || {
        gateway.metrics().ok().filter(|text| text.contains("stash_appscode_com_backupsession_success"))
    })?;
    for name in ["stash_appscode_com_backupsession_success", "stash_backup_session_success"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).context(name)?;
        assert!(line.ends_with(" 1"), "{line}");
        for label in [
            "job=\"backupconfiguration-default-nightly\"",
            "invoker_group=\"lagan.dev\"",
            "invoker_kind=\"BackupConfiguration\"",
            "invoker_name=\"nightly\"",
            "namespace=\"default\"",
            "driver=\"Restic\"",
            "repository=\"local\"",
        ] {
            assert!(line.contains(label), "{label}: {line}");
        }
    }
    assert!(text.contains("stash_appscode_com_backupsession_target_success{") && text.contains("kind=\"mariadb\""));
    eventually("the condition", PATIENCE, || (pushed(&world)? == "True SuccessfullyPushedMetrics").then_some(()))?;

    let page = http::request("GET", port.number(), "/metrics")?;
    assert!(page.head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{}", page.head);
    for start in [
        "lagan_build_info{version=",
        "lagan_backup_sessions_total{group=\"lagan.dev\",namespace=\"default\",configuration=\"nightly\",repository=\"local\",result=\"succeeded\",code=\"\"} 1",
        "lagan_backup_last_status{group=\"lagan.dev\",namespace=\"default\",configuration=\"nightly\"} 1",
        "lagan_repository_snapshots{group=\"lagan.dev\",namespace=\"default\",repository=\"local\"} 1",
        "lagan_worker_slots{lane=\"normal\"} 2",
        "lagan_worker_busy{lane=\"normal\"} 0",
    ] {
        assert!(page.body.lines().any(|line| line.starts_with(start)), "{start}:\n{}", page.body);
    }
    assert!(page.body.ends_with("# EOF\n"));
    eventually("the worker to be idle", PATIENCE, || {
        http::request("GET", port.number(), "/metrics").ok()?.body.contains("busy{lane=\"urgent\"} 0").then_some(())
    })?;

    world.lagan.remove_manifest("nightly.yaml")?;
    eventually("the group to go", PATIENCE, || {
        (!gateway.metrics().ok()?.contains("backupconfiguration-default-nightly")).then_some(())
    })?;
    eventually("the series to go", PATIENCE, || {
        (!http::request("GET", port.number(), "/metrics").ok()?.body.contains("configuration=\"nightly\""))
            .then_some(())
    })?;
    up.terminate(PATIENCE)?;
    assert!(http::request("GET", port.number(), "/healthz").is_err(), "nothing listens after the stop");
    Ok(())
}

#[test]
fn metrics_that_nobody_takes_fail_no_session_and_the_next_ones_are_taken() -> Result<()> {
    let world = a_small_world()?;
    let mut gateway = Pushgateway::start()?;
    gateway.kill9()?;
    let _up = world.up(&["--pushgateway", &gateway.url()])?;
    world.good_backup("nightly")?;
    eventually("the condition", PATIENCE, || (pushed(&world)? == "False FailedToPushMetrics").then_some(()))?;
    let first = newest(&world).context("a session")?;
    assert_eq!(first["status"]["phase"], "Succeeded", "{first}");
    gateway.restart()?;
    world.good_backup("nightly")?;
    eventually("the next session's condition", PATIENCE, || {
        let second = newest(&world)?;
        let another = second["metadata"]["uid"] != first["metadata"]["uid"];
        (another && condition(&second)? == "True SuccessfullyPushedMetrics").then_some(())
    })?;
    assert!(gateway.metrics()?.contains("stash_appscode_com_backupsession_success"));
    Ok(())
}

#[test]
fn a_dry_run_that_is_refused_before_its_plan_counts_as_no_restore() -> Result<()> {
    let world = a_small_world()?;
    let gateway = Pushgateway::start()?;
    let port = ReservedPort::reserve()?;
    let listen = format!("127.0.0.1:{}", port.number());
    let _up = world.up(&["--listen", &listen, "--pushgateway", &gateway.url()])?;
    for (name, dry_run) in [("tried", "dryRun: true"), ("real", "")] {
        let refused = format!("task: {{params: [{{name: argz, value: x}}]}}\n{dry_run}");
        world.lagan.manifest(&format!("{name}.yaml"), &restore_session(name, "local", "shop", &refused))?;
        let ended = world.ended("restoresessions", name, &[])?;
        assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
        assert_eq!(world.facts(&format!("restoresession/{name}"), &[])?.len(), 2, "requested and failed");
    }
    let page = eventually("the restore to be counted", PATIENCE, || {
        let page = http::request("GET", port.number(), "/metrics").ok()?.body;
        page.contains("lagan_restore_sessions_total").then_some(page)
    })?;
    let counted: Vec<&str> = page.lines().filter(|line| line.starts_with("lagan_restore_sessions_total")).collect();
    assert!(matches!(counted[..], [line] if line.ends_with(" 1")), "{counted:?}");
    eventually("the gauges of the restore", PATIENCE, || {
        gateway.metrics().ok()?.contains("restoresession-default-real").then_some(())
    })?;
    assert!(!gateway.metrics()?.contains("restoresession-default-tried"));
    Ok(())
}

#[test]
fn metrics_need_an_address_that_is_free() -> Result<()> {
    let world = a_small_world()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let listen = taken.local_addr()?.to_string();
    let mut up = world.lagan.up(&["--listen", &listen])?;
    up.wait_for_log(&format!("--listen {listen} can't be bound: Address already in use"), PATIENCE)?;
    Ok(())
}
