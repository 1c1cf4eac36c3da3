//! Subjects and filters of a worker's pool, as its permissions have them.

use super::{Cluster, Lane, NO_POOL};
use crate::fact::FactKind;

/// Returns the filters for those facts of a filter `….>` for whole sessions that workers of a pool may read.
#[must_use]
pub fn visible_to_pool(filter: &str, pool: &str) -> [String; 2] {
    let prefix = filter.trim_end_matches('>');
    [format!("{prefix}{pool}.>"), format!("{prefix}{NO_POOL}.>")]
}

/// Returns a subject that workers of a pool may publish to and that belongs to no session. They ask under it about the sessions of
/// the filter's cluster.
#[must_use]
pub fn question_subject(filter: &str, pool: &str) -> String {
    let cluster = filter.split('.').nth(2).unwrap_or_default();
    format!("lagan.session.{cluster}._._._._._.{pool}.{}", FactKind::Started.as_str())
}

/// Returns the filters for the facts that may end the work of a holder in this pool: those of the engine and of a successor.
#[must_use]
pub fn holder_filters(cluster: &Cluster, pool: &str) -> Vec<String> {
    let of = |pool: &str, fact: FactKind| format!("lagan.session.{cluster}.*.*.*.*.*.{pool}.{}", fact.as_str());
    vec![
        of(NO_POOL, FactKind::CancelRequested),
        of(NO_POOL, FactKind::Failed),
        of(NO_POOL, FactKind::Cancelled),
        of(pool, FactKind::Started),
        of(pool, FactKind::Failed),
        of(pool, FactKind::Cancelled),
    ]
}

#[must_use]
pub fn work_consumer(pool: &str, lane: Lane) -> String {
    format!("work-{pool}-{}", lane.as_str())
}
