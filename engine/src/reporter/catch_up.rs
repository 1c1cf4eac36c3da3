//! Compares what objects show with what STATUS says: after a reporter died, after the API server was restored, after
//! somebody wrote a status by hand. It lists each kind once and applies again what differs.

use std::collections::HashSet;

use jiff::Timestamp;
use lagan_schemas::error::chain;
use lagan_schemas::resource::{Condition, Group, Kind, StatusDocument};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::Kubernetes;
use lagan_sources::stand_in;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Reporter;
use super::history::SHOWN_WITHIN;
use super::live::LiveObject;
use super::sink::{DeleteTarget, PendingChange, StatusSink};
use super::statuses::Statuses;
use crate::report::difference::contains;
use crate::report::document;

const KINDS: [Kind; 5] =
    [Kind::Repository, Kind::BackupConfiguration, Kind::BackupBlueprint, Kind::BackupSession, Kind::RestoreSession];

impl Reporter<'_> {
    /// Repairs objects when a reporter starts, and adopts statuses that STATUS does not have: after a loss of JetStream the
    /// objects are the only memory, and a status made anew would overwrite it.
    pub(super) async fn adopt_and_repair(&self) {
        let Some(api) = self.context.source().statuses() else { return };
        for of in kinds(api) {
            let mut unknown = Vec::new();
            let (hidden, ended) = compare_kind(api, of, &self.statuses, &self.sink, Some(&mut unknown)).await;
            self.forget_hidden(hidden).await;
            self.adopt(ended, |_| true).await;
            self.adopt(unknown, |key| !self.statuses.has(key)).await;
        }
    }

    /// Takes the statuses of objects over, where they are still wanted.
    async fn adopt(&self, objects: Vec<(ObjectKey, Value)>, is_wanted: impl Fn(&ObjectKey) -> bool) {
        for (key, object) in objects {
            let Some(document) = document::of_live(object) else { continue };
            let _lock = self.statuses.lock(&key).await;
            if is_wanted(&key) {
                self.statuses.write(self.context, &key, &document).await;
            }
        }
    }

    /// Repairs objects while the reporter runs.
    pub(super) async fn repair(&self) {
        let Some(api) = self.context.source().statuses() else { return };
        for of in kinds(api) {
            let (hidden, ended) = compare_kind(api, of, &self.statuses, &self.sink, None).await;
            self.forget_hidden(hidden).await;
            self.adopt(ended, |_| true).await;
        }
    }

    /// Removes the statuses of scheduled sessions whose objects somebody deleted, or that went with their configuration.
    async fn forget_hidden(&self, hidden: Vec<ObjectKey>) {
        for key in hidden {
            if matches!(self.context.source().confirms_deletion(&key).await, Ok(true)) {
                let _lock = self.statuses.lock(&key).await;
                self.statuses.remove(self.context, &key).await;
            }
        }
    }
}

fn kinds(api: &Kubernetes) -> impl Iterator<Item = (Group, Kind)> {
    let groups = api.groups();
    KINDS.into_iter().flat_map(move |kind| groups.clone().into_iter().map(move |group| (group, kind)))
}

/// Compares all objects of a kind. Objects with a status that STATUS does not know go to `unknown`, if it is given. Returns
/// the scheduled sessions that ended long ago and have no object any more, and the restores that had another end before their
/// log or STATUS was set back: the first one stands.
async fn compare_kind(
    api: &Kubernetes,
    (group, kind): (Group, Kind),
    statuses: &Statuses,
    sink: &StatusSink,
    mut unknown: Option<&mut Vec<(ObjectKey, Value)>>,
) -> (Vec<ObjectKey>, Vec<(ObjectKey, Value)>) {
    let (mut shown, mut restores) = (HashSet::new(), Vec::new());
    let compare = |object: Value| {
        let Some(live) = LiveObject::read(&object) else { return };
        let key = key_of(group, kind, &live);
        match (statuses.document(&key), &mut unknown) {
            (Some(document), _) if has_other_end(&live, &document) => restores.push((key.clone(), object)),
            (Some(document), _) => {
                if !contains(&live.status, &json!(document.status)) {
                    sink.send(&key, || PendingChange::status(&document));
                }
            }
            (None, Some(unknown)) if has_conditions(&live.status) => unknown.push((key.clone(), object)),
            (None, _) => {
                if let Some(identity) = expired_stand_in(kind, &live) {
                    sink.send(&key, || PendingChange::delete(identity));
                }
            }
        }
        shown.insert(key);
    };
    if let Err(error) = api.each(group, kind, compare).await {
        tracing::warn!(%kind, error = chain(&error), "statuses can't be compared at the moment");
        return (Vec::new(), Vec::new());
    }
    let now = Timestamp::now();
    let mut ended = Vec::new();
    // An object that is not watched was not listed.
    let is_listed = |key: &ObjectKey| key.kind == kind && key.group == group.as_str() && api.watches(key);
    let hidden = |key: &ObjectKey| is_listed(key) && !shown.contains(key);
    for key in statuses.keys().into_iter().filter(hidden) {
        let Some(document) = statuses.document(&key) else { continue };
        if must_exist(&document) {
            sink.send(&key, || PendingChange::status(&document));
        } else if had_object(&document, now) {
            ended.push(key);
        }
    }
    (ended, restores)
}

/// Whether a restore has ended according to its object, and not according to STATUS. An end in STATUS stands: somebody may have
/// edited the object.
fn has_other_end(live: &LiveObject, document: &StatusDocument) -> bool {
    let is_restore = document.kind == Kind::RestoreSession && live.uid().is_some_and(|uid| document.is_of(uid));
    is_restore && live.shows_end() && !document.status.has_ended()
}

fn key_of(group: Group, kind: Kind, object: &LiveObject) -> ObjectKey {
    let metadata = &object.metadata.common;
    ObjectKey {
        group: group.as_str().to_owned(),
        kind,
        namespace: metadata.namespace.clone().filter(|_| kind.is_namespaced()),
        name: metadata.name.clone(),
    }
}

/// The fields of a status that are read before its kind's type is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusHead {
    phase: String,
    conditions: Option<Vec<Condition>>,
}

fn head(status: &Value) -> StatusHead {
    StatusHead::deserialize(status).unwrap_or_default()
}

fn has_conditions(status: &Value) -> bool {
    head(status).conditions.is_some()
}

/// The object of a scheduled session that has ended and has left the history since.
fn expired_stand_in(kind: Kind, object: &LiveObject) -> Option<DeleteTarget> {
    let uid: Uuid = object.uid()?;
    (kind == Kind::BackupSession && object.session().is_some() && object.has_ended())
        .then_some(DeleteTarget::Object(uid))
}

/// Whether a scheduled session ended so long ago that its object was created. The API server may have refused the object of
/// one that failed, which must not vanish unseen.
fn had_object(document: &StatusDocument, now: Timestamp) -> bool {
    let ended = document.status.run().and_then(|run| run.completion_time);
    stand_in::session_of(&document.metadata.common).is_some()
        && document.status.session_phase() != "Failed"
        && ended.is_some_and(|ended| now.duration_since(ended) > SHOWN_WITHIN)
}

/// Whether the object of a document must exist: that of a scheduled session must until the session has ended. After
/// that, somebody has deleted it.
fn must_exist(document: &StatusDocument) -> bool {
    stand_in::session_of(&document.metadata.common).is_some() && !document.status.has_ended()
}
