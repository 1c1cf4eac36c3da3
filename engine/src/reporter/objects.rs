//! Statuses that follow from objects alone: of the objects that changed, and of those that name them.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use lagan_bus::session_log::find_session;
use lagan_schemas::error::chain;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::resource::restore_session::RestoreSessionSpec;
use lagan_schemas::resource::{Kind, Metadata, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use super::Reporter;
use super::sink::PendingChange;
use crate::blueprint::derive;
use crate::plan::answers::Answers;
use crate::report::note::Note;
use crate::report::{
    blueprint, document, finalizer, refused, repository, restore_labels, session as session_report, wipe,
};
use crate::view::Refused;

impl Reporter<'_> {
    pub(super) fn every_key(&self) -> Vec<ObjectKey> {
        let view = self.context.resources.read();
        let statuses = self.statuses.keys().into_iter().filter(|key| key.kind != Kind::BackupSession);
        view.objects.keys().chain(view.refused.keys()).cloned().chain(statuses).collect()
    }

    /// Reports objects that changed, and those that name them. The answers are shared, so that the source is asked once
    /// about a Secret that many of them name.
    pub(super) async fn objects(&self, mut changed: BTreeSet<ObjectKey>, answers: &mut Answers) {
        changed.extend(self.referring_to(&changed));
        for key in changed {
            let (object, refused) = {
                let view = self.context.resources.read();
                (view.objects.get(&key).cloned(), view.refused.get(&key).cloned())
            };
            match (object, refused) {
                (Some(object), _) => self.object(&key, &object, answers).await,
                (None, Some(refused)) => self.refused(&key, &refused).await,
                (None, None) => self.deleted(&key).await,
            }
        }
    }

    /// Configurations that name one of these objects as their repository or target, and blueprints if a target changed.
    fn referring_to(&self, changed: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        let named = |kind: Kind| -> BTreeSet<(&str, &str)> {
            let of_kind = changed.iter().filter(|key| key.kind == kind);
            of_kind.map(|key| (key.namespace.as_deref().unwrap_or_default(), key.name.as_str())).collect()
        };
        let (repositories, targets) = (named(Kind::Repository), named(Kind::AppBinding));
        if repositories.is_empty() && targets.is_empty() {
            return Vec::new();
        }
        let view = self.context.resources.read();
        let refers = |object: &&Arc<Object>| {
            let Spec::BackupConfiguration(spec) = &object.spec else { return false };
            let own = object.metadata.namespace.as_deref().unwrap_or_default();
            let namespace = spec.repository.namespace.as_deref().unwrap_or(own);
            let target = spec.target.as_ref().and_then(|target| target.reference.as_ref());
            repositories.contains(&(namespace, spec.repository.name.as_str()))
                || target.is_some_and(|t| targets.contains(&(t.namespace.as_deref().unwrap_or(own), t.name.as_str())))
        };
        let configurations = view.of_kind(Kind::BackupConfiguration).filter(refers);
        // A blueprint counts the targets that name it.
        let blueprints = view.of_kind(Kind::BackupBlueprint).filter(|_| !targets.is_empty());
        configurations.chain(blueprints).map(|object| object.key()).collect()
    }

    async fn object(&self, key: &ObjectKey, object: &Object, answers: &mut Answers) {
        match &object.spec {
            Spec::BackupConfiguration(_) => {
                self.configuration(key, answers).await;
            }
            Spec::Repository(spec) => self.repository(key, object, spec).await,
            Spec::BackupBlueprint(_) => self.blueprint(key, object).await,
            Spec::RestoreSession(spec) => self.restore(key, object, spec).await,
            _ => {}
        }
    }

    async fn repository(&self, key: &ObjectKey, object: &Object, spec: &RepositorySpec) {
        let volumes = self.context.source().volumes();
        {
            let _lock = self.statuses.lock(key).await;
            let status = repository::described(object, spec, volumes, self.statuses.status(key));
            self.write_object(key, status.into()).await;
        }
        self.finalizer(key, &object.metadata, Some(spec), None).await;
    }

    async fn blueprint(&self, key: &ObjectKey, object: &Object) {
        // Two engines that watch other namespaces of one cluster would overwrite each other's number.
        let counts = self.context.source().namespaces().is_empty();
        let usages = counts.then(|| derive::usages(&self.context.resources.read(), object));
        let _lock = self.statuses.lock(key).await;
        let status = blueprint::status(object, usages, self.statuses.status(key));
        self.write_object(key, status.into()).await;
    }

    async fn restore(&self, key: &ObjectKey, object: &Object, spec: &RestoreSessionSpec) {
        let uid = object.metadata.uid.unwrap_or_default();
        if self.backlog.is_unconfirmed(key, uid) && !self.context.sessions.knows(uid) {
            let _lock = self.statuses.lock(key).await;
            self.write_object(key, document::needs_confirmation(object).into()).await;
        }
        let labels = restore_labels::missing(object, spec, &self.context.resources.read());
        if !labels.is_empty() {
            self.sink.send(key, || PendingChange::labels(labels));
        }
    }

    /// Asks for a look at the finalizer of a Repository. A deleted one is looked at again until it is gone.
    async fn finalizer(&self, key: &ObjectKey, metadata: &Metadata, spec: Option<&RepositorySpec>, end: Option<Note>) {
        let uid = metadata.uid.unwrap_or_default();
        let is_held = finalizer::is_held(metadata) && metadata.deletion_timestamp.is_some();
        let outcome = match end {
            None if is_held => self.wipe_outcome(uid).await,
            end => end,
        };
        if finalizer::step(metadata, spec, outcome.as_ref()).is_some() {
            self.sink.send(key, || PendingChange::finalizer(uid, outcome));
        }
        if is_held {
            self.backlog.look_again(key);
        }
    }

    /// How the session ended that deletes the data of a Repository, whose uid it has; `None` until it has ended. It is
    /// read from its log, so that another reporter knows it too.
    async fn wipe_outcome(&self, repository: Uuid) -> Option<Note> {
        if self.context.sessions.read().active.contains_key(&repository) {
            return None;
        }
        match find_session(&self.context.bus, self.context.cluster(), repository).await {
            Ok(session) => wipe::outcome(&session?),
            Err(error) => {
                tracing::warn!(session = %repository, error = chain(&error), "the session that deletes a repository's data can't be read");
                None
            }
        }
    }

    async fn refused(&self, key: &ObjectKey, refused: &Refused) {
        // No session can delete its data, and it must not stay for ever.
        if key.kind == Kind::Repository && refused.metadata.deletion_timestamp.is_some() {
            self.finalizer(key, &refused.metadata, None, Some(wipe::impossible(&refused.problem))).await;
        }
        let now = session_report::seconds(Timestamp::now());
        let Some(status) = refused::status(key.kind, refused, now) else {
            return tracing::warn!(object = %key, problem = refused.problem, "object is invalid");
        };
        let uid = refused.metadata.uid.unwrap_or_default();
        let _lock = self.statuses.lock(key).await;
        if self.statuses.document_of(key, uid).is_some_and(|old| refused::is_reported(&old.status, refused)) {
            return;
        }
        let document = document::of_refused(key.kind, refused, status);
        if self.statuses.write(self.context, key, &document).await {
            self.sink.send(key, || PendingChange::status(&document));
        }
    }

    /// Removes the status of a deleted object. The status of a session stays as long as the history keeps it, unless
    /// somebody deleted the object that showed it.
    async fn deleted(&self, key: &ObjectKey) {
        self.metrics.object_deleted(key);
        self.backlog.forget(key);
        // It may be there and return, and must not run again then (P5): everything that is known of it stays.
        if !self.context.source().watches(key) {
            return;
        }
        let was_deleted_by_hand = self.context.source().shows_sessions() && self.statuses.has_ended(key);
        if !self.statuses.has(key) || (key.kind == Kind::BackupSession && !was_deleted_by_hand) {
            return;
        }
        // After a loss of JetStream the view is empty although the objects exist.
        if !matches!(self.context.source().confirms_deletion(key).await, Ok(true)) {
            return self.backlog.look_again(key);
        }
        let _lock = self.statuses.lock(key).await;
        if !self.statuses.remove(self.context, key).await {
            self.backlog.look_again(key);
        }
    }
}
