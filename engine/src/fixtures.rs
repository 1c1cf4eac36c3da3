//! Sessions for tests: facts told one after the other, folded as the engine folds them.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{
    CancelRequested, Cause, Committing, Counted, Ended, Fact, Holder, Requested, Restoring, Retrying, Skipped, Started,
    Succeeded, TargetResult, Urgency,
};
use lagan_schemas::plan::{RestoreMode, Work};
use lagan_schemas::position::{Position, StoreId};
use lagan_schemas::session::{Recorded, RecordedContent, Session};
use lagan_schemas::subject::{SessionKey, SessionKind};
use uuid::Uuid;

use crate::plan::tests::sample;

/// 2027-01-15T08:00:00Z, when every session here is requested.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// A position in the stream of objects.
pub(crate) fn position() -> Position {
    Position { store: StoreId::created(at(0)), sequence: 1 }
}

/// A session and the clock of its log.
pub(crate) struct Story(Session);

/// A session that was requested.
pub(crate) fn story(kind: SessionKind) -> Story {
    let plan = sample(kind);
    let key = SessionKey {
        cluster: "local".parse().unwrap(),
        namespace: "demo".to_owned(),
        kind,
        group: plan.invoker.key().group,
        invoker: plan.invoker.name.clone(),
        uid: Uuid::from_u128(7),
    };
    let requested = Requested {
        name: plan.session_name,
        invoker: plan.invoker,
        cause: Cause::Slot { slot: at(0), missed: 0 },
        resources_position: position(),
        priority: Urgency::Normal,
    };
    Story(Session::new(key)).then(0, Fact::Requested(requested.into()))
}

impl Story {
    /// Appends a fact, `seconds` after the request; it must be legal.
    pub fn then(mut self, seconds: i64, fact: Fact) -> Self {
        let sequence = self.0.last_sequence + 1;
        let pool = self.0.pool_of(&fact).map(str::to_owned);
        self.0.apply(Recorded { sequence, time: at(seconds), pool, content: RecordedContent::Fact(fact) });
        assert_eq!(self.0.illegal_facts, 0, "{:?}", self.0);
        self
    }

    pub fn planned(self, seconds: i64) -> Self {
        let plan = Box::new(sample(self.0.key.kind));
        self.then(seconds, Fact::Planned(plan))
    }

    /// The plan of a restore that ends before its first statement.
    pub fn planned_dry_run(self, seconds: i64) -> Self {
        let mut plan = Box::new(sample(SessionKind::Restore));
        let Work::Restore(work) = &mut plan.work else { unreachable!("the sample of a restore") };
        work.mode = RestoreMode::DryRun;
        self.then(seconds, Fact::Planned(plan))
    }

    pub fn planned_until(self, seconds: i64, deadline: i64) -> Self {
        let mut plan = Box::new(sample(self.0.key.kind));
        plan.deadline = Some(at(deadline));
        self.then(seconds, Fact::Planned(plan))
    }

    fn holder(&self) -> Holder {
        Holder { attempt: self.0.attempts, worker: Uuid::from_u128(u128::from(self.0.attempts)) }
    }

    pub fn started(self, seconds: i64) -> Self {
        let attempt = self.0.attempts + 1;
        let holder = Holder { attempt, worker: Uuid::from_u128(u128::from(attempt)) };
        self.then(seconds, Fact::Started(Started { holder, host: "worker-0".to_owned() }))
    }

    pub fn committing(self, seconds: i64) -> Self {
        let holder = self.holder();
        self.then(
            seconds,
            Fact::Committing(Committing { holder, target: "db".to_owned(), repository: "demo/repo".to_owned() }),
        )
    }

    pub fn restoring(self, seconds: i64) -> Self {
        let (holder, target, repository) = (self.holder(), "db".to_owned(), "demo/repo".to_owned());
        self.then(
            seconds,
            Fact::Restoring(Restoring {
                holder,
                target,
                repository,
                snapshot: "0123456789abcdef".to_owned(),
                size_bytes: 5 << 20,
                databases: vec!["shop".to_owned()],
                database_count: 1,
            }),
        )
    }

    pub fn retrying(self, seconds: i64, code: Code) -> Self {
        self.attempted(seconds, code, Vec::new())
    }

    /// An attempt that verified its snapshot and failed afterwards, such as in a post hook.
    pub fn verified(self, seconds: i64, result: TargetResult) -> Self {
        self.attempted(seconds, Code::HookFailed, vec![result])
    }

    fn attempted(self, seconds: i64, code: Code, results: Vec<TargetResult>) -> Self {
        let holder = self.holder();
        self.then(
            seconds,
            Fact::Retrying(Retrying {
                holder,
                failure: Failure::new(code, "what happened"),
                after: at(seconds + 10),
                counted: Counted::Yes,
                results,
                rejected_snapshots: Vec::new(),
                conditions: Vec::new(),
            }),
        )
    }

    pub fn cancel_requested(self, seconds: i64) -> Self {
        let cancel =
            CancelRequested { by: "ada".to_owned(), reason: "wrong database".to_owned(), code: Code::Cancelled };
        self.then(seconds, Fact::CancelRequested(cancel))
    }

    pub fn skipped(self, seconds: i64) -> Self {
        let (reason, message) = ("PreviousRunning".to_owned(), "session `x` is still running".to_owned());
        self.then(seconds, Fact::Skipped(Skipped { reason, message, behind: None }))
    }

    pub fn failed(self, seconds: i64, code: Code) -> Self {
        let holder = Some(self.holder()).filter(|_| self.0.phase.is_held());
        let (results, rejected_snapshots, conditions) = (Vec::new(), Vec::new(), Vec::new());
        self.then(
            seconds,
            Fact::Failed(Ended {
                holder,
                failure: Failure::new(code, "what happened"),
                results,
                rejected_snapshots,
                conditions,
            }),
        )
    }

    pub fn cancelled(self, seconds: i64) -> Self {
        let (results, rejected_snapshots, conditions) = (Vec::new(), Vec::new(), Vec::new());
        let failure = Failure::new(Code::Cancelled, "cancelled by ada");
        self.then(seconds, Fact::Cancelled(Ended { holder: None, failure, results, rejected_snapshots, conditions }))
    }

    pub fn succeeded(self, seconds: i64, result: TargetResult) -> Self {
        let holder = self.holder();
        self.then(seconds, Fact::Succeeded(Succeeded { holder, results: vec![result], conditions: Vec::new() }))
    }

    pub fn end(self) -> Session {
        self.0
    }
}

pub(crate) fn result() -> TargetResult {
    TargetResult {
        target: "db".to_owned(),
        host: "host-0".to_owned(),
        repository: sample(SessionKind::Backup)
            .repositories()
            .next()
            .expect("a backup has a repository")
            .reference
            .clone(),
        path: "/dumpfile.sql".to_owned(),
        snapshot: "0123456789abcdef".to_owned(),
        size_bytes: 5 << 20,
        added_bytes: 1536,
        sha256: "00".to_owned(),
        duration_ms: 61_400,
        adopted: false,
        packs_read: 1,
        packs: 3,
        retention: None,
        record: None,
        statistics: None,
    }
}
