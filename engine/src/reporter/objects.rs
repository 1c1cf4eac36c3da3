//! Statuses that follow from objects alone, for what changed and what refers to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use lagan_schemas::resource::{Kind, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};

use super::Reporter;
use super::apply::Job;
use super::documents::{needs_confirmation, waiting_labels};
use crate::blueprint::derive;
use crate::plan::answers::Answers;
use crate::report::{refused, repository, session as session_report, wipe};
use crate::view::Refused;

impl Reporter<'_> {
    pub(super) fn every_key(&self) -> Vec<ObjectKey> {
        let view = self.context.resources.read();
        let statuses = self.statuses.keys().filter(|key| key.kind != Kind::BackupSession);
        view.objects.keys().chain(view.refused.keys()).chain(statuses).cloned().collect()
    }

    pub(super) async fn objects(&mut self, mut changed: BTreeSet<ObjectKey>) {
        if changed.is_empty() {
            return;
        }
        changed.extend(self.referring(&changed));
        // What many of them name is asked for once.
        let mut answers = Answers::default();
        for key in changed {
            let (object, problem) = {
                let view = self.context.resources.read();
                (view.objects.get(&key).cloned(), view.refused.get(&key).cloned())
            };
            match (object, problem) {
                (Some(object), _) => self.object(&key, &object, &mut answers).await,
                (None, Some(problem)) => self.refused(&key, &problem).await,
                (None, None) => self.gone(&key).await,
            }
        }
    }

    /// Configurations whose repository or target is among these.
    fn referring(&self, changed: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
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
            let namespace = spec.repository.namespace.as_deref().filter(|ns| !ns.is_empty()).unwrap_or(own);
            let target = spec.target.as_ref().and_then(|target| target.reference.as_ref());
            repositories.contains(&(namespace, spec.repository.name.as_str()))
                || target.is_some_and(|t| targets.contains(&(t.namespace.as_deref().unwrap_or(own), t.name.as_str())))
        };
        let configurations = view.of_kind(Kind::BackupConfiguration).filter(refers);
        // A blueprint counts the targets that name it.
        let blueprints = view.of_kind(Kind::BackupBlueprint).filter(|_| !targets.is_empty());
        configurations.chain(blueprints).map(|object| object.key()).collect()
    }

    async fn object(&mut self, key: &ObjectKey, object: &Object, answers: &mut Answers) {
        match &object.spec {
            Spec::BackupConfiguration(_) => {
                let old = self.statuses.status(key);
                self.configuration(key, old, answers).await;
            }
            Spec::Repository(spec) => {
                let status =
                    repository::described(object, spec, self.context.source().volumes(), self.statuses.status(key));
                self.write_object(key, json!(status)).await;
                self.finalizer(key, &object.to_json(), None);
            }
            Spec::BackupBlueprint(_) => {
                let usages = derive::usages(&self.context.resources.read(), object);
                let generation = object.metadata.generation;
                self.write_object(key, json!({ "observedGeneration": generation, "usages": usages })).await;
            }
            Spec::RestoreSession(spec) => {
                let uid = object.metadata.uid.unwrap_or_default();
                if self.memory.unconfirmed.contains(&uid) && !self.context.sessions.knows(uid) {
                    self.write_object(key, json!(needs_confirmation(object))).await;
                }
                let labels = waiting_labels(object, spec, &self.context.resources.read());
                if !labels.is_empty() {
                    self.hand.give(key, || Job::labels(labels));
                }
            }
            _ => {}
        }
    }

    async fn refused(&mut self, key: &ObjectKey, problem: &Refused) {
        // No session can be planned for it, and it must be able to go.
        if key.kind == Kind::Repository && problem.metadata.deletion_timestamp.is_some() {
            self.finalizer(key, &json!({ "metadata": problem.metadata }), Some(wipe::impossible(&problem.problem)));
        }
        let Some(status) = refused::status(key.kind, problem, session_report::seconds(Timestamp::now())) else {
            return tracing::warn!(object = %key, problem = problem.problem, "object can't be used");
        };
        let same = |condition: &Value| condition["message"].as_str() == Some(problem.problem.as_str());
        let told = self.statuses.value(key).is_some_and(|document| {
            let told = document["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(same));
            told && document["metadata"]["uid"] == json!(problem.metadata.uid)
        });
        if told {
            return;
        }
        let document = json!({
            "apiVersion": problem.api_version, "kind": key.kind, "metadata": problem.metadata, "status": status,
        });
        if self.statuses.write(self.context, key, document.clone()).await {
            self.hand.give(key, || Job::status(document));
        }
    }

    /// The status of an object goes with it. A session's own stays as long as the history keeps it, unless somebody
    /// deleted the object that showed it.
    async fn gone(&mut self, key: &ObjectKey) {
        self.numbers.gone(key);
        let shown = self.statuses.has(key);
        let deleted = self.context.source().shows_sessions() && self.statuses.has_ended(key);
        if !shown || (key.kind == Kind::BackupSession && !deleted) {
            return;
        }
        if !matches!(self.context.source().confirms_deletion(key).await, Ok(true)) {
            self.waiting.insert(key.clone());
            return;
        }
        self.statuses.remove(self.context, key).await;
    }
}
