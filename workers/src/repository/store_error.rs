//! Errors of a storage: a kind for decisions and a text without secrets. The source error is not kept, because its
//! `Debug` may show request headers or keys.

use std::error::Error as _;
use std::io;

use lagan_schemas::error::{Class, Code};
use secrecy::{ExposeSecret, SecretString};

use crate::process::escape;

/// The kind of a storage error; it decides whether the request is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    NotFound,
    /// A conditional write found another file under the name.
    Exists,
    Denied,
    /// The credentials were good for a while, and others may be in the Secret by now.
    Expired,
    Full,
    /// Bucket, endpoint, region or path is wrong.
    Misconfigured,
    /// The storage accepted a file and shows another length, or returned fewer bytes than requested.
    WrongLength,
    /// A timeout, a 5xx status, throttling, a broken connection, or an error of unknown cause.
    Unreachable,
    /// A file or a listing is beyond what a worker reads.
    TooLarge,
    /// The session was stopped; the request was broken off or not made.
    Stopped,
    /// This backend never allows the operation.
    Forbidden,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} `{path}` in the storage ({}): {detail}", kind.as_str())]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub action: &'static str,
    pub path: String,
    pub detail: String,
}

/// The cause of an answer which says that temporary credentials are over.
#[derive(Debug, thiserror::Error)]
#[error("the credentials have expired")]
pub(super) struct ExpiredCredentials;

/// The cause of an answer that refuses a request and gives no reason.
#[derive(Debug, thiserror::Error)]
#[error("does the endpoint belong to an S3 server, and are its scheme and the region right?")]
pub(super) struct WordlessRefusal;

pub(super) fn is_wordless(error: &opendal::Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<WordlessRefusal>)
}

impl StoreErrorKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Exists => "exists already",
            Self::Denied => "access denied",
            Self::Expired => "credentials expired",
            Self::Full => "storage full",
            Self::Misconfigured => "misconfigured",
            Self::WrongLength => "wrong length",
            Self::TooLarge => "too large",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "not allowed here",
        }
    }
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, action: &'static str, path: &str, detail: impl Into<String>) -> Self {
        Self { kind, action, path: path.to_owned(), detail: detail.into() }
    }

    pub(super) fn from_io(action: &'static str, path: &str, error: &io::Error) -> Self {
        Self::new(kind_of_io(error), action, path, error.to_string())
    }

    #[must_use]
    pub const fn code(&self) -> Code {
        match self.kind {
            StoreErrorKind::Denied | StoreErrorKind::Misconfigured => Code::StorageDenied,
            StoreErrorKind::Expired => Code::StorageCredentialsExpired,
            StoreErrorKind::Full => Code::StorageFull,
            StoreErrorKind::NotFound | StoreErrorKind::TooLarge => Code::RepositoryDamaged,
            StoreErrorKind::Stopped => Code::Interrupted,
            StoreErrorKind::Exists | StoreErrorKind::WrongLength | StoreErrorKind::Unreachable => {
                Code::StorageUnreachable
            }
            StoreErrorKind::Forbidden => Code::Internal,
        }
    }

    #[must_use]
    pub const fn class(&self) -> Class {
        self.code().class()
    }
}

/// Removes secrets from error texts: S3 quotes the access key in its answers.
#[derive(Clone, Default)]
pub(super) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(super) fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets)
    }

    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in self.0.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
            clean = clean.replace(secret, "***");
        }
        one_line(&clean)
    }

    pub(super) fn store_error(&self, action: &'static str, path: &str, error: &opendal::Error) -> StoreError {
        use opendal::ErrorKind as Kind;
        let local = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let is_expired = error.source().is_some_and(<dyn std::error::Error>::is::<ExpiredCredentials>);
        let kind = match (error.kind(), local) {
            _ if is_expired => StoreErrorKind::Expired,
            (Kind::NotFound, _) => StoreErrorKind::NotFound,
            (Kind::PermissionDenied, _) => StoreErrorKind::Denied,
            (Kind::ConfigInvalid | Kind::Unsupported | Kind::IsADirectory | Kind::NotADirectory, _) => {
                StoreErrorKind::Misconfigured
            }
            (Kind::AlreadyExists | Kind::ConditionNotMatch, _) => StoreErrorKind::Exists,
            (Kind::RangeNotSatisfied, _) => StoreErrorKind::WrongLength,
            (_, Some(local)) => kind_of_io(local),
            _ => StoreErrorKind::Unreachable,
        };
        StoreError::new(kind, action, path, self.clean(&chain(error)))
    }
}

/// Makes a text of another program fit for a message: one line, bounded, without control characters.
pub(super) fn one_line(text: &str) -> String {
    const LIMIT: usize = 400;
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = escape(&words.join(" "));
    if line.len() > LIMIT {
        line.truncate(line.floor_char_boundary(LIMIT));
        line.push_str(" ...");
    }
    line
}

/// Joins the message and those of its causes. The answer to a `HEAD` request has no message.
fn chain(error: &opendal::Error) -> String {
    let mut parts: Vec<String> = vec![error.message().to_owned()];
    let mut next = error.source();
    while let Some(source) = next {
        parts.push(source.to_string());
        next = source.source();
    }
    parts.retain(|part| !part.is_empty());
    parts.dedup();
    if parts.is_empty() { "no further word from the storage".to_owned() } else { parts.join(": ") }
}

fn kind_of_io(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::Unsupported => {
            StoreErrorKind::Misconfigured
        }
        io::ErrorKind::UnexpectedEof => StoreErrorKind::WrongLength,
        _ => StoreErrorKind::Unreachable,
    }
}
