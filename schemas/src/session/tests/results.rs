//! The verified snapshots of a session stay its results, however it ends.

use super::*;
use crate::fact::TargetResult;

fn result(target: &str, repository: &str, snapshot: &str) -> TargetResult {
    let mut reference = reference();
    (reference.kind, reference.name) = (Kind::Repository, repository.to_owned());
    serde_json::from_value(serde_json::json!({
        "target": target, "host": "host-0", "repository": reference, "path": "/dumpfile.sql", "snapshot": snapshot,
        "sizeBytes": 1, "durationMs": 1,
    }))
    .unwrap()
}

/// Facts of one backup, each of which is legal.
struct Story(Session);

impl Story {
    fn planned() -> Self {
        Self(Session::new(key(Course::Backup))).then(FactKind::Requested).then(FactKind::Planned)
    }

    fn then(self, kind: FactKind) -> Self {
        let signed = match kind {
            FactKind::Started => Some(holder(self.0.attempts + 1)),
            _ => self.0.holder,
        };
        self.told(fact(Course::Backup, kind, signed))
    }

    fn told(mut self, fact: Fact) -> Self {
        // Facts reach the log through `completed`.
        let next = recorded(self.0.last_sequence + 1, Some(self.0.completed(fact)));
        self.0.apply(next);
        assert_eq!(self.0.illegal_facts, 0, "{:?}", self.0);
        self
    }

    /// An attempt that verified snapshots, rejected others, and is tried again.
    fn retrying(self, results: &[TargetResult], rejected: &[&str]) -> Self {
        let started = self.then(FactKind::Started).then(FactKind::Committing);
        let mut fact = fact(Course::Backup, FactKind::Retrying, started.0.holder);
        if let Fact::Retrying(data) = &mut fact {
            data.results = results.to_vec();
            data.rejected_snapshots = rejected.iter().map(|id| (*id).to_owned()).collect();
        }
        started.told(fact)
    }

    fn snapshots(&self) -> Vec<&str> {
        self.0.results.iter().map(|result| result.snapshot.as_str()).collect()
    }
}

/// Every way on which a session that is tried again comes to its end, or does not yet.
const WAYS: [(&str, &[FactKind]); 9] = [
    ("it waits", &[]),
    ("it is planned again", &[FactKind::Planned]),
    ("the engine fails it while it waits", &[FactKind::Failed]),
    ("a person cancels it while it waits", &[FactKind::CancelRequested, FactKind::Cancelled]),
    ("its deadline passes before a worker takes it", &[FactKind::Planned, FactKind::Failed]),
    ("the next attempt fails", &[FactKind::Planned, FactKind::Started, FactKind::Failed]),
    ("the next attempt is cancelled", &[FactKind::Planned, FactKind::Started, FactKind::Cancelled]),
    ("the next attempt is tried again", &[FactKind::Planned, FactKind::Started, FactKind::Retrying]),
    (
        "workers die until it is given up",
        &[FactKind::Planned, FactKind::Started, FactKind::Started, FactKind::Started, FactKind::Failed],
    ),
];

#[test]
fn a_verified_snapshot_of_an_attempt_stays_a_result_however_the_session_ends() {
    for (way, facts) in WAYS {
        let verified = [result("db", "repo", "good")];
        let mut story = Story::planned().retrying(&verified, &["bad"]);
        for fact in facts {
            story = story.then(*fact);
        }
        assert_eq!(story.snapshots(), ["good"], "{way}");
        assert_eq!(story.0.rejected_snapshots, ["bad"], "{way}");
    }
}

#[test]
fn an_end_that_the_engine_writes_names_the_snapshots_of_earlier_attempts() {
    let retrying = Story::planned().retrying(&[result("db", "repo", "good")], &[]).0;
    for kind in [FactKind::Failed, FactKind::Cancelled] {
        let (Fact::Failed(ended) | Fact::Cancelled(ended)) = retrying.completed(fact(Course::Backup, kind, None))
        else {
            unreachable!("it stays an end")
        };
        assert_eq!(ended.results, [result("db", "repo", "good")], "{kind:?}");
    }
}

#[test]
fn a_snapshot_of_an_earlier_attempt_is_replaced_for_its_place_only_and_counts_no_more_once_it_was_rejected() {
    let both = [result("db", "near", "a1"), result("db", "far", "b1")];
    let replaced = Story::planned().retrying(&both, &[]).then(FactKind::Planned);
    let replaced = replaced.retrying(&[result("db", "near", "a2")], &["a1"]).then(FactKind::Failed);
    assert_eq!(replaced.snapshots(), ["b1", "a2"]);
    let rejected = Story::planned().retrying(&both, &[]).then(FactKind::Planned).retrying(&[], &["b1"]);
    assert_eq!(rejected.then(FactKind::Cancelled).snapshots(), ["a1"]);
    // A success names all that count.
    let succeeded = Story::planned().retrying(&both, &[]).then(FactKind::Planned).then(FactKind::Started);
    assert_eq!(succeeded.then(FactKind::Succeeded).snapshots(), Vec::<&str>::new());
}
