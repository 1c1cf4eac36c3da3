//! Decides which snapshots of one configuration a policy keeps, and why: a pure function over snapshots, per host and path,
//! with restic's rules as `rustic_core` implements them. It must not delete anything.

use std::collections::{BTreeMap, HashSet};

use jiff::Zoned;
use lagan_schemas::origin::SnapshotOwner;
use rustic_core::{KeepOptions, StringList};

use super::error::Error;
use super::snapshot::Snapshot;

/// The rules of retention. Zero means that there is no such rule; without any rule every snapshot is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionRules {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// A snapshot with any of these tags is kept.
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub id: String,
    pub verdict: Verdict,
    /// The rules that keep the snapshot, or the reason for its removal.
    pub reasons: Vec<String>,
}

/// Decides about each snapshot of `owner`; those of others are not touched. `excluded` are snapshots whose session ended without naming them: no rule counts them,
/// and they are removed.
pub fn retention(
    snapshots: &[Snapshot],
    owner: SnapshotOwner<'_>,
    policy: &RetentionRules,
    now: &Zoned,
    excluded: &HashSet<String>,
) -> Result<Vec<Decision>, Error> {
    let mut groups: BTreeMap<_, Vec<&Snapshot>> = BTreeMap::new();
    let mut decisions = Vec::new();
    for snapshot in snapshots.iter().filter(|snapshot| owner.wrote(snapshot.origin().as_ref())) {
        if excluded.contains(&snapshot.id) {
            decisions.push(decision(snapshot.id.clone(), Verdict::Remove, "its session ended without it"));
        } else {
            groups.entry((&snapshot.host, snapshot.path())).or_default().push(snapshot);
        }
    }
    let options = options(policy);
    for group in groups.into_values() {
        match &options {
            None => decisions.extend(group.iter().map(|one| decision(one.id.clone(), Verdict::Keep, "no rule"))),
            Some(options) => decisions.extend(decide(&group, options, now)?),
        }
    }
    decisions.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(decisions)
}

fn decide(group: &[&Snapshot], options: &KeepOptions, now: &Zoned) -> Result<Vec<Decision>, Error> {
    let files = group.iter().map(|snapshot| snapshot.file().clone()).collect();
    let decided = options.apply(files, now).map_err(|error| Error::from_core("apply the retention policy", &error))?;
    Ok(decided
        .into_iter()
        .map(|one| {
            let id = one.snapshot.id.to_hex().to_string();
            match (one.keep, one.reasons.is_empty()) {
                (true, _) => Decision { id, verdict: Verdict::Keep, reasons: one.reasons },
                (false, false) => Decision { id, verdict: Verdict::Remove, reasons: one.reasons },
                (false, true) => decision(id, Verdict::Remove, "no rule keeps it"),
            }
        })
        .collect())
}

fn decision(id: String, verdict: Verdict, reason: &str) -> Decision {
    Decision { id, verdict, reasons: vec![reason.to_owned()] }
}

fn options(policy: &RetentionRules) -> Option<KeepOptions> {
    let count = |count: u32| (count > 0).then(|| i32::try_from(count).unwrap_or(i32::MAX));
    let mut options = KeepOptions::default();
    options.keep_last = count(policy.last);
    options.keep_hourly = count(policy.hourly);
    options.keep_daily = count(policy.daily);
    options.keep_weekly = count(policy.weekly);
    options.keep_monthly = count(policy.monthly);
    options.keep_yearly = count(policy.yearly);
    options.keep_tags = policy.tags.iter().map(|tag| one_tag(tag)).collect();
    let counts = [policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly, policy.yearly];
    (counts.iter().any(|count| *count > 0) || !policy.tags.is_empty()).then_some(options)
}

fn one_tag(tag: &str) -> StringList {
    let mut list = StringList::default();
    list.add(tag.to_owned());
    list
}
