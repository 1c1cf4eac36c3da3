//! Reports one session: its own status, and what its end says about its configuration and its repositories.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationStatus, LastSession};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Kind, ObjectRef, Spec, Status};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;

use super::sink::PendingChange;
use super::{Reporter, history};
use crate::error::EngineError;
use crate::plan::answers::{Answers, Existence};
use crate::report::{configuration, document, note, preserved_fields, repository, session as session_report, wipe};

impl Reporter<'_> {
    /// Reports one session; false if it has to be tried again.
    pub(super) async fn session(&mut self, session: &Session) -> Result<bool, EngineError> {
        let Some(request) = &session.request else { return Ok(true) };
        let Some(key) = document::session_key(session) else {
            self.wipe_out(session).await;
            return Ok(true);
        };
        // The memory of the source comes before the status: a session that ran must not run again.
        if let (true, Cause::Object { .. }) = (session.phase.is_end(), &request.cause) {
            self.context.source().record_end(session.key.uid, session.phase.display())?;
        }
        let store = self.context.sessions.read().store;
        if history::is_forgotten(self.context, &self.statuses, session, &key)
            || self.statuses.folded_sequence(&key, session.key.uid, store) >= session.last_sequence
        {
            return Ok(true);
        }
        // Statuses that follow from an end come first: once the session's own status is written, the session is not
        // looked at again.
        if key.kind == Kind::BackupSession && !self.follow_up(session).await {
            return Ok(false);
        }
        match history::was_deleted(self.context, &self.statuses, session, &key).await {
            Existence::Yes => Ok(true),
            Existence::No => Ok(self.write_session(session, key).await),
            Existence::Unknown => Ok(false),
        }
    }

    /// Writes the status of a session; false if it has to be tried again.
    async fn write_session(&mut self, session: &Session, key: ObjectKey) -> bool {
        let old_phase = self.statuses.phase_of(&key, session.key.uid);
        let mut status = match key.kind {
            Kind::BackupSession => Status::from(session_report::backup(session)),
            _ => Status::from(session_report::restore(session)),
        };
        if let Some(run) = status.run_mut() {
            run.folded_store = self.context.sessions.read().store;
        }
        let mut document = document::of_session(&key, session, status);
        if let Some(old) = self.statuses.document(&key) {
            preserved_fields::preserve(&old, &mut document);
        }
        if !self.statuses.write(self.context, &key, &document).await {
            return false;
        }
        self.sink.send(&key, || {
            let configuration = self.configuration_of(session).filter(|_| key.kind == Kind::BackupSession);
            PendingChange::status(&document).with_event(note::note(session, &old_phase), configuration)
        });
        if session.phase.is_end() {
            let is_backup = key.kind == Kind::BackupSession;
            self.metrics.session_ended(self.context, session, key);
            if is_backup {
                history::remove_beyond_limit(self.context, &mut self.statuses, &self.sink, session).await;
            }
        }
        true
    }

    fn configuration_of(&self, session: &Session) -> Option<ObjectRef> {
        let invoker = session.request.as_ref()?.invoker.key();
        self.context.resources.read().objects.get(&invoker).map(|object| object.reference())
    }

    /// Takes note of the end of a session that deletes a Repository's data: the object need not wait any longer.
    async fn wipe_out(&mut self, session: &Session) {
        let (Some(request), Some(outcome)) = (&session.request, wipe::outcome(session)) else { return };
        self.backlog.wipe_outcomes.insert(session.key.uid, outcome);
        self.objects(BTreeSet::from([request.invoker.key()])).await;
    }

    /// Updates the statuses of the configuration and the repositories of a backup. It may run again for the same facts.
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

    /// Writes the latest slot of a schedule where it outlives JetStream (P4).
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
        for key in plan.repositories().map(|repository| repository.reference.key()) {
            let old: RepositoryStatus = self.statuses.status(&key);
            let result = session.results.iter().find(|result| result.repository.key() == key);
            done &= self.write_object(&key, repository::after(session, result, old).into()).await;
        }
        done
    }

    async fn configuration_after(&mut self, session: &Session) -> bool {
        let Some(request) = &session.request else { return true };
        let key = request.invoker.key();
        let mut status: BackupConfigurationStatus = self.statuses.status(&key);
        let phase = session.phase.display().to_owned();
        status.last_session = Some(LastSession { name: request.name.clone(), uid: session.key.uid, phase });
        if session.phase == Phase::Succeeded {
            let ended = session.last_time.map(session_report::seconds);
            status.last_success_time = status.last_success_time.max(ended);
        }
        self.configuration(&key, status, &mut Answers::default()).await
    }

    /// Writes the status of a configuration; false if it has to be tried again.
    pub(super) async fn configuration(
        &mut self,
        key: &ObjectKey,
        old: BackupConfigurationStatus,
        answers: &mut Answers,
    ) -> bool {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        let Spec::BackupConfiguration(spec) = &object.spec else { return true };
        let status = loop {
            answers.begin();
            let now = session_report::seconds(Timestamp::now());
            let cross_namespace = self.context.options.cross_namespace;
            let status = {
                let view = self.context.resources.read();
                let inputs = configuration::ConfigurationInputs {
                    object: &object,
                    spec,
                    view: &view,
                    answers,
                    cross_namespace,
                    now,
                };
                configuration::status(&inputs, old.clone())
            };
            if !answers.try_to_find_out(self.context.source()).await {
                break status;
            }
        };
        if answers.is_anything_missing() {
            self.backlog.waiting.insert(key.clone());
        }
        self.write_object(key, status.into()).await
    }

    /// Writes the status of an object that exists; false if it has to be tried again.
    pub(super) async fn write_object(&mut self, key: &ObjectKey, status: Status) -> bool {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        self.metrics.object_changed(&object, &status);
        let document = document::of_object(&object, status);
        if self.statuses.has_same(key, &document) {
            return true;
        }
        let written = self.statuses.write(self.context, key, &document).await;
        if written {
            self.sink.send(key, || PendingChange::status(&document));
        } else {
            self.backlog.waiting.insert(key.clone());
        }
        written
    }
}
