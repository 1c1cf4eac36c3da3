//! The means of a process to reach storages: its runtime, the signal that stops it, and its rules for connections.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::outbound::Outbound;

/// Everything that an operation on a repository needs besides the repository's own address and password.
#[derive(Debug, Clone)]
pub struct StorageAccess {
    pub(super) handle: Handle,
    /// Cancelling this ends every request in flight and fails every later one.
    pub(super) stop: CancellationToken,
    pub(super) outbound: Arc<Outbound>,
    pub(super) patience: Patience,
}

/// How long a request to a storage is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Work that would be lost otherwise goes on after minutes without an answer.
    Long,
    /// A look at the storage, before there is any work.
    Brief,
}

impl StorageAccess {
    #[must_use]
    pub fn new(handle: Handle, stop: CancellationToken, outbound: Arc<Outbound>) -> Self {
        Self { handle, stop, outbound, patience: Patience::Long }
    }

    /// The same means for requests that are given up after about ten seconds.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { patience: Patience::Brief, ..self }
    }
}
