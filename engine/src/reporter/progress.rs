//! Writes the progress of running sessions to `status.progress`. Sessions publish progress twice a second on PROGRESS;
//! here it is rounded, and written at most every ten seconds. A session that no worker can read gets a condition.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use lagan_bus::follow::follow;
use lagan_bus::{Followed, Start, Stored};
use lagan_schemas::event::{Activity, Progress};
use lagan_schemas::resource::Status;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::session::Phase;
use lagan_schemas::subject::{ObjectKey, PROGRESS, progress_pool, stream_subjects};
use tokio::time::Instant;
use uuid::Uuid;

use super::Reporter;
use super::sink::PendingChange;
use crate::context::Context;
use crate::report::preserved_fields::{WAITS_FOR_WORKER_UPGRADE, is_running, set_condition};
use crate::report::session::seconds;
use crate::report::{document, text};

const INTERVAL: Duration = Duration::from_secs(10);

/// The content of the newest report of a session.
pub(super) enum Told {
    Progress(String),
    /// A worker of this pool can't read the plan.
    Waiting {
        pool: String,
    },
}

/// The newest progress of each session, until it is written.
pub(super) struct ProgressReports {
    stream: BoxStream<'static, Followed>,
    latest: HashMap<Uuid, Told>,
    due: Instant,
}

impl ProgressReports {
    pub fn follow(context: &Context) -> Self {
        let filter = vec![stream_subjects(PROGRESS, context.cluster())];
        let stream = follow(&context.bus, PROGRESS, filter, Start::New).boxed();
        Self { stream, latest: HashMap::new(), due: Instant::now() }
    }

    /// Waits until texts are due, and returns the newest of each session. It can be dropped at any time without loss.
    pub async fn due(&mut self) -> HashMap<Uuid, Told> {
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

fn read(stored: &Stored) -> Option<(Uuid, Told)> {
    let progress = Progress::read(&stored.payload)?;
    if progress.activity == Activity::Waiting {
        let pool = progress_pool(&stored.subject)?.to_owned();
        return Some((progress.session, Told::Waiting { pool }));
    }
    Some((progress.session, Told::Progress(text::progress(&progress)?)))
}

impl Reporter<'_> {
    pub(super) async fn progress(&self, told: HashMap<Uuid, Told>) {
        for (uid, told) in told {
            let Some(key) = self.key_of(uid, &told) else { continue };
            let _lock = self.statuses.lock(&key).await;
            let Some(mut document) = self.statuses.document_of(&key, uid) else { continue };
            // A text that could not be written is replaced by a newer one next time.
            if change(&mut document.status, told) && self.statuses.write(self.context, &key, &document).await {
                self.sink.send(&key, || PendingChange::progress(&document));
            }
        }
    }

    /// The object that shows a session of which this can be told: one that a worker holds, or one that waits for a worker.
    fn key_of(&self, uid: Uuid, told: &Told) -> Option<ObjectKey> {
        let view = self.context.sessions.read();
        let session = view.active.get(&uid).filter(|session| match told {
            Told::Progress(_) => session.phase.is_held(),
            Told::Waiting { .. } => session.phase == Phase::Planned,
        })?;
        document::session_key(session)
    }
}

/// Changes a status by what was told; returns whether it differs.
fn change(status: &mut Status, told: Told) -> bool {
    match told {
        Told::Progress(text) if is_running(status) => {
            status.run_mut().is_some_and(|run| run.progress.replace(text.clone()) != Some(text))
        }
        Told::Progress(_) => false,
        Told::Waiting { pool } => {
            let message = format!(
                "the plan is of a later version than the workers of pool `{pool}` can read; upgrade them, or the session fails an hour after it was planned"
            );
            let condition = Condition {
                kind: WAITS_FOR_WORKER_UPGRADE.to_owned(),
                status: ConditionStatus::True,
                reason: "PlanNotKnown".to_owned(),
                message,
                observed_generation: 0,
                last_transition_time: seconds(Timestamp::now()),
            };
            let is_new = status.conditions().iter().all(|one| one.kind != condition.kind);
            if is_new {
                set_condition(status, &condition);
            }
            is_new
        }
    }
}
