//! Which snapshots may still be the latest of their group, while the answers of their sessions come in. It asks nobody.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::origin::ConfigurationKey;
use uuid::Uuid;

use crate::repository::Snapshot;

/// How far the clock of a machine that wrote a snapshot may be from that of the server. Clocks that are wrong by hours are
/// those of another time zone.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Cluster, configuration, host and path: snapshots of one group are versions of the same data.
type SnapshotGroup = (Option<(Uuid, ConfigurationKey)>, String, String);

#[derive(Debug)]
pub(super) struct LatestSearch {
    not_after: Timestamp,
    /// Time of the newest snapshot of each group that may be chosen.
    newest: HashMap<SnapshotGroup, Timestamp>,
}

impl LatestSearch {
    pub fn new(not_after: Timestamp) -> Self {
        Self { not_after, newest: HashMap::new() }
    }

    /// Whether a snapshot is older than one of its group that may be chosen, whatever the clocks of the two were.
    pub fn is_older(&self, snapshot: &Snapshot) -> bool {
        let latest = snapshot.time.timestamp().saturating_add(SKEW).unwrap_or(Timestamp::MAX);
        self.newest.get(&group(snapshot)).is_some_and(|newest| latest < *newest)
    }

    /// Notes a snapshot that its session does not disown, with the time by the server's clock if the session tells it.
    pub fn found(&mut self, snapshot: &Snapshot, started: Option<Timestamp>) {
        let time = started.unwrap_or_else(|| snapshot.time.timestamp());
        if time <= self.not_after {
            let newest = self.newest.entry(group(snapshot)).or_insert(time);
            *newest = time.max(*newest);
        }
    }
}

fn group(snapshot: &Snapshot) -> SnapshotGroup {
    let history = snapshot.origin().map(|origin| (origin.cluster, origin.configuration));
    (history, snapshot.host.clone(), snapshot.path())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use jiff::tz::TimeZone;
    use rustic_core::repofile::SnapshotFile;

    use super::*;

    const HOUR: i64 = 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn snapshot(seconds: i64, configuration: &str) -> Snapshot {
        let mut file = SnapshotFile {
            time: at(seconds).to_zoned(TimeZone::UTC),
            hostname: "host-0".to_owned(),
            ..SnapshotFile::default()
        };
        file.paths.add("/d".to_owned());
        file.tags.add(format!("lagan-configuration=lagan.dev/a/{configuration}"));
        file.tags.add(format!("lagan-identity={}", Uuid::nil()));
        file.tags.add("lagan-cluster=local".to_owned());
        Snapshot::from(file)
    }

    /// Times of the snapshots whose sessions are asked, if each answers that it named its snapshot and started at its time.
    fn asked(snapshots: &[Snapshot], not_after: i64) -> Vec<Timestamp> {
        let mut search = LatestSearch::new(at(not_after));
        let mut asked = Vec::new();
        for snapshot in snapshots {
            if !search.is_older(snapshot) {
                asked.push(snapshot.time.timestamp());
                search.found(snapshot, Some(snapshot.time.timestamp()));
            }
        }
        asked
    }

    #[test]
    fn of_thousands_of_snapshots_only_those_are_asked_about_whose_clocks_could_make_them_the_latest() {
        let hourly: Vec<Snapshot> = (0..5_000).map(|n| snapshot(-n * HOUR, "x")).collect();
        assert_eq!(asked(&hourly, 0).len(), 25);
        // Those that are younger than the request may have been written before it by a clock that is ahead.
        let asked = asked(&hourly, -100 * HOUR);
        assert_eq!((asked.len(), asked[100]), (125, at(-100 * HOUR)));
    }

    #[test]
    fn each_group_is_searched_for_itself() {
        let (x, y) = (snapshot(0, "x"), snapshot(-48 * HOUR, "y"));
        assert_eq!(asked(&[x, y, snapshot(-72 * HOUR, "x"), snapshot(-80 * HOUR, "y")], 0).len(), 2);
    }

    #[test]
    fn a_snapshot_that_is_disowned_decides_nothing_and_the_clock_of_the_server_counts() {
        let (newest, older, oldest) = (snapshot(0, "x"), snapshot(-48 * HOUR, "x"), snapshot(-96 * HOUR, "x"));
        let mut search = LatestSearch::new(at(0));
        // Nothing was found: its session disowned it.
        assert!(!search.is_older(&newest) && !search.is_older(&older));
        // Its clock was two days behind.
        search.found(&older, Some(at(0)));
        assert!(search.is_older(&older) && search.is_older(&oldest));
        let mut search = LatestSearch::new(at(0));
        search.found(&older, None);
        assert!(!search.is_older(&older) && search.is_older(&oldest));
    }
}
