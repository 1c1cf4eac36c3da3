//! The plan that deletes a Repository's data, and when there is none.

use super::*;
use lagan_schemas::plan::{PlanRepository, Work};
use lagan_schemas::resource::repository::WIPE_OUT_FINALIZER;

/// The world with its Repository in S3, deleted and held by our finalizer; `more` are further objects.
fn deleted(wipe_out: &str, more: &str) -> World {
    let s3 = "s3: {endpoint: s3.example.org, bucket: backups, prefix: demo/shop}";
    let local = "local: {mountPath: /safe/data}";
    let text = WORLD.replace(local, s3).replace("  backend:\n", &format!("  wipeOut: {wipe_out}\n  backend:\n"));
    let mut world = made_of(&format!("{text}---\n{more}"));
    change(&mut world, "repo", |object| {
        object.metadata.deletion_timestamp = Some(Timestamp::from_second(REQUESTED).unwrap());
        object.metadata.finalizers = vec![WIPE_OUT_FINALIZER.to_owned()];
    });
    world
}

fn change(world: &mut World, name: &str, with: impl FnOnce(&mut Object)) {
    let object = world.view.objects.values_mut().find(|o| o.kind() == Kind::Repository && o.metadata.name == name);
    with(Arc::make_mut(object.unwrap()));
}

fn wipe(world: &World) -> Result<Plan, Unresolved> {
    let repository = world.view.of_kind(Kind::Repository).find(|object| object.metadata.name == "repo").unwrap();
    let request = Requested {
        name: "repo-wipe-out".to_owned(),
        invoker: repository.reference(),
        cause: Cause::Object { object: repository.reference() },
        resources_position: crate::fixtures::position(),
        priority: Urgency::Normal,
    };
    world.planned(SessionKind::Maintenance, &request)
}

fn other(name: &str, prefix: &str) -> String {
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: {name}, namespace: far}}
spec:
  wipeOut: true
  backend: {{storageSecretName: s, s3: {{endpoint: 'https://s3.example.org', bucket: backups, prefix: {prefix}}}}}
"
    )
}

#[test]
fn a_deleted_repository_is_planned_into_the_maintenance_lane_with_a_deadline() {
    let plan = wipe(&deleted("true", &other("sibling", "demo/shop2"))).unwrap();
    assert_eq!((plan.lane, plan.kind()), (Lane::Maintenance, SessionKind::Maintenance));
    assert_eq!(plan.deadline.map(Timestamp::as_second), Some(REQUESTED + 600));
    let Work::Wipe(work) = plan.work else { unreachable!("{:?}", plan.work) };
    let PlanRepository { reference, backend, secret } = work.repository;
    assert_eq!((reference.path().as_str(), secret.as_str()), ("demo/repo", "storage"));
    assert_eq!(backend.s3.unwrap().prefix.as_deref(), Some("demo/shop"));
}

#[test]
fn nothing_is_planned_for_a_repository_that_did_not_ask_for_it() {
    assert_eq!(refusal(wipe(&deleted("false", ""))).0, Code::IntentNotConfirmed);
    let mut alive = deleted("true", "");
    change(&mut alive, "repo", |object| object.metadata.deletion_timestamp = None);
    assert_eq!(refusal(wipe(&alive)).0, Code::IntentNotConfirmed);
    let mut unheld = deleted("true", "");
    change(&mut unheld, "repo", |object| object.metadata.finalizers.clear());
    assert_eq!(refusal(wipe(&unheld)).0, Code::IntentNotConfirmed);
}

#[test]
fn data_that_another_repository_names_is_left_alone_unless_it_is_to_be_wiped_too() {
    for prefix in ["demo/shop", "demo/shop/below"] {
        let mut world = deleted("true", &other("other", prefix));
        let (code, message) = refusal(wipe(&world));
        assert!(code == Code::LocationShared && message.contains("far/other"), "{message}");
        change(&mut world, "other", |object| {
            object.metadata.deletion_timestamp = Some(Timestamp::from_second(REQUESTED).unwrap());
            object.metadata.finalizers = vec![WIPE_OUT_FINALIZER.to_owned()];
        });
        assert!(wipe(&world).is_ok(), "{prefix}");
    }
}

#[test]
fn a_repository_that_is_being_deleted_takes_no_backup_and_gives_none_that_is_about_to_go() {
    let world = deleted("true", "");
    let (code, message) = refusal(world.planned(SessionKind::Backup, &world.backup_request()));
    assert!(code == Code::RepositoryBeingDeleted && message.contains("demo/repo is being deleted"), "{message}");
    assert_eq!(refusal(world.planned(SessionKind::Restore, &world.restore_request())).0, Code::RepositoryBeingDeleted);
    // Held by somebody else's finalizer its data stays: the last chance to restore from it.
    let kept = deleted("false", "");
    assert_eq!(refusal(kept.planned(SessionKind::Backup, &kept.backup_request())).0, Code::RepositoryBeingDeleted);
    assert!(kept.planned(SessionKind::Restore, &kept.restore_request()).is_ok());
}
