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
}

impl StorageAccess {
    #[must_use]
    pub fn new(handle: Handle, stop: CancellationToken, outbound: Arc<Outbound>) -> Self {
        Self { handle, stop, outbound }
    }
}
