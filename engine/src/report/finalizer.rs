//! The finalizer on Repositories with `wipeOut`: when it is added and when it is removed. Nothing else gets one.
//! It must not decide whether data may be deleted.

use lagan_schemas::resource::Metadata;
use lagan_schemas::resource::repository::{RepositorySpec, WIPE_OUT_FINALIZER};

use super::note::Note;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FinalizerChange {
    Add,
    /// Removes the finalizer, and first reports the note.
    Remove(Option<Note>),
}

/// The next step for a Repository. `spec` is `None` if it can't be read. `outcome` is how the session that deletes its
/// data ended, once it has.
pub(crate) fn step(
    metadata: &Metadata,
    spec: Option<&RepositorySpec>,
    outcome: Option<&Note>,
) -> Option<FinalizerChange> {
    let wipes = spec.map(RepositorySpec::wipes);
    let is_deleted = metadata.deletion_timestamp.is_some();
    match (wipes, is_held(metadata), is_deleted) {
        (Some(true), false, false) => Some(FinalizerChange::Add),
        (Some(true), true, true) => outcome.map(|note| FinalizerChange::Remove(Some(note.clone()))),
        (Some(false) | None, true, true) => Some(FinalizerChange::Remove(outcome.cloned())),
        (Some(false), true, false) => Some(FinalizerChange::Remove(None)),
        _ => None,
    }
}

/// Whether the object has the finalizer.
pub(crate) fn is_held(metadata: &Metadata) -> bool {
    metadata.finalizers.iter().any(|name| name == WIPE_OUT_FINALIZER)
}

/// All finalizers of the object after the step; those of others stay.
pub(crate) fn finalizers_after(step: &FinalizerChange, metadata: &Metadata) -> Vec<String> {
    let mut names = metadata.finalizers.clone();
    match step {
        FinalizerChange::Add => names.push(WIPE_OUT_FINALIZER.to_owned()),
        FinalizerChange::Remove(_) => names.retain(|name| name != WIPE_OUT_FINALIZER),
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::report::note::Severity;
    use serde_json::{Value, json};

    fn metadata(finalizers: &[&str], deletion: Option<&str>) -> Metadata {
        serde_json::from_value(json!({ "name": "r", "finalizers": finalizers, "deletionTimestamp": deletion })).unwrap()
    }

    fn spec(value: Value) -> RepositorySpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_a_repository_that_asks_for_it_is_held_and_only_an_end_lets_it_go() {
        let note = Note { severity: Severity::Normal, reason: "R".into(), action: "A", text: "t".into() };
        let on = spec(json!({"wipeOut": true, "backend": {"s3": {"bucket": "b"}}}));
        let off = spec(json!({"backend": {"s3": {"bucket": "b"}}}));
        let local = spec(json!({"wipeOut": true, "backend": {"local": {"mountPath": "/x"}}}));
        let (ours, others) = (&["x/y", WIPE_OUT_FINALIZER][..], &["x/y"][..]);
        let deleted = Some("2027-01-15T08:00:00Z");
        let removed = Some(FinalizerChange::Remove(Some(note.clone())));
        for (spec, finalizers, deletion, outcome, expected) in [
            (Some(&on), others, None, None, Some(FinalizerChange::Add)),
            (Some(&on), ours, None, None, None),
            // Kubernetes accepts no new finalizer then.
            (Some(&on), others, deleted, None, None),
            (Some(&on), ours, deleted, None, None),
            (Some(&on), ours, deleted, Some(&note), removed.clone()),
            // The end of an earlier try is no reason while it lives.
            (Some(&on), ours, None, Some(&note), None),
            (Some(&off), others, None, None, None),
            (Some(&off), others, deleted, None, None),
            (Some(&off), ours, None, None, Some(FinalizerChange::Remove(None))),
            (Some(&off), ours, deleted, None, Some(FinalizerChange::Remove(None))),
            (Some(&off), ours, deleted, Some(&note), removed.clone()),
            (Some(&local), others, None, None, None),
            (Some(&local), ours, deleted, None, Some(FinalizerChange::Remove(None))),
            // A spec that can't be read may ask for it: the object is left as it is until it is deleted.
            (None, ours, None, None, None),
            (None, ours, deleted, Some(&note), removed),
        ] {
            let metadata = metadata(finalizers, deletion);
            assert_eq!(step(&metadata, spec, outcome), expected, "{metadata:?} {spec:?} {outcome:?}");
        }
    }

    #[test]
    fn finalizers_of_others_stay() {
        let added = finalizers_after(&FinalizerChange::Add, &metadata(&["x/y"], None));
        assert_eq!(added, ["x/y", WIPE_OUT_FINALIZER]);
        let removed =
            finalizers_after(&FinalizerChange::Remove(None), &metadata(&["x/y", WIPE_OUT_FINALIZER, "z"], None));
        assert_eq!(removed, ["x/y", "z"]);
    }
}
