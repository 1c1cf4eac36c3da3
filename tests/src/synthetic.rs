//! Synthetic facts: the log of whole sessions, in the form of the fixtures, which are facts as they are on the wire. It
//! writes to the stream directly, as nothing but a benchmark may.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, HeaderMap};
use serde_json::Value;
use uuid::Uuid;

/// The facts of a scheduled backup that succeeds at its first attempt.
const FACTS: [(&str, &str); 5] = [
    ("requested", "_.requested"),
    ("planned", "default.planned.normal"),
    ("started", "default.started"),
    ("committing", "default.committing"),
    ("succeeded", "default.succeeded"),
];
/// The facts of one whose first attempt failed, and that waits for the next one.
const RETRYING: [(&str, &str); 4] = [
    ("requested", "_.requested"),
    ("planned", "default.planned.normal"),
    ("started", "default.started"),
    ("retrying", "default.retrying"),
];
/// Time of a next attempt that does not come.
const NOT_BEFORE: &str = "2099-01-01T00:00:00Z";
/// Facts that are sent before the server is asked how many it has stored.
const WINDOW: usize = 5_000;
const STORED_WITHIN: Duration = Duration::from_secs(120);

/// Uid, invoker and slot of the sessions in the fixtures.
const UID: &str = "00000000-0000-0000-0000-000000000007";
const SLOT: &str = "2026-11-23T00:45:02.35Z";

/// One fact of the fixtures, with what differs from session to session.
struct Template {
    tail: &'static str,
    event: Value,
}

pub struct Generator {
    client: Client,
    templates: Vec<Template>,
    configurations: u64,
}

impl Generator {
    /// Makes sessions of this many configurations `c-0`, `c-1` and so on of namespace `demo`, one after the other.
    pub async fn connect(url: &str, configurations: u64) -> Result<Self> {
        Self::of(url, configurations, &FACTS).await
    }

    /// Makes sessions that wait for their next attempt, which does not come.
    pub async fn retrying(url: &str, configurations: u64) -> Result<Self> {
        Self::of(url, configurations, &RETRYING).await
    }

    async fn of(url: &str, configurations: u64, facts: &[(&'static str, &'static str)]) -> Result<Self> {
        let client = async_nats::connect(url).await.context("connecting to NATS")?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/v1/facts");
        let template = |&(kind, tail): &(&str, &'static str)| {
            let path = folder.join(format!("dev.lagan.backup.{kind}.v1.json"));
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok(Template { tail, event: serde_json::from_str(&text)? })
        };
        let templates = facts.iter().map(template).collect::<Result<_>>()?;
        Ok(Self { client, templates, configurations })
    }

    /// Appends the facts of sessions with these numbers, and returns when the server has stored them.
    pub async fn append(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        let mut sent = 0;
        let before = self.stored().await?;
        // The generator is the only writer meanwhile, so the sequence of each fact is known before it is stored.
        let mut sequence = self.last_sequence().await?;
        for number in numbers {
            let mut last = 0;
            for fact in &self.templates {
                let (subject, headers, payload) = fact.of(number, self.configurations, last);
                self.client.publish_with_headers(subject, headers, payload.into()).await?;
                sent += 1;
                sequence += 1;
                last = sequence;
                if sent % WINDOW == 0 {
                    self.wait_for(before + sent as u64).await?;
                }
            }
        }
        self.wait_for(before + sent as u64).await
    }

    async fn wait_for(&self, count: u64) -> Result<()> {
        self.client.flush().await?;
        let stored = async {
            while self.stored().await? < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STORED_WITHIN, stored).await.context("the server stores no more facts; is it full?")?
    }

    async fn stored(&self) -> Result<u64> {
        self.state("messages").await
    }

    async fn last_sequence(&self) -> Result<u64> {
        self.state("last_seq").await
    }

    async fn state(&self, field: &str) -> Result<u64> {
        let answer = self.api("$JS.API.STREAM.INFO.SESSIONS", &Value::Null).await?;
        answer["state"][field].as_u64().with_context(|| format!("`{field}` of the log"))
    }

    /// Gives the log room for as many facts as there will be.
    pub async fn make_room(&self, bytes: u64) -> Result<()> {
        let mut config = self.api("$JS.API.STREAM.INFO.SESSIONS", &Value::Null).await?["config"].take();
        config["max_bytes"] = bytes.into();
        self.api("$JS.API.STREAM.UPDATE.SESSIONS", &config).await.map(drop)
    }

    async fn api(&self, subject: &'static str, request: &Value) -> Result<Value> {
        let payload = if request.is_null() { Vec::new() } else { serde_json::to_vec(request)? };
        let answer: Value = serde_json::from_slice(&self.client.request(subject, payload.into()).await?.payload)?;
        ensure!(answer.get("error").is_none(), "{subject}: {}", answer["error"]);
        Ok(answer)
    }
}

impl Template {
    /// Makes the fact of a session whose last fact has the sequence `last`; 0 if it has none.
    fn of(&self, number: u64, configurations: u64, last: u64) -> (String, HeaderMap, String) {
        let configuration = format!("c-{}", number % configurations);
        let uid = Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string();
        let second = number / configurations;
        let slot = format!(
            "2026-11-{:02}T{:02}:{:02}:{:02}Z",
            1 + second / 86_400 % 28,
            second / 3600 % 24,
            second / 60 % 60,
            second % 60
        );
        let name = format!("{configuration}-{}", 1_795_000_000 + second);
        let mut event = self.event.clone();
        let id = Uuid::new_v4().simple().to_string();
        event["id"] = id.clone().into();
        event["subject"] = format!("demo/{configuration}").into();
        let data = &mut event["data"];
        if let Some(invoker) = data.get_mut("invoker") {
            invoker["name"] = configuration.clone().into();
            invoker["namespace"] = "demo".into();
        }
        if let Some(after) = data.get_mut("after") {
            *after = NOT_BEFORE.into();
        }
        for field in ["name", "sessionName"] {
            if let Some(field) = data.get_mut(field) {
                *field = name.clone().into();
            }
        }
        let payload = event.to_string().replace(UID, &uid).replace(SLOT, &slot);
        let prefix = format!("lagan.session.local.demo.backup.lagan_dev.{configuration}.{uid}");
        let subject = format!("{prefix}.{}", self.tail);
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json");
        headers.insert("Nats-Msg-Id", id.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", format!("{prefix}.>").as_str());
        (subject, headers, payload)
    }
}
