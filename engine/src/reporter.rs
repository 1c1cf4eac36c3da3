//! The reporter: folds of sessions to STATUS, ends to the source's memory. One at a time per cluster, and the only
//! writer of STATUS; a status never goes back to a lower folded sequence. What a status says is made in `report`; in a
//! cluster `apply` brings it to the objects.

mod apply;
mod carry;
mod catch_up;
mod document;
mod documents;
mod finalizer;
mod history;
mod numbers;
mod objects;
mod progress;
mod statuses;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::kv;
use lagan_bus::lease::Mode;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationStatus, LastSession};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Kind, ObjectRef, Spec};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use self::apply::{Hand, Job};
use self::document::Document;
use self::documents::{key_of, of_session};
use self::numbers::Numbers;
use self::progress::Progresses;
use self::statuses::Statuses;
use crate::context::Context;
use crate::error::EngineError;
use crate::plan::answers::{Answers, Found};
use crate::report::{configuration, note, repository, session as session_report, wipe};
use crate::sessions::Change;

/// A Secret that is not there is looked for again after this: nobody tells of new Secrets.
const MISSING: Duration = Duration::from_secs(10);
/// What people or programs did to statuses is mended after this at the latest.
const CATCH_UP: Duration = Duration::from_secs(600);

/// What the other parts tell the reporter.
pub(crate) struct News {
    pub changes: mpsc::UnboundedReceiver<Change>,
    pub objects: mpsc::UnboundedReceiver<ObjectKey>,
    /// Restores that wait for a person (P5).
    pub unconfirmed: mpsc::UnboundedReceiver<ObjectRef>,
}

pub(crate) async fn run(context: Context, mut news: News) -> Result<(), EngineError> {
    // Changes seen while another process reports. If this process takes over, it starts from them.
    let mut behind = Behind::default();
    let mut memory = Memory::default();
    let scope = kv::key(&["role", "reporter"]);
    let owner = context.instance.to_string();
    while !context.stop.is_cancelled() {
        let acquire = context.leases.acquire(&scope, Mode::Exclusive, &owner, Duration::from_secs(3600));
        tokio::pin!(acquire);
        let lease = loop {
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                lease = &mut acquire => break lease,
                Some(change) = news.changes.recv() => behind.take(change),
                // All objects are looked at when this process becomes the reporter.
                Some(_) = news.objects.recv() => {}
                Some(restore) = news.unconfirmed.recv() => memory.unconfirmed.extend(restore.uid),
            }
        };
        let Ok(lease) = lease else { continue };
        tracing::info!("this process reports");
        let reported = tokio::select! {
            () = context.stop.cancelled() => Ok(()),
            () = lease.lost().cancelled_owned() => Ok(()),
            reported = serve(&context, &mut news, &mut behind, &mut memory) => reported,
        };
        context.options.metrics.clear();
        lease.release().await;
        reported?;
    }
    Ok(())
}

#[derive(Default)]
struct Behind {
    sessions: HashMap<Uuid, Arc<Session>>,
    objects: BTreeSet<ObjectKey>,
}

/// Knowledge about objects that is in no view. It stays when another process reports for a while.
#[derive(Default)]
struct Memory {
    /// Restores that wait for a person (P5), by uid.
    unconfirmed: HashSet<Uuid>,
    /// Ends of the sessions that deleted, or could not delete, a Repository's data, by the Repository's uid.
    wiped: HashMap<Uuid, note::Note>,
}

impl Behind {
    fn take(&mut self, change: Change) {
        if let Change::Folded(session) = change {
            self.sessions.insert(session.key.uid, session);
        }
    }
}

/// Reports, and in a cluster applies what was reported.
async fn serve(
    context: &Context,
    news: &mut News,
    behind: &mut Behind,
    memory: &mut Memory,
) -> Result<(), EngineError> {
    let Some(api) = context.source().statuses() else {
        return report(context, news, behind, memory, Hand::default()).await;
    };
    let (sender, jobs) = mpsc::unbounded_channel();
    tokio::select! {
        reported = report(context, news, behind, memory, Hand::to(sender)) => reported,
        () = apply::run(api, jobs, context.instance) => Ok(()),
    }
}

