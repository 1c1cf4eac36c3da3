//! Chooses the snapshot of a restore: by its id, or `latest` as the newest of the only group that fits. Several
//! configurations and clusters may share a repository, and all of them write `host-0` and `/dumpfile.sql`. If more than one
//! group fits, a person must choose. Snapshots of another cluster are chosen only if that cluster was named.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use jiff::{Timestamp, Zoned};
use lagan_schemas::error::Code;
use lagan_schemas::origin::{Clusters, ConfigurationKey, Origin};
use uuid::Uuid;

use super::snapshot::Snapshot;

/// Conditions for the snapshot; a field that is `None` accepts every value.
#[derive(Debug, Clone, Copy)]
pub struct WantedSnapshot<'a> {
    pub clusters: Clusters<'a>,
    /// A configuration that is named takes its own snapshots only. Without one, snapshots without an origin are candidates,
    /// too: they may be older ones of the same data, written by Stash.
    pub configuration: Option<&'a ConfigurationKey>,
    pub host: Option<&'a str>,
    pub path: Option<&'a str>,
    /// Time of the request, so that a restore that is tried again does not find a newer snapshot.
    pub not_after: Timestamp,
    /// Times of snapshots by the clock that `not_after` is of. The time in a snapshot is of the machine that wrote it.
    pub times: &'a HashMap<String, Timestamp>,
}

impl WantedSnapshot<'_> {
    fn time_of(&self, snapshot: &Snapshot) -> Timestamp {
        self.times.get(&snapshot.id).copied().unwrap_or_else(|| snapshot.time.timestamp())
    }
}

/// A group of snapshots that `latest` could come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `None` for snapshots that Lagan did not write.
    pub origin: Option<Origin>,
    pub host: String,
    pub path: String,
    pub snapshots: usize,
    pub newest: String,
    pub newest_time: Zoned,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("no snapshot fits")]
    NoneFits,
    #[error("no snapshot has id `{id}`")]
    UnknownId { id: String },
    #[error("`{id}` can be any of {}", ids.join(", "))]
    AmbiguousId { id: String, ids: Vec<String> },
    #[error("`latest` can mean several: {}", list(candidates))]
    Ambiguous { candidates: Vec<Candidate> },
    #[error(
        "configuration {configuration} has no snapshot that fits, and those that Lagan did not write are taken only by their id or if no configuration is named: {}",
        list(candidates)
    )]
    OnlyForeign { configuration: ConfigurationKey, candidates: Vec<Candidate> },
    #[error("only snapshots of other clusters fit: {}; `fromCluster` chooses one, by its name or its identity", clusters.join(", "))]
    OtherClusters {
        /// Name and identity of each.
        clusters: Vec<String>,
    },
}

impl ChoiceError {
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoneFits | Self::UnknownId { .. } | Self::OnlyForeign { .. } => Code::SnapshotNotFound,
            Self::AmbiguousId { .. } | Self::Ambiguous { .. } => Code::SnapshotAmbiguous,
            Self::OtherClusters { .. } => Code::SnapshotOfOtherCluster,
        }
    }
}

/// Finds the newest snapshot that fits. `excluded` holds snapshots that no session named as its result.
pub fn latest<'s>(
    snapshots: &'s [Snapshot],
    wanted: WantedSnapshot<'_>,
    excluded: &HashSet<String>,
) -> Result<&'s Snapshot, ChoiceError> {
    let fitting = || snapshots.iter().filter(|snapshot| fits(snapshot, wanted) && !excluded.contains(&snapshot.id));
    let mut groups: BTreeMap<_, Vec<(&Snapshot, Option<Origin>)>> = BTreeMap::new();
    for snapshot in fitting() {
        let origin = snapshot.origin();
        if wanted.clusters.include(origin.as_ref()) {
            let history = origin.as_ref().map(|origin| history(wanted.clusters, origin));
            groups.entry((history, snapshot.host.as_str(), snapshot.path())).or_default().push((snapshot, origin));
        }
    }
    let keys: Vec<_> = groups.keys().collect();
    let one_history = match keys.as_slice() {
        [] => return Err(others(fitting()).or_else(|| foreign(snapshots, wanted)).unwrap_or(ChoiceError::NoneFits)),
        [_] => true,
        // Stash wrote the snapshots without an origin before Lagan took over.
        [a, b] => a.0.is_none() && b.0.is_some() && (a.1, &a.2) == (b.1, &b.2),
        _ => false,
    };
    if !one_history {
        return Err(ChoiceError::Ambiguous {
            candidates: groups.values().filter_map(|group| candidate(group, wanted)).collect(),
        });
    }
    newest(groups.values().flatten(), wanted).map(|(snapshot, _)| *snapshot).ok_or(ChoiceError::NoneFits)
}

