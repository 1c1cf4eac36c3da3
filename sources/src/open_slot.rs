//! Slots whose sessions are requested and not known to have ended, as a source remembers them outside JetStream (P16).

use jiff::Timestamp;
use lagan_schemas::resource::{Kind, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::stand_in;

/// The slot of a schedule, and its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSlot {
    pub session: Uuid,
    /// Its nominal time.
    pub slot: Timestamp,
    /// The BackupConfiguration.
    pub invoker: ObjectRef,
}

/// A slot that a scheduler has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedSlot {
    pub configuration: Uuid,
    pub slot: Timestamp,
    /// `None` if the slot was passed over.
    pub opened: Option<OpenSlot>,
}

/// Reads the slot of an object that represents a scheduled session; `None` if the object says that the session has ended.
#[must_use]
pub fn of_stand_in(object: &Value) -> Option<OpenSlot> {
    let session = stand_in::session_of_value(object)?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    if matches!(text("/status/phase"), Some("Succeeded" | "Failed" | "Skipped")) {
        return None;
    }
    let owner = object.pointer("/metadata/ownerReferences/0")?;
    let of_owner = |field: &str| owner[field].as_str().map(str::to_owned);
    let (_, second) = text("/metadata/name")?.rsplit_once('-')?;
    let invoker = ObjectRef {
        api_version: of_owner("apiVersion")?,
        kind: Kind::BackupConfiguration,
        namespace: text("/metadata/namespace").map(str::to_owned),
        name: of_owner("name")?,
        uid: of_owner("uid").and_then(|uid| uid.parse().ok()),
        generation: 0,
    };
    Some(OpenSlot { session, slot: Timestamp::from_second(second.parse().ok()?).ok()?, invoker })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_a_scheduled_session_tells_its_slot_until_it_has_ended() {
        let session = Uuid::from_u128(5);
        let name = "shop-1800000000";
        let object = |phase: &str| {
            json!({
                "metadata": {
                    "namespace": "demo", "name": name,
                    "annotations": { stand_in::SESSION_ANNOTATION: stand_in::annotation(session, "demo", name) },
                    "ownerReferences": [{
                        "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration", "name": "shop",
                        "uid": Uuid::from_u128(7),
                    }],
                },
                "status": { "phase": phase },
            })
        };
        for phase in ["", "Pending", "Running"] {
            let open = of_stand_in(&object(phase)).expect("an open slot");
            assert_eq!((open.session, open.slot.as_second()), (session, 1_800_000_000));
            assert_eq!((open.invoker.path(), open.invoker.uid), ("demo/shop".to_owned(), Some(Uuid::from_u128(7))));
        }
        for phase in ["Succeeded", "Failed", "Skipped"] {
            assert_eq!(of_stand_in(&object(phase)), None, "{phase}");
        }
    }
}
