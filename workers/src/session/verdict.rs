//! What becomes of a session whose attempt failed: another attempt, counted or not, or its end. Pure functions.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::{Class, Code, Failure};
use lagan_schemas::fact::{Counted, Ended, Fact, Holder, Retrying};
use lagan_schemas::plan::Plan;
use lagan_schemas::session::{Outage, Phase, Session};

use super::Failed;
use super::life::StopCause;

/// Longest wait of a session in a worker's slot for somebody who does not answer, which is enough for a server that restarts.
/// The rest of the wait is between attempts, and other sessions have the slot.
pub(crate) const MOMENT: Duration = Duration::from_secs(10);
/// How long a storage, a lease and the source of intent are waited for before retries count, as the default for databases.
const OUTAGE_SECONDS: u64 = 300;
/// Delays between attempts that wait, in seconds; the last one is repeated.
const DELAYS: [u64; 5] = [5, 10, 20, 40, 60];

/// Whether an attempt has begun to change or to read data. Before that, an attempt costs nothing and leaves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkBegun {
    No,
    Yes,
}

/// Turns a failure into the fact that it leads to: a retry or the end.
pub(super) fn verdict(
    session: &Session,
    stop: Option<&StopCause>,
    (holder, work): (Holder, WorkBegun),
    failed: Failed,
    now: Timestamp,
) -> Fact {
    let again = again(session, stop, work, &failed.failure);
    let Failed { failure, results, rejected_snapshots, conditions } = failed;
    match again {
        Some(counted) => {
            let after = now.checked_add(delay(session, counted, &failure)).unwrap_or(now);
            Fact::Retrying(Retrying { holder, failure, after, counted, results, rejected_snapshots, conditions })
        }
        None => {
            let cancelled = failure.code == Code::Cancelled && session.phase != Phase::Restoring;
            let ended = Ended { holder: Some(holder), failure, results, rejected_snapshots, conditions };
            if cancelled { Fact::Cancelled(ended) } else { Fact::Failed(ended) }
        }
    }
}

/// Returns whether a failure is tried again, and whether that counts; `None` if it is the end.
pub(crate) fn again(
    session: &Session,
    stop: Option<&StopCause>,
    work: WorkBegun,
    failure: &Failure,
) -> Option<Counted> {
    let plan = session.plan.as_deref();
    let is_left = || plan.is_some_and(|plan| session.counted_retries < plan.retry.max);
    let counted = match failure.code.class() {
        Class::Interrupted => Some(Counted::No),
        Class::Transient if work == WorkBegun::No && is_waited_out(session, failure.code) => Some(Counted::No),
        Class::Transient if is_left() => Some(Counted::Yes),
        Class::Transient | Class::Permanent => None,
    };
    let restoring = session.phase == Phase::Restoring;
    let over = session.cancel.is_some() || matches!(stop, Some(StopCause::Cancelled(_) | StopCause::Deadline));
    counted.filter(|_| !restoring && !over)
}

/// Returns whether an outage is younger than its limit. It is counted in delays and moments, so that no clocks are compared.
fn is_waited_out(session: &Session, code: Code) -> bool {
    if !code.is_unavailability() {
        return false;
    }
    let target = session.plan.as_deref().and_then(Plan::target).filter(|_| code == Code::DatabaseUnreachable);
    let limit = Duration::from_secs(target.map_or(OUTAGE_SECONDS, |target| target.database.wait_seconds.into()));
    let tries = tries(session);
    let waited: Duration = (0..tries).map(|tried| MOMENT + wait_after(tried)).sum();
    waited + MOMENT < limit
}

/// Number of earlier attempts that failed in this outage, whatever it was that did not answer.
fn tries(session: &Session) -> u32 {
    session.outage.map_or(0, |Outage { tries, .. }| tries)
}

fn wait_after(tries: u32) -> Duration {
    let at = usize::try_from(tries).unwrap_or(usize::MAX).min(DELAYS.len() - 1);
    Duration::from_secs(DELAYS[at])
}

fn delay(session: &Session, counted: Counted, failure: &Failure) -> Duration {
    match counted {
        Counted::Yes => Duration::from_secs(session.plan.as_deref().map_or(0, |plan| plan.retry.delay_seconds)),
        // Another worker goes on at once.
        Counted::No if failure.code.class() == Class::Interrupted => Duration::ZERO,
        Counted::No => wait_after(tries(session)),
    }
}

#[cfg(test)]
mod tests;
