//! Writes the progress of running sessions to `status.progress`. Sessions publish progress twice a second on PROGRESS;
//! here it is rounded, and written at most every ten seconds.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use lagan_bus::follow::follow;
use lagan_bus::{Followed, Start, Stored};
use lagan_schemas::event::{CloudEvent, Progress};
use lagan_schemas::subject::{ObjectKey, PROGRESS, stream_subjects};
use tokio::time::Instant;
use uuid::Uuid;

use super::Reporter;
use super::sink::PendingChange;
use crate::context::Context;
use crate::report::preserved_fields::is_running;
use crate::report::{document, text};

const INTERVAL: Duration = Duration::from_secs(10);

/// The newest progress of each session, until it is written.
pub(super) struct ProgressReports {
    stream: BoxStream<'static, Followed>,
    latest: HashMap<Uuid, String>,
    due: Instant,
}

impl ProgressReports {
    pub fn follow(context: &Context) -> Self {
        let filter = vec![stream_subjects(PROGRESS, context.cluster())];
        let stream = follow(&context.bus, PROGRESS, filter, Start::New).boxed();
        Self { stream, latest: HashMap::new(), due: Instant::now() }
    }

    /// Waits until texts are due, and returns the newest of each session. It can be dropped at any time without loss.
    pub async fn due(&mut self) -> HashMap<Uuid, String> {
        loop {
            tokio::select! {
                Some(item) = self.stream.next() => if let Followed::Message(stored) = item {
                    self.latest.extend(read(&stored));
                },
                () = tokio::time::sleep_until(self.due), if !self.latest.is_empty() => {
                    self.due = Instant::now() + INTERVAL;
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
            let Some(key) = self.key_of_running(uid) else { continue };
            let document = self.statuses.document_of(&key, uid).filter(|document| is_running(&document.status));
            let Some(mut document) = document else { continue };
            let Some(run) = document.status.run_mut() else { continue };
            if run.progress.replace(text.clone()) == Some(text) {
                continue;
            }
            // A text that could not be written is replaced by a newer one next time.
            if self.statuses.write(self.context, &key, &document).await {
                self.sink.send(&key, || PendingChange::status(&document));
            }
        }
    }

    /// The object that shows a session which a worker holds.
    fn key_of_running(&self, uid: Uuid) -> Option<ObjectKey> {
        let view = self.context.sessions.read();
        let session = view.active.get(&uid).filter(|session| session.phase.is_held())?;
        document::session_key(session)
    }
}
