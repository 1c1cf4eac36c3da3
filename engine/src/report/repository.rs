//! The status of a Repository: from its spec, and from the results of the sessions that wrote to it.

use jiff::Timestamp;
use lagan_schemas::error::Code;
use lagan_schemas::fact::TargetResult;
use lagan_schemas::place::{Place, StashTerms, Volumes};
use lagan_schemas::resource::Object;
use lagan_schemas::resource::condition::ConditionStatus;
use lagan_schemas::resource::fields::FIELD_IGNORED;
use lagan_schemas::resource::repository::{RepositorySpec, RepositoryStatus};
use lagan_schemas::session::{Phase, Session};

use super::conditions::Conditions;
use super::session::seconds;
use super::text::size;
use crate::plan::{ignored, manifests};

const READY: &str = "Ready";
/// Condition of invalid objects.
const VALIDATION: &str = "ValidationPassed";

/// The status of a repository after a session that was planned for it has ended.
pub(crate) fn after(session: &Session, result: Option<&TargetResult>, old: RepositoryStatus) -> RepositoryStatus {
    let ended = seconds(session.last_time.unwrap_or(Timestamp::UNIX_EPOCH));
    let mut status = old;
    match (session.phase, result) {
        // A session that ended otherwise after a read-back, such as in a post hook, has written a valid snapshot.
        (Phase::Succeeded | Phase::Failed | Phase::Cancelled, Some(result)) => {
            status.first_backup_time.get_or_insert(ended);
            // As in Stash, this is the time of the request.
            status.last_backup_time = status.last_backup_time.max(session.first_time.map(seconds));
            status.integrity = Some(true);
            status.last_check_time = Some(ended);
            if let Some(statistics) = result.statistics {
                status.snapshot_count = i64::try_from(statistics.snapshots).ok();
                status.total_size = Some(size(statistics.size_bytes));
                status.total_size_bytes = Some(statistics.size_bytes);
            }
            let removed = result.retention.as_ref().filter(|r| !r.dry_run).map(|r| r.removed);
            status.snapshots_removed_on_last_cleanup = removed.and_then(|n| i64::try_from(n).ok());
            ready(&mut status, ConditionStatus::True, "Reachable", "the last backup was written and read back", ended);
        }
        (Phase::Failed, None) => {
            let failure = session.last_failure.as_ref();
            if failure.is_some_and(|f| matches!(f.code, Code::ReadBackFailed | Code::RepositoryDamaged)) {
                status.integrity = Some(false);
            }
        }
        _ => {}
    }
    let failure = session.last_failure.as_ref().filter(|_| session.phase == Phase::Failed);
    if let Some(failure) = failure.filter(|failure| failure.code.as_str().starts_with("E03")) {
        ready(&mut status, ConditionStatus::False, &failure.reason, &failure.message, ended);
    }
    status
}

/// The status of a repository after its object has changed.
pub(crate) fn described(
    object: &Object,
    spec: &RepositorySpec,
    volumes: Volumes,
    old: RepositoryStatus,
) -> RepositoryStatus {
    let mut status = old;
    status.observed_generation = object.metadata.generation;
    let provider = StashTerms::of(&spec.backend).provider;
    status.backend = Some(provider.to_owned()).filter(|provider| !provider.is_empty());
    status.location = Place::of(&spec.backend, volumes).map(|place| place.to_string());
    // An object that was invalid until now has told nothing yet about the repository.
    status.conditions.retain(|condition| condition.kind != VALIDATION && condition.reason != "Invalid");
    let now = object.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    if status.conditions.iter().all(|condition| condition.kind != READY) {
        ready(&mut status, ConditionStatus::Unknown, "NotUsedYet", "no backup has been written to it yet", now);
    }
    let mut conditions = Conditions::new(std::mem::take(&mut status.conditions), status.observed_generation, now);
    conditions.set_unread(manifests::of_object(object));
    // Where the directory of a `local` repository is that of the host, the source is a folder of manifests.
    let kept = (volumes == Volumes::Host && spec.wipes()).then(|| {
        let path = object.reference().path();
        format!("Repository {path}: wipeOut (a folder of manifests deletes no data; delete it yourself)")
    });
    let without_effect: Vec<String> = ignored::of_object(object).into_iter().chain(kept).collect();
    let without_effect = Some(without_effect.join("; ")).filter(|message| !message.is_empty());
    conditions.set_while(FIELD_IGNORED, ignored::REASON, without_effect);
    status.conditions = conditions.into_list();
    status
}

fn ready(status: &mut RepositoryStatus, is: ConditionStatus, reason: &str, message: &str, now: Timestamp) {
    let mut conditions = Conditions::new(std::mem::take(&mut status.conditions), status.observed_generation, now);
    conditions.set(READY, is, reason, message);
    status.conditions = conditions.into_list();
}
