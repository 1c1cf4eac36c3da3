//! The objects that statuses are shown on, as values. It must not write them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_session::RunStatus;
use lagan_schemas::resource::condition::{Condition, ConditionStatus};
use lagan_schemas::resource::restore_session::{RestoreSessionSpec, RestoreSessionStatus};
use lagan_schemas::resource::{Group, Kind, Object, ObjectRef};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{ObjectKey, SessionKind};
use lagan_sources::stand_in::{self, SESSION_ANNOTATION};
use serde_json::{Value, json};

use crate::report::session::seconds;
use crate::view::View;

/// Whether the session that a document shows has ended.
pub(super) fn has_ended(document: &Value) -> bool {
    matches!(document["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"))
}

/// The object that shows a session; what deletes a Repository's data has none.
pub(super) fn key_of(session: &Session) -> Option<ObjectKey> {
    let request = session.request.as_ref()?;
    let kind = match session.key.kind {
        SessionKind::Backup => Kind::BackupSession,
        SessionKind::Restore => Kind::RestoreSession,
        SessionKind::Maintenance => return None,
    };
    Some(ObjectKey {
        group: request.invoker.key_group().as_str().to_owned(),
        kind,
        namespace: Some(session.key.namespace.clone()),
        name: request.name.clone(),
    })
}

/// The object that a session is shown as; scheduled sessions have no other until one is made from this.
pub(super) fn of_session(key: &ObjectKey, session: &Session, status: &Value) -> Value {
    let request = session.request.as_ref();
    let api_version = request.map_or("", |request| request.invoker.api_version.as_str());
    let group = Group::of(api_version).as_str();
    let spec = match key.kind {
        Kind::BackupSession => {
            json!({ "invoker": { "apiGroup": group, "kind": "BackupConfiguration", "name": session.key.invoker } })
        }
        _ => request.map_or(Value::Null, |request| json!({ "invoker": request.invoker })),
    };
    let mut metadata = json!({
        "name": key.name,
        "namespace": key.namespace,
        "uid": session.key.uid,
        "creationTimestamp": session.first_time.map(seconds),
    });
    if let Some((request, Cause::Slot { .. })) = request.map(|request| (request, &request.cause)) {
        let says = stand_in::annotation(session.key.uid, &session.key.namespace, &key.name);
        metadata["annotations"] = json!({ SESSION_ANNOTATION: says });
        metadata["labels"] = json!(labels(session, Group::of(api_version)));
        metadata["ownerReferences"] = json!([owner(&request.invoker)]);
    }
    json!({ "apiVersion": api_version, "kind": key.kind, "metadata": metadata, "spec": spec, "status": status })
}

fn owner(invoker: &ObjectRef) -> Value {
    json!({
        "apiVersion": invoker.api_version,
        "kind": invoker.kind,
        "name": invoker.name,
        "uid": invoker.uid,
        "controller": true,
        "blockOwnerDeletion": false,
    })
}

/// A label's value has 63 characters at most; a longer name has no label.
fn labels(session: &Session, group: Group) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/managed-by", "lagan".to_owned()),
        ("lagan.dev/configuration", session.key.invoker.clone()),
        ("lagan.dev/trigger", "schedule".to_owned()),
    ]);
    if group == Group::Stash {
        labels.insert("app.kubernetes.io/component", "stash-backup".to_owned());
        labels.insert("stash.appscode.com/invoker-type", "BackupConfiguration".to_owned());
        labels.insert("stash.appscode.com/invoker-name", session.key.invoker.clone());
    }
    labels.retain(|_, value| value.len() <= 63);
    labels
}

/// KubeDB finds the restore that a new database waits for by these labels, which its AppBinding carries.
pub(super) fn waiting_labels(object: &Object, spec: &RestoreSessionSpec, view: &View) -> BTreeMap<String, String> {
    let Some(target) = spec.target.as_ref().and_then(|target| target.reference.as_ref()) else {
        return BTreeMap::new();
    };
    let namespace = target.namespace.as_deref().or(object.metadata.namespace.as_deref());
    let Some(binding) = view.find(Kind::AppBinding, Group::AppCatalog, namespace, &target.name) else {
        return BTreeMap::new();
    };
    ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/name"]
        .into_iter()
        .filter(|label| !object.metadata.labels.contains_key(*label))
        .filter_map(|label| Some((label.to_owned(), binding.metadata.labels.get(label)?.clone())))
        .collect()
}

pub(super) fn needs_confirmation(object: &Object) -> RestoreSessionStatus {
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
