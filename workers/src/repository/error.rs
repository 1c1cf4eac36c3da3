//! The errors of a repository; each variant names the action that failed. A storage error keeps its kind on its way
//! through `rustic_core`. Texts of `rustic_core` span many lines and ask people to report bugs elsewhere, so they are
//! joined to one line.

use std::error::Error as StdError;
use std::io;

use lagan_schemas::error::{Class, Code};
use lagan_schemas::tag::TagError;
use rustic_core::RusticError;

use super::store_error::{StoreError, StoreErrorKind, one_line};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no repository at `{location}`")]
    Absent { location: String },
    #[error("`{location}` holds `{found}` but no `config`; a repository is never made over other data")]
    NotARepository { location: String, found: String },
    #[error("another repository was made at `{location}` in the meantime")]
    Exists { location: String },
    #[error("no key of the repository at `{location}` opens with this password")]
    WrongPassword { location: String },
    #[error("the repository at `{location}` is of {what}, which is not supported")]
    Unsupported { location: String, what: String },
    #[error(transparent)]
    Storage(#[from] StoreError),
    #[error("the backup's input broke off")]
    Input(#[source] io::Error),
    #[error("the archive does not hold exactly what was read: {detail}")]
    Incomplete { detail: String },
    #[error("the snapshot was not written: {reason}")]
    GateRefused { reason: String },
    #[error("no snapshot `{id}` in the repository")]
    SnapshotNotFound { id: String },
    #[error("snapshot `{id}` holds no file `{path}`")]
    PathNotFound { id: String, path: String },
    #[error("the repository is damaged: {detail}")]
    Damaged { detail: String },
    #[error("snapshot `{id}` does not read back as written: {detail}")]
    ReadBack { id: String, detail: String },
    #[error("what was stored does not read back as written, so no snapshot names it: {detail}")]
    NotStored { detail: String },
    #[error(transparent)]
    Tag(#[from] TagError),
    #[error("`{value}` is not usable as {what}")]
    Invalid { what: &'static str, value: String },
    #[error("cannot {action}: {detail}")]
    Core { action: &'static str, detail: String },
}

impl Error {
    /// Returns the storage error behind `error` if there is one, otherwise `rustic_core`'s text on one line.
    pub(super) fn from_core(action: &'static str, error: &RusticError) -> Self {
        if let Some(storage) = storage_behind(error) {
            return Self::Storage(storage.clone());
        }
        let detail = one_line(&error.display_log());
        if error.is_code("C001") { Self::Damaged { detail } } else { Self::Core { action, detail } }
    }

    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Absent { .. } => Code::RepositoryAbsent,
            Self::NotARepository { .. } | Self::Unsupported { .. } => Code::NotARepository,
            Self::Exists { .. } => Code::RepositoryLocked,
            Self::WrongPassword { .. } => Code::WrongPassword,
            Self::Storage(error) => error.code(),
            Self::Input(_) | Self::Incomplete { .. } => Code::DumpTruncated,
            Self::GateRefused { .. } => Code::Interrupted,
            Self::SnapshotNotFound { .. } | Self::PathNotFound { .. } => Code::SnapshotNotFound,
            Self::Damaged { .. } => Code::RepositoryDamaged,
            Self::ReadBack { .. } | Self::NotStored { .. } => Code::ReadBackFailed,
            Self::Invalid { .. } | Self::Tag(_) => Code::InvalidSpec,
            Self::Core { .. } => Code::Internal,
        }
    }

    #[must_use]
    pub fn class(&self) -> Class {
        self.code().class()
    }

    /// Tells whether the error is a fault of the file, rather than of the way to it.
    pub(super) fn is_about_the_file(&self) -> bool {
        match self {
            Self::Storage(error) => matches!(error.kind, StoreErrorKind::TooLarge | StoreErrorKind::WrongLength),
            _ => true,
        }
    }

    /// Tells whether the storage answered that the requested file does not exist.
    pub(super) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Storage(StoreError { kind: StoreErrorKind::NotFound, .. }))
    }
}

fn storage_behind<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e StoreError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<StoreError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
