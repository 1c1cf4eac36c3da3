//! The session: the fold of its facts, and the transition table that says which fact is legal when.
//! It must not decide what to do next; planner and worker do.

mod content;
mod fold;
#[cfg(test)]
mod tests;

pub use content::RecordedContent;
pub use fold::{IllegalFact, Outage, Recorded, Session};

use crate::fact::FactKind;

/// The phase of a session. `Nothing` is the phase before its first fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Nothing,
    Requested,
    Planned,
    Started,
    Restoring,
    Committing,
    Retrying,
    Skipped,
    Succeeded,
    Failed,
    Cancelled,
}

impl Phase {
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Skipped | Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Returns whether a worker holds the session, or held it when the worker died.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Started | Self::Restoring | Self::Committing)
    }

    /// Returns the phase as people see it: retrying is Running, cancelled is Failed.
    #[must_use]
    pub const fn display(self) -> &'static str {
        match self {
            Self::Nothing | Self::Requested | Self::Planned => "Pending",
            Self::Started | Self::Restoring | Self::Committing | Self::Retrying => "Running",
            Self::Skipped => "Skipped",
            Self::Succeeded => "Succeeded",
            Self::Failed | Self::Cancelled => "Failed",
        }
    }
}

/// The course that a session takes: its kind, and for a restore how far it goes. Before its plan a session takes that of
/// its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Course {
    Backup,
    Restore,
    /// A restore that ends before its first statement, so `restoring` is never legal.
    DryRun,
    Maintenance,
}

/// The role of a fact's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    Scheduler,
    Planner,
    /// The worker of the last `started`.
    Holder,
    /// A worker that saw the holder dead, or that takes a session without a holder.
    Successor,
}

/// The complete table of legal transitions. All other facts are refused.
#[must_use]
pub const fn transition(course: Course, phase: Phase, author: Author, fact: FactKind) -> Option<Phase> {
    use Author::{Holder, Planner, Scheduler, Successor};
    use FactKind as F;
    use Phase as P;
    let restores = matches!(course, Course::Restore | Course::DryRun);
    match (phase, author, fact) {
        (P::Nothing, Scheduler, F::Requested) => Some(P::Requested),
        (P::Requested, Planner, F::Skipped) => Some(P::Skipped),
        (P::Requested | P::Retrying, Planner, F::Planned) => Some(P::Planned),
        // After `restoring` no worker may start again: a restore is not idempotent (P12).
        (P::Planned | P::Started | P::Committing, Successor, F::Started) => Some(P::Started),
        (P::Started, Holder, F::Restoring) if matches!(course, Course::Restore) => Some(P::Restoring),
        // A second `restoring` names the next target of the same attempt.
        (P::Restoring, Holder, F::Restoring) => Some(P::Restoring),
        (P::Started | P::Committing, Holder, F::Committing) if !restores => Some(P::Committing),
        (P::Started | P::Committing, Holder, F::Retrying) => Some(P::Retrying),
        // From `started` a backup succeeds if it adopts an earlier attempt's snapshot (P10).
        (P::Started | P::Committing, Holder, F::Succeeded) if !restores => Some(P::Succeeded),
        (P::Started, Holder, F::Succeeded) if matches!(course, Course::DryRun) => Some(P::Succeeded),
        (P::Restoring, Holder, F::Succeeded) => Some(P::Succeeded),
        (P::Started | P::Restoring | P::Committing, Holder, F::Failed) => Some(P::Failed),
        (P::Started | P::Committing, Holder, F::Cancelled) => Some(P::Cancelled),
        // The planner ends sessions that no worker holds. From `committing` it does so only before the log expires, because a
        // snapshot may exist (P10, P13, P14).
        (P::Requested | P::Planned | P::Started | P::Restoring | P::Committing | P::Retrying, Planner, F::Failed) => {
            Some(P::Failed)
        }
        (P::Requested | P::Planned | P::Started | P::Retrying, Planner, F::Cancelled) => Some(P::Cancelled),
        // The holder of a restore died after `restoring`, and the next worker that receives the session records it.
        (P::Restoring, Successor, F::Failed) => Some(P::Failed),
        (phase, Planner, F::CancelRequested) if !phase.is_end() && !matches!(phase, P::Nothing) => Some(phase),
        _ => None,
    }
}
