//! Applies one pending change to its object.

use kube::runtime::events::Recorder;
use lagan_schemas::error::Code;
use lagan_schemas::resource::{Kind, StatusDocument};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError, REPORTER};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::report::brief::brief;
use crate::report::note::Severity;
use crate::reporter::live::LiveObject;
use crate::reporter::sink::{DeleteTarget, ObjectWrite, PendingChange, PendingEvent};
use crate::reporter::{events, finalizer};

/// Applies a change, and returns the uid of the object if it stands for a scheduled session. `known_uid` is that uid, if
/// an earlier change returned it.
pub(super) async fn write(
    api: &Kubernetes,
    recorder: &Recorder,
    key: &ObjectKey,
    change: &PendingChange,
    known_uid: Option<Uuid>,
) -> Result<Option<Uuid>, KubernetesError> {
    if let Some(check) = &change.finalizer {
        finalizer::settle(api, recorder, key, check).await?;
    }
    if !change.labels.is_empty() {
        let patch = json!({ "metadata": { "name": key.name, "namespace": key.namespace, "labels": change.labels } });
        api.apply_object(key, patch, REPORTER).await?;
    }
    match &change.action {
        None => Ok(None),
        Some(ObjectWrite::Delete(DeleteTarget::Object(uid))) => api.delete(key, Some(*uid)).await.map(|()| None),
        Some(ObjectWrite::Delete(DeleteTarget::StandIn(session))) => {
            let uid = match known_uid {
                Some(uid) => Some(uid),
                None => find_stand_in(api, key, *session).await?,
            };
            match uid {
                Some(uid) => api.delete(key, Some(uid)).await.map(|()| None),
                None => Ok(None),
            }
        }
        Some(ObjectWrite::ApplyStatus { document, session }) => {
            let document = document.read();
            let uid = match (session, known_uid) {
                (None, _) => document.metadata.common.uid,
                (Some(_), Some(uid)) => Some(uid),
                (Some(session), None) => ensure_stand_in(api, key, &document, *session).await?,
            };
            let Some(uid) = uid else { return Ok(None) };
            if document.kind == Kind::RestoreSession
                && api.get(key).await?.is_some_and(|live| knows_more(&live, uid, &json!(document.status)))
            {
                tracing::warn!(object = %key, "the restore has come further than the log says, which was set back; its status stays");
                return Ok(None);
            }
            apply(api, key, uid, &document).await?;
            publish_events(recorder, key, &document, uid, &change.events).await;
            Ok(session.map(|_| uid))
        }
    }
}

/// Whether a restore has ended, or begun to write, according to its object and not according to a status that is about to be
/// applied. By this the next worker knows that it must not run again (P5), so it stays. Another end that was folded from the
/// same fact is none of an earlier log: somebody edited the object, and a failure must not look like a success.
fn knows_more(live: &Value, uid: Uuid, status: &Value) -> bool {
    let Some(live) = LiveObject::read(live).filter(|live| live.uid() == Some(uid)) else { return false };
    let has_ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"));
    if live.shows_end() {
        let is_edited = has_ended && status["foldedSequence"].is_u64() && has_same_fold(&live.status, status);
        return live.status["phase"] != status["phase"] && !is_edited;
    }
    let asks = status["reason"] == Code::NeedsConfirmation.reason();
    live.status["snapshot"].is_string() && !status["snapshot"].is_string() && !has_ended && !asks
}

/// Whether two statuses were folded from the same facts of the same log.
fn has_same_fold(shown: &Value, applied: &Value) -> bool {
    ["foldedStore", "foldedSequence"].iter().all(|field| shown[field] == applied[field])
}

/// Applies a status. If the API server refuses what the end of a session says in detail, it may take the end itself, without
/// which the object would seem to wait for its session for ever.
async fn apply(api: &Kubernetes, key: &ObjectKey, uid: Uuid, document: &StatusDocument) -> Result<(), KubernetesError> {
    let applied = api.apply_status(key, uid, &json!(document.status), REPORTER).await;
    let refusal = match &applied {
        Err(error) => error.status().filter(|status| matches!(status.code, 400 | 403 | 413 | 422)),
        Ok(()) => None,
    };
    let brief = refusal.and_then(|refusal| brief(&document.status, &refusal.message));
    match brief {
        Some(brief) => {
            tracing::warn!(object = %key, "status was refused, a brief one is applied");
            api.apply_status(key, uid, &json!(brief), REPORTER).await
        }
        None => applied,
    }
}