/// Finds the only snapshot whose id begins with `id`.
pub fn by_id<'s>(snapshots: &'s [Snapshot], id: &str, clusters: Clusters<'_>) -> Result<&'s Snapshot, ChoiceError> {
    let found: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| snapshot.id.starts_with(id)).collect();
    match found[..] {
        [one] if clusters.include(one.origin().as_ref()) => Ok(one),
        [one] => Err(others(std::iter::once(one)).unwrap_or(ChoiceError::UnknownId { id: id.to_owned() })),
        [] => Err(ChoiceError::UnknownId { id: id.to_owned() }),
        _ => {
            let ids = found.iter().map(|snapshot| snapshot.id.get(..16).unwrap_or(&snapshot.id).to_owned()).collect();
            Err(ChoiceError::AmbiguousId { id: id.to_owned(), ids })
        }
    }
}

/// Cluster and configuration under which a snapshot is grouped. An adopted cluster counts as the one that adopted it.
fn history(clusters: Clusters<'_>, origin: &Origin) -> (Uuid, ConfigurationKey) {
    let cluster = match clusters {
        Clusters::Own(identity) if identity.owns(origin.cluster) => identity.uid,
        _ => origin.cluster,
    };
    (cluster, origin.configuration.clone())
}

fn fits(snapshot: &Snapshot, wanted: WantedSnapshot<'_>) -> bool {
    let is_of = |wanted: &ConfigurationKey| snapshot.origin().is_some_and(|origin| origin.configuration == *wanted);
    wanted.configuration.is_none_or(is_of)
        && wanted.host.is_none_or(|host| host == snapshot.host)
        && wanted.path.is_none_or(|path| path == snapshot.path())
        && wanted.time_of(snapshot) <= wanted.not_after
}

/// The snapshots without an origin that would fit if the configuration were not named, as an error that lists them.
fn foreign(snapshots: &[Snapshot], wanted: WantedSnapshot<'_>) -> Option<ChoiceError> {
    let configuration = wanted.configuration?.clone();
    let wanted = WantedSnapshot { configuration: None, ..wanted };
    let mut groups: BTreeMap<_, Vec<Member<'_>>> = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.origin().is_none() && fits(snapshot, wanted)) {
        if wanted.clusters.include(None) {
            groups.entry((snapshot.host.as_str(), snapshot.path())).or_default().push((snapshot, None));
        }
    }
    let candidates: Vec<Candidate> = groups.values().filter_map(|group| candidate(group, wanted)).collect();
    (!candidates.is_empty()).then_some(ChoiceError::OnlyForeign { configuration, candidates })
}

/// The clusters that the snapshots are of, as an error that names them.
fn others<'s>(snapshots: impl Iterator<Item = &'s Snapshot>) -> Option<ChoiceError> {
    let names: BTreeSet<String> = snapshots
        .filter_map(Snapshot::origin)
        .map(|origin| format!("`{}` ({})", origin.cluster_name, origin.cluster))
        .collect();
    (!names.is_empty()).then(|| ChoiceError::OtherClusters { clusters: names.into_iter().collect() })
}

type Member<'s> = (&'s Snapshot, Option<Origin>);

fn newest<'m, 's: 'm>(
    members: impl Iterator<Item = &'m Member<'s>>,
    wanted: WantedSnapshot<'_>,
) -> Option<&'m Member<'s>> {
    members.max_by(|(a, _), (b, _)| (wanted.time_of(a), &a.id).cmp(&(wanted.time_of(b), &b.id)))
}

fn candidate(group: &[Member<'_>], wanted: WantedSnapshot<'_>) -> Option<Candidate> {
    let (snapshot, origin) = newest(group.iter(), wanted)?;
    Some(Candidate {
        origin: origin.clone(),
        host: snapshot.host.clone(),
        path: snapshot.path(),
        snapshots: group.len(),
        newest: snapshot.id.clone(),
        newest_time: snapshot.time.clone(),
    })
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, path, snapshots, newest_time, .. } = self;
        match &self.origin {
            Some(origin) => write!(f, "{} of cluster `{}`", origin.configuration, origin.cluster_name)?,
            None => f.write_str("not written by Lagan")?,
        }
        let newest = self.newest.get(..8).unwrap_or(&self.newest);
        let time = newest_time.timestamp();
        write!(f, ", host `{host}`, path `{path}`: {snapshots} snapshots, newest `{newest}` of {time}")
    }
}

fn list(candidates: &[Candidate]) -> String {
    candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
