#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use lagan_bus::HeaderMap;
use lagan_schemas::fact::{Ended, Fact, FactKind, Requested};
use lagan_schemas::session::Phase;
use lagan_schemas::subject::SessionKey;

use super::*;
use crate::fixtures::{at, story};

fn stored(key: &SessionKey, sequence: u64, fact: &Fact) -> Stored {
    let event = fact.event(key, format!("id-{sequence}"), "test", at(0));
    Stored {
        subject: key.engine_fact(fact.kind()),
        sequence,
        time: at(0),
        headers: HeaderMap::new(),
        payload: Bytes::from(event.to_bytes()),
    }
}

/// A key, its request and its end.
fn facts(uid: u128) -> (SessionKey, Fact, Fact) {
    let session = story(lagan_schemas::subject::SessionKind::Backup).end();
    let key = SessionKey { uid: Uuid::from_u128(uid), ..session.key };
    let request: Requested = session.request.unwrap();
    let failure = lagan_schemas::error::Failure::new(lagan_schemas::error::Code::Expired, "gone");
    let ended =
        Ended { holder: None, failure, results: Vec::new(), rejected_snapshots: Vec::new(), conditions: Vec::new() };
    (key, Fact::Requested(request.into()), Fact::Failed(ended))
}

#[test]
fn an_ended_session_leaves_nothing_but_its_uid() {
    let mut view = SessionsView::default();
    let (key, requested, failed) = facts(7);
    assert_eq!(view.take(&stored(&key, 1, &requested)).unwrap().phase, Phase::Requested);
    assert_eq!(view.active.len(), 1);
    let ended = view.take(&stored(&key, 2, &failed)).unwrap();
    assert_eq!((ended.phase, ended.last_sequence), (Phase::Failed, 2));
    assert!(view.active.is_empty() && view.ended.contains(key.uid));
    assert_eq!(Arc::strong_count(&ended), 1, "nobody else keeps it");
    assert!(view.take(&stored(&key, 3, &requested)).is_none(), "nothing begins it again");
    assert!(view.active.is_empty());
    assert_eq!(failed.kind(), FactKind::Failed);
}

#[test]
fn a_fold_that_a_listener_holds_does_not_change_under_it() {
    let mut view = SessionsView::default();
    let (key, requested, failed) = facts(8);
    let held = view.take(&stored(&key, 1, &requested)).unwrap();
    view.take(&stored(&key, 2, &failed));
    assert_eq!((held.phase, held.last_sequence), (Phase::Requested, 1));
}

#[test]
fn garbage_begins_no_session_and_ends_none() {
    let mut view = SessionsView::default();
    let (key, requested, _) = facts(9);
    let garbage = |sequence| Stored { payload: Bytes::from_static(b"x"), ..stored(&key, sequence, &requested) };
    assert!(view.take(&garbage(1)).is_none());
    assert!(view.garbage.take().is_some() && view.active.is_empty());
    view.take(&stored(&key, 2, &requested)).unwrap();
    assert_eq!(view.garbage, None);
    let session = view.take(&garbage(3)).unwrap();
    assert!(view.garbage.take().is_some());
    assert_eq!((session.phase, session.last_sequence, session.foreign), (Phase::Requested, 3, false));
    let elsewhere = Stored { subject: "lagan.session.local.x".into(), ..garbage(4) };
    assert!(view.take(&elsewhere).is_none() && view.garbage.is_some());
}
