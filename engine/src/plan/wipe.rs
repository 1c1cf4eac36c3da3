//! The plan that deletes the data of a deleted Repository. It refuses if another Repository names the same data.
//! It must not look at the storage.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::Requested;
use lagan_schemas::place::{Place, Volumes};
use lagan_schemas::plan::{Plan, Retry, VERSION, WipeWork, Work};
use lagan_schemas::resource::repository::{Backend, RepositorySpec};
use lagan_schemas::resource::{Kind, Object, Spec};
use lagan_schemas::session::Session;
use lagan_schemas::subject::Lane;
use uuid::Uuid;

use super::find::{Uid, invoker};
use super::{PlanInputs, Unresolved, planned, refused};

/// Until the deadline: a storage that comes back in time is wiped.
const RETRY: Retry = Retry { max: 1000, delay_seconds: 5 };
/// What a repository consists of, at the top of its prefix.
const RESTIC: [&str; 6] = ["config", "data", "index", "keys", "locks", "snapshots"];

pub(super) fn plan(request: &Requested, inputs: &PlanInputs<'_>) -> Result<Plan, Unresolved> {
    let found = invoker::<RepositorySpec>(inputs, &request.invoker, Uid::Required)?;
    let (object, spec) = (found.object, found.spec);
    let path = object.key();
    if !object.wants_wipe() {
        return Err(refused(Code::IntentNotConfirmed, format!("{path} does not ask for its data to be deleted")));
    }
    let others = inputs.view.of_kind(Kind::Repository).filter(|other| other.metadata.uid != object.metadata.uid);
    if let Some(other) = others.into_iter().find(|other| shares(&spec.backend, other)) {
        let message = format!("{} names the same place or one inside the other; its data would go too", other.key());
        return Err(refused(Code::LocationShared, message));
    }
    // A Repository that can't be read may name any place.
    if let Some((other, _)) = inputs.view.refused.iter().find(|(key, _)| key.kind == Kind::Repository) {
        let message = format!("{other} is invalid, so it may name the same place; correct or delete it first");
        return Err(refused(Code::LocationShared, message));
    }
    let (repository, pool) = planned(inputs, found)?;
    Ok(Plan {
        version: VERSION,
        session_name: request.name.clone(),
        invoker: object.reference(),
        pool,
        lane: Lane::Maintenance,
        retry: RETRY,
        deadline: inputs.requested.checked_add(inputs.wipe_within).ok(),
        stall_seconds: inputs.stall_seconds,
        notices: Vec::new(),
        // A Repository of another namespace at this place is not in the view, but its snapshots name the namespace.
        work: Work::Wipe(Box::new(WipeWork { repository, namespaces: inputs.namespaces.to_vec() })),
    })
}

/// Whether deleting this one's data would delete another Repository's. One that is to be wiped itself has none to lose.
fn shares(backend: &Backend, other: &Object) -> bool {
    let Spec::Repository(spec) = &other.spec else { return false };
    let place = |backend: &Backend| Place::of(backend, Volumes::Mounted);
    let (Some(ours), Some(theirs)) = (place(backend), place(&spec.backend)) else { return false };
    !other.wants_wipe() && holds_data_of(&ours, &theirs)
}

fn holds_data_of(ours: &Place, theirs: &Place) -> bool {
    // Inside another repository, ours holds a part of it only under one of a repository's own names.
    let inside = ours.path_within(theirs).and_then(<[String]>::first);
    theirs.path_within(ours).is_some() || inside.is_some_and(|name| RESTIC.contains(&name.as_str()))
}

/// A session that was planned into a repository and has not ended, and its name. Its data must not come back after it
/// was deleted.
pub(crate) fn user<'a>(active: impl Iterator<Item = &'a Session>, repository: Uuid) -> Option<(Uuid, String)> {
    let uses = |session: &&Session| {
        let mut used = session.plan.iter().flat_map(|plan| plan.repositories());
        // The session that wipes it has the uid of the repository.
        session.key.uid != repository && used.any(|used| used.reference.uid == Some(repository))
    };
    let found = active.filter(uses).min_by_key(|session| session.first_sequence)?;
    let name = found.request.as_ref().map_or_else(|| found.key.uid.to_string(), |request| request.name.clone());
    Some((found.key.uid, name))
}

/// Why it is not even planned any more; the object must not wait longer.
pub(crate) fn overdue(requested: Timestamp, now: Timestamp, within: Duration, user: Option<&str>) -> Option<Failure> {
    let is_late = requested.checked_add(within).is_ok_and(|deadline| now >= deadline);
    let why = user.map(|name| format!(": session `{name}` still uses the repository")).unwrap_or_default();
    is_late.then(|| Failure::new(Code::DeadlineExceeded, format!("not begun within {} s{why}", within.as_secs())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn data_is_shared_with_what_lies_at_below_or_around_it() {
        let place = |prefix: &str| Place::bucket("h", "b", prefix);
        for (ours, theirs, shared) in [
            ("x", "x", true),
            ("x", "x/y", true),
            ("", "x", true),
            ("x", "xy", false),
            ("x/y", "x/z", false),
            ("x/y", "x", false),
            ("x/data", "x", true),
            ("x/data/y", "x", true),
            ("data", "", true),
            ("x", "", false),
        ] {
            assert_eq!(holds_data_of(&place(ours), &place(theirs)), shared, "{ours} {theirs}");
        }
        assert!(!holds_data_of(&place("x"), &Place::bucket("h", "c", "x")));
        let service = |host: &str| Place::bucket(host, "b", "x");
        for (ours, theirs, shared) in [
            ("http://minio:9000", "http://minio.prod.svc:9000", true),
            ("minio.prod.svc.cluster.local:9000", "minio:9000", true),
            ("minio.prod:9000", "minio.test:9000", false),
            ("minio:9000", "minio.prod:9001", false),
            ("minio", "minio.example.com", false),
            ("10.0.0.1:9000", "10.0.0.2:9000", false),
        ] {
            assert_eq!(holds_data_of(&service(ours), &service(theirs)), shared, "{ours} {theirs}");
            assert!(!shared || service(ours).id() == service(theirs).id(), "{ours} {theirs}");
        }
    }

    #[test]
    fn a_repository_does_not_wait_for_ever_for_its_users() {
        let within = Duration::from_secs(600);
        assert_eq!(overdue(at(0), at(599), within, Some("s")), None);
        let failure = overdue(at(0), at(600), within, Some("s")).unwrap();
        assert!(failure.code == Code::DeadlineExceeded && failure.message.contains("`s`"), "{failure}");
    }
}
