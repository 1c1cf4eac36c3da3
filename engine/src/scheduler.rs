//! The scheduler: appends `requested` for due slots and for session objects, once each. Any number of schedulers run side
//! by side; the first append expects sequence 0, so one of them wins. It must not plan.

mod ended;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::session_log::{Writer, append_fact, find_session};
use lagan_schemas::error::chain;
use lagan_schemas::fact::{Cause, Fact, Requested, Urgency};
use lagan_schemas::identity::{slot_name, slot_session};
use lagan_schemas::manifest;
use lagan_schemas::position::Position;
use lagan_schemas::resource::backup_configuration::BackupConfigurationSpec;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec};
use lagan_schemas::schedule::DEFAULT_STARTING_DEADLINE;
use lagan_schemas::session::{Author, Session};
use lagan_schemas::subject::{ObjectKey, SessionKey, SessionKind};
use lagan_sources::{Standing, stand_in};
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};
use uuid::Uuid;

use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;

const WRITER: Writer = Writer { author: Author::Scheduler, component: "scheduler" };

/// `changes` are the keys of changed objects; restores that wait for a person (P5) are told to `unconfirmed`.
pub(crate) async fn run(
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
                scheduler.arm(&keys)?;
                scheduler.request_objects(keys).await;
            }
            _ = ticks.recv() => {
                let unanswered = std::mem::take(&mut scheduler.unanswered);
                scheduler.request_objects(unanswered).await;
            }
        }
        scheduler.look(Timestamp::now()).await?;
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
    next: Timestamp,
}

/// Result of looking at an object that may ask for a session.
enum Asked {
    Decided,
    Later,
    /// The source does not answer now.
    NoAnswer,
}

struct Scheduler {
    context: Context,
    armed: HashMap<ObjectKey, Armed>,
    /// Ordered by the time of the next look, so that idle configurations cost nothing.
    heap: BTreeSet<(Timestamp, ObjectKey)>,
    /// Session objects that were decided; they never change.
    seen: HashMap<ObjectKey, Uuid>,
    /// Session objects that are looked at again at the next tick.
    unanswered: BTreeSet<ObjectKey>,
    log_usage: LogUsage,
    unconfirmed: mpsc::UnboundedSender<ObjectRef>,
}

impl Scheduler {
    fn new(context: Context, unconfirmed: mpsc::UnboundedSender<ObjectRef>) -> Self {
        Self {
            context,
            armed: HashMap::new(),
            heap: BTreeSet::new(),
            seen: HashMap::new(),
            unanswered: BTreeSet::new(),
            log_usage: LogUsage::default(),
            unconfirmed,
        }
    }

