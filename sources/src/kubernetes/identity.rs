//! The identity of a cluster: the uid of its namespace `kube-system`, which no name can repeat and which survives Lagan.
//! Adopted identities are kept in an annotation of that namespace, so that every process reads both with one request.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lagan_schemas::origin::ClusterIdentity;
use serde_json::json;
use uuid::Uuid;

use super::{CLI, Kubernetes, KubernetesError, answer};

const NAMESPACE: &str = "kube-system";
/// Uids, separated by commas.
const ADOPTED: &str = "lagan.dev/adopted-identities";

impl Kubernetes {
    pub async fn identity(&self) -> Result<ClusterIdentity, KubernetesError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let metadata = answer("get namespace", NAMESPACE, api.get_metadata(NAMESPACE)).await?.metadata;
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let uid = uid.parse().map_err(|_| KubernetesError::Identity { uid: uid.to_owned() })?;
        Ok(ClusterIdentity { uid, adopted: adopted(metadata.annotations.as_ref()) })
    }

    /// Adds an identity to those that this cluster took over. It needs the right to patch the namespace `kube-system`.
    pub async fn adopt_identity(&self, identity: Uuid) -> Result<(), KubernetesError> {
        let mut adopted = self.identity().await?.adopted;
        adopted.insert(identity);
        let value = adopted.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
        let patch = json!({ "metadata": { "annotations": { ADOPTED: value } } });
        let params = PatchParams { field_manager: Some(CLI.to_owned()), ..PatchParams::default() };
        let api: Api<Namespace> = Api::all(self.client.clone());
        answer("patch namespace", NAMESPACE, api.patch_metadata(NAMESPACE, &params, &Patch::Merge(&patch)))
            .await
            .map(drop)
    }
}

/// An entry that is not a uid was not written by Lagan and means nothing.
fn adopted(annotations: Option<&BTreeMap<String, String>>) -> BTreeSet<Uuid> {
    let text = annotations.and_then(|annotations| annotations.get(ADOPTED)).map_or("", String::as_str);
    text.split(',').filter_map(|uid| Uuid::parse_str(uid.trim()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adopted_identities_are_uids_separated_by_commas() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let annotations = BTreeMap::from([(ADOPTED.to_owned(), format!("{one}, {two},rubbish,"))]);
        assert_eq!(adopted(Some(&annotations)), BTreeSet::from([one, two]));
        assert!(adopted(None).is_empty());
    }
}
