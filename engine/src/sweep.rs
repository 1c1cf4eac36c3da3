//! Ends sessions that no worker holds: cancelled ones, restores whose holder died, sessions that are past their deadline
//! or would outlive their log, and sessions that the workers of their pool can't read. A session with a live holder is ended by that worker, never here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::heartbeat;
use lagan_bus::observer::{Liveness, Observer};
use lagan_bus::read::last;
use lagan_bus::session_log::Writer;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::{Activity, Progress};
use lagan_schemas::fact::{Ended, Fact};
use lagan_schemas::session::{Author, Phase, Session};
use lagan_schemas::subject::{PROGRESS, SessionKind, progress_filter};

use crate::consumers::ensure_consumers;
use crate::context::Context;
use crate::error::EngineError;
use crate::outside::Outside;

/// Turns between looks at consumers and at plans that nobody has taken for long.
const RARE_LOOKS: u32 = 20;
/// Time that workers have to be upgraded to one that can read a plan.
const UPGRADE: Duration = Duration::from_secs(3600);
/// Age of the last sign that a worker can't read a plan. Workers repeat it every ten seconds.
const SIGN: Duration = Duration::from_secs(60);

const WRITER: Writer = Writer { author: Author::Planner, component: "planner" };

pub(crate) async fn run(context: Context) -> Result<(), EngineError> {
    let mut observer = Observer::new(context.heartbeats.clone());
    // A heartbeat must be looked at more than twice within its TTL.
    let pause = (context.timing().heartbeat_ttl() / 4).min(Duration::from_secs(2));
    // A session ends before its first fact would expire (P14).
    let oldest = context.options.streams.oldest_session();
    let mut turn = 0u32;
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        turn = turn.wrapping_add(1);
        let is_rare = turn.is_multiple_of(RARE_LOOKS);
        if is_rare && let Err(error) = ensure_consumers(&context).await {
            tracing::warn!(error = chain(&error), "consumers can't be checked");
        }
        let suspects: Vec<Arc<Session>> = {
            let sessions = context.sessions.read();
            let now = context.clock.now();
            let concerns = |session: &&Arc<Session>| {
                concerns(session, now, oldest) || (is_rare && has_waited_for_upgrade(session, now))
            };
            sessions.active.values().filter(concerns).cloned().collect()
        };
        for session in suspects {
            let holder = match holder(&mut observer, &session).await {
                HolderState::Nobody if is_rare && has_waited_for_upgrade(&session, context.clock.now()) => {
                    unreadable(&context, &session).await
                }
                holder => holder,
            };
            if let Some(fact) = judge(&session, holder, context.clock.now(), oldest) {
                end(&context, &session, fact).await;
            }
        }
    }
}

/// Whether a session may have to be ended, depending on its holder's heartbeat. The heartbeats of others are not read.
pub(crate) fn concerns(session: &Session, now: Timestamp, oldest: Duration) -> bool {
    session.cancel.is_some()
        || session.phase == Phase::Restoring
        || is_late(session, now)
        || is_old(session, now, oldest)
}

/// Whether a plan has been there for so long that workers that can't read it are not waited for any more.
fn has_waited_for_upgrade(session: &Session, now: Timestamp) -> bool {
    let since = session.last_time.map(|planned| now.duration_since(planned));
    session.phase == Phase::Planned && since.is_some_and(|since| !since.is_negative() && since.unsigned_abs() > UPGRADE)
}

/// Asks for the last sign of a worker that could not read the session. It is kept for a minute only.
async fn unreadable(context: &Context, session: &Session) -> HolderState {
    match last(&context.bus, PROGRESS, &progress_filter(&session.key)).await {
        Ok(Some(stored)) if says_waiting(&stored.payload, stored.time, context.clock.now()) => HolderState::Unreadable,
        Ok(_) => HolderState::Nobody,
        Err(error) => {
            tracing::warn!(session = %session.key.uid, error = chain(&error), "progress can't be read");
            HolderState::Nobody
        }
    }
}

fn says_waiting(payload: &[u8], stored: Timestamp, now: Timestamp) -> bool {
    let waits = Progress::read(payload).is_some_and(|progress| progress.activity == Activity::Waiting);
    waits && now.duration_since(stored).unsigned_abs() <= SIGN
}

fn is_late(session: &Session, now: Timestamp) -> bool {
    session.plan.as_ref().and_then(|plan| plan.deadline).is_some_and(|deadline| now > deadline)
}

fn is_old(session: &Session, now: Timestamp, oldest: Duration) -> bool {
    session.first_time.is_some_and(|first| now.duration_since(first).unsigned_abs() > oldest && now > first)
}

