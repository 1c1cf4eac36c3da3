//! The scheduler: appends `requested` for due slots and for session objects, once each. Any number of schedulers run side
//! by side; the first append expects sequence 0, so one of them wins. It must not plan.

mod crew;
mod ended;
mod lost;
mod mark;
mod objects;
mod request;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::identity::slot_session;
use lagan_schemas::manifest;
use lagan_schemas::resource::backup_configuration::BackupConfigurationSpec;
use lagan_schemas::resource::{Kind, ObjectRef, Spec};
use lagan_schemas::schedule::DEFAULT_STARTING_DEADLINE;
use lagan_schemas::subject::{ObjectKey, SessionKind};
use lagan_sources::open_slot::{DecidedSlot, OpenSlot};
use tokio::sync::{mpsc, watch};
use tokio_cron_scheduler::{Job, JobScheduler};
use uuid::Uuid;

use self::crew::Crew;
use self::objects::{ObjectAnswer, SessionAsking};
use self::request::{request, slot_request};
use crate::clock::is_ahead;
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;

/// Limit of slots whose sessions are being requested at the same time. The server stores them one after the other, but
/// syncs its disk for many at once.
const SLOTS: usize = 256;
/// Limit of session objects that are being decided at the same time. Each may ask the API server.
const OBJECTS: usize = 64;
/// Time after which a slot that could not be requested is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// `changes` are the keys of changed objects; restores that wait for a person (P5) are told to `unconfirmed`. `intent` becomes
/// true when every object has been published.
pub(crate) async fn run(
    context: Context,
    changes: mpsc::UnboundedReceiver<ObjectKey>,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
    intent: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    tokio::try_join!(schedule(context.clone(), changes, unconfirmed), lost::run(context, intent)).map(drop)
}

async fn schedule(
    context: Context,
    mut changes: mpsc::UnboundedReceiver<ObjectKey>,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
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
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            changed = changes.recv() => {
                let Some(first) = changed else { break };
                let mut keys = BTreeSet::from([first]);
                while let Ok(next) = changes.try_recv() {
                    keys.insert(next);
                }
                scheduler.arm(&keys, context.clock.now())?;
                scheduler.forget_deleted(&keys);
                scheduler.unanswered.extend(keys.into_iter().filter(|key| may_ask(key.kind)));
            }
            _ = ticks.recv() => {
                let mut later = std::mem::take(&mut scheduler.later);
                scheduler.unanswered.append(&mut later);
            }
            slots = scheduler.slots.results() => scheduler.settle(slots?)?,
            answers = scheduler.answers.results() => scheduler.take(answers?),
        }
        let now = context.clock.now();
        scheduler.notice_time(now)?;
        scheduler.look(now).await?;
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

/// A configuration and the time of its next look. Its schedule is parsed anew then, because parsed schedules are large.
struct Armed {
    uid: Uuid,
    generation: i64,
    /// The last slot that is known to be decided, or the time from which slots count.
    mark: Timestamp,
    next: Timestamp,
}

/// Result of a look at a configuration.
enum Look {
    /// No slot is due; `None` if none will be.
    Next(Option<Timestamp>),
    Due(Slot),
}

/// A slot that is decided, once its session is requested.
struct Slot {
    key: ObjectKey,
    uid: Uuid,
    generation: i64,
    /// Its nominal time.
    time: Timestamp,
    missed: u32,
    /// Its session; `None` if the slot is passed over.
    session: Option<Box<OpenSlot>>,
    /// Time of the look after this slot.
    after: Option<Timestamp>,
}

/// Whether the session of a slot is in the log.
enum Outcome {
    Requested,
    NotYet,
}

