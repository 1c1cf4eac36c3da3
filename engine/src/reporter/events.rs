//! Publishes notes as Kubernetes Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use lagan_schemas::error::chain;
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::subject::ObjectKey;
use uuid::Uuid;

use crate::report::note::{Note, Severity};

/// Longest wait for the API server to take an Event.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Publishes one Event. Events are for people who look now, so a lost one is not sent again.
pub(super) async fn publish(recorder: &Recorder, about: &ObjectReference, note: &Note) {
    let event = Event {
        type_: match note.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: note.reason.clone(),
        note: Some(note.text.clone()),
        action: note.action.to_owned(),
        secondary: None,
    };
    match tokio::time::timeout(TIMEOUT, recorder.publish(&event, about)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(object = about.name, error = chain(&error), "event was not published"),
        Err(_) => tracing::debug!(object = about.name, "event was not published: no answer"),
    }
}

pub(super) fn reference(key: &ObjectKey, api_version: &str, uid: Uuid) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(key.kind.to_string()),
        name: Some(key.name.clone()),
        namespace: key.namespace.clone(),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    }
}

pub(super) fn reference_of(object: &ObjectRef) -> ObjectReference {
    ObjectReference {
        api_version: Some(object.api_version.clone()),
        kind: Some(object.kind.to_string()),
        name: Some(object.name.clone()),
        namespace: object.namespace.clone(),
        uid: object.uid.map(|uid| uid.to_string()),
        ..ObjectReference::default()
    }
}
