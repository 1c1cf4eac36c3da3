//! The decisions of a planner, without its tasks: how it takes in changes, and which step follows which. It must not do I/O.

use std::sync::Arc;

use lagan_schemas::fact::Fact;
use lagan_schemas::plan::Plan;
use lagan_schemas::session::Session;
use uuid::Uuid;

use super::decide::{self, Outlook, SessionWait};
use super::lock::HeldLock;
use crate::log_usage::LogUsage;
use crate::outside::Outside;
use crate::sessions::{SessionChange, Sessions};
use crate::waiting::{Admission, Now, SessionLook, Until, WaitCause, WaitingRoom};

/// The session of a step, and the number of the look that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepOf {
    pub session: Uuid,
    look: u64,
}

/// A step of a session that is to be taken.
pub(crate) enum NextStep {
    Look(Box<SessionLook>),
    PlanUnderLock(Arc<Session>, Box<Plan>),
    Append(Arc<Session>, Box<Fact>),
}

/// The result of one step of a session.
pub(crate) enum StepResult {
    Outlook(Outlook),
    /// Whether the fact was appended.
    Done(Result<(), SessionWait>),
}

/// Takes one step: all questions and effects of a planner happen here.
pub(crate) async fn take_step(outside: &impl Outside, log_usage: &LogUsage, step: NextStep) -> StepResult {
    match step {
        NextStep::Look(look) => StepResult::Outlook(decide::look(outside, log_usage, &look).await),
        NextStep::PlanUnderLock(session, plan) => {
            StepResult::Done(decide::plan_under_lock(outside, &session, plan).await)
        }
        NextStep::Append(session, fact) => StepResult::Done(decide::append(outside, &session, *fact).await),
    }
}

pub(crate) struct PlannerDesk {
    pub room: WaitingRoom,
    is_caught_up: bool,
}

impl PlannerDesk {
    pub const fn new(room: WaitingRoom) -> Self {
        Self { room, is_caught_up: false }
    }

    /// Takes in a change. Returns the lock of a session that has ended.
    pub fn take(&mut self, change: SessionChange, sessions: &Sessions, now: Now) -> Option<HeldLock> {
        match change {
            // The view holds what came before. A new connection may have read the log anew.
            SessionChange::CaughtUp => {
                let mut active: Vec<Arc<Session>> = {
                    let view = sessions.read();
                    self.room.retain(|uid| view.active.contains_key(&uid), now);
                    view.active.values().cloned().collect()
                };
                active.sort_by_key(|session| session.first_sequence);
                if mutant!("start-without-log") {
                    active.clear();
                }
                for session in &active {
                    self.room.fold(session, now);
                }
                self.is_caught_up = true;
                None
            }
            SessionChange::Folded(_) if !self.is_caught_up => None,
            SessionChange::Folded(session) => {
                self.room.fold(&session, now);
                session.phase.is_end().then(|| HeldLock::of(&session)).flatten()
            }
        }
    }

    /// The look at the session whose turn it is.
    pub fn next(&mut self, now: Now) -> Option<(StepOf, NextStep)> {
        let look = self.room.next(now)?;
        Some((StepOf { session: look.session.key.uid, look: look.number }, NextStep::Look(Box::new(look))))
    }

    /// Takes in the result of a step. `objects` is the sequence up to which objects have been read by now.
    pub fn finish(&mut self, of: StepOf, result: StepResult, objects: u64, now: Now) -> Option<NextStep> {
        match result {
            StepResult::Outlook(Outlook::Ready(session, plan, needs)) => {
                match self.room.admit(of.session, of.look, needs, now) {
                    Admission::Go => Some(NextStep::PlanUnderLock(session, plan)),
                    other => skip(session, other),
                }
            }
            StepResult::Outlook(Outlook::BeyondQuota(session, overlap, expires)) => {
                let admission = self.room.stand_in_quota_line(of.session, of.look, (overlap, expires), now);
                skip(session, admission)
            }
            StepResult::Outlook(Outlook::Waits(wait)) | StepResult::Done(Err(wait)) => {
                self.wait(of, wait, objects, now);
                None
            }
            StepResult::Outlook(Outlook::Ends(session, fact)) => Some(NextStep::Append(session, fact)),
            StepResult::Outlook(Outlook::Decided) | StepResult::Done(Ok(())) => {
                self.room.decided(of.session, of.look, now);
                None
            }
        }
    }

    fn wait(&mut self, of: StepOf, wait: SessionWait, objects: u64, now: Now) {
        let SessionWait { cause, until, seen } = wait;
        if let WaitCause::Source(error) = &cause {
            tracing::warn!(session = %of.session, error, "session can't be planned yet");
        }
        self.room.wait(of.session, of.look, cause, until, now);
        // Objects that came while it was looked at woke nobody.
        if matches!(until, Until::Objects { .. }) && objects != seen {
            self.room.objects_changed(now);
        }
    }
}

/// Skips a session that stands back behind another one of its configuration.
fn skip(session: Arc<Session>, admission: Admission) -> Option<NextStep> {
    let Admission::Skipped { behind, name, waits } = admission else { return None };
    Some(NextStep::Append(session, Box::new(decide::skipped(behind, &name, waits))))
}