struct Scheduler {
    context: Context,
    armed: HashMap<ObjectKey, Armed>,
    /// Ordered by the time of the next look, so that idle configurations cost nothing. Configurations whose slot is being
    /// requested are not in it.
    heap: BTreeSet<(Timestamp, ObjectKey)>,
    slots: Crew<(Slot, Outcome)>,
    /// Session objects that were decided; they never change.
    seen: HashMap<ObjectKey, Uuid>,
    /// Session objects that wait for an answer.
    unanswered: BTreeSet<ObjectKey>,
    /// Session objects that are looked at again at the next tick.
    later: BTreeSet<ObjectKey>,
    answers: Crew<(SessionAsking, ObjectAnswer)>,
    log_usage: LogUsage,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
    /// Time of the last look.
    looked: Timestamp,
}

impl Scheduler {
    fn new(context: Context, unconfirmed: mpsc::UnboundedSender<ObjectRef>) -> Self {
        Self {
            context,
            armed: HashMap::new(),
            heap: BTreeSet::new(),
            slots: Crew::new(SLOTS),
            seen: HashMap::new(),
            unanswered: BTreeSet::new(),
            later: BTreeSet::new(),
            answers: Crew::new(OBJECTS),
            log_usage: LogUsage::default(),
            unconfirmed,
            looked: Timestamp::MIN,
        }
    }

    /// Sets the next look of changed configurations.
    fn arm(&mut self, changed: &BTreeSet<ObjectKey>, now: Timestamp) -> Result<(), EngineError> {
        for key in changed.iter().filter(|key| key.kind == Kind::BackupConfiguration) {
            let object = self.context.resources.read().objects.get(key).cloned();
            let Some(object) = object else {
                self.disarm(key);
                continue;
            };
            let (Spec::BackupConfiguration(spec), Some(uid)) = (&object.spec, object.metadata.uid) else { continue };
            let known = self.armed.get(key);
            if known.is_some_and(|armed| (armed.uid, armed.generation) == (uid, object.metadata.generation)) {
                continue;
            }
            self.disarm(key);
            // A schedule that does not parse is shown as a condition; it must not stop the others.
            let Ok(schedule) = manifest::schedule(spec, uid) else { continue };
            let stored = self.context.source().mark(uid)?;
            if stored.is_some_and(|mark| is_ahead(mark, now)) {
                tracing::warn!(object = %key, mark = %stored.unwrap_or_default(), "mark of the schedule lies in the future; it is ignored");
            }
            let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
            let mark = mark::first(stored, created, now);
            if let Some(next) = schedule.next_after(mark).map(|slot| schedule.fires_at(slot)) {
                self.heap.insert((next, key.clone()));
                self.armed.insert(key.clone(), Armed { uid, generation: object.metadata.generation, mark, next });
            }
        }
        Ok(())
    }

    /// Arms everything anew after the time went back: looks were planned for a future that is further away now.
    fn notice_time(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let before = std::mem::replace(&mut self.looked, now);
        if !is_ahead(before, now) {
            return Ok(());
        }
        tracing::warn!(%before, %now, "time went back: every schedule is looked at again");
        let keys = self.armed.keys().cloned().collect();
        self.armed.clear();
        self.heap.clear();
        self.arm(&keys, now)
    }

    fn disarm(&mut self, key: &ObjectKey) {
        if let Some(old) = self.armed.remove(key) {
            self.heap.remove(&(old.next, key.clone()));
        }
    }

