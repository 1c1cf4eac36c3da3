//! Which snapshots go after a backup: by the configuration's rules, and those whose session ended without naming
//! them (P11). It removes nothing itself.

mod latest_search;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use lagan_bus::Bus;
use lagan_bus::session_log::find_session;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus, RetentionMode, RetentionResult};
use lagan_schemas::origin::{ClusterIdentity, ConfigurationKey, SnapshotOwner};
use lagan_schemas::resource::repository::RetentionPolicy;
use lagan_schemas::session::Session;
use lagan_schemas::subject::Cluster;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::latest_search::LatestSearch;
use crate::failures::{internal, of_repository};
use crate::repository::{Decision, RetentionRules, Snapshot, Verdict, retention};
use crate::worker::Worker;

/// Facts are kept for a week; sessions of older snapshots can't be asked about.
const ASKABLE: jiff::SignedDuration = jiff::SignedDuration::from_hours(8 * 24);

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The session that asks, and whose snapshots it asks about.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub session: Uuid,
    pub cluster: &'a ClusterIdentity,
    /// Only those of this configuration; of every one if `None`.
    pub configuration: Option<&'a ConfigurationKey>,
    /// Ends the wait for NATS: without an answer nothing is decided.
    pub stop: &'a CancellationToken,
}

/// The word of a snapshot's session on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It names it, or is not known any more: the content of a snapshot was read back before its file was written (P9).
    Named,
    /// It runs, and has not named it yet.
    Open,
    /// It rejected it, or ended without naming it.
    Disowned,
}

/// Finds the snapshots of this cluster that their session rejected, or is known to have ended without naming: they may go. Of
/// the session that asks only `named` counts.
pub(crate) async fn unnamed(
    worker: &Worker,
    snapshots: &[Snapshot],
    asking: Asking<'_>,
    named: &[String],
) -> Result<HashSet<String>, Failure> {
    let mut unnamed = HashSet::new();
    let mut questions = Questions::new(worker, asking);
    for snapshot in snapshots.iter().filter(|snapshot| asking.is_about(snapshot)) {
        let is_disowned = if snapshot.session().and_then(|uid| Uuid::parse_str(uid).ok()) == Some(asking.session) {
            !named.contains(&snapshot.id)
        } else {
            questions.ask(snapshot).await?.is_some_and(|said| said.word == Word::Disowned)
        };
        if is_disowned {
            unnamed.insert(snapshot.id.clone());
        }
    }
    Ok(unnamed)
}

/// What the sessions of snapshots say of them.
#[derive(Default)]
pub(crate) struct SnapshotProof {
    /// Snapshots that are never `latest`: besides the unnamed ones those of running sessions, which are not read back yet.
    pub unproven: HashSet<String>,
    /// Starts of the sessions of the others, by the clock of the server. Each worker has a clock of its own.
    pub times: HashMap<String, Timestamp>,
}

/// Asks the sessions of the snapshots of this cluster that may be the latest, the newest first, until the answers tell which it
/// is.
pub(crate) async fn proof(
    worker: &Worker,
    mut candidates: Vec<&Snapshot>,
    asking: Asking<'_>,
    not_after: Timestamp,
) -> Result<SnapshotProof, Failure> {
    candidates.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time.timestamp()));
    let (mut proof, mut search) = (SnapshotProof::default(), LatestSearch::new(not_after));
    let mut questions = Questions::new(worker, asking);
    for snapshot in candidates.into_iter().filter(|snapshot| asking.is_about(snapshot)) {
        if search.is_older(snapshot) {
            continue;
        }
        let said = questions.ask(snapshot).await?;
        let started = said.as_ref().and_then(|said| said.started);
        if said.is_some_and(|said| said.word != Word::Named) {
            proof.unproven.insert(snapshot.id.clone());
            continue;
        }
        search.found(snapshot, started);
        proof.times.extend(started.map(|started| (snapshot.id.clone(), started)));
    }
    Ok(proof)
}

/// The word of a session on one of its snapshots, and its first start.
struct Said {
    word: Word,
    started: Option<Timestamp>,
}

impl Asking<'_> {
    /// Whether a snapshot is one of those that are asked about.
    fn is_about(&self, snapshot: &Snapshot) -> bool {
        snapshot.origin().is_some_and(|origin| {
            let wanted = self.configuration.is_none_or(|configuration| *configuration == origin.configuration);
            wanted && self.cluster.owns(origin.cluster)
        })
    }
}

/// Asks each session once.
struct Questions<'a> {
    worker: &'a Worker,
    asking: Asking<'a>,
    now: Timestamp,
    asked: HashMap<Uuid, Option<Arc<Heard>>>,
}

impl<'a> Questions<'a> {
    fn new(worker: &'a Worker, asking: Asking<'a>) -> Self {
        Self { worker, asking, now: Timestamp::now(), asked: HashMap::new() }
    }