    /// Sets the next look of changed configurations.
    fn arm(&mut self, changed: &BTreeSet<ObjectKey>) -> Result<(), EngineError> {
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
            let mark = self.mark(uid, &object)?;
            if let Some(next) = schedule.next_after(mark).map(|slot| schedule.fires_at(slot)) {
                self.heap.insert((next, key.clone()));
                self.armed.insert(key.clone(), Armed { uid, generation: object.metadata.generation, next });
            }
        }
        Ok(())
    }

    fn disarm(&mut self, key: &ObjectKey) {
        if let Some(old) = self.armed.remove(key) {
            self.heap.remove(&(old.next, key.clone()));
        }
    }

    /// The last slot that was decided. A new configuration has no slots before its creation.
    fn mark(&self, uid: Uuid, object: &Object) -> Result<Timestamp, EngineError> {
        let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(self.context.source().mark(uid)?.unwrap_or(created).max(created))
    }

    async fn look(&mut self, now: Timestamp) -> Result<(), EngineError> {
        while let Some((at, key)) = self.heap.first().cloned()
            && at <= now
        {
            if self.log_usage.is_over_limit(&self.context.bus).await {
                return Ok(());
            }
            self.heap.remove(&(at, key.clone()));
            let object = self.context.resources.read().objects.get(&key).cloned();
            let Some(object) = object else {
                self.armed.remove(&key);
                continue;
            };
            let decided = self.decide(&key, &object, now).await?;
            if let (Some(armed), Some(next)) = (self.armed.get_mut(&key), decided) {
                armed.next = next;
                self.heap.insert((next, key));
            }
        }
        Ok(())
    }

    /// Requests the slot that is due, if there is one, and returns the time of the next look.
    async fn decide(
        &mut self,
        key: &ObjectKey,
        object: &Object,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, EngineError> {
        let (Spec::BackupConfiguration(spec), Some(uid)) = (&object.spec, self.armed.get(key).map(|armed| armed.uid))
        else {
            return Ok(None);
        };
        let Ok(schedule) = manifest::schedule(spec, uid) else { return Ok(None) };
        let mark = self.mark(uid, object)?;
        let Some(due) = schedule.due(mark, now, deadline(spec)) else {
            // The slot was decided by another scheduler, or is too old to catch up.
            let after = mark.max(now);
            return Ok(schedule.next_after(after).map(|slot| schedule.fires_at(slot)));
        };
        // A paused configuration lets its slots go by: it does not run a backlog when it is resumed.
        if !spec.paused {
            let Some(position) = self.context.resources.read().position else {
                return Ok(Some(now + Duration::from_secs(1)));
            };
            let request = slot_request(object, due.slot, due.missed, position);
            let session = slot_session(self.context.cluster(), uid, due.slot);
            if !self.request(SessionKind::Backup, &object.metadata.name, object, session, request).await {
                return Ok(Some(now + Duration::from_secs(1)));
            }
        }
        self.context.source().set_mark(uid, due.slot)?;
        Ok(schedule.next_after(due.slot).map(|slot| schedule.fires_at(slot)))
    }

    /// Requests the sessions that objects ask for, each once. Objects that can't be decided now are kept for later.
    async fn request_objects(&mut self, mut keys: BTreeSet<ObjectKey>) {
        keys.retain(|key| matches!(key.kind, Kind::BackupSession | Kind::RestoreSession | Kind::Repository));
        self.forget_deleted(&keys);
        while let Some(key) = keys.pop_first() {
            let (object, position) = {
                let view = self.context.resources.read();
                (view.objects.get(&key).cloned(), view.position)
            };
            let (Some(object), Some(position)) = (object, position) else { continue };
            match self.request_object(&object, position).await {
                Asked::Decided => {}
                Asked::Later => drop(self.unanswered.insert(key)),
                // The others would wait as long for an answer, and the schedules behind them.
                Asked::NoAnswer => {
                    self.unanswered.insert(key);
                    return self.unanswered.append(&mut keys);
                }
            }
        }
    }

    /// Forgets the decisions about objects that are gone.
    fn forget_deleted(&mut self, keys: &BTreeSet<ObjectKey>) {
        let view = self.context.resources.read();
        for key in keys.iter().filter(|key| !view.objects.contains_key(key)) {
            self.seen.remove(key);
        }
    }

    async fn request_object(&mut self, object: &Object, position: Position) -> Asked {
        let Some((kind, invoker, request)) = object_request(object, position) else { return Asked::Decided };
        if kind == SessionKind::Maintenance && !self.context.source().deletes_data() {
            return Asked::Decided;
        }
        let Some(uid) = object.metadata.uid else { return Asked::Decided };
        if self.seen.get(&object.key()) == Some(&uid) || self.context.sessions.knows(uid) {
            return Asked::Decided;
        }
        // The reporter made this object for a session that exists already (P2).
        if stand_in::session_of(&object.metadata).is_some() {
            self.seen.insert(object.key(), uid);
            return Asked::Decided;
        }
        // Deletions run even when the log is full: each appends only a few facts.
        if kind != SessionKind::Maintenance && self.log_usage.is_over_limit(&self.context.bus).await {
            return Asked::Later;
        }
        let standing = match self.context.source().standing(object).await {
            Ok(standing) => standing,
            Err(error) => {
                // The object must not run on a guess; the next look asks again.
                tracing::warn!(object = %object.key(), error = chain(&error), "the object's standing is not known yet");
                return Asked::NoAnswer;
            }
        };
        if matches!(standing, Standing::Ended | Standing::Gone) {
            self.seen.insert(object.key(), uid);
            return Asked::Decided;
        }
        if object.kind() == Kind::RestoreSession
            && (standing == Standing::Recorded || is_old(object, self.context.options.streams.sessions_max_age))
        {
            // Another engine may have begun it a moment ago: the log has it even if our view does not yet.
            match find_session(&self.context.bus, self.context.cluster(), uid).await {
                Ok(None) => {}
                Ok(Some(_)) => return Asked::Decided,
                Err(_) => return Asked::Later,
            }
            tracing::warn!(object = %object.key(), "restore may have run before; it waits for a person");
            // A reporter that is gone belongs to an engine that is stopping.
            let _ = self.unconfirmed.send(object.reference());
            self.seen.insert(object.key(), uid);
            return Asked::Decided;
        }
        // The API server may have refused the status that says so.
        match ended::has_ended(&self.context, object, uid).await {
            Some(false) => {}
            Some(true) => {
                self.seen.insert(object.key(), uid);
                return Asked::Decided;
            }
            None => return Asked::Later,
        }
        if !self.request(kind, &invoker, object, uid, request).await {
            return Asked::Later;
        }
        self.seen.insert(object.key(), uid);
        Asked::Decided
    }

    /// Requests a session; true when it is requested, by this or by another scheduler.
    async fn request(&self, kind: SessionKind, invoker: &str, object: &Object, uid: Uuid, request: Requested) -> bool {
        let key = SessionKey {
            cluster: self.context.cluster().clone(),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            kind,
            group: object.group().as_str().to_owned(),
            invoker: invoker.to_owned(),
            uid,
        };
        if let Err(error) = key.check() {
            tracing::error!(object = %object.key(), %error, "session can't be named");
            return true;
        }
        let name = request.name.clone();
        let mut session = Session::new(key);
        match append_fact(&self.context.bus, &mut session, WRITER, Fact::Requested(request.into())).await {
            Ok(()) => {
                tracing::info!(session = name, uid = %uid, "session requested");
                true
            }
            Err(error) if error.is_conflict() => true,
            Err(error) => {
                tracing::warn!(session = name, error = chain(&error), "session could not be requested yet");
                false
            }
        }
    }
}

