//! Labels by which KubeDB finds the restore that a new database waits for. Its AppBinding carries them.

use std::collections::BTreeMap;

use lagan_schemas::resource::restore_session::RestoreSessionSpec;
use lagan_schemas::resource::{Group, Kind, Object};

use crate::view::View;

const COPIED: [&str; 3] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/name"];

/// The labels of the target's AppBinding that the RestoreSession does not have yet.
pub(crate) fn missing(object: &Object, spec: &RestoreSessionSpec, view: &View) -> BTreeMap<String, String> {
    let Some(target) = spec.target.as_ref().and_then(|target| target.reference.as_ref()) else {
        return BTreeMap::new();
    };
    let namespace = target.namespace.as_deref().or(object.metadata.namespace.as_deref());
    let Some(binding) = view.find(Kind::AppBinding, Group::AppCatalog, namespace, &target.name) else {
        return BTreeMap::new();
    };
    COPIED
        .into_iter()
        .filter(|label| !object.metadata.labels.contains_key(*label))
        .filter_map(|label| Some((label.to_owned(), binding.metadata.labels.get(label)?.clone())))
        .collect()
}
