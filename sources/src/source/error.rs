//! The reasons why a source did not answer.

use lagan_schemas::resource::ObjectError;

use crate::kubernetes::KubernetesError;
use crate::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    #[error("file of `{key}` can't be written or removed")]
    File {
        key: String,
        #[source]
        source: std::io::Error,
    },
    /// The reason is left out because it may quote a manifest, and this text is published.
    #[error("`{key}` was not found, and `{file}`, which may define it, can't be read")]
    Folder { key: String, file: String },
    #[error("`{key}` can't be read at its source")]
    Object {
        key: String,
        #[source]
        source: ObjectError,
    },
}

impl SourceError {
    /// The API server refuses the request: it is forbidden or not acceptable, and the same request gets the same answer.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 400 | 403 | 422))
    }

    /// The object is gone, or another one has its name now.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 404 | 409))
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kubernetes(error) => error.status(),
            _ => None,
        }
    }
}
