//! The part of the stored messages that a connection may read. It follows from the permissions of `deploy/nats`.

use crate::connect::Bus;

/// The messages that a connection reads, and by which requests.
///
/// A direct request names in its payload what it reads and in its reply subject where the server writes it, and permissions of
/// NATS look at neither. Roles that must not read everything, or write under the subjects of others, therefore have no right to
/// such requests, and read through consumers: the filter of a consumer is part of a subject, and the server stores what it
/// delivers under no other subject than its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReadScope {
    #[default]
    Everything,
    /// All messages, through consumers only.
    Consumers,
    /// As `Consumers`, and of sessions only the facts of the engine and of one pool.
    Pool(String),
}

impl ReadScope {
    /// Returns the prefix of the subjects to which answers are sent. Nobody else may subscribe to them.
    pub(crate) fn inbox(&self, role: &str) -> String {
        match self {
            Self::Pool(pool) => format!("_INBOX_{role}-{pool}"),
            Self::Everything | Self::Consumers => format!("_INBOX_{role}"),
        }
    }
}

impl Bus {
    /// Returns the pool whose sessions this connection may read, if it may not read all.
    pub(crate) fn pool(&self) -> Option<&str> {
        match self.reach() {
            ReadScope::Pool(pool) => Some(pool),
            ReadScope::Everything | ReadScope::Consumers => None,
        }
    }
}