async fn report(
    context: &Context,
    news: &mut News,
    behind: &mut Behind,
    memory: &mut Memory,
    hand: Hand,
) -> Result<(), EngineError> {
    let (numbers, mut pushes) = Numbers::start(context);
    let statuses = Statuses::load(context).await;
    let mut reporter = Reporter { context, statuses, hand, numbers, waiting: BTreeSet::new(), memory };
    let mut progresses = Progresses::follow(context);
    if let Some(api) = context.source().statuses() {
        catch_up::first(context, api, &mut reporter.statuses, &reporter.hand).await;
    }
    behind.objects.extend(reporter.every_key());
    let mut catch_up = tokio::time::interval_at(Instant::now() + CATCH_UP, CATCH_UP);
    loop {
        reporter.objects(std::mem::take(&mut behind.objects)).await;
        let mut sessions: Vec<Arc<Session>> = behind.sessions.values().cloned().collect();
        sessions.sort_by_key(|session| session.last_sequence);
        for session in sessions {
            if reporter.session(&session).await? {
                behind.sessions.remove(&session.key.uid);
            }
        }
        tokio::select! {
            key = news.objects.recv() => {
                let Some(key) = key else { return Ok(()) };
                behind.objects.insert(key);
            }
            change = news.changes.recv() => {
                let Some(change) = change else { return Ok(()) };
                behind.take(change);
            }
            Some(restore) = news.unconfirmed.recv() => {
                reporter.memory.unconfirmed.extend(restore.uid);
                behind.objects.insert(restore.key());
            }
            Some(pushed) = pushes.recv() => reporter.pushed(&pushed).await,
            texts = progresses.due() => reporter.progress(texts).await,
            _ = catch_up.tick() => if let Some(api) = context.source().statuses() {
                catch_up::run(api, &reporter.statuses, &reporter.hand).await;
            },
            // Sessions are left only when something could not be reached.
            () = tokio::time::sleep(MISSING), if !reporter.waiting.is_empty() || !behind.sessions.is_empty() => {
                behind.objects.extend(std::mem::take(&mut reporter.waiting));
            }
        }
        while let Ok(key) = news.objects.try_recv() {
            behind.objects.insert(key);
        }
        while let Ok(change) = news.changes.try_recv() {
            behind.take(change);
        }
    }
}

struct Reporter<'a> {
    context: &'a Context,
    statuses: Statuses,
    hand: Hand,
    numbers: Numbers,
    /// Configurations that miss a Secret, or that the source does not answer for; Repositories that wait to go.
    waiting: BTreeSet<ObjectKey>,
    memory: &'a mut Memory,
}

