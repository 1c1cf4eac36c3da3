//! The session: the fold of its facts, and the one match that says which fact is legal when.
//! It must not decide what to do next; planner and worker do that from what it says.

mod fold;
#[cfg(test)]
mod tests;

pub use fold::{IllegalFact, Recorded, Session};

use crate::fact::FactKind;
use crate::subject::SessionKind;

/// Where a session stands. `Nothing` is the phase before its first fact.
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

    /// A worker has it, or had it when it died.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Started | Self::Restoring | Self::Committing)
    }

    /// What people read: retrying shows as Running, cancelled as Failed.
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

/// Who wants to append a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    Scheduler,
    Planner,
    /// The worker of the last `started`.
    Holder,
    /// A worker that saw the holder dead, or is handed a session that nobody holds.
    Successor,
}

/// The legal transitions, whole. A fact that is not listed is refused, whoever sends it.
#[must_use]
pub const fn transition(kind: SessionKind, phase: Phase, author: Author, fact: FactKind) -> Option<Phase> {
    use Author::{Holder, Planner, Scheduler, Successor};
    use FactKind as F;
    use Phase as P;
    let restore = matches!(kind, SessionKind::Restore);
    match (phase, author, fact) {
        (P::Nothing, Scheduler, F::Requested) => Some(P::Requested),
        (P::Requested, Planner, F::Skipped) => Some(P::Skipped),
        (P::Requested | P::Retrying, Planner, F::Planned) => Some(P::Planned),
        // Past `restoring` nobody starts again: a restore is not idempotent (P12).
        (P::Planned | P::Started | P::Committing, Successor, F::Started) => Some(P::Started),
        (P::Started, Holder, F::Restoring) if restore => Some(P::Restoring),
        // A second `restoring` names the next target of the same attempt.
        (P::Restoring, Holder, F::Restoring) => Some(P::Restoring),
        (P::Started | P::Committing, Holder, F::Committing) if !restore => Some(P::Committing),
        (P::Started | P::Committing, Holder, F::Retrying) => Some(P::Retrying),
        // `started` is enough for a backup that adopts what an earlier attempt wrote (P10).
        (P::Started | P::Committing, Holder, F::Succeeded) if !restore => Some(P::Succeeded),
        (P::Restoring, Holder, F::Succeeded) => Some(P::Succeeded),
        (P::Started | P::Restoring | P::Committing, Holder, F::Failed) => Some(P::Failed),
        (P::Started | P::Committing, Holder, F::Cancelled) => Some(P::Cancelled),
        // What nobody holds is the planner's to end. From `committing` a snapshot may stand (P10, P13).
        (P::Requested | P::Planned | P::Started | P::Restoring | P::Retrying, Planner, F::Failed) => Some(P::Failed),
        (P::Requested | P::Planned | P::Started | P::Retrying, Planner, F::Cancelled) => Some(P::Cancelled),
        // The holder of a restore died past `restoring`: whoever is handed it says so.
        (P::Restoring, Successor, F::Failed) => Some(P::Failed),
        (phase, Planner, F::CancelRequested) if !phase.is_end() && !matches!(phase, P::Nothing) => Some(phase),
        _ => None,
    }
}
