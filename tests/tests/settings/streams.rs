//! Sizes and ages of streams: from options and the environment to the server.

use anyhow::{Context as _, Result};
use lagan_tests::nats::NatsServer;
use serde_json::Value;

use super::a_small_world;

fn limits(nats: &NatsServer, stream: &str) -> Result<(i64, i64)> {
    let page = nats.monitoring("/jsz?accounts=true&streams=true&config=true")?;
    let streams = page["account_details"][0]["stream_detail"].as_array().context("no streams")?;
    let found = streams.iter().find(|found| found["name"] == stream).with_context(|| format!("no stream {stream}"))?;
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    Ok((number(&found["config"]["max_bytes"]), number(&found["config"]["max_age"]) / 1_000_000_000))
}

#[test]
fn streams_get_the_sizes_and_ages_of_the_settings_and_workers_leave_them_alone() -> Result<()> {
    let world = a_small_world()?;
    let nats = NatsServer::start()?;
    let settings = ["--sessions-max-bytes", "64MiB", "--sessions-max-age", "2d", "--resources-max-bytes", "32MiB"];
    let engine = world.part("engine", "engine", &nats.url(), &[&settings[..], &["--dead-max-age", "60d"]].concat())?;
    let _worker = world.part("worker", "worker", &nats.url(), &[])?;
    assert_eq!(limits(&nats, "SESSIONS")?, (64 << 20, 2 * 86_400));
    assert_eq!(limits(&nats, "RESOURCES")?, (32 << 20, 0));
    assert_eq!(limits(&nats, "DEAD")?, (64 << 20, 60 * 86_400));
    assert_eq!(limits(&nats, "KV_LOCKS")?, (64 << 20, 0));
    assert_eq!(limits(&nats, "STATUS")?, (1 << 30, 0));
    drop(engine);
    // The defaults are larger in part; nothing becomes smaller.
    let _engine = world.part("engine", "engine", &nats.url(), &[])?;
    assert_eq!(limits(&nats, "SESSIONS")?, (1 << 30, 7 * 86_400));
    assert_eq!(limits(&nats, "DEAD")?, (64 << 20, 60 * 86_400));
    Ok(())
}
