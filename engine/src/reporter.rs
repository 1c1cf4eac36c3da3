//! The reporter: folds of sessions to STATUS, ends to the ledger. One at a time per cluster, and the only writer
//! of STATUS; a status never goes back to a lower folded sequence. What a status says is made in `report`.

mod history;
mod statuses;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::kv;
use lagan_bus::lease::Mode;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationStatus, LastSession};
use lagan_schemas::resource::backup_session::RunStatus;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::restore_session::RestoreSessionStatus;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::{ObjectKey, SessionKind};
use lagan_sources::ledger::Entry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::statuses::Statuses;
use crate::context::Context;
use crate::report::{configuration, repository, session as session_report};
use crate::run::EngineError;
use crate::sessions::Change;

pub(crate) async fn run(context: Context, mut changes: mpsc::UnboundedReceiver<Change>) -> Result<(), EngineError> {
    // Sessions whose status may be behind, whoever reports now: if it is us some day, nothing is missing.
    let mut dirty: HashMap<Uuid, Arc<Session>> = HashMap::new();
    let scope = kv::key(&["role", "reporter"]);
    let owner = context.instance.to_string();
    while !context.stop.is_cancelled() {
        let acquire = context.leases.acquire(&scope, Mode::Exclusive, &owner, Duration::from_secs(3600));
        tokio::pin!(acquire);
        let lease = loop {
            tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                lease = &mut acquire => break lease,
                Some(change) = changes.recv() => take(&mut dirty, change),
            }
        };
        let Ok(lease) = lease else { continue };
        tracing::info!("this process reports");
        let reported = tokio::select! {
            () = context.stop.cancelled() => Ok(()),
            () = lease.lost().cancelled_owned() => Ok(()),
            reported = report(&context, &mut changes, &mut dirty) => reported,
        };
        lease.release().await;
        reported?;
    }
    Ok(())
}

fn take(dirty: &mut HashMap<Uuid, Arc<Session>>, change: Change) {
    if let Change::Folded(session) = change {
        dirty.insert(session.key.uid, session);
    }
}

async fn report(
    context: &Context,
    changes: &mut mpsc::UnboundedReceiver<Change>,
    dirty: &mut HashMap<Uuid, Arc<Session>>,
) -> Result<(), EngineError> {
    let mut reporter = Reporter { context, statuses: Statuses::load(context).await };
    let mut resources = context.resources.changes();
    resources.mark_changed();
    loop {
        tokio::select! {
            changed = resources.changed() => {
                if changed.is_err() { return Ok(()) }
                reporter.objects().await;
            }
            change = changes.recv() => {
                let Some(change) = change else { return Ok(()) };
                take(dirty, change);
                while let Ok(change) = changes.try_recv() {
                    take(dirty, change);
                }
            }
        }
        let mut sessions: Vec<Arc<Session>> = dirty.values().cloned().collect();
        sessions.sort_by_key(|session| session.last_sequence);
        for session in sessions {
            if reporter.session(&session).await? {
                dirty.remove(&session.key.uid);
            }
        }
    }
}

struct Reporter<'a> {
    context: &'a Context,
    statuses: Statuses,
}

