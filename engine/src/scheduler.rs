//! The scheduler: appends `requested` for due slots and for session objects, once each. Any number of schedulers run side
//! by side; the first append expects sequence 0, so one of them wins. It must not plan.

mod crew;
mod lost;
mod mark;
pub(crate) mod objects;
mod request;
pub(crate) mod slots;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::resource::{Kind, ObjectRef};
use lagan_schemas::subject::{ObjectKey, SessionKind};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_cron_scheduler::{Job, JobScheduler};
use uuid::Uuid;

use self::crew::Crew;
use self::objects::{ObjectAnswer, SessionAsking};
use self::slots::{SlotBook, SlotLook, SlotOutcome, TakenSlot, request_slot};
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;
use crate::outside::Outside as _;

/// Limit of slots whose sessions are being requested at the same time. The server stores them one after the other, but
/// syncs its disk for many at once.
const SLOTS: usize = 256;
/// Limit of session objects that are being decided at the same time. Each may ask the API server.
const OBJECTS: usize = 64;

/// Time for which due slots wait until lost sessions, which are older, were requested again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);

/// `changes` are the keys of changed objects; restores that wait for a person (P5) are told to `unconfirmed`. `intent` becomes
/// true when every object has been published.
pub(crate) async fn run(
    context: Context,
    changes: mpsc::UnboundedReceiver<ObjectKey>,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
    intent: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let (recovered, lost) = watch::channel(false);
    let recover = async {
        lost::run(context.clone(), intent, recovered).await;
        Ok(())
    };
    tokio::try_join!(schedule(context.clone(), changes, unconfirmed, lost), recover).map(drop)
}

async fn schedule(
    context: Context,
    mut changes: mpsc::UnboundedReceiver<ObjectKey>,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
    recovered: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    // A tick only wakes the loop: a lost or doubled tick changes nothing.
    let (tick, mut ticks) = mpsc::channel(1);
    let mut alarm = JobScheduler::new().await?;
    alarm
        .add(Job::new_repeated(Duration::from_secs(1), move |_, _| {
            let _ = tick.try_send(());
        })?)
        .await?;
    alarm.start().await?;
    recall_marks(&context).await;
    let mut scheduler = Scheduler::new(context.clone(), unconfirmed);
    let began = Instant::now();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            changed = changes.recv() => {
                let Some(first) = changed else { break };
                let mut keys = BTreeSet::from([first]);
                while let Ok(next) = changes.try_recv() {
                    keys.insert(next);
                }
                scheduler.book.arm(&context, &keys, context.clock.now())?;
                scheduler.forget_deleted(&keys);
                scheduler.unanswered.extend(keys.into_iter().filter(|key| may_ask(key.kind)));
            }
            _ = ticks.recv() => {
                let mut later = std::mem::take(&mut scheduler.later);
                scheduler.unanswered.append(&mut later);
            }
            slots = scheduler.slots.results() => scheduler.book.settle(&context, slots?)?,
            answers = scheduler.answers.results() => scheduler.take(answers?),
        }
        let now = context.clock.now();
        scheduler.book.notice_time(&context, now)?;
        if *recovered.borrow() || began.elapsed() >= RECOVERED_WITHIN {
            scheduler.look(now).await?;
        }
        scheduler.ask(now).await;
    }
    alarm.shutdown().await?;
    Ok(())
}

/// Reads which slots were decided. Until it is known, no slot may be decided.
async fn recall_marks(context: &Context) {
    while let Err(error) = context.source().recall_marks().await {
        tracing::warn!(error = chain(&error), "schedules wait: the source does not say which slots were decided");
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

struct Scheduler {
    context: Context,
    book: SlotBook,
    slots: Crew<(TakenSlot, SlotOutcome)>,
    /// Session objects that were decided; they never change.
    seen: HashMap<ObjectKey, Uuid>,
    /// Session objects that wait for an answer.
    unanswered: BTreeSet<ObjectKey>,
    /// Session objects that are looked at again at the next tick.
    later: BTreeSet<ObjectKey>,
    answers: Crew<(SessionAsking, ObjectAnswer)>,
    log_usage: LogUsage,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
}

impl Scheduler {
    fn new(context: Context, unconfirmed: mpsc::UnboundedSender<ObjectRef>) -> Self {
        Self {
            context,
            book: SlotBook::default(),
            slots: Crew::new(SLOTS),
            seen: HashMap::new(),
            unanswered: BTreeSet::new(),
            later: BTreeSet::new(),
            answers: Crew::new(OBJECTS),
            log_usage: LogUsage::default(),
            unconfirmed,
        }
    }

    /// Requests slots that are due, as many at a time as the crew has room for.
    async fn look(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let mut passed = Vec::new();
        while self.slots.has_room() && self.book.has_due(now) {
            if self.context.is_log_full(&self.log_usage).await {
                break;
            }
            match self.book.take_due(&self.context, now)? {
                SlotLook::None => {}
                SlotLook::Passed(slot) => passed.push((slot, SlotOutcome::Requested)),
                SlotLook::Asks(slot, object, position) => {
                    let context = self.context.clone();
                    self.slots.start(async move { request_slot(&context, slot, &object, position).await });
                }
            }
        }
        Ok(self.book.settle(&self.context, passed)?)
    }

    /// Starts to decide session objects, as many at a time as the crew has room for.
    async fn ask(&mut self, now: Timestamp) {
        while self.answers.has_room()
            && let Some(key) = self.unanswered.pop_first()
        {
            let (object, position) = {
                let view = self.context.resources.read();
                (view.objects.get(&key).cloned(), view.position)
            };
            let (Some(object), Some(position)) = (object, position) else { continue };
            let Some(asking) = objects::asks(&self.context, &object) else { continue };
            if self.seen.get(&key) == Some(&asking.uid) {
                continue;
            }
            // Deletions run even when the log is full: each appends only a few facts.
            if asking.kind != SessionKind::Maintenance && self.context.is_log_full(&self.log_usage).await {
                self.later.insert(key);
                continue;
            }
            let context = self.context.clone();
            self.answers.start(async move {
                let answer = objects::answer(&context, &object, position, now).await;
                (asking, answer)
            });
        }
    }

    /// Forgets the decisions about objects that are gone.
    fn forget_deleted(&mut self, keys: &BTreeSet<ObjectKey>) {
        let view = self.context.resources.read();
        for key in keys.iter().filter(|key| !view.objects.contains_key(key)) {
            self.seen.remove(key);
        }
    }

    fn take(&mut self, answers: Vec<(SessionAsking, ObjectAnswer)>) {
        for (SessionAsking { object, uid, .. }, answer) in answers {
            match answer {
                ObjectAnswer::Later => drop(self.later.insert(object.key())),
                ObjectAnswer::Decided => drop(self.seen.insert(object.key(), uid)),
                ObjectAnswer::Unconfirmed => {
                    if self.seen.insert(object.key(), uid) != Some(uid) {
                        tracing::warn!(object = %object.key(), "restore may have run before; it waits for a person");
                        // A reporter that is gone belongs to an engine that is stopping.
                        let _ = self.unconfirmed.send(object);
                    }
                }
            }
        }
    }
}

const fn may_ask(kind: Kind) -> bool {
    matches!(kind, Kind::BackupSession | Kind::RestoreSession | Kind::Repository)
}

#[cfg(test)]
pub(crate) mod tests;
