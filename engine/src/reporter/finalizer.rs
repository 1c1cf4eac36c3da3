//! Our finalizer on Repositories with `wipeOut`: put on while they live, taken away when their data is deleted or that
//! has failed. Nothing else ever gets one. It must not decide whether data may be deleted.

use kube::runtime::events::Recorder;
use lagan_schemas::resource::repository::WIPE_OUT_FINALIZER;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::apply::{of_document, tell};
use crate::report::note::{Note, Severity};

/// Somebody who writes the object all the time also wakes us all the time.
const TRIES: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Hold,
    /// Taken away, and what is told about it.
    Release(Option<Note>),
}

/// What to do about our finalizer on a Repository, as the API server or RESOURCES has it. `outcome` is the end of the
/// session that deletes its data, once there is one.
pub(super) fn step(object: &Value, outcome: Option<&Note>) -> Option<Step> {
    let spec = &object["spec"];
    let wipes = spec["wipeOut"] == json!(true) && !spec["backend"]["local"].is_object();
    let is_deleted = object["metadata"]["deletionTimestamp"].is_string();
    match (wipes, holds(object), is_deleted) {
        (true, false, false) => Some(Step::Hold),
        (true, true, true) => outcome.map(|note| Step::Release(Some(note.clone()))),
        (false, true, true) => Some(Step::Release(outcome.cloned())),
        (false, true, false) => Some(Step::Release(None)),
        _ => None,
    }
}

/// Whether it has our finalizer.
pub(super) fn holds(object: &Value) -> bool {
    finalizers(object).iter().any(|name| name == WIPE_OUT_FINALIZER)
}

fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// With the resource version that it was decided on: finalizers of others are never lost.
fn patch(object: &Value, step: &Step) -> Value {
    let mut names = finalizers(object);
    match step {
        Step::Hold => names.push(WIPE_OUT_FINALIZER.to_owned()),
        Step::Release(_) => names.retain(|name| name != WIPE_OUT_FINALIZER),
    }
    json!({ "metadata": { "finalizers": names, "resourceVersion": object["metadata"]["resourceVersion"] } })
}

/// Does what is to be done to the object as it is now. Doing it again changes nothing.
pub(super) async fn settle(
    api: &Kubernetes,
    recorder: &Recorder,
    key: &ObjectKey,
    uid: Uuid,
    outcome: Option<&Note>,
) -> Result<(), KubernetesError> {
    for round in 0..TRIES {
        let Some(object) = api.get(key).await? else { return Ok(()) };
        if object["metadata"]["uid"].as_str() != Some(uid.to_string().as_str()) {
            return Ok(());
        }
        let Some(step) = step(&object, outcome) else { return Ok(()) };
        // Told first: once the finalizer is gone nobody would come back to tell it.
        if let (Step::Release(Some(note)), 0) = (&step, round) {
            match note.severity {
                Severity::Normal => tracing::info!(object = %key, text = note.text, "repository is gone with its data"),
                Severity::Warning => {
                    tracing::error!(object = %key, text = note.text, "repository is gone without its data");
                }
            }
            tell(recorder, &of_document(key, &object, uid), note).await;
        }
        match api.merge(key, &patch(&object, &step)).await {
            Err(error) if error.status().is_some_and(kube::core::Status::is_not_found) => return Ok(()),
            Err(error) if error.status().is_some_and(kube::core::Status::is_conflict) => {}
            done => return done,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(spec: &Value, finalizers: &[&str], deletion: Option<&str>) -> Value {
        json!({ "metadata": { "finalizers": finalizers, "deletionTimestamp": deletion, "resourceVersion": "7" }, "spec": spec })
    }

    #[test]
    fn only_a_repository_that_asks_for_it_is_held_and_only_an_end_lets_it_go() {
        let note = Note { severity: Severity::Normal, reason: "R".into(), action: "A", text: "t".into() };
        let (on, off) = (json!({"wipeOut": true, "backend": {"s3": {}}}), json!({"backend": {"s3": {}}}));
        let local = json!({"wipeOut": true, "backend": {"local": {}}});
        let (ours, others) = (&["x/y", WIPE_OUT_FINALIZER][..], &["x/y"][..]);
        let deleted = Some("2027-01-15T08:00:00Z");
        let released = Some(Step::Release(Some(note.clone())));
        for (spec, finalizers, deletion, outcome, expected) in [
            (&on, others, None, None, Some(Step::Hold)),
            (&on, ours, None, None, None),
            // Kubernetes takes no new finalizer then.
            (&on, others, deleted, None, None),
            (&on, ours, deleted, None, None),
            (&on, ours, deleted, Some(&note), released.clone()),
            // The end of an earlier try is no reason while it lives.
            (&on, ours, None, Some(&note), None),
            (&off, others, None, None, None),
            (&off, others, deleted, None, None),
            (&off, ours, None, None, Some(Step::Release(None))),
            (&off, ours, deleted, None, Some(Step::Release(None))),
            (&off, ours, deleted, Some(&note), released),
            (&local, others, None, None, None),
            (&local, ours, deleted, None, Some(Step::Release(None))),
        ] {
            let object = repository(spec, finalizers, deletion);
            assert_eq!(step(&object, outcome), expected, "{object} {outcome:?}");
        }
    }

    #[test]
    fn finalizers_of_others_stay_and_the_patch_names_what_it_was_decided_on() {
        let on = json!({"wipeOut": true, "backend": {"s3": {}}});
        let held = patch(&repository(&on, &["x/y"], None), &Step::Hold);
        assert_eq!(held["metadata"]["finalizers"], json!(["x/y", WIPE_OUT_FINALIZER]));
        assert_eq!(held["metadata"]["resourceVersion"], "7");
        let released = patch(&repository(&on, &["x/y", WIPE_OUT_FINALIZER, "z"], None), &Step::Release(None));
        assert_eq!(released["metadata"]["finalizers"], json!(["x/y", "z"]));
    }
}
