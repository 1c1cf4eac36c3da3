//! Requests: what a slot and an object become, the same in every scheduler.
#![allow(clippy::unwrap_used, reason = "tests")]

use lagan_schemas::fact::{Cause, Urgency};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::resource::Object;

use lagan_schemas::identity::slot_session;
use lagan_schemas::resource::Spec;
use lagan_schemas::schedule::starting_deadline;
use lagan_schemas::subject::SessionKind;
use std::time::Duration;
use uuid::Uuid;

use super::request::{object_request, slot_request};
use super::slots::opened;
use crate::fixtures::{at, position};

fn object(kind: &str, group: &str, spec: &str, uid: u128) -> Object {
    let text = format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: thing, namespace: demo}}\nspec: {spec}\n");
    let Ok(Manifest::Object(mut object)) = parse("f.yaml", &text).remove(0) else { unreachable!("{text}") };
    object.metadata.uid = Some(Uuid::from_u128(uid));
    object.metadata.creation_timestamp = Some(at(0));
    *object
}

const CONFIGURATION: &str = "{schedule: '* * * * *', repository: {name: r}, retentionPolicy: {keepLast: 1}, \
    target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}EXTRA}";

pub(crate) fn configuration(uid: u128, extra: &str) -> Object {
    object("BackupConfiguration", "lagan.dev/v1alpha1", &CONFIGURATION.replace("EXTRA", extra), uid)
}

#[test]
fn a_slot_is_one_session_whoever_requests_it_and_whatever_its_configuration_says_by_then() {
    let cluster = "local".parse().unwrap();
    let uid = |object: &Object, slot| slot_session(&cluster, object.metadata.uid.unwrap(), slot);
    let first = configuration(1, "");
    let mut edited = configuration(1, ", paused: true");
    edited.metadata.generation = 2;
    assert_eq!(uid(&first, at(0)), uid(&edited, at(0)));
    assert_ne!(uid(&first, at(0)), uid(&first, at(60)));
    // Deleted and made anew under the same name: another configuration, other sessions.
    assert_ne!(uid(&first, at(0)), uid(&configuration(2, ""), at(0)));
}

#[test]
fn a_slot_s_request_names_slot_configuration_and_what_the_planner_must_have_seen() {
    let configuration = configuration(1, "");
    let request = slot_request(configuration.reference(), at(0), 3, position());
    assert_eq!(request.name, "thing-1800000000");
    assert_eq!(request.invoker, configuration.reference());
    assert_eq!(request.cause, Cause::Slot { slot: at(0), missed: 3 });
    assert_eq!((request.resources_position, request.priority), (position(), Urgency::Normal));
}

#[test]
fn a_slot_is_remembered_until_its_session_ends_unless_the_session_can_not_be_named() {
    let (cluster, session) = ("local".parse().unwrap(), Uuid::from_u128(3));
    let mut invoker = configuration(1, "").reference();
    let slot = opened(&cluster, session, at(0), &invoker).unwrap();
    assert_eq!((slot.session, slot.slot, &slot.invoker), (session, at(0), &invoker));
    invoker.name = String::new();
    assert_eq!(opened(&cluster, session, at(0), &invoker), None);
}

#[test]
fn an_object_asks_for_what_it_names_in_its_own_group() {
    for group in ["lagan.dev/v1alpha1", "stash.appscode.com/v1beta1"] {
        let session = object("BackupSession", group, "{invoker: {kind: BackupConfiguration, name: shop}}", 5);
        let (kind, invoker, request) = object_request(&session, position()).unwrap();
        assert_eq!((kind, invoker.as_str(), request.name.as_str()), (SessionKind::Backup, "shop", "thing"));
        assert_eq!((request.invoker.api_version.as_str(), request.invoker.path()), (group, "demo/shop".to_owned()));
        assert_eq!((request.priority, request.cause), (Urgency::Urgent, Cause::Object { object: session.reference() }));
    }
    let spec = "{repository: {name: r}, target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}}}";
    let restore = object("RestoreSession", "lagan.dev/v1alpha1", spec, 6);
    let (kind, invoker, request) = object_request(&restore, position()).unwrap();
    assert_eq!((kind, invoker.as_str()), (SessionKind::Restore, "thing"));
    assert_eq!(request.invoker, restore.reference());
    assert!(object_request(&configuration(1, ""), position()).is_none());
}

#[test]
fn a_missed_slot_is_caught_up_for_an_hour_unless_the_configuration_says_otherwise() {
    for (extra, seconds) in [("", 3600), (", startingDeadlineSeconds: 0", 0), (", startingDeadlineSeconds: 90", 90)] {
        let Spec::BackupConfiguration(spec) = configuration(1, extra).spec else { unreachable!() };
        assert_eq!(starting_deadline(spec.starting_deadline_seconds), Duration::from_secs(seconds), "{extra}");
    }
}
