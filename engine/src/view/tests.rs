#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

#[test]
fn a_message_that_can_not_be_read_changes_no_object_and_the_next_one_does() {
    let object = json!({
        "apiVersion": "lagan.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "main", "namespace": "a"},
        "spec": {"backend": {"storageSecretName": "s", "local": {"mountPath": "/y"}}},
    });
    let key = Object::from_json(object.clone()).unwrap().key();
    let cluster = "local".parse().unwrap();
    let event =
        ResourceEvent { object: Some(object), uid: uuid::Uuid::nil(), ignored_fields: Vec::new(), problem: None };
    let readable = lagan_schemas::event::CloudEvent::new(
        "id".to_owned(),
        "/test".to_owned(),
        event.kind().to_owned(),
        jiff::Timestamp::UNIX_EPOCH,
        json!(event),
    )
    .to_bytes();
    let message = |sequence: u64, payload: Vec<u8>| Stored {
        subject: key.resource_subject(&cluster),
        sequence,
        time: jiff::Timestamp::UNIX_EPOCH,
        headers: lagan_bus::HeaderMap::new(),
        payload: payload.into(),
    };
    let mut view = View::default();
    assert_eq!(view.take(&message(1, readable.clone())), Ok(Some(key.clone())));
    for garbage in ["", "{}", r#"{"specversion":"1.0","type":"dev.lagan.resource.applied.v1"}"#] {
        assert!(view.take(&message(2, garbage.as_bytes().to_vec())).is_err(), "{garbage}");
        assert!(view.objects.contains_key(&key) && view.unreadable.contains(&key));
        assert_eq!(view.sequences[&key], 2, "the next message must expect it");
    }
    assert_eq!(view.take(&message(3, readable)), Ok(Some(key)));
    assert!(view.unreadable.is_empty());
}

#[test]
fn a_tombstone_leaves_nothing_in_the_view_and_one_that_does_not_expire_is_known() {
    let key = ObjectKey {
        group: "lagan.dev".to_owned(),
        kind: Kind::Repository,
        namespace: Some("a".to_owned()),
        name: "main".to_owned(),
    };
    let uid = Uuid::from_u128(7);
    let event = ResourceEvent { object: None, uid, ignored_fields: Vec::new(), problem: None };
    let (id, source, time) = ("id".to_owned(), "/test".to_owned(), jiff::Timestamp::UNIX_EPOCH);
    let payload = lagan_schemas::event::CloudEvent::new(id, source, event.kind().to_owned(), time, json!(event));
    let subject = key.resource_subject(&"local".parse().unwrap());
    let tombstone = |sequence: u64, headers: lagan_bus::HeaderMap| {
        let payload = payload.to_bytes().into();
        Stored { subject: subject.clone(), sequence, time, headers, payload }
    };
    let mut view = View::default();
    view.take(&tombstone(5, lagan_bus::HeaderMap::new())).unwrap();
    assert!(view.sequences.is_empty());
    assert_eq!(view.lasting_tombstones, BTreeMap::from([(key.clone(), LastingTombstone { uid, sequence: 5 })]));
    view.take(&tombstone(6, tombstone::headers())).unwrap();
    assert!(view.sequences.is_empty() && view.lasting_tombstones.is_empty());
}

#[test]
fn everything_up_to_the_end_of_the_stream_counts_as_read_although_its_last_message_is_gone() {
    let store = "2026-01-01T00:00:00Z".parse().map(lagan_schemas::position::StoreId::created).unwrap();
    let resources = Resources::new(Vec::new());
    let position = Some(Position { store, sequence: 3 });
    resources.simulate(|_| {}, ReadProgress { position, complete: false });
    let has_reached = |sequence| resources.changes().borrow().has_reached(Position { store, sequence });
    assert!(!has_reached(5));
    resources.caught_up(5);
    assert!(has_reached(5) && !has_reached(6));
    assert_eq!(resources.read().position, Some(Position { store, sequence: 5 }));
}

#[test]
fn an_invalid_object_hides_the_valid_one_of_another_group() {
    let mut view = View::default();
    let repository = json!({
        "apiVersion": "stash.appscode.com/v1alpha1", "kind": "Repository", "metadata": {"name": "main", "namespace": "a"},
        "spec": {"backend": {"storageSecretName": "s", "local": {"hostPath": {"path": "/x"}, "mountPath": "/y"}}},
    });
    let valid = Object::from_json(repository).unwrap();
    let key = valid.reference().key();
    view.objects.insert(key.clone(), Arc::new(valid));
    let found = |view: &View, group| match view.look_up(Kind::Repository, group, Some("a"), "main") {
        Lookup::Valid(_) => "valid",
        Lookup::Invalid(_) => "invalid",
        Lookup::Absent => "absent",
    };
    assert_eq!(found(&view, Group::Lagan), "valid");
    let own = ObjectKey { group: Group::Lagan.as_str().to_owned(), ..key };
    let problem = "spec.backend: nothing".to_owned();
    let refused = Refused { metadata: Metadata::default(), api_version: "lagan.dev/v1alpha1".to_owned(), problem };
    view.refused.insert(own, refused);
    assert_eq!(found(&view, Group::Lagan), "invalid");
    assert_eq!(found(&view, Group::Stash), "valid");
}
