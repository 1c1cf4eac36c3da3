//! Tombstones in streams that hold the last value of each subject. They expire, so that a stream does not fill with what is
//! gone; a reader that was away for longer reads everything anew.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_TTL;

use crate::read::Stored;

/// Time after which the server removes a tombstone.
const LIFE: &str = "24h";
/// Absence after which a reader must expect that it has missed a tombstone; well below their life, for clocks that differ.
pub(crate) const LONGEST_ABSENCE: Duration = Duration::from_secs(12 * 3600);

/// Returns the headers of a tombstone.
#[must_use]
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_TTL, LIFE);
    headers
}

/// Returns whether the server removes this message by itself. Tombstones of earlier versions stay for ever.
#[must_use]
pub fn expires(stored: &Stored) -> bool {
    stored.headers.get(NATS_MESSAGE_TTL).is_some()
}
