//! Sizes and ages of the streams that an administrator chooses.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Sizes in bytes and ages of messages. A start never makes a stream smaller, and keeps what an administrator made larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    pub sessions_max_bytes: u64,
    /// Time that facts are kept.
    pub sessions_max_age: Duration,
    pub resources_max_bytes: u64,
    pub status_max_bytes: u64,
    pub dead_max_bytes: u64,
    pub dead_max_age: Duration,
    pub locks_max_bytes: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            sessions_max_bytes: 1024 * MIB,
            sessions_max_age: 7 * DAY,
            resources_max_bytes: 1024 * MIB,
            status_max_bytes: 1024 * MIB,
            dead_max_bytes: 64 * MIB,
            dead_max_age: 30 * DAY,
            locks_max_bytes: 64 * MIB,
        }
    }
}

impl StreamLimits {
    /// Returns the bytes on disk that the streams with these limits reserve.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        [
            self.sessions_max_bytes,
            self.resources_max_bytes,
            self.status_max_bytes,
            self.dead_max_bytes,
            self.locks_max_bytes,
        ]
        .into_iter()
        .fold(LEASES_MAX_BYTES, u64::saturating_add)
    }

    /// Returns the age at which a session ends: a day before its first fact expires, or earlier if facts live for less than
    /// a week (P14).
    #[must_use]
    pub fn oldest_session(&self) -> Duration {
        self.sessions_max_age.saturating_sub(DAY.min(self.sessions_max_age / 7))
    }
}

pub(crate) const LEASES_MAX_BYTES: u64 = 64 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_before_its_first_fact_expires() {
        let oldest = |age| StreamLimits { sessions_max_age: age, ..StreamLimits::default() }.oldest_session();
        assert_eq!(oldest(7 * DAY), 6 * DAY);
        assert_eq!(oldest(90 * DAY), 89 * DAY);
        assert_eq!(oldest(DAY * 7 / 24), DAY / 4);
    }
}
