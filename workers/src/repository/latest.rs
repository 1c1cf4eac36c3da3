//! Resolves `latest` to the newest snapshot of the only group that fits. Several configurations may share a repository,
//! and all of them write `host-0` and `/dumpfile.sql`. If more than one group fits, a person must choose.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::{Timestamp, Zoned};

use super::snapshot::Snapshot;

/// Conditions for the snapshot; a field that is `None` accepts every value.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `namespace/name`. Snapshots without this tag remain candidates: they may be older ones of the same data.
    pub configuration: Option<&'a str>,
    pub host: Option<&'a str>,
    pub path: Option<&'a str>,
    /// Time of the request, so that a restore that is tried again does not find a newer snapshot.
    pub not_after: Timestamp,
}

/// A group of snapshots that `latest` could come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `None` for snapshots that Lagan did not write.
    pub configuration: Option<String>,
    pub host: String,
    pub path: String,
    pub snapshots: usize,
    pub newest: String,
    pub newest_time: Zoned,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LatestError {
    #[error("no snapshot fits")]
    None,
    #[error("`latest` can mean several: {}", list(candidates))]
    Ambiguous { candidates: Vec<Candidate> },
}

pub fn latest<'s>(
    snapshots: &'s [Snapshot],
    wanted: Wanted<'_>,
    excluded: &HashSet<String>,
) -> Result<&'s Snapshot, LatestError> {
    let mut groups: BTreeMap<_, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|snapshot| fits(snapshot, wanted) && !excluded.contains(&snapshot.id)) {
        let key = (snapshot.configuration(), snapshot.host.as_str(), snapshot.path());
        groups.entry(key).or_default().push(snapshot);
    }
    let keys: Vec<_> = groups.keys().collect();
    let one_history = match keys.as_slice() {
        [] | [_] => true,
        // Stash wrote the untagged snapshots before Lagan took over.
        [a, b] => a.0.is_none() && b.0.is_some() && (a.1, &a.2) == (b.1, &b.2),
        _ => false,
    };
    if !one_history {
        return Err(LatestError::Ambiguous {
            candidates: groups.values().filter_map(|group| candidate(group)).collect(),
        });
    }
    newest(groups.values().flatten().copied()).ok_or(LatestError::None)
}

fn fits(snapshot: &Snapshot, wanted: Wanted<'_>) -> bool {
    let ours = match (wanted.configuration, snapshot.configuration()) {
        (Some(wanted), Some(found)) => wanted == found,
        _ => true,
    };
    ours && wanted.host.is_none_or(|host| host == snapshot.host)
        && wanted.path.is_none_or(|path| path == snapshot.path())
        && snapshot.time.timestamp() <= wanted.not_after
}

fn newest<'s>(snapshots: impl Iterator<Item = &'s Snapshot>) -> Option<&'s Snapshot> {
    snapshots.max_by(|a, b| (a.time.timestamp(), &a.id).cmp(&(b.time.timestamp(), &b.id)))
}

fn candidate(group: &[&Snapshot]) -> Option<Candidate> {
    let newest = newest(group.iter().copied())?;
    Some(Candidate {
        configuration: newest.configuration().map(str::to_owned),
        host: newest.host.clone(),
        path: newest.path(),
        snapshots: group.len(),
        newest: newest.id.clone(),
        newest_time: newest.time.clone(),
    })
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, path, newest_time, .. } = self;
        let configuration = self.configuration.as_deref().unwrap_or("no configuration");
        let newest = self.newest.get(..8).unwrap_or(&self.newest);
        let time = newest_time.timestamp();
        write!(
            f,
            "{configuration}, host `{host}`, path `{path}`: {} snapshots, newest `{newest}` of {time}",
            self.snapshots
        )
    }
}

fn list(candidates: &[Candidate]) -> String {
    candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