    /// Asks the session of a snapshot; `None` if it can't be asked any more.
    async fn ask(&mut self, snapshot: &Snapshot) -> Result<Option<Said>, Failure> {
        let Some(uid) = snapshot.session().and_then(|uid| Uuid::parse_str(uid).ok()) else { return Ok(None) };
        if self.now.duration_since(snapshot.time.timestamp()) > ASKABLE {
            return Ok(None);
        }
        // A store that was rolled back may let a session go on that had disowned this snapshot.
        let known = self.worker.ended.get(uid).filter(|heard| heard.word(&snapshot.id) == Word::Named);
        let heard = match (known, self.asked.entry(uid)) {
            (Some(heard), _) => Some(heard),
            (None, Entry::Occupied(asked)) => asked.get().clone(),
            (None, Entry::Vacant(unknown)) => unknown.insert(hear(self.worker, uid, self.asking.stop).await?).clone(),
        };
        Ok(heard.map(|heard| Said { word: heard.word(&snapshot.id), started: heard.started }))
    }
}

/// What a session says of snapshots.
#[derive(Debug)]
struct Heard {
    rejected: Vec<String>,
    named: Vec<String>,
    is_end: bool,
    is_expired: bool,
    /// Whether a worker has begun it, according to its log.
    is_begun: bool,
    /// Start of its last attempt: one that was tried again dumped later than the session began.
    started: Option<Timestamp>,
}

/// Ended sessions that this worker has asked for: each question costs NATS two consumers. Only what speaks for a snapshot is
/// taken from here.
#[derive(Debug, Default)]
pub(crate) struct EndedSessions(Mutex<HashMap<Uuid, Arc<Heard>>>);

/// Sessions that are remembered, of about 300 bytes each.
const REMEMBERED: usize = 20_000;

impl EndedSessions {
    fn get(&self, uid: Uuid) -> Option<Arc<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned()
    }

    fn remember(&self, uid: Uuid, heard: &Arc<Heard>) {
        if !heard.is_end || heard.is_expired {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(uid, Arc::clone(heard));
    }
}

/// Asks for the session of a snapshot, and remembers its end.
async fn hear(worker: &Worker, uid: Uuid, stop: &CancellationToken) -> Result<Option<Arc<Heard>>, Failure> {
    let session = ask(&worker.bus, &worker.cluster, uid, stop).await?;
    let heard = session.map(|session| Arc::new(Heard::of(&session)));
    if let Some(heard) = &heard {
        worker.ended.remember(uid, heard);
    }
    Ok(heard)
}

/// Asks for the session of a snapshot, and waits while NATS is away.
async fn ask(bus: &Bus, cluster: &Cluster, uid: Uuid, stop: &CancellationToken) -> Result<Option<Session>, Failure> {
    loop {
        let error = match find_session(bus, cluster, uid).await {
            Ok(session) => return Ok(session),
            Err(error) if error.is_outage() => error,
            Err(error) => return Err(internal(&error)),
        };
        tracing::debug!(session = %uid, error = chain(&error), "the session of a snapshot can't be read yet");
        tokio::select! {
            () = stop.cancelled() => return Err(Failure::new(Code::Interrupted, "NATS was away until the stop")),
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
}

impl Heard {
    fn of(session: &Session) -> Self {
        let is_expired = session.is_expired();
        Self {
            rejected: session.rejected_snapshots.clone(),
            named: session.results.iter().map(|result| result.snapshot.clone()).collect(),
            is_end: session.phase.is_end(),
            is_expired,
            is_begun: session.attempts > 0,
            started: session.attempt_time.filter(|_| !is_expired),
        }
    }

    fn word(&self, snapshot: &str) -> Word {
        let is_in = |snapshots: &[String]| snapshots.iter().any(|known| known == snapshot);
        match () {
            () if is_in(&self.rejected) => Word::Disowned,
            // A session that was never begun has no snapshot, so its log is a new one after a loss of the store, and can't know.
            () if self.is_expired || !self.is_begun || is_in(&self.named) => Word::Named,
            () if self.is_end => Word::Disowned,
            () => Word::Open,
        }
    }
}

/// Decides about the snapshots of one configuration of this cluster.
pub(crate) fn decide(
    snapshots: &[Snapshot],
    owner: SnapshotOwner<'_>,
    policy: &RetentionPolicy,
    now: &Zoned,
    unnamed: &HashSet<String>,
) -> Result<Vec<Decision>, Failure> {
    retention(snapshots, owner, &rules(policy), now, unnamed).map_err(|error| of_repository(&error))
}

/// Warns if a repository also holds snapshots of another identity under the name of this cluster: the two can't be told
/// apart by people.
pub(crate) fn shared_name(snapshots: &[Snapshot], cluster: &ClusterIdentity, name: &str) -> Option<Notice> {
    let others: BTreeSet<Uuid> = snapshots
        .iter()
        .filter_map(Snapshot::origin)
        .filter(|origin| origin.cluster_name == name && !cluster.owns(origin.cluster))
        .map(|origin| origin.cluster)
        .collect();
    let listed = others.iter().take(3).map(Uuid::to_string).collect::<Vec<_>>().join(", ");
    (!others.is_empty()).then(|| Notice {
        kind: "ClusterNameShared".to_owned(),
        status: NoticeStatus::True,
        reason: "OtherIdentity".to_owned(),
        message: format!(
            "the repository also holds snapshots of another cluster called `{name}` (identity {listed}); they are kept apart. Start one of the two with another --cluster name, or, if it was lost, take it over with `lagan cluster adopt`"
        ),
    })
}

fn rules(policy: &RetentionPolicy) -> RetentionRules {
    let count = |n: Option<i64>| n.map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX));
    RetentionRules {
        last: count(policy.keep_last),
        hourly: count(policy.keep_hourly),
        daily: count(policy.keep_daily),
        weekly: count(policy.keep_weekly),
        monthly: count(policy.keep_monthly),
        yearly: count(policy.keep_yearly),
        tags: policy.keep_tags.clone().unwrap_or_default(),
    }
}

