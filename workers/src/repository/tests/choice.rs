//! Retention and `latest`, as tables over snapshots that exist only in memory.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lagan_schemas::error::Code;
use lagan_schemas::origin::{ClusterIdentity, Clusters, ConfigurationKey, SnapshotOwner};
use rustic_core::repofile::SnapshotFile;
use uuid::Uuid;

use crate::repository::snapshot::{Damaged, SnapshotList};
use crate::repository::wipe;
use crate::repository::{ChoiceError, RetentionRules, Snapshot, Verdict, WantedSnapshot, by_id, latest, retention};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + seconds, 0).unwrap()
}

/// Makes a snapshot of cluster 1, with a number, a time, the group, namespace and name of a configuration (empty for a snapshot
/// of another tool) and a path.
fn snapshot(number: u8, seconds: i64, configuration: &str, path: &str) -> Snapshot {
    snapshot_of(1, number, seconds, configuration, path)
}

/// Every cluster is called `local`.
fn snapshot_of(cluster: u128, number: u8, seconds: i64, configuration: &str, path: &str) -> Snapshot {
    let mut file = SnapshotFile {
        time: at(seconds).to_zoned(TimeZone::UTC),
        hostname: "host-0".to_owned(),
        id: rustic_core::Id::new([number; 32]).into(),
        ..SnapshotFile::default()
    };
    file.paths.add(path.to_owned());
    if !configuration.is_empty() {
        file.tags.add(format!("lagan-configuration={configuration}"));
        file.tags.add(format!("lagan-identity={}", Uuid::from_u128(cluster)));
        file.tags.add("lagan-cluster=local".to_owned());
    }
    Snapshot::from(file)
}

fn identity(adopted: &[u128]) -> &'static ClusterIdentity {
    let adopted = adopted.iter().map(|uid| Uuid::from_u128(*uid)).collect();
    Box::leak(Box::new(ClusterIdentity { uid: Uuid::from_u128(1), adopted }))
}

fn configuration(text: &str) -> &'static ConfigurationKey {
    Box::leak(Box::new(text.parse().unwrap()))
}

const X: &str = "lagan.dev/a/x";
const Y: &str = "lagan.dev/a/y";

fn id(number: u8) -> String {
    rustic_core::Id::new([number; 32]).to_hex().to_string()
}

/// The numbers of the snapshots that stay. Those of other owners are not decided about, so they stay.
fn kept(owner: SnapshotOwner<'_>, snapshots: &[Snapshot], policy: &RetentionRules, excluded: &[u8]) -> Vec<u8> {
    let excluded: HashSet<String> = excluded.iter().map(|number| id(*number)).collect();
    let now = at(100 * DAY).to_zoned(TimeZone::UTC);
    let decisions = retention(snapshots, owner, policy, &now, &excluded).unwrap();
    assert!(decisions.iter().all(|one| !one.reasons.is_empty()));
    let removed = |number| decisions.iter().any(|one| one.id == id(number) && one.verdict == Verdict::Remove);
    (0..=u8::MAX).filter(|number| snapshots.iter().any(|s| s.id == id(*number)) && !removed(*number)).collect()
}

fn owner(text: &str) -> SnapshotOwner<'static> {
    SnapshotOwner { cluster: identity(&[]), configuration: configuration(text) }
}

fn last(last: u32) -> RetentionRules {
    RetentionRules { last, ..RetentionRules::default() }
}

