//! A worker that does nothing: it takes the sessions of the normal lane and appends the facts of a backup that succeeds.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const LANE: &str = "work-default-normal";
const FACTS: [&str; 3] = ["started", "committing", "succeeded"];
/// Uid of the sessions in the fixtures.
const UID: &str = "00000000-0000-0000-0000-000000000007";
/// Sessions at the same time.
const SLOTS: usize = 64;

pub(super) struct BenchWorker {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl BenchWorker {
    /// Takes sessions until it is stopped. The engine must have made the lane.
    pub async fn start(client: Client) -> Result<Self> {
        let context = jetstream::new(client);
        let lane: Consumer<pull::Config> = context
            .get_stream("SESSIONS")
            .await?
            .get_consumer(LANE)
            .await
            .map_err(|error| anyhow!(error))
            .context("the lane of the workers")?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/v1/facts");
        let template = |fact: &'static str| {
            let path = folder.join(format!("dev.lagan.backup.{fact}.v1.json"));
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok((fact, serde_json::from_str(&text)?))
        };
        let templates: Vec<(&'static str, Value)> = FACTS.into_iter().map(template).collect::<Result<_>>()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(work(context, lane, templates, stopped));
        Ok(Self { stop, task })
    }

    /// Fails if an append was refused.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn work(
    context: jetstream::Context,
    lane: Consumer<pull::Config>,
    templates: Vec<(&'static str, Value)>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let messages = lane.messages().await?;
    let (context, templates) = (&context, &templates[..]);
    let work = messages.map(|message| async move { finish(context, templates, message?).await });
    let mut work = Box::pin(work.buffer_unordered(SLOTS));
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            done = work.next() => done.context("the end of the lane")??,
        }
    }
}

/// Appends all facts of one session, each behind the one before it.
async fn finish(context: &jetstream::Context, templates: &[(&'static str, Value)], message: Message) -> Result<()> {
    let planned = message.subject.to_string();
    let prefix = planned.split('.').take(8).collect::<Vec<_>>().join(".");
    let uid = prefix.rsplit('.').next().unwrap_or_default();
    let mut last = message.info().map_err(|error| anyhow!(error))?.stream_sequence;
    for (fact, template) in templates {
        let id = Uuid::new_v4().simple().to_string();
        let mut event = template.clone();
        event["id"] = id.clone().into();
        let payload = event.to_string().replace(UID, uid);
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json");
        headers.insert("Nats-Msg-Id", id.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", format!("{prefix}.>").as_str());
        let stored = context.publish_with_headers(format!("{prefix}.default.{fact}"), headers, payload.into()).await?;
        last = stored.await.with_context(|| format!("appending {fact} to {prefix}"))?.sequence;
    }
    message.ack().await.map_err(|error| anyhow!(error))
}