/// Summarises what the rules remove, and counts the snapshots that go. In a dry run only those go that no session named,
/// and the rules have no part in it.
pub(crate) fn summary(
    decisions: &[Decision],
    unnamed: &HashSet<String>,
    policy: &RetentionPolicy,
) -> (RetentionResult, u64) {
    let gone: BTreeSet<&String> = decisions.iter().filter(|d| d.verdict == Verdict::Remove).map(|d| &d.id).collect();
    let kept = (decisions.len() - gone.len()) as u64;
    let (leftovers, by_rule): (Vec<&String>, Vec<&String>) = gone.iter().partition(|id| unnamed.contains(**id));
    if policy.dry_run {
        (RetentionResult::new(kept, &by_rule, RetentionMode::DryRun), leftovers.len() as u64)
    } else {
        let gone: Vec<&String> = gone.into_iter().collect();
        (RetentionResult::new(kept, &gone, RetentionMode::Remove), gone.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::fact::TargetResult;
    use lagan_schemas::session::Phase;
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures;

    #[test]
    fn a_dry_run_counts_apart_what_the_rules_would_remove_and_what_no_session_named() {
        let decision = |id: &str, verdict| Decision { id: id.to_owned(), verdict, reasons: Vec::new() };
        let decisions = [decision("a", Verdict::Keep), decision("b", Verdict::Remove), decision("c", Verdict::Remove)];
        let unnamed = HashSet::from(["c".to_owned()]);
        let of = |dry_run| summary(&decisions, &unnamed, &RetentionPolicy { dry_run, ..RetentionPolicy::default() });
        assert_eq!(of(false), (RetentionResult::new(1, &["b", "c"], RetentionMode::Remove), 2));
        assert_eq!(of(true), (RetentionResult::new(1, &["b"], RetentionMode::DryRun), 1));
    }

    #[test]
    fn a_snapshot_counts_once_its_session_named_it_whatever_the_session_does_now() {
        let result: TargetResult = serde_json::from_value(serde_json::json!({
            "target": "db", "host": "host-0", "path": "/dumpfile.sql", "snapshot": "named", "sizeBytes": 1, "addedBytes": 1,
            "durationMs": 1, "packsRead": 1, "packs": 1,
            "repository": {"apiVersion": "lagan.dev/v1alpha1", "kind": "Repository", "name": "r"},
        }))
        .unwrap();
        for (phase, snapshot, expected) in [
            (Phase::Committing, "new", Word::Open),
            (Phase::Retrying, "new", Word::Open),
            (Phase::Retrying, "named", Word::Named),
            (Phase::Retrying, "rejected", Word::Disowned),
            (Phase::Failed, "named", Word::Named),
            (Phase::Failed, "new", Word::Disowned),
            (Phase::Succeeded, "new", Word::Disowned),
        ] {
            let mut session = fixtures::session(SessionKind::Backup);
            (session.phase, session.attempts) = (phase, 1);
            (session.rejected_snapshots, session.results) = (vec!["rejected".to_owned()], vec![result.clone()]);
            assert_eq!(Heard::of(&session).word(snapshot), expected, "{phase:?} {snapshot}");
            let whole = session.clone();
            // A log that lost its head proves nothing, but for what it says itself.
            (session.first_sequence, session.last_sequence) = (9, 9);
            // Only an end whose log is whole is remembered.
            let ended = EndedSessions::default();
            let whole = Arc::new(Heard::of(&whole));
            ended.remember(Uuid::nil(), &whole);
            assert_eq!(ended.get(Uuid::nil()).is_some(), phase.is_end(), "{phase:?}");
            let expected = if snapshot == "rejected" { Word::Disowned } else { Word::Named };
            let headless = Arc::new(Heard::of(&session));
            assert_eq!(headless.word(snapshot), expected, "{phase:?} {snapshot}");
            ended.remember(Uuid::max(), &headless);
            assert!(ended.get(Uuid::max()).is_none(), "{phase:?}");
        }
    }

    #[test]
    fn a_session_that_ended_before_it_was_begun_disowns_no_snapshot_of_its_uid() {
        for phase in [Phase::Requested, Phase::Skipped, Phase::Failed, Phase::Cancelled] {
            let mut session = fixtures::session(SessionKind::Backup);
            (session.phase, session.attempts) = (phase, 0);
            assert_eq!(Heard::of(&session).word("made before the store was lost"), Word::Named, "{phase:?}");
        }
    }
}
