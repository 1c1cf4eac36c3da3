//! The memory of STATUS of a session. The API server may have refused the status that says that it has
//! ended, and its facts do not stay for ever (P5).

use lagan_bus::read;
use lagan_schemas::error::chain;
use lagan_schemas::event::CloudEvent;
use lagan_schemas::resource::StatusDocument;
use lagan_schemas::subject::{ObjectKey, STATUS};
use uuid::Uuid;

use crate::context::Context;

/// Whether the session that an object shows has ended according to STATUS; `None` if that is not known now.
pub(crate) async fn has_ended(context: &Context, key: &ObjectKey, uid: Uuid) -> Option<bool> {
    let subject = key.status_subject(context.cluster());
    match read::last(&context.bus, STATUS, &subject).await {
        Ok(stored) => Some(stored.is_some_and(|stored| says_ended(&stored.payload, uid))),
        Err(error) => {
            tracing::warn!(object = %key, error = chain(&error), "the object's status can't be read");
            None
        }
    }
}

fn says_ended(payload: &[u8], uid: Uuid) -> bool {
    let event = CloudEvent::from_bytes(payload).ok();
    let document = event.and_then(|event| serde_json::from_value::<StatusDocument>(event.data).ok());
    document.is_some_and(|document| document.is_of(uid) && document.status.has_ended())
}

#[cfg(test)]
mod tests {
    use lagan_schemas::event::STATUS_CHANGED;
    use lagan_schemas::subject::SessionKind;
    use serde_json::json;

    use super::*;
    use crate::fixtures::{Story, at, story};
    use crate::report::{document, session};

    fn says(told: Story, uid: Uuid) -> bool {
        let session = told.end();
        let key = document::session_key(&session).expect("a session that is shown");
        let document = document::of_session(&key, &session, session::backup(&session).into());
        let (id, source, kind) = ("id".to_owned(), "/test".to_owned(), STATUS_CHANGED.to_owned());
        says_ended(&CloudEvent::new(id, source, kind, at(0), json!(document)).to_bytes(), uid)
    }

    #[test]
    fn only_the_end_of_the_very_session_is_an_end() {
        let uid = story(SessionKind::Backup).end().key.uid;
        assert!(says(story(SessionKind::Backup).skipped(1), uid));
        assert!(!says(story(SessionKind::Backup).skipped(1), Uuid::from_u128(99)), "another object of the name");
        assert!(!says(story(SessionKind::Backup), uid));
        assert!(!says_ended(b"garbage", uid));
    }
}