impl Reporter<'_> {
    /// Reports one session; false if it has to be tried again.
    async fn session(&mut self, session: &Session) -> Result<bool, EngineError> {
        let Some(request) = &session.request else { return Ok(true) };
        let Some(key) = key_of(session) else {
            self.maintenance(session).await;
            return Ok(true);
        };
        let kind = key.kind;
        let ended = session.phase.is_end();
        // First the memory that must not be lost, then what people see.
        if let (true, Cause::Object { .. }) = (ended, &request.cause) {
            self.context.source().record_end(session.key.uid, session.phase.display())?;
        }
        if history::is_forgotten(self.context, &self.statuses, session, &key) {
            return Ok(true);
        }
        if self.statuses.folded_sequence(&key, session.key.uid) >= session.last_sequence {
            return Ok(true);
        }
        // What follows from an end comes first: once the session's own status stands, nobody looks at it again.
        if kind == Kind::BackupSession && !self.follow_up(session).await {
            return Ok(false);
        }
        match history::was_deleted(self.context, &self.statuses, session, &key).await {
            Found::Yes => return Ok(true),
            Found::No => {}
            Found::Unknown => return Ok(false),
        }
        let old_phase = self.statuses.phase_of(&key, session.key.uid);
        let status = match kind {
            Kind::BackupSession => json!(session_report::backup(session)),
            _ => json!(session_report::restore(session)),
        };
        let mut document = of_session(&key, session, &status);
        carry::over(self.statuses.value(&key).as_ref(), &mut document);
        if !self.statuses.write(self.context, &key, document.clone()).await {
            return Ok(false);
        }
        self.hand.give(&key, || {
            let view = self.context.resources.read();
            let configuration = view.objects.get(&request.invoker.key()).map(|object| object.reference());
            let configuration = configuration.filter(|_| kind == Kind::BackupSession);
            Job::status(document).told(note::note(session, &old_phase), configuration)
        });
        if ended {
            self.numbers.ended(self.context, session, key);
        }
        if ended && kind == Kind::BackupSession {
            history::apply(self.context, &mut self.statuses, &self.hand, session).await;
        }
        Ok(true)
    }

    /// The end of a session that deleted a Repository's data, or could not: the object need not wait any more.
    async fn maintenance(&mut self, session: &Session) {
        let (Some(request), Some(outcome)) = (&session.request, wipe::outcome(session)) else { return };
        self.memory.wiped.insert(session.key.uid, outcome);
        self.objects(BTreeSet::from([request.invoker.key()])).await;
    }

    /// What becomes of our finalizer on a Repository. It is looked at again until a deleted one is gone.
    fn finalizer(&mut self, key: &ObjectKey, object: &Value, outcome: Option<note::Note>) {
        let uid = object["metadata"]["uid"].as_str().and_then(|uid| uid.parse().ok()).unwrap_or_default();
        let known = self.memory.wiped.get(&uid).cloned();
        let outcome = outcome.or(known);
        if finalizer::step(object, outcome.as_ref()).is_some() {
            self.hand.give(key, || Job::finalizer(uid, outcome));
        }
        if finalizer::holds(object) && object["metadata"]["deletionTimestamp"].is_string() {
            self.waiting.insert(key.clone());
        }
    }

    /// What a backup says of its configuration and its repositories; doing it again changes nothing.
    async fn follow_up(&mut self, session: &Session) -> bool {
        let mut done = true;
        if let Some(request) = &session.request
            && let Cause::Slot { slot, .. } = request.cause
        {
            done &= self.slot(&request.invoker.key(), slot).await;
        }
        if session.phase.is_end() {
            done &= self.repositories(session).await;
            done &= self.configuration_after(session).await;
        }
        done
    }

    /// The mark of a schedule, where it outlives JetStream (P4).
    async fn slot(&mut self, configuration: &ObjectKey, slot: Timestamp) -> bool {
        let mut status: BackupConfigurationStatus = self.statuses.status(configuration);
        if status.last_slot_time.is_some_and(|last| last >= slot) {
            return true;
        }
        status.last_slot_time = Some(slot);
        self.configuration(configuration, status, &mut Answers::default()).await
    }

    async fn repositories(&mut self, session: &Session) -> bool {
        let Some(plan) = &session.plan else { return true };
        let mut done = true;
        let references: Vec<ObjectRef> = plan.repositories().map(|repository| repository.reference.clone()).collect();
        for reference in references {
            let key = reference.key();
            let old: RepositoryStatus = self.statuses.status(&key);
            let result = session.results.iter().find(|result| result.repository.key() == key);
            let new = repository::after(session, result, old);
            done &= self.write_object(&key, json!(new)).await;
        }
        done
    }

    async fn configuration_after(&mut self, session: &Session) -> bool {
        let Some(request) = &session.request else { return true };
        let key = request.invoker.key();
        let mut old: BackupConfigurationStatus = self.statuses.status(&key);
        let phase = session.phase.display().to_owned();
        old.last_session = Some(LastSession { name: request.name.clone(), uid: session.key.uid, phase });
        if session.phase == Phase::Succeeded {
            old.last_success_time = old.last_success_time.max(session.last_time.map(session_report::seconds));
        }
        self.configuration(&key, old, &mut Answers::default()).await
    }

    async fn configuration(&mut self, key: &ObjectKey, old: BackupConfigurationStatus, answers: &mut Answers) -> bool {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        let Spec::BackupConfiguration(spec) = &object.spec else { return true };
        let status = loop {
            answers.begin();
            let now = session_report::seconds(Timestamp::now());
            let status = {
                let view = self.context.resources.read();
                let inputs = configuration::Inputs { object: &object, spec, view: &view, answers, now };
                configuration::status(&inputs, old.clone())
            };
            if !answers.try_to_find_out(self.context.source()).await {
                break status;
            }
        };
        if answers.is_anything_missing() {
            self.waiting.insert(key.clone());
        }
        self.write_object(key, json!(status)).await
    }

    /// Writes the status of an object that is there; false if it has to be tried again.
    async fn write_object(&mut self, key: &ObjectKey, status: Value) -> bool {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        self.numbers.object(&object, &status);
        let mut document = object.to_json();
        document["status"] = status;
        if self.statuses.document(key) == Some(&Document::from(&document)) {
            return true;
        }
        let written = self.statuses.write(self.context, key, document.clone()).await;
        if written {
            self.hand.give(key, || Job::status(document));
        } else {
            self.waiting.insert(key.clone());
        }
        written
    }
}
