//! Identities that every process derives in the same way: the uid and the readable name of a slot's session.
//! It must not draw random numbers or read a clock.

use jiff::Timestamp;
use uuid::Uuid;

use crate::subject::Cluster;

/// The name space of all slot uids. It is part of the contract and must never change.
const SLOTS: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0001);

/// Derives the uid of a slot's session, which is the same in every scheduler.
#[must_use]
pub fn slot_session(cluster: &Cluster, configuration: Uuid, slot: Timestamp) -> Uuid {
    Uuid::new_v5(&SLOTS, format!("{cluster}/{configuration}/{}", slot.as_second()).as_bytes())
}

/// Returns the readable name of a slot's session, `<configuration>-<slot epoch>`, as in Stash.
#[must_use]
pub fn slot_name(configuration: &str, slot: Timestamp) -> String {
    format!("{configuration}-{}", slot.as_second())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_slot_has_one_uid_and_it_never_changes() {
        let cluster: Cluster = "local".parse().unwrap();
        let slot = Timestamp::from_second(1_795_341_600).unwrap();
        let uid = slot_session(&cluster, Uuid::from_u128(1), slot);
        assert_eq!(uid, slot_session(&cluster, Uuid::from_u128(1), slot));
        assert_ne!(uid, slot_session(&cluster, Uuid::from_u128(2), slot));
        assert_ne!(uid, slot_session(&"other".parse().unwrap(), Uuid::from_u128(1), slot));
        assert_eq!(slot_name("shop", slot), "shop-1795341600");
    }
}
