//! What a worker does with a `planned` message it was handed: a pure decision over the session's fold (P7).

use lagan_schemas::fact::Instance;
use lagan_schemas::plan;
use lagan_schemas::session::{Phase, Session};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It ended, or a later plan took its place: acknowledge and go on.
    Done,
    /// Nobody holds it: start.
    Start,
    /// Somebody holds it: only a dead holder may be followed.
    AskHolder(AfterDeath),
    /// We hold it ourselves; the message came again because an acknowledgement was lost.
    Ours,
    /// A later version wrote to it, or its plan is of a later version: leave it to a worker that knows.
    Foreign,
}

/// What follows if the holder is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterDeath {
    Start,
    /// A restore past its first byte is never run again: it failed (P12).
    FailRestore,
}

/// `me` is this worker if one of its slots has the session. A slot that panicked has it no more, and its heartbeat has
/// stopped: the session is then that of a dead holder, also for the worker that was it.
pub(crate) fn claim(session: &Session, delivered: u64, me: Option<Instance>) -> Claim {
    if session.foreign || session.plan.as_ref().is_some_and(|plan| plan.version > plan::VERSION) {
        return Claim::Foreign;
    }
    // Without facts the store was replaced under us: the message means nothing any more.
    if session.phase.is_end()
        || session.phase == Phase::Nothing
        || session.is_expired()
        || session.planned_sequence != delivered
    {
        return Claim::Done;
    }
    // Only a log that lost its head has a `planned` message and no plan.
    if session.plan.is_none() {
        return Claim::Done;
    }
    let ours = me.is_some_and(|me| session.holder.is_some_and(|holder| holder.worker == me));
    match session.phase {
        Phase::Planned => Claim::Start,
        Phase::Started | Phase::Committing | Phase::Restoring if ours => Claim::Ours,
        Phase::Started | Phase::Committing => Claim::AskHolder(AfterDeath::Start),
        Phase::Restoring => Claim::AskHolder(AfterDeath::FailRestore),
        _ => Claim::Done,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use lagan_schemas::fact::Holder;
    use lagan_schemas::subject::SessionKind;
    use uuid::Uuid;

    use super::*;
    use crate::fixtures;

    fn session(phase: Phase, holder: u128) -> Session {
        let mut session = fixtures::session(SessionKind::Restore);
        session.phase = phase;
        (session.last_sequence, session.planned_sequence) = (9, 7);
        session.holder = Some(Holder { attempt: 1, worker: Uuid::from_u128(holder) });
        let plan = include_str!("../../../schemas/fixtures/v1/plans/restore.json");
        session.plan = serde_json::from_str(plan).unwrap();
        session.request = Some(serde_json::from_value(serde_json::json!({
            "name": "r", "invoker": {"apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession", "name": "i"},
            "cause": {"object": {"object": {"apiVersion": "lagan.dev/v1alpha1", "kind": "RestoreSession", "name": "i"}}},
            "resourcesPosition": {"store": "2026-11-22T12:00:00Z", "sequence": 1}, "priority": "urgent",
        })).unwrap());
        session
    }

    #[test]
    fn a_message_is_decided_by_the_facts_alone() {
        let me = Some(Uuid::from_u128(5));
        for (phase, holder, delivered, expected) in [
            (Phase::Planned, 0, 7, Claim::Start),
            (Phase::Planned, 0, 6, Claim::Done),
            (Phase::Retrying, 0, 7, Claim::Done),
            (Phase::Succeeded, 4, 7, Claim::Done),
            (Phase::Nothing, 4, 7, Claim::Done),
            (Phase::Started, 4, 7, Claim::AskHolder(AfterDeath::Start)),
            (Phase::Committing, 4, 7, Claim::AskHolder(AfterDeath::Start)),
            (Phase::Restoring, 4, 7, Claim::AskHolder(AfterDeath::FailRestore)),
            (Phase::Started, 5, 7, Claim::Ours),
            (Phase::Restoring, 5, 7, Claim::Ours),
        ] {
            assert_eq!(claim(&session(phase, holder), delivered, me), expected, "{phase:?} {holder} {delivered}");
        }
    }

    #[test]
    fn a_lone_worker_goes_on_after_a_panic_as_after_the_death_of_another() {
        // The message comes back to the worker that the log names, and none of its slots has the session.
        for (phase, then) in [
            (Phase::Started, AfterDeath::Start),
            (Phase::Committing, AfterDeath::Start),
            (Phase::Restoring, AfterDeath::FailRestore),
        ] {
            assert_eq!(claim(&session(phase, 5), 7, None), Claim::AskHolder(then), "{phase:?}");
        }
    }

    #[test]
    fn a_session_of_a_later_version_is_left_alone() {
        let mut later = session(Phase::Planned, 0);
        later.foreign = true;
        assert_eq!(claim(&later, 7, None), Claim::Foreign);
        let mut later = session(Phase::Planned, 0);
        later.plan.as_mut().unwrap().version += 1;
        assert_eq!(claim(&later, 7, None), Claim::Foreign);
    }
}