async fn publish_events(
    recorder: &Recorder,
    key: &ObjectKey,
    document: &StatusDocument,
    uid: Uuid,
    pending: &[PendingEvent],
) {
    let object = events::reference(key, &document.api_version, uid);
    for PendingEvent { note, configuration } in pending {
        events::publish(recorder, &object, note).await;
        if let (Some(configuration), Severity::Warning) = (configuration, note.severity) {
            events::publish(recorder, &events::reference_of(configuration), note).await;
        }
    }
}

/// The uid of the object that stands for a scheduled session; the object is created if it is missing. `None` if somebody
/// else's object has the name.
async fn ensure_stand_in(
    api: &Kubernetes,
    key: &ObjectKey,
    document: &StatusDocument,
    session: Uuid,
) -> Result<Option<Uuid>, KubernetesError> {
    let mut object = StatusDocument::clone(document);
    // The API server assigns these.
    (object.metadata.common.uid, object.metadata.common.creation_timestamp) = (None, None);
    let mut object = json!(object);
    object.as_object_mut().expect("a document is a JSON object").remove("status");
    match api.create(key, object).await {
        Ok(created) => Ok(LiveObject::read(&created).and_then(|created| created.uid())),
        // Created by another reporter, or by a request whose answer was lost.
        Err(error) if error.status().is_some_and(kube::core::Status::is_already_exists) => {
            find_stand_in(api, key, session).await
        }
        Err(error) => Err(error),
    }
}

async fn find_stand_in(api: &Kubernetes, key: &ObjectKey, session: Uuid) -> Result<Option<Uuid>, KubernetesError> {
    Ok(api.get(key).await?.and_then(|found| stand_in_uid(&found, session)))
}

fn stand_in_uid(object: &Value, session: Uuid) -> Option<Uuid> {
    let object = LiveObject::read(object)?;
    object.uid().filter(|_| object.session() == Some(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_never_falls_back_behind_its_end_or_its_first_byte() {
        let uid = Uuid::from_u128(1);
        let knows_more = |shown: Value, applied: Value| {
            let live = json!({ "metadata": { "name": "r", "uid": uid }, "status": shown });
            assert!(!knows_more(&live, Uuid::from_u128(2), &applied), "another object");
            super::knows_more(&live, uid, &applied)
        };
        let (pending, running) = (json!({ "phase": "Pending" }), json!({ "phase": "Running" }));
        let writes = json!({ "phase": "Running", "snapshot": "aa" });
        let ended = |phase| json!({ "phase": phase, "completionTime": "2026-11-27T14:00:00Z" });
        let (succeeded, failed, by_hand) = (ended("Succeeded"), ended("Failed"), json!({ "phase": "Succeeded" }));
        let asks = json!({ "phase": "Pending", "reason": "NeedsConfirmation" });
        for (shown, applied, stays) in [
            (&pending, &running, false),
            (&running, &writes, false),
            (&writes, &succeeded, false),
            (&writes, &failed, false),
            (&writes, &asks, false),
            (&succeeded, &succeeded, false),
            (&writes, &running, true),
            (&writes, &pending, true),
            (&succeeded, &running, true),
            (&succeeded, &asks, true),
            (&succeeded, &failed, true),
            (&failed, &pending, true),
            (&by_hand, &running, false),
        ] {
            assert_eq!(knows_more(shown.clone(), applied.clone()), stays, "{shown} {applied}");
        }
    }

    #[test]
    fn an_end_that_was_edited_by_hand_is_corrected_and_one_of_an_earlier_log_stays() {
        let uid = Uuid::from_u128(1);
        let status = |phase, store, sequence| {
            let time = "2026-11-27T14:00:00Z";
            json!({ "phase": phase, "completionTime": time, "foldedStore": store, "foldedSequence": sequence })
        };
        let edited = json!({ "metadata": { "name": "r", "uid": uid }, "status": status("Succeeded", "a", 7) });
        for (applied, stays) in [
            (status("Failed", "a", 7), false),
            (status("Failed", "a", 5), true),
            (status("Failed", "a", 9), true),
            (status("Failed", "b", 7), true),
            (status("Running", "a", 7), true),
        ] {
            assert_eq!(knows_more(&edited, uid, &applied), stays, "{applied}");
        }
    }
}
