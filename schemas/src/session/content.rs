//! What a message of SESSIONS holds: a fact, something of a later version, or garbage.

use crate::event::{CloudEvent, EventError};
use crate::fact::{Fact, FactKind};

/// Prefix of the types of Lagan's own events.
const OWN: &str = "dev.lagan.";

/// What a message on a session's subject holds.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordedContent {
    Fact(Fact),
    /// An event of a later version, so this version must not write to the session.
    Later,
    /// No event that any version of Lagan wrote, with the reason. Nobody takes it into account.
    Garbage(String),
}

impl RecordedContent {
    /// Reads the payload of a message whose subject names the fact `named`; `None` if this version does not know that name.
    /// The permissions of NATS say which fact an author may write by its subject, so an event of another type is garbage.
    #[must_use]
    pub fn read(named: Option<FactKind>, payload: &[u8]) -> Self {
        match CloudEvent::from_bytes(payload).and_then(Fact::decode) {
            Ok(fact) if named == Some(fact.kind()) => Self::Fact(fact),
            Ok(fact) => Self::Garbage(format!("the event is `{}`, and its subject is not", fact.kind().as_str())),
            Err(EventError::UnknownType(kind)) if kind.starts_with(OWN) => Self::Later,
            // A later version may know more codes, kinds of work and the like. Passing over its fact could run a restore twice.
            Err(EventError::Data { kind, .. }) if is_later(named, &kind, payload) => Self::Later,
            Err(error) => Self::Garbage(crate::error::chain(&error)),
        }
    }

    /// Returns the fact, if it is one.
    #[must_use]
    pub fn fact(&self) -> Option<&Fact> {
        match self {
            Self::Fact(fact) => Some(fact),
            Self::Later | Self::Garbage(_) => None,
        }
    }
}

/// Whether data that this version can't read may be that of a later one: an object, under the subject of its type.
fn is_later(named: Option<FactKind>, kind: &str, payload: &[u8]) -> bool {
    let is_named = kind.split('.').nth(3).and_then(FactKind::from_name) == named;
    let is_object = CloudEvent::from_bytes(payload).is_ok_and(|event| event.data.is_object());
    kind.starts_with(OWN) && is_named && is_object
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn event(kind: &str, data: &serde_json::Value) -> Vec<u8> {
        CloudEvent::new("id".into(), "/x".into(), kind.into(), Timestamp::UNIX_EPOCH, data.clone()).to_bytes()
    }

    #[test]
    fn only_an_event_of_lagan_with_an_unknown_name_or_version_is_of_a_later_version() {
        let cancel = json!({ "by": "x", "reason": "", "code": "E0503" });
        let good = event("dev.lagan.backup.cancel-requested.v1", &cancel);
        assert!(matches!(
            RecordedContent::read(Some(FactKind::CancelRequested), &good),
            RecordedContent::Fact(Fact::CancelRequested(_))
        ));
        for (named, kind) in [
            (Some(FactKind::CancelRequested), "dev.lagan.backup.cancel-requested.v2"),
            (None, "dev.lagan.backup.paused.v1"),
        ] {
            assert_eq!(RecordedContent::read(named, &event(kind, &cancel)), RecordedContent::Later, "{kind}");
        }
        let newer = event("dev.lagan.backup.cancel-requested.v1", &json!({ "by": "x", "reason": "", "code": "E9999" }));
        assert_eq!(RecordedContent::read(Some(FactKind::CancelRequested), &newer), RecordedContent::Later);
        let garbage = |named: FactKind, payload: &[u8]| {
            let content = RecordedContent::read(Some(named), payload);
            assert!(matches!(content, RecordedContent::Garbage(_)), "{content:?}");
        };
        garbage(FactKind::Started, b"x");
        garbage(FactKind::Started, b"");
        garbage(FactKind::Started, br#"{"specversion":"2.0"}"#);
        garbage(FactKind::Started, &event("com.example.backup.paused.v1", &cancel));
        garbage(FactKind::CancelRequested, &event("dev.lagan.backup.cancel-requested.v1", &json!(7)));
        // An author that may write `started` does not get to write anything else under its subject.
        garbage(FactKind::Started, &good);
    }
}
