//! Folds the facts of one session, in order, into its current state.
//! Replays and duplicates change nothing. An unknown fact makes the session read-only.

use jiff::Timestamp;

use super::{Author, Course, Phase, RecordedContent, transition};
use crate::error::{Class, Code, Failure};
use crate::fact::{Counted, Fact, FactKind, Holder, Requested, TargetResult};
use crate::plan::{Plan, RestoreMode, Work};
use crate::subject::{SessionKey, SessionKind};

/// A stored fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub sequence: u64,
    /// The server's time of storage, which deadlines use.
    pub time: Timestamp,
    /// The pool in the fact's subject, which the server's permissions vouch for; `None` for facts of the engine.
    pub pool: Option<String>,
    pub content: RecordedContent,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IllegalFact {
    #[error("`{fact}` is not legal for {author:?} in phase {phase:?}")]
    Transition { phase: Phase, author: Author, fact: &'static str },
    #[error("a later version of Lagan wrote to this session, so this version must not")]
    LaterVersion,
}

/// An outage that a session waits out: retries in a row, before any work, that failed because something did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    pub code: Code,
    /// Time of the first of these retries, by the server's clock.
    pub since: Timestamp,
    pub tries: u32,
}

impl Outage {
    /// Returns the outage after one more retry. An interruption says nothing about it, any other reason ends it.
    #[must_use]
    pub fn after(known: Option<Self>, failure: &Failure, time: Timestamp) -> Option<Self> {
        let code = failure.code;
        match known {
            known if code.class() == Class::Interrupted => known,
            _ if !code.is_unavailability() => None,
            // One that alternates with another is still the same time without an attempt.
            Some(known) => Some(Self { code, tries: known.tries.saturating_add(1), ..known }),
            None => Some(Self { code, since: time, tries: 1 }),
        }
    }
}

/// The state of a session after the facts that it was folded from.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub key: SessionKey,
    pub phase: Phase,
    /// Stream sequence of the last fact, which the next append expects; 0 if there is none.
    pub last_sequence: u64,
    /// Sequence of the last `planned`, the only one that may start (P7).
    pub planned_sequence: u64,
    /// Sequence of the first fact.
    pub first_sequence: u64,
    pub first_time: Option<Timestamp>,
    pub last_time: Option<Timestamp>,
    /// Time of the first `started`.
    pub started_time: Option<Timestamp>,
    /// Time of the last `started`.
    pub attempt_time: Option<Timestamp>,
    /// The first fact. If it is absent and there are others, the log has lost its head and the session is Expired (P14).
    pub request: Option<Requested>,
    pub plan: Option<Box<Plan>>,
    pub holder: Option<Holder>,
    pub worker_host: Option<String>,
    /// Number of `started` facts.
    pub attempts: u32,
    /// Number of retries that count against the limit.
    pub counted_retries: u32,
    /// Number of holders that died.
    pub lost_workers: u32,
    pub retry_after: Option<Timestamp>,
    /// `None` unless the last retries waited for somebody who does not answer.
    pub outage: Option<Outage>,
    pub last_failure: Option<Failure>,
    pub cancel: Option<crate::fact::CancelRequested>,
    pub restoring_snapshot: Option<String>,
    pub rejected_snapshots: Vec<String>,
    /// Snapshots that passed their read-back. Only those of an ended session are final.
    pub results: Vec<TargetResult>,
    pub conditions: Vec<crate::fact::Notice>,
    /// True if a later version appended a fact. The session may then be read but not written.
    pub foreign: bool,
    /// Number of illegal facts; a healthy log has none.
    pub illegal_facts: u32,
}

impl Session {
    #[must_use]
    pub fn new(key: SessionKey) -> Self {
        Self {
            key,
            phase: Phase::Nothing,
            last_sequence: 0,
            planned_sequence: 0,
            first_sequence: 0,
            first_time: None,
            last_time: None,
            started_time: None,
            attempt_time: None,
            request: None,
            plan: None,
            holder: None,
            worker_host: None,
            attempts: 0,
            counted_retries: 0,
            lost_workers: 0,
            retry_after: None,
            outage: None,
            last_failure: None,
            cancel: None,
            restoring_snapshot: None,
            rejected_snapshots: Vec::new(),
            results: Vec::new(),
            conditions: Vec::new(),
            foreign: false,
            illegal_facts: 0,
        }
    }