    /// Requests slots that are due, as many at a time as the crew has room for.
    async fn look(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let mut passed = Vec::new();
        while self.slots.has_room()
            && let Some((at, key)) = self.heap.first().cloned()
            && at <= now
        {
            if self.log_usage.is_over_limit(&self.context.bus).await {
                break;
            }
            self.heap.remove(&(at, key.clone()));
            let (object, position) = {
                let view = self.context.resources.read();
                (view.objects.get(&key).cloned(), view.position)
            };
            let Some(object) = object else {
                self.armed.remove(&key);
                continue;
            };
            let Spec::BackupConfiguration(spec) = &object.spec else { continue };
            match (self.decide(&key, spec, now)?, position) {
                (Look::Next(next), _) => self.look_again(&key, next),
                // A paused configuration lets its slots go by: it does not run a backlog when it is resumed.
                (Look::Due(slot), _) if spec.paused => passed.push((slot, Outcome::Requested)),
                (Look::Due(_), None) => self.look_again(&key, Some(now + AGAIN)),
                (Look::Due(mut slot), Some(position)) => {
                    let context = self.context.clone();
                    let invoker = object.reference();
                    let asked = slot_request(invoker.clone(), slot.time, slot.missed, position);
                    let asked = (SessionKind::Backup, invoker.name.clone(), asked);
                    let session = slot_session(context.cluster(), slot.uid, slot.time);
                    slot.session = Some(Box::new(OpenSlot { session, slot: slot.time, invoker: invoker.clone() }));
                    self.slots.start(async move {
                        let is_requested = request(&context, &invoker, session, asked).await;
                        (slot, if is_requested { Outcome::Requested } else { Outcome::NotYet })
                    });
                }
            }
        }
        self.settle(passed)
    }

    /// Finds the slot that is due, if there is one.
    fn decide(&self, key: &ObjectKey, spec: &BackupConfigurationSpec, now: Timestamp) -> Result<Look, EngineError> {
        let Some(&Armed { uid, generation, mark, .. }) = self.armed.get(key) else { return Ok(Look::Next(None)) };
        let Ok(schedule) = manifest::schedule(spec, uid) else { return Ok(Look::Next(None)) };
        let mark = mark::believed(self.context.source().mark(uid)?, mark, now);
        let next = |after| schedule.next_after(after).map(|slot| schedule.fires_at(slot));
        Ok(match schedule.due(mark, now, deadline(spec)) {
            Some(due) => {
                let after = next(due.slot);
                Look::Due(Slot {
                    key: key.clone(),
                    uid,
                    generation,
                    time: due.slot,
                    missed: due.missed,
                    session: None,
                    after,
                })
            }
            // The slot was decided by another scheduler, or is too old to catch up.
            None => Look::Next(next(mark.max(now))),
        })
    }

    /// Sets the marks of slots that are requested, and the next looks.
    fn settle(&mut self, slots: Vec<(Slot, Outcome)>) -> Result<(), EngineError> {
        let requested = slots.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Requested));
        let decided = requested.map(|(slot, _)| DecidedSlot {
            configuration: slot.uid,
            slot: slot.time,
            opened: slot.session.as_deref().cloned(),
        });
        self.context.source().set_marks(decided.collect())?;
        for (slot, outcome) in slots {
            let armed = self.armed.get_mut(&slot.key);
            // A configuration that has changed since then was armed anew.
            let Some(armed) = armed.filter(|armed| (armed.uid, armed.generation) == (slot.uid, slot.generation)) else {
                continue;
            };
            let next = match outcome {
                // It was found while the time was wrong.
                Outcome::Requested if is_ahead(slot.time, self.context.clock.now()) => Some(self.context.clock.now()),
                Outcome::Requested => {
                    armed.mark = slot.time;
                    slot.after
                }
                Outcome::NotYet => Some(self.context.clock.now() + AGAIN),
            };
            self.look_again(&slot.key, next);
        }
        Ok(())
    }

    fn look_again(&mut self, key: &ObjectKey, next: Option<Timestamp>) {
        let (Some(armed), Some(next)) = (self.armed.get_mut(key), next) else { return };
        self.heap.remove(&(armed.next, key.clone()));
        armed.next = next;
        self.heap.insert((next, key.clone()));
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
            if asking.kind != SessionKind::Maintenance && self.log_usage.is_over_limit(&self.context.bus).await {
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

fn deadline(spec: &BackupConfigurationSpec) -> Duration {
    let given = spec.starting_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    given.map_or(DEFAULT_STARTING_DEADLINE, Duration::from_secs)
}

#[cfg(test)]
mod tests;