impl Reporter<'_> {
    /// Reports one session; false if it has to be tried again.
    async fn session(&mut self, session: &Session) -> Result<bool, EngineError> {
        let Some(request) = &session.request else { return Ok(true) };
        let (kind, status) = match session.key.kind {
            SessionKind::Backup => (Kind::BackupSession, json!(session_report::backup(session))),
            SessionKind::Restore => (Kind::RestoreSession, json!(session_report::restore(session))),
            SessionKind::Maintenance => return Ok(true),
        };
        let ended = session.phase.is_end();
        // First the memory that must not be lost, then what people see.
        if let (true, Cause::Object { .. }) = (ended, &request.cause) {
            let uid = session.key.uid;
            let known = self.context.ledger.read(|state| state.ended.contains_key(&uid))?;
            if !known {
                let phase = session.phase.display().to_owned();
                self.context.ledger.update(|_| (vec![Entry::Ended { session: uid, phase }], ()))?;
            }
        }
        let group = request.invoker.key_group();
        let key = ObjectKey {
            group: group.as_str().to_owned(),
            kind,
            namespace: Some(session.key.namespace.clone()),
            name: request.name.clone(),
        };
        if history::is_forgotten(self.context, &self.statuses, session, &key) {
            return Ok(true);
        }
        if self.statuses.folded_sequence(&key, session.key.uid) >= session.last_sequence {
            return Ok(true);
        }
        let document = document(&key, &request.invoker.api_version, session, &status);
        if !self.statuses.write(self.context, &key, document).await {
            return Ok(false);
        }
        if ended && kind == Kind::BackupSession {
            self.repositories(session).await;
            self.configuration_after(session).await;
            history::apply(self.context, &mut self.statuses, session).await;
        }
        Ok(true)
    }

    async fn repositories(&mut self, session: &Session) {
        let Some(plan) = &session.plan else { return };
        let planned = plan.targets.iter().flat_map(|target| &target.repositories);
        let references: Vec<ObjectRef> = planned.map(|repository| repository.reference.clone()).collect();
        for reference in references {
            let key = reference.key();
            let old: RepositoryStatus = self.statuses.status(&key);
            let result = session.results.iter().find(|result| result.repository.key() == key);
            let new = repository::after(session, result, old);
            self.write_object(&key, json!(new)).await;
        }
    }

    async fn configuration_after(&mut self, session: &Session) {
        let Some(request) = &session.request else { return };
        let key = request.invoker.key();
        let mut old: BackupConfigurationStatus = self.statuses.status(&key);
        let phase = session.phase.display().to_owned();
        old.last_session = Some(LastSession { name: request.name.clone(), uid: session.key.uid, phase });
        if session.phase == Phase::Succeeded {
            old.last_success_time = old.last_success_time.max(session.last_time.map(session_report::seconds));
        }
        self.configuration(&key, old).await;
    }

    async fn configuration(&mut self, key: &ObjectKey, old: BackupConfigurationStatus) {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return };
        let Spec::BackupConfiguration(spec) = &object.spec else { return };
        let status = {
            let view = self.context.resources.read();
            let has_secret = |namespace: &str, name: &str| self.context.folder.secret(namespace, name).is_some();
            let now = session_report::seconds(Timestamp::now());
            configuration::status(
                &configuration::Inputs { object: &object, spec, view: &view, has_secret: &has_secret, now },
                old,
            )
        };
        self.write_object(key, json!(status)).await;
    }

    /// Statuses that follow from objects alone, and the end of statuses whose object is gone.
    async fn objects(&mut self) {
        let (configurations, repositories, unconfirmed) = {
            let view = self.context.resources.read();
            let keys = |kind| view.of_kind(kind).map(|object| object.key()).collect::<Vec<_>>();
            let waiting = self.context.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let restores = view.of_kind(Kind::RestoreSession);
            let unconfirmed: Vec<Arc<Object>> = restores
                .filter(|object| {
                    let uid = object.metadata.uid;
                    uid.is_some_and(|uid| waiting.contains(&uid) && !self.context.sessions.knows(uid))
                })
                .cloned()
                .collect();
            (keys(Kind::BackupConfiguration), keys(Kind::Repository), unconfirmed)
        };
        for key in configurations {
            let old = self.statuses.status(&key);
            self.configuration(&key, old).await;
        }
        for key in repositories {
            let mut status: RepositoryStatus = self.statuses.status(&key);
            let generation =
                self.context.resources.read().objects.get(&key).map_or(0, |object| object.metadata.generation);
            status.observed_generation = generation;
            self.write_object(&key, json!(status)).await;
        }
        for object in unconfirmed {
            self.write_object(&object.key(), json!(needs_confirmation(&object))).await;
        }
        let gone: Vec<ObjectKey> = {
            let view = self.context.resources.read();
            self.statuses
                .keys()
                .filter(|key| key.kind != Kind::BackupSession && !view.objects.contains_key(*key))
                .cloned()
                .collect()
        };
        for key in gone {
            self.statuses.remove(self.context, &key).await;
        }
    }

    async fn write_object(&mut self, key: &ObjectKey, status: Value) {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return };
        let mut document = object.to_json();
        document["status"] = status;
        self.statuses.write(self.context, key, document).await;
    }
}

/// The object that a session is shown as; scheduled sessions have no other.
fn document(key: &ObjectKey, api_version: &str, session: &Session, status: &Value) -> Value {
    let spec = match key.kind {
        Kind::BackupSession => json!({ "invoker": { "kind": "BackupConfiguration", "name": session.key.invoker } }),
        _ => session.request.as_ref().map_or(Value::Null, |request| json!({ "invoker": request.invoker })),
    };
    json!({
        "apiVersion": api_version,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "uid": session.key.uid,
            "creationTimestamp": session.first_time.map(session_report::seconds),
        },
        "spec": spec,
        "status": status,
    })
}

fn needs_confirmation(object: &Object) -> RestoreSessionStatus {
    let message = "this restore may have run before, and what it did is not known any more; if it is still wanted, create a new RestoreSession";
    RestoreSessionStatus {
        phase: "Pending".to_owned(),
        run: RunStatus {
            code: Some("E0106".to_owned()),
            reason: Some("NeedsConfirmation".to_owned()),
            message: Some(message.to_owned()),
            ..RunStatus::default()
        },
        conditions: vec![Condition {
            kind: "NeedsConfirmation".to_owned(),
            status: ConditionStatus::True,
            reason: "MayHaveRunBefore".to_owned(),
            message: message.to_owned(),
            observed_generation: object.metadata.generation,
            last_transition_time: object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
        }],
        ..RestoreSessionStatus::default()
    }
}
