//! Documents of STATUS as values: a status together with the object, or the session, that it is about.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use lagan_schemas::error::Code;
use lagan_schemas::fact::Cause;
use lagan_schemas::resource::backup_session::{BackupSessionSpec, Invoker, RunStatus};
use lagan_schemas::resource::condition::ConditionStatus;
use lagan_schemas::resource::restore_session::RestoreSessionStatus;
use lagan_schemas::resource::status::DocumentMetadata;
use lagan_schemas::resource::{Group, Kind, Metadata, Object, ObjectRef, Status, StatusDocument};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{ObjectKey, SessionKind};
use lagan_sources::stand_in::{self, SESSION_ANNOTATION};
use serde_json::{Value, json};

use super::conditions::Conditions;
use super::session::seconds;
use crate::view::Refused;

/// Longest value of a label that Kubernetes accepts.
const LABEL_LIMIT: usize = 63;

/// The object that shows a session. A session that deletes a Repository's data has none.
pub(crate) fn session_key(session: &Session) -> Option<ObjectKey> {
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

/// The document of a session. For a scheduled session it is also the object to create.
pub(crate) fn of_session(key: &ObjectKey, session: &Session, status: Status) -> StatusDocument {
    let request = session.request.as_ref();
    let api_version = request.map(|request| request.invoker.api_version.clone()).unwrap_or_default();
    let spec = match key.kind {
        Kind::BackupSession => json!(BackupSessionSpec {
            invoker: Invoker {
                api_group: Some(Group::of(&api_version).as_str().to_owned()),
                kind: Kind::BackupConfiguration.to_string(),
                name: session.key.invoker.clone(),
            },
            retry_left: None,
        }),
        _ => request.map_or(Value::Null, |request| json!({ "invoker": request.invoker })),
    };
    let mut metadata = DocumentMetadata::from(Metadata {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        uid: Some(session.key.uid),
        creation_timestamp: session.first_time.map(seconds),
        ..Metadata::default()
    });
    if let Some((request, Cause::Slot { .. })) = request.map(|request| (request, &request.cause)) {
        let names_session = stand_in::annotation(session.key.uid, &session.key.namespace, &key.name);
        metadata.common.annotations = BTreeMap::from([(SESSION_ANNOTATION.to_owned(), names_session)]);
        metadata.common.labels = labels(session, Group::of(&api_version));
        metadata.owner_references = vec![owner(&request.invoker)];
    }
    StatusDocument { api_version, kind: key.kind, metadata, spec, status }
}

fn owner(invoker: &ObjectRef) -> OwnerReference {
    OwnerReference {
        api_version: invoker.api_version.clone(),
        kind: invoker.kind.to_string(),
        name: invoker.name.clone(),
        uid: invoker.uid.unwrap_or_default().to_string(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn labels(session: &Session, group: Group) -> BTreeMap<String, String> {
    let invoker = session.key.invoker.as_str();
    let mut labels = vec![
        ("app.kubernetes.io/managed-by", "lagan"),
        ("lagan.dev/configuration", invoker),
        ("lagan.dev/trigger", "schedule"),
    ];
    if group == Group::Stash {
        labels.push(("app.kubernetes.io/component", "stash-backup"));
        labels.push(("stash.appscode.com/invoker-type", Kind::BackupConfiguration.as_str()));
        labels.push(("stash.appscode.com/invoker-name", invoker));
    }
    let fitting = labels.into_iter().filter(|(_, value)| value.len() <= LABEL_LIMIT);
    fitting.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// The document of an object that can be used.
pub(crate) fn of_object(object: &Object, status: Status) -> StatusDocument {
    StatusDocument {
        api_version: object.api_version.clone(),
        kind: object.kind(),
        metadata: object.metadata.clone().into(),
        spec: object.spec_json(),
        status,
    }
}

/// The document of an object that was refused. Its spec is left out, because it may hold anything.
pub(crate) fn of_refused(kind: Kind, refused: &Refused, status: Status) -> StatusDocument {
    StatusDocument {
        api_version: refused.api_version.clone(),
        kind,
        metadata: refused.metadata.clone().into(),
        spec: Value::Null,
        status,
    }
}

/// The document of an object as the API server returns it, in its published form. `None` for an object or a status
/// that can't be read: its status is then made anew.
pub(crate) fn of_live(mut object: Value) -> Option<StatusDocument> {
    let status = object.get_mut("status").map(Value::take).unwrap_or_default();
    let object = Object::from_json(object).ok()?;
    let session = stand_in::session_of(&object.metadata);
    let status = Status::from_json(object.kind(), status).ok()?;
    let mut document = of_object(&object.published(), status);
    // A scheduled session is identified by its own uid, not by that of the object that shows it.
    if session.is_some() {
        document.metadata.common.uid = session;
    }
    Some(document)
}

/// The status of a restore that waits until a person confirms it (P5).
pub(crate) fn needs_confirmation(object: &Object) -> RestoreSessionStatus {
    let code = Code::NeedsConfirmation;
    let message = "this restore may have run before, and its result is no longer known; if you still want it, create a new RestoreSession";
    let created = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut conditions = Conditions::new(Vec::new(), object.metadata.generation, created);
    conditions.set(code.reason(), ConditionStatus::True, "MayHaveRunBefore", message);
    RestoreSessionStatus {
        phase: "Pending".to_owned(),
        run: RunStatus {
            code: Some(code.to_string()),
            reason: Some(code.reason().to_owned()),
            message: Some(message.to_owned()),
            ..RunStatus::default()
        },
        conditions: conditions.into_list(),
        ..RestoreSessionStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_a_live_object_has_its_status_and_its_published_form() {
        let object = json!({
            "apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession",
            "metadata": {"name": "r", "namespace": "n", "uid": "00000000-0000-0000-0000-000000000001",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "CANARY"}},
            "spec": {"repository": {"name": "r"},
                "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": "db"}},
                "hooks": {"preRestore": {"httpPost": {"port": 1, "path": "/CANARY", "body": "CANARY"}}}},
            "status": {"phase": "Succeeded"},
        });
        let document = of_live(object).expect("a document");
        assert!(!json!(document).to_string().contains("CANARY"), "{document:?}");
        assert_eq!((document.status.session_phase(), document.metadata.common.name.as_str()), ("Succeeded", "r"));
        assert_eq!(of_live(json!({"apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession", "spec": 1})), None);
    }
}
