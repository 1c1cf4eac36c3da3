//! Reports one session: its own status, and what its end says about its configuration and its repositories.

use std::sync::PoisonError;

use jiff::Timestamp;
use lagan_bus::session_log::read_session;
use lagan_schemas::error::chain;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_configuration::{BackupConfigurationSpec, BackupConfigurationStatus, LastSession};
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Kind, Object, ObjectRef, Spec, Status, StatusDocument};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::ObjectKey;

use super::queue::Unreported;
use super::sink::PendingChange;
use super::{Reporter, history};
use crate::clock::is_ahead;
use crate::error::EngineError;
use crate::plan::answers::{Answers, Existence};
use crate::report::note::Note;
use crate::report::{configuration, document, note, preserved_fields, repository, session as session_report};

impl Reporter<'_> {
    /// Reports a session, which may have to be read from the log; false if it has to be tried again.
    pub(super) async fn unreported(&self, unreported: &Unreported) -> Result<bool, EngineError> {
        match unreported {
            Unreported::Fold(session) => self.session(session).await,
            Unreported::Logged(end) => match read_session(&self.context.bus, &end.key).await {
                Ok(session) => self.session(&session).await,
                Err(error) => {
                    tracing::warn!(session = %end.key.uid, error = chain(&error), "session can't be read");
                    Ok(false)
                }
            },
        }
    }

    async fn session(&self, session: &Session) -> Result<bool, EngineError> {
        let Some(request) = &session.request else { return Ok(true) };
        let Some(key) = document::session_key(session) else {
            // The object need not wait any longer for the deletion of its data.
            if session.phase.is_end() {
                self.backlog.add(request.invoker.key());
            }
            return Ok(true);
        };
        // The memory of the source comes before the status: a session that ran must not run again.
        if let (true, Cause::Object { .. }) = (session.phase.is_end(), &request.cause) {
            self.context.source().record_end(session.key.uid, session.phase.display())?;
        }
        let store = self.context.sessions.read().store;
        if history::is_forgotten(self.context, &self.statuses, session, &key)
            || self.statuses.says_as_much(&key, session, store)
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

    /// Whether the status under this name is that of a later session: an object can be made again under its name.
    fn shows_a_newer_one(&self, session: &Session, key: &ObjectKey) -> bool {
        let Some(shown) = self.statuses.document(key).filter(|document| !document.is_of(session.key.uid)) else {
            return false;
        };
        let store = self.context.sessions.read().store;
        shown.status.run().is_some_and(|run| run.folded_store == store && run.folded_sequence > session.last_sequence)
    }

    /// Writes the status of a session; false if it has to be tried again.
    async fn write_session(&self, session: &Session, key: ObjectKey) -> bool {
        {
            let _lock = self.statuses.lock(&key).await;
            if self.shows_a_newer_one(session, &key) {
                return true;
            }
            let old_phase = self.statuses.phase_of(&key, session.key.uid);
            let document = self.session_document(session, &key);
            if !self.statuses.write(self.context, &key, &document).await {
                return false;
            }
            self.sink.send(&key, || {
                let configuration = self.configuration_of(session).filter(|_| key.kind == Kind::BackupSession);
                PendingChange::status(&document).with_event(note::note(session, &old_phase), configuration)
            });
        }
        if session.phase.is_end() {
            let is_backup = key.kind == Kind::BackupSession;
            self.metrics.session_ended(self.context, session, key);
            if is_backup {
                history::remove_beyond_limit(self.context, &self.statuses, &self.sink, session).await;
            }
        }
        true
    }

    fn session_document(&self, session: &Session, key: &ObjectKey) -> StatusDocument {
        let mut status = match key.kind {
            Kind::BackupSession => Status::from(session_report::backup(session)),
            _ => Status::from(session_report::restore(session)),
        };
        if let Some(run) = status.run_mut() {
            run.folded_store = self.context.sessions.read().store;
        }
        let mut document = document::of_session(key, session, status);
        if let Some(old) = self.statuses.document(key) {
            preserved_fields::preserve(&old, &mut document);
            if session.phase == Phase::Requested {
                preserved_fields::preserve_wait(&old, &mut document);
            }
        }
        document
    }

    fn configuration_of(&self, session: &Session) -> Option<ObjectRef> {
        let invoker = session.request.as_ref()?.invoker.key();
        self.context.resources.read().objects.get(&invoker).map(|object| object.reference())
    }

    /// Updates the statuses of the configuration and the repositories of a backup. It may run again for the same facts.
    async fn follow_up(&self, session: &Session) -> bool {
        let Some(request) = &session.request else { return true };
        let mut done = true;
        if session.phase.is_end() {
            done &= self.repositories(session).await;
        }
        let news = News {
            // Written where it outlives JetStream (P4).
            slot: match request.cause {
                Cause::Slot { slot, .. } => Some(slot),
                Cause::Object { .. } => None,
            },
            ended: session.phase.is_end().then_some(session),
        };
        done & self.configuration_after(&request.invoker.key(), &news).await
    }

    async fn repositories(&self, session: &Session) -> bool {
        let Some(plan) = &session.plan else { return true };
        let mut done = true;
        for key in plan.repositories().map(|repository| repository.reference.key()) {
            let _lock = self.statuses.lock(&key).await;
            let old: RepositoryStatus = self.statuses.status(&key);
            let result = session.results.iter().find(|result| result.repository.key() == key);
            done &= self.write_object(&key, repository::after(session, result, old).into()).await;
        }
        done
    }

    /// Adds what a session says about its configuration to the status of that. It asks the source nothing: a status that
    /// was never made is made by a look at the object, in the background.
    async fn configuration_after(&self, key: &ObjectKey, news: &News<'_>) -> bool {
        let _lock = self.statuses.lock(key).await;
        let old: BackupConfigurationStatus = self.statuses.status(key);
        let mut status = old.clone();
        let now = self.context.clock.now();
        // A slot that lies in the future comes from a wrong clock, and would hold the schedule up.
        let shown = status.last_slot_time.filter(|last| news.slot.is_none() || !is_ahead(*last, now));
        status.last_slot_time = shown.max(news.slot);
        if let Some(session) = news.ended {
            if self.note_end(key, session) && !self.is_later(status.last_session.as_ref(), session) {
                status.last_session = last_session(session);
            }
            if session.phase == Phase::Succeeded {
                let ended = session.last_time.map(session_report::seconds);
                status.last_success_time = status.last_success_time.max(ended);
                self.forecasts.succeeded();
            }
        }
        if status == old {
            return true;
        }
        let is_known = status.phase.is_some();
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        let Spec::BackupConfiguration(spec) = &object.spec else { return true };
        if is_known {
            status.next_slot_time = configuration::next_slot(&object, spec, session_report::seconds(now));
            if configuration::clocks_need_a_look(&status, now, self.context.clock.skew()) {
                self.backlog.add(key.clone());
            }
        } else {
            status = self.configuration_status(&object, spec, &Answers::default(), status);
            self.backlog.add(key.clone());
        }
        self.write_object(key, status.into()).await
    }

    /// Notes an end of a configuration; false if a later one was noted before. Sessions are reported side by side.
    fn note_end(&self, configuration: &ObjectKey, session: &Session) -> bool {
        let mut newest = self.newest_ends.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.context.sessions.read().store;
        let known = newest.entry(configuration.clone()).or_insert((store, 0));
        if known.0 == store && known.1 > session.last_sequence {
            return false;
        }
        *known = (store, session.last_sequence);
        true
    }

    /// Whether the session that a configuration shows as its last ended later than this one.
    fn is_later(&self, shown: Option<&LastSession>, session: &Session) -> bool {
        let (Some(shown), Some(request)) = (shown, &session.request) else { return false };
        let key = ObjectKey { kind: Kind::BackupSession, name: shown.name.clone(), ..request.invoker.key() };
        let store = self.context.sessions.read().store;
        self.statuses.has_ended(&key) && self.statuses.folded_sequence(&key, shown.uid, store) > session.last_sequence
    }

    fn configuration_status(
        &self,
        object: &Object,
        spec: &BackupConfigurationSpec,
        answers: &Answers,
        old: BackupConfigurationStatus,
    ) -> BackupConfigurationStatus {
        let view = self.context.resources.read();
        let inputs = configuration::ConfigurationInputs {
            object,
            spec,
            view: &view,
            answers,
            cross_namespace: self.context.options.cross_namespace,
            now: session_report::seconds(self.context.clock.now()),
            skew: self.context.clock.skew(),
            forecast: self.forecasts.of(object),
        };
        configuration::status(&inputs, old)
    }

    /// Writes the status of a configuration. What it needs of the source is asked before its lock is taken.
    pub(super) async fn configuration(&self, key: &ObjectKey, answers: &mut Answers) {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return };
        let Spec::BackupConfiguration(spec) = &object.spec else { return };
        loop {
            answers.begin();
            self.configuration_status(&object, spec, answers, BackupConfigurationStatus::default());
            if !answers.try_to_find_out(self.context.source()).await {
                break;
            }
        }
        if answers.is_anything_missing() {
            self.backlog.look_again(key);
        }
        let _lock = self.statuses.lock(key).await;
        let old: BackupConfigurationStatus = self.statuses.status(key);
        let conditions = old.conditions.clone();
        let status = self.configuration_status(&object, spec, answers, old);
        let notes = configuration::warnings(&conditions, &status).map(note::of_condition).collect();
        self.write_with_notes(key, status.into(), notes).await;
    }

    /// Writes the status of an object that exists; false if it has to be tried again. The caller holds the lock of the key.
    pub(super) async fn write_object(&self, key: &ObjectKey, status: Status) -> bool {
        self.write_with_notes(key, status, Vec::new()).await
    }

    async fn write_with_notes(&self, key: &ObjectKey, status: Status, notes: Vec<Note>) -> bool {
        let object = self.context.resources.read().objects.get(key).cloned();
        let Some(object) = object else { return true };
        self.metrics.object_changed(&object, &status);
        let document = document::of_object(&object, status);
        if self.statuses.has_same(key, &document) {
            return true;
        }
        let written = self.statuses.write(self.context, key, &document).await;
        if written {
            for note in &notes {
                tracing::warn!(object = %key, reason = note.reason, text = note.text, "status has a new warning");
            }
            self.sink.send(key, || {
                let status = PendingChange::status(&document);
                notes.into_iter().fold(status, |change, note| change.with_event(Some(note), None))
            });
        } else {
            self.backlog.look_again(key);
        }
        written
    }
}

/// The news that a session has for its configuration.
struct News<'a> {
    slot: Option<Timestamp>,
    ended: Option<&'a Session>,
}

fn last_session(session: &Session) -> Option<LastSession> {
    let request = session.request.as_ref()?;
    let phase = session.phase.display().to_owned();
    Some(LastSession { name: request.name.clone(), uid: session.key.uid, phase })
}
