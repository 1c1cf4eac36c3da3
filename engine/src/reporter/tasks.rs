//! The concurrent tasks of a reporter: sessions, objects, progress and repairs, each without waiting for the others.

use std::collections::HashMap;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use lagan_schemas::position::Position;
use tokio::time::Instant;
use uuid::Uuid;

use super::Reporter;
use super::position::{Saved, StoredPosition};
use super::progress::Told;
use super::queue::{SessionQueue, Unreported};
use crate::error::EngineError;
use crate::metrics::push::Pushed;
use crate::plan::answers::Answers;
use crate::wait_board::PostedNotice;

/// Sessions that are reported at the same time.
const SESSIONS: usize = 32;
/// Batches of changed objects that are looked at at the same time.
const BATCHES: usize = 4;

/// The end of a task.
enum Done {
    Session(Uuid, Unreported, Result<bool, EngineError>),
    Changed,
    /// All objects were compared with their statuses.
    Repaired,
    OfAll(Answers),
    Progress,
    Waits,
    Position(StoredPosition, Saved),
    Other,
}

/// Look at all objects once after a takeover, in the background.
enum Look {
    /// The objects are repaired first: what they show may be all that is left of a status.
    Repairing,
    /// Nothing is being looked at; the answers are shared, so that the source is asked once about a Secret that many of
    /// them name.
    Between(Answers),
    Running,
    Done,
}

/// Whether a reporter goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reporting {
    GoesOn,
    /// STATUS must be read again.
    StartsAnew,
}

pub(super) struct ReporterTasks<'a> {
    reporter: &'a Reporter<'a>,
    pub sessions: SessionQueue,
    running: FuturesUnordered<BoxFuture<'a, Done>>,
    sessions_running: usize,
    batches_running: usize,
    look: Look,
    is_telling_progress: bool,
    is_telling_waits: bool,
    /// `None` while it is being written.
    position: Option<StoredPosition>,
}

impl<'a> ReporterTasks<'a> {
    pub fn new(reporter: &'a Reporter<'a>, position: StoredPosition) -> Self {
        Self {
            reporter,
            sessions: SessionQueue::default(),
            running: FuturesUnordered::new(),
            sessions_running: 0,
            batches_running: 0,
            look: Look::Repairing,
            is_telling_progress: false,
            is_telling_waits: false,
            position: Some(position),
        }
    }

    /// Compares all objects with their statuses, and looks at them after that.
    pub fn adopt_and_repair(&mut self) {
        self.running.push(self.reporter.adopt_and_repair().map(|()| Done::Repaired).boxed());
    }

    /// Looks at all objects once, in the background.
    pub fn look_at_all(&mut self) {
        self.reporter.backlog.add_all(self.reporter.every_key());
        self.look = Look::Between(Answers::default());
    }

    /// Starts what can be done now.
    pub fn start(&mut self) {
        let reporter = self.reporter;
        let now = Instant::now();
        while self.sessions_running < SESSIONS
            && let Some((uid, unreported)) = self.sessions.next(now)
        {
            self.sessions_running += 1;
            self.running.push(
                async move {
                    let reported = reporter.unreported(&unreported).await;
                    Done::Session(uid, unreported, reported)
                }
                .boxed(),
            );
        }
        while self.batches_running < BATCHES {
            let keys = reporter.backlog.next_changed();
            if keys.is_empty() {
                break;
            }
            self.batches_running += 1;
            self.running.push(
                async move {
                    reporter.objects(keys, &mut Answers::default()).await;
                    Done::Changed
                }
                .boxed(),
            );
        }
        if let Look::Between(answers) = &mut self.look {
            let mut answers = std::mem::take(answers);
            let keys = reporter.backlog.next_of_all();
            if keys.is_empty() {
                self.look = Look::Done;
                return;
            }
            self.look = Look::Running;
            self.running.push(
                async move {
                    reporter.objects(keys, &mut answers).await;
                    Done::OfAll(answers)
                }
                .boxed(),
            );
        }
    }

    /// Waits until a task ends.
    pub async fn ended(&mut self) -> Result<Reporting, EngineError> {
        let Some(done) = self.running.next().await else { return std::future::pending().await };
        match done {
            Done::Session(uid, unreported, reported) => {
                self.sessions_running -= 1;
                if reported? {
                    self.sessions.done(uid);
                } else {
                    self.sessions.failed(uid, unreported, Instant::now());
                }
            }
            Done::Changed => self.batches_running -= 1,
            Done::Repaired => self.look_at_all(),
            Done::OfAll(answers) => self.look = Look::Between(answers),
            Done::Progress => self.is_telling_progress = false,
            Done::Waits => self.is_telling_waits = false,
            Done::Position(position, saved) => {
                self.position = Some(position);
                if saved == Saved::Replaced {
                    return Ok(Reporting::StartsAnew);
                }
            }
            Done::Other => {}
        }
        Ok(Reporting::GoesOn)
    }

    /// Whether progress can be taken now. Newer progress replaces what waits meanwhile.
    pub fn takes_progress(&self) -> bool {
        !self.is_telling_progress
    }

    pub fn progress(&mut self, told: HashMap<Uuid, Told>) {
        self.is_telling_progress = true;
        self.running.push(self.reporter.progress(told).map(|()| Done::Progress).boxed());
    }

    /// Whether notices about waiting sessions can be taken now.
    pub fn takes_waits(&self) -> bool {
        !self.is_telling_waits
    }

    pub fn waits(&mut self, notices: Vec<PostedNotice>) {
        self.is_telling_waits = true;
        self.running.push(self.reporter.waits(notices).map(|()| Done::Waits).boxed());
    }

    pub fn pushed(&mut self, pushed: Pushed) {
        let reporter = self.reporter;
        self.running.push(async move { reporter.metrics_pushed(&pushed).await }.map(|()| Done::Other).boxed());
    }

    pub fn forecast(&mut self) {
        self.running.push(self.reporter.forecast().map(|()| Done::Other).boxed());
    }

    pub fn repair(&mut self) {
        self.running.push(self.reporter.repair().map(|()| Done::Other).boxed());
    }

    /// Stores the position up to which every end has been reported. `told` is the sequence up to which this reporter was
    /// told of ends, and `untaken` is the lowest one of those that it has not taken yet. No missed end may be left.
    pub fn save_position(&mut self, told: u64, untaken: Option<u64>) {
        let Some(store) = self.reporter.context.sessions.read().store else { return };
        let Some(mut position) = self.position.take() else { return };
        let context = self.reporter.context;
        let oldest = self.sessions.oldest_end().into_iter().chain(untaken).min();
        let reported = Position { store, sequence: oldest.map_or(told, |oldest| told.min(oldest - 1)) };
        self.running.push(
            async move {
                let saved = position.save(context, reported).await;
                Done::Position(position, saved)
            }
            .boxed(),
        );
    }
}