#[test]
fn rules_count_within_one_history() {
    let snapshots = [
        snapshot(1, 0, X, "/dumpfile.sql"),
        snapshot(2, DAY, X, "/dumpfile.sql"),
        snapshot(3, 2 * DAY, X, "/dumpfile.sql"),
        snapshot(4, 0, Y, "/dumpfile.sql"),
        snapshot(5, 0, "", "/dumpfile.sql"),
        snapshot(6, DAY, "", "/dumpfile.sql"),
        snapshot(7, DAY, X, "/other.sql"),
    ];
    let kept = |policy: &RetentionRules, excluded: &[u8]| kept(owner(X), &snapshots, policy, excluded);
    assert_eq!(kept(&last(1), &[]), [3, 4, 5, 6, 7]);
    assert_eq!(kept(&last(2), &[]), [2, 3, 4, 5, 6, 7]);
    assert_eq!(kept(&RetentionRules::default(), &[]), [1, 2, 3, 4, 5, 6, 7], "without a rule nothing goes");
    assert_eq!(kept(&last(1), &[3]), [2, 4, 5, 6, 7], "a snapshot that its session did not name takes no place");
    assert_eq!(kept(&RetentionRules::default(), &[3]), [1, 2, 4, 5, 6, 7]);
    let tagged = RetentionRules { tags: vec!["lagan-cluster=local".to_owned()], last: 1, ..RetentionRules::default() };
    assert_eq!(kept(&tagged, &[]), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn retention_of_one_cluster_and_one_group_removes_nothing_of_another() {
    let stash = "stash.appscode.com/a/x";
    let snapshots: Vec<Snapshot> = (0..3)
        .flat_map(|n| {
            let time = i64::from(n) * DAY;
            [snapshot(n, time, X, "/d"), snapshot(10 + n, time, stash, "/d"), snapshot_of(2, 20 + n, time, X, "/d")]
        })
        .collect();
    assert_eq!(kept(owner(X), &snapshots, &last(1), &[]), [2, 10, 11, 12, 20, 21, 22]);
    assert_eq!(kept(owner(stash), &snapshots, &last(1), &[]), [0, 1, 2, 12, 20, 21, 22]);
    let adopted = SnapshotOwner { cluster: identity(&[2]), configuration: configuration(X) };
    assert_eq!(kept(adopted, &snapshots, &last(2), &[]), [2, 10, 11, 12, 22], "an adopted history continues");
}

#[test]
fn a_daily_rule_keeps_the_last_of_each_day() {
    let hour = DAY / 24;
    let snapshots: Vec<_> =
        (0..8).map(|n| snapshot(n, i64::from(n / 2) * DAY + i64::from(n % 2) * hour, X, "/d")).collect();
    let daily = RetentionRules { daily: 2, ..RetentionRules::default() };
    assert_eq!(kept(owner(X), &snapshots, &daily, &[]), [5, 7]);
    let both = RetentionRules { daily: 2, last: 2, ..RetentionRules::default() };
    assert_eq!(kept(owner(X), &snapshots, &both, &[]), [5, 6, 7]);
}

static NO_TIMES: LazyLock<HashMap<String, Timestamp>> = LazyLock::new(HashMap::new);

fn wanted(name: Option<&str>) -> WantedSnapshot<'static> {
    WantedSnapshot {
        clusters: Clusters::Own(identity(&[])),
        configuration: name.map(configuration),
        host: None,
        path: None,
        not_after: at(10 * DAY),
        times: &NO_TIMES,
    }
}

fn chosen(snapshots: &[Snapshot], wanted: WantedSnapshot<'_>, excluded: &[u8]) -> Result<String, ChoiceError> {
    let excluded = excluded.iter().map(|number| id(*number)).collect();
    latest(snapshots, wanted, &excluded).map(|snapshot| snapshot.id.clone())
}

#[test]
fn the_clock_of_the_machine_that_wrote_a_snapshot_does_not_decide_whether_it_was_there() {
    // The second was written before the request by a clock that is ahead, the third after it by one that is behind.
    let snapshots = [snapshot(1, 0, X, "/d"), snapshot(2, 11 * DAY, X, "/d"), snapshot(3, 9 * DAY, X, "/d")];
    assert_eq!(chosen(&snapshots, wanted(None), &[]), Ok(id(3)));
    let times = HashMap::from([(id(2), at(9 * DAY)), (id(3), at(11 * DAY))]);
    assert_eq!(chosen(&snapshots, WantedSnapshot { times: &times, ..wanted(None) }, &[]), Ok(id(2)));
}

#[test]
fn latest_is_the_newest_of_the_only_group() {
    let snapshots = [snapshot(1, 0, X, "/d"), snapshot(2, DAY, X, "/d"), snapshot(3, 20 * DAY, X, "/d")];
    assert_eq!(chosen(&snapshots, wanted(None), &[]), Ok(id(2)), "the third is younger than the request");
    assert_eq!(chosen(&snapshots, wanted(None), &[2]), Ok(id(1)));
    assert_eq!(chosen(&snapshots, wanted(Some(Y)), &[]), Err(ChoiceError::NoneFits));
    assert_eq!(chosen(&[], wanted(None), &[]), Err(ChoiceError::NoneFits));
}

#[test]
fn an_untagged_history_of_the_same_file_belongs_to_the_tagged_one_unless_a_configuration_is_named() {
    let newer = [snapshot(1, 2 * DAY, "", "/d"), snapshot(2, DAY, X, "/d"), snapshot(3, 0, Y, "/other")];
    let of_path = WantedSnapshot { path: Some("/d"), ..wanted(None) };
    assert_eq!(chosen(&newer, of_path, &[]), Ok(id(1)));
    for narrowed in [wanted(Some(X)), WantedSnapshot { configuration: Some(configuration(X)), ..of_path }] {
        assert_eq!(chosen(&newer, narrowed, &[]), Ok(id(2)), "another tool wrote the newer one");
    }
    // Not even if the configuration has none of its own.
    let Err(error) = chosen(&newer, wanted(Some("lagan.dev/a/z")), &[]) else { panic!("must refuse") };
    assert_eq!(error.code(), Code::SnapshotNotFound);
    for word in ["lagan.dev/a/z", "taken only by their id", "path `/d`: 1 snapshots, newest `01010101`"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    let elsewhere = WantedSnapshot { clusters: Clusters::Named("east"), ..wanted(Some("lagan.dev/a/z")) };
    assert_eq!(chosen(&newer, elsewhere, &[]), Err(ChoiceError::NoneFits));
}

#[test]
fn latest_refuses_where_it_could_mean_several() {
    let two = [snapshot(1, 0, X, "/d"), snapshot(2, DAY, Y, "/d")];
    let Err(ChoiceError::Ambiguous { candidates }) = chosen(&two, wanted(None), &[]) else { panic!("must refuse") };
    assert_eq!(candidates.iter().map(|one| one.newest.clone()).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(chosen(&two, wanted(Some(Y)), &[]), Ok(id(2)));

    let other_path = [snapshot(1, 0, "", "/home"), snapshot(2, DAY, X, "/d")];
    assert!(matches!(chosen(&other_path, wanted(None), &[]), Err(ChoiceError::Ambiguous { .. })));
    let narrowed = WantedSnapshot { path: Some("/d"), ..wanted(None) };
    assert_eq!(chosen(&other_path, narrowed, &[]), Ok(id(2)));

    let three = [snapshot(1, 0, "", "/d"), snapshot(2, 0, X, "/d"), snapshot(3, 0, Y, "/d")];
    assert!(matches!(chosen(&three, wanted(None), &[]), Err(ChoiceError::Ambiguous { .. })));
}

#[test]
fn latest_never_takes_the_snapshot_of_another_cluster_of_the_same_name() {
    let both = [snapshot(1, 0, X, "/d"), snapshot_of(2, 2, DAY, X, "/d")];
    assert_eq!(chosen(&both, wanted(Some(X)), &[]), Ok(id(1)));
    let Err(error) = chosen(&both[1..], wanted(Some(X)), &[]) else { panic!("must refuse") };
    assert!(error.to_string().contains(&Uuid::from_u128(2).to_string()), "{error}");

    let other = Uuid::from_u128(2).to_string();
    let named = WantedSnapshot { clusters: Clusters::Named(&other), ..wanted(Some(X)) };
    assert_eq!(chosen(&both, named, &[]), Ok(id(2)));
    let by_name = WantedSnapshot { clusters: Clusters::Named("local"), ..wanted(Some(X)) };
    assert!(matches!(chosen(&both, by_name, &[]), Err(ChoiceError::Ambiguous { .. })), "two clusters have the name");

    let adopted = WantedSnapshot { clusters: Clusters::Own(identity(&[2])), ..wanted(Some(X)) };
    assert_eq!(chosen(&both, adopted, &[]), Ok(id(2)));
}

#[test]
fn a_snapshot_of_another_cluster_is_not_taken_by_its_id_either() {
    let both = [snapshot(1, 0, X, "/d"), snapshot_of(2, 2, DAY, X, "/d"), snapshot(3, 0, "", "/d")];
    let own = Clusters::Own(identity(&[]));
    let found = |id: &str, clusters| by_id(&both, id, clusters).map(|snapshot| snapshot.id.clone());
    assert_eq!(found("0101", own), Ok(id(1)));
    assert_eq!(found("0303", own), Ok(id(3)), "a snapshot without an origin belongs to whoever has the repository");
    assert!(matches!(found("0202", own), Err(ChoiceError::OtherClusters { .. })));
    assert_eq!(found("0202", Clusters::Named("local")), Ok(id(2)));
    assert!(matches!(found("0", own), Err(ChoiceError::AmbiguousId { .. })));
    assert!(matches!(found("ff", own), Err(ChoiceError::UnknownId { .. })));
}

#[test]
fn a_repository_that_others_use_is_not_deleted() {
    let (ours, adopted, theirs, untagged) = (
        snapshot(1, 0, X, "/d"),
        snapshot_of(2, 2, 0, X, "/d"),
        snapshot_of(3, 3, 0, Y, "/d"),
        snapshot(4, 0, "", "/d"),
    );
    let list = |snapshots: &[&Snapshot]| SnapshotList {
        snapshots: snapshots.iter().map(|snapshot| (*snapshot).clone()).collect(),
        damaged: Vec::new(),
    };
    let mut ours_only = list(&[&ours, &adopted, &untagged]);
    assert!(wipe::others(&ours_only, identity(&[2]), &[]).is_ok());
    let namespaces = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let watched = X.split('/').nth(1).unwrap();
    assert!(wipe::others(&ours_only, identity(&[2]), &namespaces(&["more", watched])).is_ok());
    let refused = wipe::others(&ours_only, identity(&[2]), &namespaces(&["more"])).unwrap_err();
    assert_eq!(refused.code(), Code::LocationShared);
    assert!(refused.to_string().contains(&format!("({watched})")), "{refused}");
    let refused = wipe::others(&list(&[&ours, &adopted, &theirs, &untagged]), identity(&[2]), &[]).unwrap_err();
    assert_eq!(refused.code(), Code::LocationShared);
    assert!(refused.to_string().contains("(local)"), "{refused}");
    ours_only.damaged.push(Damaged { id: "5".repeat(64), why: "it is of a later version".to_owned() });
    let refused = wipe::others(&ours_only, identity(&[2]), &[]).unwrap_err();
    assert_eq!(refused.code(), Code::RepositoryDamaged);
    assert!(refused.to_string().contains("it is of a later version"), "{refused}");
}
