//! Values for unit tests of this crate.
#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::session::Session;
use lagan_schemas::subject::{SessionKey, SessionKind};
use uuid::Uuid;

/// A session without facts.
pub(crate) fn session(kind: SessionKind) -> Session {
    Session::new(SessionKey {
        cluster: "c".parse().unwrap(),
        namespace: "n".into(),
        kind,
        group: "lagan.dev".into(),
        invoker: "i".into(),
        uid: Uuid::from_u128(1),
    })
}
