//! The origin of a snapshot: the cluster and the configuration that wrote it. Retention, `latest`, adoption and history take
//! together what has the same identity of cluster, group, namespace and name. It must not read tags or ask a cluster.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::resource::ObjectRef;

/// The identity of a cluster. Its name is for people and two clusters may share one; its identity is the uid of the namespace
/// `kube-system`, or the uid in the ledger of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    pub uid: Uuid,
    /// Identities of lost clusters whose snapshots this one took over.
    pub adopted: BTreeSet<Uuid>,
}

impl ClusterIdentity {
    /// Whether snapshots of this identity are the cluster's own.
    #[must_use]
    pub fn owns(&self, uid: Uuid) -> bool {
        uid == self.uid || self.adopted.contains(&uid)
    }
}

/// The names of a BackupConfiguration. Its uid is not among them, so that a re-created object keeps its history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationKey {
    pub group: String,
    pub namespace: String,
    pub name: String,
}

impl ConfigurationKey {
    #[must_use]
    pub fn of(configuration: &ObjectRef) -> Self {
        let key = configuration.key();
        Self { group: key.group, namespace: key.namespace.unwrap_or_default(), name: key.name }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the key of a configuration, which is `<group>/<namespace>/<name>`")]
pub struct ConfigurationKeyError(String);

impl fmt::Display for ConfigurationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.namespace, self.name)
    }
}

impl FromStr for ConfigurationKey {
    type Err = ConfigurationKeyError;

    fn from_str(text: &str) -> Result<Self, ConfigurationKeyError> {
        let words: Vec<&str> = text.split('/').collect();
        match words[..] {
            [group, namespace, name] if words.iter().all(|word| !word.is_empty()) => {
                Ok(Self { group: group.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(ConfigurationKeyError(text.to_owned())),
        }
    }
}

/// The cluster and the configuration that wrote a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Identity of the cluster.
    pub cluster: Uuid,
    /// Name of the cluster, for people.
    pub cluster_name: String,
    pub configuration: ConfigurationKey,
}

/// A configuration of this cluster, as the owner of snapshots.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOwner<'a> {
    pub cluster: &'a ClusterIdentity,
    pub configuration: &'a ConfigurationKey,
}

impl SnapshotOwner<'_> {
    /// Whether the owner wrote a snapshot of this origin. It never wrote one without an origin.
    #[must_use]
    pub fn wrote(&self, origin: Option<&Origin>) -> bool {
        origin.is_some_and(|origin| self.cluster.owns(origin.cluster) && origin.configuration == *self.configuration)
    }
}

/// The clusters whose snapshots a restore may choose from.
#[derive(Debug, Clone, Copy)]
pub enum Clusters<'a> {
    Own(&'a ClusterIdentity),
    /// The asker does not know its own identity, so every snapshot may be chosen.
    Unknown,
    /// Name or identity of another cluster, which the person who asks has named.
    Named(&'a str),
}

impl Clusters<'_> {
    /// Whether a snapshot of this origin may be chosen. Snapshots without an origin, those of Stash among them, belong to
    /// whoever has the repository, so they are left out only if a cluster was named.
    #[must_use]
    pub fn include(&self, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Own(identity), Some(origin)) => identity.owns(origin.cluster),
            (Self::Own(_), None) | (Self::Unknown, _) => true,
            (Self::Named(named), Some(origin)) => {
                *named == origin.cluster_name || Uuid::parse_str(named).is_ok_and(|uid| uid == origin.cluster)
            }
            (Self::Named(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(cluster: u128, name: &str) -> Origin {
        let key = "lagan.dev/prod/shop".parse().expect("a key");
        Origin { cluster: Uuid::from_u128(cluster), cluster_name: name.to_owned(), configuration: key }
    }

    #[test]
    fn a_key_reads_back_as_written() {
        for text in ["lagan.dev/prod/shop", "stash.appscode.com/a/b.c-d"] {
            assert_eq!(text.parse::<ConfigurationKey>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "prod/shop", "lagan.dev/prod/", "lagan.dev//shop", "a/b/c/d"] {
            assert!(bad.parse::<ConfigurationKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cluster_owns_what_it_wrote_and_what_it_adopted_whatever_the_names() {
        let own = ClusterIdentity { uid: Uuid::from_u128(1), adopted: BTreeSet::from([Uuid::from_u128(2)]) };
        let clusters = Clusters::Own(&own);
        assert!(clusters.include(Some(&origin(1, "local"))) && clusters.include(Some(&origin(2, "lost"))));
        assert!(!clusters.include(Some(&origin(3, "local"))), "only the name is the same");
        assert!(clusters.include(None), "Stash's snapshots belong to whoever has the repository");
    }

    #[test]
    fn another_cluster_is_named_by_its_name_or_its_identity() {
        let uid = Uuid::from_u128(3).to_string();
        assert!(Clusters::Named("east").include(Some(&origin(3, "east"))));
        assert!(Clusters::Named(&uid).include(Some(&origin(3, "east"))));
        assert!(!Clusters::Named("east").include(Some(&origin(3, "west"))));
        assert!(!Clusters::Named("east").include(None));
    }
}
