//! How far running sessions are, now and then, for `status.progress`. What sessions tell twice a second stays on
//! PROGRESS; here it is rounded, and written at most every ten seconds.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use lagan_bus::follow::follow;
use lagan_bus::{Followed, Start, Stored};
use lagan_schemas::event::{CloudEvent, Progress};
use lagan_schemas::subject::{ObjectKey, PROGRESS, stream_subjects};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::apply::Job;
use super::documents::key_of;
use super::{Reporter, carry};
use crate::context::Context;
use crate::report::text;

const EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progresses {
    stream: BoxStream<'static, Followed>,
    latest: HashMap<Uuid, String>,
    due: Instant,
}

impl Progresses {
    pub fn follow(context: &Context) -> Self {
        let filter = vec![stream_subjects(PROGRESS, context.cluster())];
        let stream = follow(&context.bus, PROGRESS, filter, Start::New).boxed();
        Self { stream, latest: HashMap::new(), due: Instant::now() }
    }

    /// The newest texts, when it is time to show them. Nothing is lost when it is dropped half way.
    pub async fn due(&mut self) -> HashMap<Uuid, String> {
        loop {
            tokio::select! {
                Some(item) = self.stream.next() => if let Followed::Message(stored) = item {
                    self.latest.extend(read(&stored));
                },
                () = tokio::time::sleep_until(self.due), if !self.latest.is_empty() => {
                    self.due = Instant::now() + EVERY;
                    return std::mem::take(&mut self.latest);
                }
                else => std::future::pending().await,
            }
        }
    }
}

fn read(stored: &Stored) -> Option<(Uuid, String)> {
    let event = CloudEvent::from_bytes(&stored.payload).ok().filter(|event| event.kind == Progress::TYPE)?;
    let progress: Progress = serde_json::from_value(event.data).ok()?;
    Some((progress.session, text::progress(&progress)?))
}

impl Reporter<'_> {
    pub(super) async fn progress(&mut self, texts: HashMap<Uuid, String>) {
        for (uid, text) in texts {
            let Some(key) = self.running(uid) else { continue };
            let shown = self.statuses.value(&key).filter(|document| {
                carry::is_running(document) && document["metadata"]["uid"].as_str() == Some(&uid.to_string())
            });
            let Some(mut document) = shown else { continue };
            if document["status"]["progress"].as_str() == Some(&text) {
                continue;
            }
            document["status"]["progress"] = json!(text);
            // One that was not written is written next time, with a newer text.
            if self.statuses.write(self.context, &key, document.clone()).await {
                self.hand.give(&key, || Job::status(document));
            }
        }
    }

    /// The object that shows a session which a worker has.
    fn running(&self, uid: Uuid) -> Option<ObjectKey> {
        let view = self.context.sessions.read();
        let session = view.active.get(&uid).filter(|session| session.phase.is_held())?;
        key_of(session)
    }
}