/// Liveness of the worker that holds the session, judged from its heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HolderState {
    Nobody,
    /// No worker holds it, because the workers of its pool can't read it.
    Unreadable,
    Dead,
    /// The worker is alive, or it is not known yet whether it is.
    Perhaps,
}

async fn holder(observer: &mut Observer, session: &Session) -> HolderState {
    if !session.phase.is_held() {
        return HolderState::Nobody;
    }
    let Some(holder) = session.holder else { return HolderState::Nobody };
    match observer.look(&heartbeat::key(session.key.uid, holder.worker)).await {
        Liveness::Dead => HolderState::Dead,
        Liveness::Alive | Liveness::Unknown => HolderState::Perhaps,
    }
}

/// Chooses the fact that ends the session; `None` if it goes on or is not the sweep's to end.
pub(crate) fn judge(session: &Session, held: HolderState, now: Timestamp, oldest: Duration) -> Option<Fact> {
    let held = if mutant!("sweep-ends-held") { HolderState::Dead } else { held };
    if held == HolderState::Perhaps {
        return None;
    }
    let ended = |code: Code, message: String| Ended {
        holder: None,
        failure: Failure::new(code, message),
        results: Vec::new(),
        rejected_snapshots: Vec::new(),
        conditions: Vec::new(),
    };
    let fact = match session.phase {
        // A snapshot may have been written: only a worker can find out (P13).
        Phase::Committing if !is_old(session, now, oldest) => return None,
        Phase::Restoring => {
            let snapshot = session.restoring_snapshot.as_deref().unwrap_or("?");
            let message =
                format!("the worker died while it restored snapshot {snapshot}; the target may hold part of the data");
            Fact::Failed(ended(Code::TargetPartiallyRestored, message))
        }
        _ if is_old(session, now, oldest) => Fact::Failed(ended(Code::Expired, expired(session))),
        _ if session.cancel.is_some() => {
            let cancel = session.cancel.as_ref()?;
            let reason = if cancel.reason.is_empty() { String::new() } else { format!(": {}", cancel.reason) };
            Fact::Cancelled(ended(cancel.code, format!("cancelled by {}{reason}", cancel.by)))
        }
        _ if is_late(session, now) && session.attempts == 0 && session.key.kind != SessionKind::Maintenance => {
            let pool = session.plan.as_ref().map(|plan| plan.pool.clone()).unwrap_or_default();
            let message = format!("it was not begun in time: it waited for workers of pool `{pool}`");
            Fact::Failed(ended(Code::TimedOutWaiting, message))
        }
        _ if is_late(session, now) => Fact::Failed(ended(Code::DeadlineExceeded, late(session))),
        Phase::Planned if held == HolderState::Unreadable => {
            let pool = session.plan.as_ref().map(|plan| plan.pool.clone()).unwrap_or_default();
            let message =
                format!("no worker of pool `{pool}` could read its plan for an hour; they are older than the engine");
            Fact::Failed(ended(Code::WorkersTooOld, message))
        }
        _ => return None,
    };
    session.check(Author::Planner, fact.kind()).ok().map(|_| fact)
}

fn expired(session: &Session) -> String {
    let message = "the session did not end within the retention of its log";
    if session.phase == Phase::Committing {
        return format!("{message}; it may have written a snapshot, which does not count");
    }
    message.to_owned()
}

fn late(session: &Session) -> String {
    if session.key.kind != SessionKind::Maintenance {
        return "the session did not end within `timeOut`".to_owned();
    }
    let why = session.last_failure.as_ref().map_or_else(|| "no worker took it".to_owned(), ToString::to_string);
    format!("it did not end before its deadline: {why}")
}

/// Ends a session, unless it has moved on since it was judged: then it is judged again next time.
pub(crate) async fn end(outside: &impl Outside, seen: &Session, fact: Fact) {
    let uid = seen.key.uid;
    let mut session = match outside.read_session(&seen.key).await {
        Ok(session) if session.last_sequence != seen.last_sequence => return,
        Ok(session) => session,
        Err(error) => return tracing::warn!(session = %uid, error = chain(&error), "session can't be read"),
    };
    match outside.append(&mut session, WRITER, fact).await {
        Ok(()) => tracing::info!(session = %uid, phase = session.phase.display(), "session ended: no worker held it"),
        Err(error) if error.is_conflict() => {}
        Err(error) => tracing::warn!(session = %uid, error = chain(&error), "session could not be ended yet"),
    }
}

#[cfg(test)]
mod tests;
