//! Identities that every process derives alike: the uid of a slot's session, the readable name of a session.
//! It must not draw random numbers or read a clock.

use jiff::Timestamp;
use uuid::Uuid;

use crate::subject::Cluster;

/// The name space of all slot uids; part of the contract, never to be changed.
const SLOTS: Uuid = Uuid::from_u128(0x6c61_6761_6e00_5f73_8c6f_7473_0000_0001);

/// The session of a slot: the same uid in every scheduler that looks at the same configuration.
#[must_use]
pub fn slot_session(cluster: &Cluster, configuration: Uuid, slot: Timestamp) -> Uuid {
    Uuid::new_v5(&SLOTS, format!("{cluster}/{configuration}/{}", slot.as_second()).as_bytes())
}

/// `<configuration>-<slot epoch>`: what people read, as Stash names its sessions.
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
