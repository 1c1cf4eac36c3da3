//! The status of every kind as one type, and the document that stream STATUS carries: an object with its status.
//! It must not decide what a status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::backup_blueprint::BackupBlueprintStatus;
use super::backup_configuration::BackupConfigurationStatus;
use super::backup_session::{BackupSessionStatus, RunStatus};
use super::repository::RepositoryStatus;
use super::restore_session::RestoreSessionStatus;
use super::{Condition, Kind, Metadata};

macro_rules! statuses {
    ($($kind:ident($status:ty),)*) => {
        /// The status of an object. Fields that Stash or others write to the same status are not read: they are not
        /// published, and an applied status leaves them as they are.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Status {
            $($kind(Box<$status>),)*
        }

        impl Status {
            /// Reads the status of a kind. JSON `null` reads as an empty status.
            pub fn from_json(kind: Kind, value: Value) -> Result<Self, serde_json::Error> {
                match kind {
                    $(Kind::$kind if value.is_null() => Ok(Self::$kind(Box::default())),
                    Kind::$kind => serde_json::from_value(value).map(Self::$kind),)*
                    _ => Err(serde_json::Error::custom(format!("kind {kind} has no status"))),
                }
            }

            #[must_use]
            pub fn conditions(&self) -> &[Condition] {
                match self { $(Self::$kind(status) => &status.conditions,)* }
            }

            pub fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                match self { $(Self::$kind(status) => &mut status.conditions,)* }
            }
        }

        $(impl From<$status> for Status {
            fn from(status: $status) -> Self {
                Self::$kind(Box::new(status))
            }
        }

        impl TryFrom<Status> for $status {
            /// The status of another kind.
            type Error = Status;

            fn try_from(status: Status) -> Result<Self, Status> {
                match status {
                    Status::$kind(status) => Ok(*status),
                    other => Err(other),
                }
            }
        })*
    };
}

statuses! {
    Repository(RepositoryStatus),
    BackupConfiguration(BackupConfigurationStatus),
    BackupBlueprint(BackupBlueprintStatus),
    BackupSession(BackupSessionStatus),
    RestoreSession(RestoreSessionStatus),
}

impl Status {
    /// The part that both kinds of sessions share.
    #[must_use]
    pub fn run(&self) -> Option<&RunStatus> {
        match self {
            Self::BackupSession(status) => Some(&status.run),
            Self::RestoreSession(status) => Some(&status.run),
            _ => None,
        }
    }

    pub fn run_mut(&mut self) -> Option<&mut RunStatus> {
        match self {
            Self::BackupSession(status) => Some(&mut status.run),
            Self::RestoreSession(status) => Some(&mut status.run),
            _ => None,
        }
    }

    /// The phase of a session; empty for other kinds and for a session without a status.
    #[must_use]
    pub fn session_phase(&self) -> &str {
        match self {
            Self::BackupSession(status) => &status.phase,
            Self::RestoreSession(status) => &status.phase,
            _ => "",
        }
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.session_phase(), "Succeeded" | "Failed" | "Skipped")
    }
}

/// An object together with its status. A scheduled session has no object of its own until one is made from this.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDocument {
    pub api_version: String,
    pub kind: Kind,
    pub metadata: DocumentMetadata,
    /// The published spec, for readers of STATUS; `null` if the object's spec can't be read.
    pub spec: Value,
    pub status: Status,
}

/// Metadata of a document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentMetadata {
    #[serde(flatten)]
    pub common: Metadata,
    /// Owners of the object that is made for a scheduled session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
}

impl From<Metadata> for DocumentMetadata {
    fn from(common: Metadata) -> Self {
        Self { common, owner_references: Vec::new() }
    }
}

impl StatusDocument {
    /// Whether the document is about the object or session of this uid: a name can be used again.
    #[must_use]
    pub fn is_of(&self, uid: Uuid) -> bool {
        self.metadata.common.uid == Some(uid)
    }
}

impl<'de> Deserialize<'de> for StatusDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            api_version: String,
            kind: Kind,
            metadata: DocumentMetadata,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Raw { api_version, kind, metadata, spec, status } = Raw::deserialize(deserializer)?;
        let status = Status::from_json(kind, status).map_err(D::Error::custom)?;
        Ok(Self { api_version, kind, metadata, spec, status })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn document(kind: Kind, status: &Value) -> Value {
        json!({
            "apiVersion": "stash.appscode.com/v1beta1", "kind": kind,
            "metadata": {"name": "x", "namespace": "n", "generation": 2,
                "ownerReferences": [{"apiVersion": "a/v1", "kind": "K", "name": "o", "uid": "u"}]},
            "spec": {"anything": [1]}, "status": status,
        })
    }

    #[test]
    fn a_document_holds_known_fields_only() {
        for (kind, status) in [
            (Kind::Repository, json!({"observedGeneration": 1})),
            (Kind::BackupConfiguration, json!({"observedGeneration": 1, "phase": "Ready"})),
            (Kind::BackupBlueprint, json!({"observedGeneration": 1, "usages": 0})),
            (Kind::BackupSession, json!({"phase": "Running", "attempts": 1, "foldedSequence": 7})),
            (Kind::RestoreSession, json!({"phase": "Pending", "attempts": 0, "foldedSequence": 0})),
        ] {
            let expected = document(kind, &status);
            let mut written = expected.clone();
            written["status"]["references"] = json!(["CANARY"]);
            let read: StatusDocument = serde_json::from_value(written).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), expected);
        }
    }

    #[test]
    fn a_kind_without_a_status_has_no_document() {
        let error = serde_json::from_value::<StatusDocument>(document(Kind::Task, &json!({}))).unwrap_err();
        assert_eq!(error.to_string(), "kind Task has no status");
    }
}
