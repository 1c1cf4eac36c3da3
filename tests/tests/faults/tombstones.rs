//! Tombstones of objects: they expire, also those of earlier versions, and an object that returns after that is published.

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use lagan_tests::nats::NatsServer;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, configuration};
use serde_json::Value;

use super::FAST;

const SUBJECT: &str = "lagan.resource.local.lagan_dev.BackupConfiguration.default";

/// The last message about a configuration: whether it is a tombstone, and its life. `None` if there is no message.
async fn last(nats: &NatsServer, name: &str) -> Result<Option<(bool, Option<String>)>> {
    let stream = jetstream::new(nats.connect().await?).get_stream("RESOURCES").await?;
    let found = match stream.get_last_raw_message_by_subject(&format!("{SUBJECT}.{name}")).await {
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
        found => found?,
    };
    let event: Value = serde_json::from_slice(&found.payload)?;
    Ok(Some((event["data"]["object"].is_null(), found.headers.get("Nats-TTL").map(ToString::to_string))))
}

/// Publishes a tombstone as an earlier version did: without an end of its life.
async fn publish_lasting(nats: &NatsServer, name: &str) -> Result<()> {
    let event = serde_json::json!({
        "specversion": "1.0", "id": "old", "source": "/lagan/local/watcher", "type": "dev.lagan.resource.deleted.v1",
        "time": "2026-01-01T00:00:00Z", "cluster": "local", "datacontenttype": "application/json",
        "data": { "object": null, "uid": uuid::Uuid::nil() },
    });
    let context = jetstream::new(nats.connect().await?);
    context.publish(format!("{SUBJECT}.{name}"), event.to_string().into()).await?.await?;
    Ok(())
}

#[test]
fn tombstones_expire_and_an_object_that_returns_after_that_is_published() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (world, nats) = (World::new()?, NatsServer::start()?);
    let shown = |name: &str| runtime.block_on(last(&nats, name));
    let until = |what: &str, name: &str, wanted: (bool, Option<&str>)| {
        let wanted = (wanted.0, wanted.1.map(str::to_owned));
        eventually(what, PATIENCE, || (shown(name).ok()?? == wanted).then_some(()))
    };
    let text = configuration("shop", "local", "--databases shop", "");
    world.lagan.manifest("shop.yaml", &text)?;
    let engine = world.part("engine", "engine", &nats.url(), &FAST)?;
    until("the object to be published", "shop", (false, None))?;
    world.lagan.remove_manifest("shop.yaml")?;
    until("its tombstone", "shop", (true, Some("24h")))?;
    drop(engine);

    runtime.block_on(publish_lasting(&nats, "old"))?;
    assert_eq!(shown("old")?.context("a tombstone")?, (true, None));
    let _engine = world.part("engine", "engine", &nats.url(), &FAST)?;
    until("the tombstone of an earlier version to be written again", "old", (true, Some("24h")))?;

    // As after 24 hours, while the engine runs.
    let stream = runtime.block_on(async {
        let context = jetstream::new(nats.connect().await?);
        anyhow::Ok(context.get_stream("RESOURCES").await?)
    })?;
    runtime.block_on(async { stream.purge().filter(format!("{SUBJECT}.shop")).await })?;
    assert_eq!(shown("shop")?, None);
    world.lagan.manifest("shop.yaml", &text)?;
    until("the object to be published again", "shop", (false, None))?;
    // And while its tombstone is there.
    world.lagan.remove_manifest("shop.yaml")?;
    until("its tombstone", "shop", (true, Some("24h")))?;
    world.lagan.manifest("shop.yaml", &text)?;
    until("the object to be published on its tombstone", "shop", (false, None))
}

#[test]
fn an_object_whose_message_an_administrator_deletes_is_published_again() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (world, nats) = (World::new()?, NatsServer::start()?);
    let shown = || runtime.block_on(last(&nats, "shop")).ok()?;
    let _engine = world.part("engine", "engine", &nats.url(), &FAST)?;
    world.lagan.manifest("shop.yaml", &configuration("shop", "local", "--databases shop", ""))?;
    eventually("the object to be published", PATIENCE, shown)?;
    runtime.block_on(async {
        let stream = jetstream::new(nats.connect().await?).get_stream("RESOURCES").await?;
        let newest = stream.get_last_raw_message_by_subject(&format!("{SUBJECT}.shop")).await?;
        stream.delete_message(newest.sequence).await?;
        anyhow::Ok(())
    })?;
    eventually("the object to be published again", PATIENCE, shown)?;
    Ok(())
}
