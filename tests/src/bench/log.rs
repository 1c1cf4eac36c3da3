//! Reads and writes the streams as a bare client does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use futures::StreamExt as _;

use super::cluster::Nats;
use super::rig::{PATIENCE, float};
use crate::wait::eventually_async;

/// Publishes that a bare client has in flight.
const IN_FLIGHT: usize = 256;

/// A stored fact.
pub(super) struct BareFact {
    pub subject: String,
    /// Time of storage in seconds since 1970.
    pub time: f64,
}

pub(super) async fn context(nats: &Nats) -> Result<Context> {
    Ok(jetstream::new(nats.connect().await?))
}

/// Reads all messages of a stream that match a filter. Returns the time that it took, too.
pub(super) async fn read(nats: &Nats, stream: &str, filter: &str) -> Result<(Vec<BareFact>, Duration)> {
    let stream = context(nats).await?.get_stream(stream).await?;
    let config = consumer::pull::Config {
        ack_policy: consumer::AckPolicy::None,
        memory_storage: true,
        filter_subject: filter.to_owned(),
        ..consumer::pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let expected = consumer.cached_info().num_pending;
    let began = Instant::now();
    let mut found = Vec::new();
    let mut messages = consumer.stream().max_messages_per_batch(500).messages().await?;
    while float(u64::try_from(found.len())?) < float(expected) {
        let message = messages.next().await.context("the end of the stream")??;
        let nanos = message.info().map_err(|error| anyhow::anyhow!(error))?.published.unix_timestamp_nanos();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds suffice")]
        let time = nanos as f64 / 1e9;
        found.push(BareFact { subject: message.subject.to_string(), time });
    }
    Ok((found, began.elapsed()))
}

/// Counts the stored messages of a stream that match a filter.
pub(super) async fn count(context: &Context, stream: &str, filter: &str) -> Result<u64> {
    let payload = serde_json::to_vec(&serde_json::json!({ "subjects_filter": filter }))?;
    let answer: serde_json::Value = context
        .request(format!("STREAM.INFO.{stream}"), &serde_json::from_slice::<serde_json::Value>(&payload)?)
        .await?;
    let subjects = answer["state"]["subjects"].as_object();
    Ok(subjects.map_or(0, |subjects| subjects.values().filter_map(serde_json::Value::as_u64).sum()))
}

/// Waits until a stream has this many messages of a filter.
pub(super) async fn wait_for(nats: &Nats, (stream, filter): (&str, &str), wanted: u64) -> Result<()> {
    let context = context(nats).await?;
    let context = &context;
    let enough = || async move { count(context, stream, filter).await.ok().filter(|found| *found >= wanted).map(drop) };
    eventually_async(&format!("{wanted} messages of {filter}"), PATIENCE, enough).await
}

/// Bytes of a stream.
pub(super) async fn bytes(nats: &Nats, stream: &str) -> Result<u64> {
    let mut stream = context(nats).await?.get_stream(stream).await?;
    Ok(stream.info().await?.state.bytes)
}

/// Publishes messages of a size to a stream of its own, and waits for every acknowledgement.
pub(super) async fn bare_publishes(nats: &Nats, messages: u64, size: usize) -> Result<Duration> {
    let context = context(nats).await?;
    let config = Config {
        name: "BARE".to_owned(),
        subjects: vec!["bare.>".to_owned()],
        storage: StorageType::File,
        num_replicas: nats.replicas(),
        ..Config::default()
    };
    context.create_stream(config).await?;
    let payload = bytes_of(size);
    // A replicated stream has no leader at first.
    let (first, ready) = (&context, payload.clone());
    let stored = || async { first.publish("bare.first", ready.clone().into()).await.ok()?.await.ok() };
    eventually_async("the bare stream to store a message", PATIENCE, stored).await?;
    let began = Instant::now();
    let publish = |number: u64| {
        let (context, payload) = (context.clone(), payload.clone());
        async move { anyhow::Ok(context.publish(format!("bare.{number}"), payload.into()).await?.await?) }
    };
    let stored = futures::stream::iter((0..messages).map(publish)).buffer_unordered(IN_FLIGHT);
    let stored: Vec<_> = stored.collect().await;
    let took = began.elapsed();
    for stored in stored {
        stored.context("storing a bare message")?;
    }
    context.delete_stream("BARE").await?;
    Ok(took)
}

fn bytes_of(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}
