//! The reasons why a source did not answer.

use lagan_schemas::error::Code;
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

    /// The code of a session that needs the answer. No answer may pass; a refusal stays until a person changes something.
    #[must_use]
    pub fn code(&self) -> Code {
        if self.is_refusal() { Code::SourceRefused } else { Code::SourceUnreachable }
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

#[cfg(test)]
mod tests {
    use lagan_schemas::error::Class;

    use super::*;

    #[test]
    fn a_refusal_is_permanent_and_an_outage_is_not() {
        for (status, class) in [
            (400, Class::Permanent),
            (403, Class::Permanent),
            (422, Class::Permanent),
            (401, Class::Transient),
            (429, Class::Transient),
            (500, Class::Transient),
            (503, Class::Transient),
        ] {
            let status = Box::new(kube::core::Status { code: status, ..kube::core::Status::default() });
            let object = "secrets demo/db".to_owned();
            let error = SourceError::from(KubernetesError::Refused { action: "get", object: object.clone(), status });
            assert_eq!(error.code().class(), class, "{error:?}");
            let silent = SourceError::from(KubernetesError::NoAnswer { action: "get", object });
            assert_eq!(silent.code(), Code::SourceUnreachable);
        }
    }
}
