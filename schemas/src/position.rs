//! Positions in a stream. A sequence means something only together with the store that it was read from.

use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The identity of a stream's store: the time at which the stream was created, to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StoreId(#[schemars(with = "String")] Timestamp);

impl StoreId {
    #[must_use]
    pub const fn created(time: Timestamp) -> Self {
        Self(time)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sequence and its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    pub store: StoreId,
    pub sequence: u64,
}

/// Positions in different stores have no order.
impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.store == other.store).then(|| self.sequence.cmp(&other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_two_stores_are_never_compared() {
        let position = |nanosecond, sequence| Position {
            store: StoreId::created(Timestamp::from_nanosecond(nanosecond).unwrap_or_default()),
            sequence,
        };
        assert!(position(1, 5) < position(1, 6) && position(1, 6) >= position(1, 6));
        let (old, new) = (position(1, 5), position(2, 6));
        assert!(old.partial_cmp(&new).is_none() && old != new);
        let json = serde_json::to_string(&position(1_700_000_000_123_456_789, 7)).expect("JSON");
        assert_eq!(json, r#"{"store":"2023-11-14T22:13:20.123456789Z","sequence":7}"#);
        assert_eq!(
            serde_json::from_str::<Position>(&json).expect("a position"),
            position(1_700_000_000_123_456_789, 7)
        );
    }
}
