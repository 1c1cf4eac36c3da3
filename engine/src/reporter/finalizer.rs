//! Adds and removes the finalizer of Repositories with `wipeOut`, as `report::finalizer` decides.

use kube::runtime::events::Recorder;
use lagan_schemas::resource::repository::RepositorySpec;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError};
use serde_json::json;

use super::events;
use super::live::LiveObject;
use super::sink::FinalizerCheck;
use crate::report::finalizer::{FinalizerChange, finalizers_after, step};
use crate::report::note::{Note, Severity};

/// Tries against writers who change the object in between. Each of their writes leads to another check.
const TRIES: u32 = 5;

/// Does the next step on the object as it is now. Doing it again changes nothing.
pub(super) async fn settle(
    api: &Kubernetes,
    recorder: &Recorder,
    key: &ObjectKey,
    check: &FinalizerCheck,
) -> Result<(), KubernetesError> {
    for round in 0..TRIES {
        let Some(found) = api.get(key).await? else { return Ok(()) };
        let Some(object) = LiveObject::read(&found).filter(|object| object.uid() == Some(check.repository)) else {
            return Ok(());
        };
        let metadata = &object.metadata.common;
        let spec: Option<RepositorySpec> = serde_json::from_value(object.spec.clone()).ok();
        let Some(step) = step(metadata, spec.as_ref(), check.outcome.as_ref()) else { return Ok(()) };
        // Reported first: once the finalizer is removed, nothing would lead back here.
        if let (FinalizerChange::Remove(Some(note)), 0) = (&step, round) {
            log(key, note);
            let api_version = found.get("apiVersion").and_then(|version| version.as_str()).unwrap_or_default();
            events::publish(recorder, &events::reference(key, api_version, check.repository), note).await;
        }
        // With the resource version, so that finalizers of others are never lost.
        let patch = json!({ "metadata": {
            "finalizers": finalizers_after(&step, metadata),
            "resourceVersion": object.metadata.resource_version,
        }});
        match api.merge(key, &patch).await {
            Err(error) if error.status().is_some_and(kube::core::Status::is_not_found) => return Ok(()),
            Err(error) if error.status().is_some_and(kube::core::Status::is_conflict) => {}
            done => return done,
        }
    }
    Ok(())
}

fn log(key: &ObjectKey, note: &Note) {
    match note.severity {
        Severity::Normal => tracing::info!(object = %key, text = note.text, "repository is gone with its data"),
        Severity::Warning => tracing::error!(object = %key, text = note.text, "repository is gone without its data"),
    }
}