fn deadline(spec: &BackupConfigurationSpec) -> Duration {
    let given = spec.starting_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    given.map_or(DEFAULT_STARTING_DEADLINE, Duration::from_secs)
}

/// Whether an object is older than the retention of the log. Such a restore is not started without a person (P5).
fn is_old(object: &Object, retention: Duration) -> bool {
    let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::now().duration_since(created).unsigned_abs() > retention
}

fn slot_request(object: &Object, slot: Timestamp, missed: u32, position: Position) -> Requested {
    Requested {
        name: slot_name(&object.metadata.name, slot),
        invoker: object.reference(),
        cause: Cause::Slot { slot, missed },
        resources_position: position,
        priority: Urgency::Normal,
    }
}

/// Kind, invoker's name and request of a session object.
fn object_request(object: &Object, position: Position) -> Option<(SessionKind, String, Requested)> {
    let (kind, invoker) = match &object.spec {
        Spec::BackupSession(spec) => {
            let invoker = ObjectRef {
                api_version: object.api_version.clone(),
                kind: Kind::BackupConfiguration,
                namespace: object.metadata.namespace.clone(),
                name: spec.invoker.name.clone(),
                uid: None,
                generation: 0,
            };
            (SessionKind::Backup, invoker)
        }
        Spec::RestoreSession(_) => (SessionKind::Restore, object.reference()),
        Spec::Repository(_) if object.wants_wipe() => (SessionKind::Maintenance, object.reference()),
        _ => return None,
    };
    let name = invoker.name.clone();
    let (shown, priority) = match kind {
        SessionKind::Maintenance => (format!("{name}-wipe-out"), Urgency::Normal),
        _ => (object.metadata.name.clone(), Urgency::Urgent),
    };
    let request = Requested {
        name: shown,
        invoker,
        cause: Cause::Object { object: object.reference() },
        resources_position: position,
        priority,
    };
    Some((kind, name, request))
}

#[cfg(test)]
mod tests;
