//! Retention and `latest`, as tables over snapshots that exist only in memory.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustic_core::repofile::SnapshotFile;

use crate::repository::{LatestError, Policy, Snapshot, Verdict, Wanted, latest, retention};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + seconds, 0).unwrap()
}

/// Makes a snapshot of a number, time, configuration (empty for a snapshot of another tool) and path.
fn snapshot(number: u8, seconds: i64, configuration: &str, path: &str) -> Snapshot {
    let mut file = SnapshotFile {
        time: at(seconds).to_zoned(TimeZone::UTC),
        hostname: "host-0".to_owned(),
        id: rustic_core::Id::new([number; 32]).into(),
        ..SnapshotFile::default()
    };
    file.paths.add(path.to_owned());
    if !configuration.is_empty() {
        file.tags.add(format!("lagan-configuration={configuration}"));
    }
    Snapshot::from(file)
}

fn id(number: u8) -> String {
    rustic_core::Id::new([number; 32]).to_hex().to_string()
}

fn kept(snapshots: &[Snapshot], policy: &Policy, excluded: &[u8]) -> Vec<u8> {
    let excluded: HashSet<String> = excluded.iter().map(|number| id(*number)).collect();
    let now = at(100 * DAY).to_zoned(TimeZone::UTC);
    let decisions = retention(snapshots, policy, &now, &excluded).unwrap();
    assert_eq!(decisions.len(), snapshots.len());
    assert!(decisions.iter().all(|one| !one.reasons.is_empty()));
    (0..=u8::MAX)
        .filter(|number| decisions.iter().any(|one| one.id == id(*number) && one.verdict == Verdict::Keep))
        .collect()
}

#[test]
fn rules_count_within_a_group() {
    let snapshots = [
        snapshot(1, 0, "a/x", "/dumpfile.sql"),
        snapshot(2, DAY, "a/x", "/dumpfile.sql"),
        snapshot(3, 2 * DAY, "a/x", "/dumpfile.sql"),
        snapshot(4, 0, "a/y", "/dumpfile.sql"),
        snapshot(5, 0, "", "/dumpfile.sql"),
        snapshot(6, DAY, "", "/dumpfile.sql"),
        snapshot(7, DAY, "a/x", "/other.sql"),
    ];
    let last = |last| Policy { last, ..Policy::default() };
    assert_eq!(kept(&snapshots, &last(1), &[]), [3, 4, 6, 7]);
    assert_eq!(kept(&snapshots, &last(2), &[]), [2, 3, 4, 5, 6, 7]);
    assert_eq!(kept(&snapshots, &Policy::default(), &[]), [1, 2, 3, 4, 5, 6, 7], "without a rule nothing goes");
    assert_eq!(
        kept(&snapshots, &last(1), &[3]),
        [2, 4, 6, 7],
        "a snapshot that its session did not name takes no place"
    );
    assert_eq!(kept(&snapshots, &Policy::default(), &[3]), [1, 2, 4, 5, 6, 7]);
    let tagged = Policy { tags: vec!["lagan-configuration=a/x".to_owned()], last: 1, ..Policy::default() };
    assert_eq!(kept(&snapshots, &tagged, &[]), [1, 2, 3, 4, 6, 7]);
}

#[test]
fn a_daily_rule_keeps_the_last_of_each_day() {
    let hour = DAY / 24;
    let snapshots: Vec<_> =
        (0..8).map(|n| snapshot(n, i64::from(n / 2) * DAY + i64::from(n % 2) * hour, "a/x", "/d")).collect();
    let daily = Policy { daily: 2, ..Policy::default() };
    assert_eq!(kept(&snapshots, &daily, &[]), [5, 7]);
    let both = Policy { daily: 2, last: 2, ..Policy::default() };
    assert_eq!(kept(&snapshots, &both, &[]), [5, 6, 7]);
}

fn wanted(configuration: Option<&str>) -> Wanted<'_> {
    Wanted { configuration, host: None, path: None, not_after: at(10 * DAY) }
}

fn chosen(snapshots: &[Snapshot], wanted: Wanted<'_>, excluded: &[u8]) -> Result<String, LatestError> {
    let excluded = excluded.iter().map(|number| id(*number)).collect();
    latest(snapshots, wanted, &excluded).map(|snapshot| snapshot.id.clone())
}

#[test]
fn latest_is_the_newest_of_the_only_group() {
    let snapshots = [snapshot(1, 0, "a/x", "/d"), snapshot(2, DAY, "a/x", "/d"), snapshot(3, 20 * DAY, "a/x", "/d")];
    assert_eq!(chosen(&snapshots, wanted(None), &[]), Ok(id(2)), "the third is younger than the request");
    assert_eq!(chosen(&snapshots, wanted(None), &[2]), Ok(id(1)));
    assert_eq!(chosen(&snapshots, wanted(Some("a/y")), &[]), Err(LatestError::None));
    assert_eq!(chosen(&[], wanted(None), &[]), Err(LatestError::None));
}

#[test]
fn an_untagged_history_of_the_same_file_belongs_to_the_tagged_one() {
    let snapshots = [snapshot(1, 2 * DAY, "", "/d"), snapshot(2, DAY, "a/x", "/d")];
    assert_eq!(chosen(&snapshots, wanted(None), &[]), Ok(id(1)));
    let newer = [snapshot(1, 0, "", "/d"), snapshot(2, DAY, "a/x", "/d")];
    assert_eq!(chosen(&newer, wanted(Some("a/x")), &[]), Ok(id(2)));
}

#[test]
fn latest_refuses_where_it_could_mean_several() {
    let two = [snapshot(1, 0, "a/x", "/d"), snapshot(2, DAY, "a/y", "/d")];
    let Err(LatestError::Ambiguous { candidates }) = chosen(&two, wanted(None), &[]) else { panic!("must refuse") };
    assert_eq!(candidates.iter().map(|one| one.newest.clone()).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(chosen(&two, wanted(Some("a/y")), &[]), Ok(id(2)));

    let other_path = [snapshot(1, 0, "", "/home"), snapshot(2, DAY, "a/x", "/d")];
    assert!(matches!(chosen(&other_path, wanted(Some("a/x")), &[]), Err(LatestError::Ambiguous { .. })));
    let narrowed = Wanted { path: Some("/d"), ..wanted(None) };
    assert_eq!(chosen(&other_path, narrowed, &[]), Ok(id(2)));

    let three = [snapshot(1, 0, "", "/d"), snapshot(2, 0, "a/x", "/d"), snapshot(3, 0, "a/y", "/d")];
    assert!(matches!(chosen(&three, wanted(None), &[]), Err(LatestError::Ambiguous { .. })));
}
