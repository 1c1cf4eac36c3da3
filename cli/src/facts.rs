//! Puts facts into words: one line each, for timelines and event lists. It must not print.

use jiff::Timestamp;
use lagan_schemas::fact::{Cause, Counted, Ended, Fact, Restoring, Retrying, Succeeded, TargetResult};
use lagan_schemas::resource::ObjectRef;
use lagan_schemas::session::Phase;

use crate::human::{bytes, duration, one_line, time};

const LIMIT: usize = 300;

/// The content of a fact in one line.
#[must_use]
pub fn detail(fact: &Fact) -> String {
    let text = match fact {
        Fact::Requested(data) => match &data.cause {
            Cause::Slot { slot, missed: 0 } => format!("by the schedule, for {}", time(*slot)),
            Cause::Slot { slot, missed } => {
                format!("by the schedule, for {}; {missed} earlier slots were missed", time(*slot))
            }
            Cause::Object { object } => format!("by {} {}", object.kind, object.path()),
        },
        Fact::Skipped(data) => format!("{}: {}", data.reason, data.message),
        Fact::Planned(plan) => {
            let target = plan.target().map(|target| &target.reference);
            let reference = target.or_else(|| plan.repositories().next().map(|repository| &repository.reference));
            let path = reference.map(ObjectRef::path).unwrap_or_default();
            format!("{path} for pool {}, lane {}", plan.pool, plan.lane.as_str())
        }
        Fact::Started(data) => format!("attempt {} on {}", data.holder.attempt, data.host),
        Fact::Restoring(data) => {
            format!(
                "snapshot {} ({}) of {} into {}{}",
                short(&data.snapshot),
                bytes(data.size_bytes),
                data.repository,
                data.target,
                databases(data)
            )
        }
        Fact::Committing(data) => format!("{} to {}", data.target, data.repository),
        Fact::Retrying(data) => retrying(data),
        Fact::CancelRequested(data) if data.reason.is_empty() => format!("by {}", data.by),
        Fact::CancelRequested(data) => format!("by {}: {}", data.by, data.reason),
        Fact::Succeeded(data) => succeeded(data),
        Fact::Failed(data) | Fact::Cancelled(data) => ended(data),
    };
    one_line(&text, LIMIT)
}

/// The databases that a restore writes to, with the separator before them.
pub fn databases(data: &Restoring) -> String {
    if data.databases.is_empty() {
        return String::new();
    }
    let more = data.database_count.saturating_sub(data.databases.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": {}{more}", data.databases.join(", "))
}

fn retrying(data: &Retrying) -> String {
    let counted = match data.counted {
        Counted::Yes => "",
        Counted::No => ", not counted",
    };
    format!("{}; again after {}{counted}", data.failure, time(data.after))
}

fn succeeded(data: &Succeeded) -> String {
    let results: Vec<_> = data.results.iter().map(result).collect();
    results.join("; ")
}

/// A result in words: `snapshot 4be1c0de in default/main: 1.61 GiB, 38.2 MiB new, 2m24s`.
fn result(result: &TargetResult) -> String {
    let adopted = if result.adopted { ", adopted from an earlier attempt" } else { "" };
    format!(
        "snapshot {} in {}: {}, {} new, {}{adopted}",
        short(&result.snapshot),
        result.repository.path(),
        bytes(result.size_bytes),
        bytes(result.added_bytes),
        duration(result.duration_ms / 1000)
    )
}

fn ended(data: &Ended) -> String {
    data.failure.to_string()
}

/// The short form of a snapshot id, as restic prints it.
#[must_use]
pub fn short(snapshot: &str) -> &str {
    snapshot.get(..8).unwrap_or(snapshot)
}

/// The phase that a fact leads to, as it is displayed.
#[must_use]
pub const fn shown_phase(fact: &Fact) -> &'static str {
    match fact {
        Fact::Requested(_) | Fact::Planned(_) => Phase::Planned.display(),
        Fact::Started(_) | Fact::Restoring(_) | Fact::Committing(_) | Fact::Retrying(_) | Fact::CancelRequested(_) => {
            Phase::Started.display()
        }
        Fact::Skipped(_) => Phase::Skipped.display(),
        Fact::Succeeded(_) => Phase::Succeeded.display(),
        Fact::Failed(_) | Fact::Cancelled(_) => Phase::Failed.display(),
    }
}

/// Whether a time is not before the given one.
#[must_use]
pub fn is_since(at: Timestamp, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| at >= since)
}