    pub fn fold(key: SessionKey, facts: impl IntoIterator<Item = Recorded>) -> Self {
        let mut session = Self::new(key);
        for fact in facts {
            session.apply(fact);
        }
        session
    }

    /// Returns whether the head of the log has expired. Nothing may be concluded from the rest.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.request.is_none() && self.first_sequence > 0
    }

    /// Returns the course that the session takes by its plan.
    #[must_use]
    pub fn course(&self) -> Course {
        match self.key.kind {
            SessionKind::Backup => Course::Backup,
            SessionKind::Maintenance => Course::Maintenance,
            SessionKind::Restore => match self.plan.as_deref().map(|plan| &plan.work) {
                Some(Work::Restore(work)) if work.mode == RestoreMode::DryRun => Course::DryRun,
                _ => Course::Restore,
            },
        }
    }

    /// Returns the phase after `fact` if `author` may append it now.
    pub fn check(&self, author: Author, fact: FactKind) -> Result<Phase, IllegalFact> {
        if self.foreign {
            return Err(IllegalFact::LaterVersion);
        }
        transition(self.course(), self.phase, author, fact).ok_or(IllegalFact::Transition {
            phase: self.phase,
            author,
            fact: fact.as_str(),
        })
    }

    /// Adds the snapshots that earlier attempts verified to a fact that ends the session without success. Its author may not
    /// know them: the engine ends sessions that no worker holds, and an attempt may break off before it sees a repository.
    #[must_use]
    pub fn completed(&self, mut fact: Fact) -> Fact {
        if let Fact::Failed(ended) | Fact::Cancelled(ended) = &mut fact {
            ended.results = self.verified(std::mem::take(&mut ended.results), &ended.rejected_snapshots);
        }
        fact
    }

    /// Returns the snapshots that are valid after an attempt that failed. A newer snapshot replaces that of an earlier attempt
    /// for the same target and repository, and one that fails a later read-back is valid no more.
    fn verified(&self, newer: Vec<TargetResult>, rejected: &[String]) -> Vec<TargetResult> {
        let place = |result: &TargetResult| (result.target.clone(), result.repository.key());
        let stays = |earlier: &&TargetResult| {
            !rejected.contains(&earlier.snapshot) && newer.iter().all(|newer| place(newer) != place(earlier))
        };
        let earlier: Vec<TargetResult> = self.results.iter().filter(stays).cloned().collect();
        earlier.into_iter().chain(newer).collect()
    }

    /// Applies the next fact of the log. A sequence that was seen already changes nothing.
    pub fn apply(&mut self, recorded: Recorded) {
        if recorded.sequence <= self.last_sequence {
            return;
        }
        self.last_sequence = recorded.sequence;
        // The next append expects its sequence, and nothing else follows from it.
        if matches!(recorded.content, RecordedContent::Garbage(_)) {
            self.illegal_facts += 1;
            return;
        }
        self.last_time = Some(recorded.time);
        if self.first_time.is_none() {
            (self.first_time, self.first_sequence) = (Some(recorded.time), recorded.sequence);
        }
        if !self.is_pool_of(recorded.pool.as_deref(), recorded.content.fact()) {
            self.illegal_facts += 1;
            return;
        }
        let RecordedContent::Fact(fact) = recorded.content else {
            self.foreign = true;
            return;
        };
        let Some(phase) = self.next_phase(&fact) else {
            self.illegal_facts += 1;
            return;
        };
        if self.phase.is_held() && matches!(fact, Fact::Started(_)) {
            self.lost_workers += 1;
        }
        self.phase = phase;
        self.take(fact, recorded.sequence, recorded.time);
    }

    /// Returns the pool in the subject of a fact: that of the plan for facts of workers.
    #[must_use]
    pub fn pool_of<'a>(&'a self, fact: &'a Fact) -> Option<&'a str> {
        match fact {
            Fact::Planned(plan) => Some(&plan.pool),
            fact if fact.holder().is_some() => self.plan.as_ref().map(|plan| plan.pool.as_str()),
            _ => None,
        }
    }

    /// Returns whether a fact was written under the right pool. Workers of one pool have no say in another's sessions.
    fn is_pool_of(&self, pool: Option<&str>, fact: Option<&Fact>) -> bool {
        match (fact, &self.plan) {
            // Without its head, the log does not tell the pool.
            (_, None) if self.request.is_none() => true,
            (Some(fact), _) => pool == self.pool_of(fact),
            (None, Some(plan)) => pool.is_none_or(|pool| pool == plan.pool),
            (None, None) => pool.is_none(),
        }
    }

    /// Derives the author's role, which the log does not record, and looks up the transition.
    fn next_phase(&self, fact: &Fact) -> Option<Phase> {
        let kind = fact.kind();
        if matches!(fact, Fact::Planned(plan) if plan.kind() != self.key.kind) {
            return None;
        }
        // A log without its head still shows how the session ended.
        if self.phase == Phase::Nothing && self.request.is_none() && kind != FactKind::Requested {
            return Some(phase_after(kind));
        }
        let held = fact.holder().is_some() && fact.holder() == self.holder;
        let author = match kind {
            FactKind::Requested => Author::Scheduler,
            FactKind::Started => Author::Successor,
            _ if held => Author::Holder,
            // A worker that does not hold the session can only record that the holder of a restore died.
            _ if fact.holder().is_some() => Author::Successor,
            _ => Author::Planner,
        };
        transition(self.course(), self.phase, author, kind)
    }

    fn take(&mut self, fact: Fact, sequence: u64, time: Timestamp) {
        match fact {
            Fact::Requested(data) => self.request = Some(*data),
            Fact::Planned(plan) => {
                self.plan = Some(plan);
                self.planned_sequence = sequence;
                self.holder = None;
            }
            Fact::Started(data) => {
                self.attempts += 1;
                self.holder = Some(data.holder);
                self.worker_host = Some(data.host);
                self.started_time.get_or_insert(time);
                self.attempt_time = Some(time);
            }
            Fact::Restoring(data) => (self.restoring_snapshot, self.outage) = (Some(data.snapshot), None),
            Fact::Committing(_) => self.outage = None,
            Fact::Retrying(data) => {
                if data.counted == Counted::Yes {
                    self.counted_retries += 1;
                }
                self.retry_after = Some(data.after);
                self.outage = Outage::after(self.outage, &data.failure, time);
                self.last_failure = Some(data.failure);
                self.results = self.verified(data.results, &data.rejected_snapshots);
                self.rejected_snapshots.extend(data.rejected_snapshots);
                self.conditions = data.conditions;
                self.holder = None;
            }
            Fact::CancelRequested(data) => self.cancel = Some(data),
            Fact::Succeeded(data) => {
                self.results = data.results;
                self.conditions = data.conditions;
                self.last_failure = None;
            }
            Fact::Failed(data) | Fact::Cancelled(data) => {
                self.results = self.verified(data.results, &data.rejected_snapshots);
                self.last_failure = Some(data.failure);
                self.rejected_snapshots.extend(data.rejected_snapshots);
                self.conditions = data.conditions;
            }
            Fact::Skipped(data) => {
                self.last_failure = None;
                self.conditions = vec![crate::fact::Notice {
                    kind: "BackupSkipped".to_owned(),
                    status: crate::fact::NoticeStatus::True,
                    reason: data.reason,
                    message: data.message,
                }];
            }
        }
    }
}

const fn phase_after(fact: FactKind) -> Phase {
    match fact {
        FactKind::Requested => Phase::Requested,
        FactKind::Skipped => Phase::Skipped,
        FactKind::Planned | FactKind::CancelRequested => Phase::Planned,
        FactKind::Started => Phase::Started,
        FactKind::Restoring => Phase::Restoring,
        FactKind::Committing => Phase::Committing,
        FactKind::Retrying => Phase::Retrying,
        FactKind::Succeeded => Phase::Succeeded,
        FactKind::Failed => Phase::Failed,
        FactKind::Cancelled => Phase::Cancelled,
    }
}
