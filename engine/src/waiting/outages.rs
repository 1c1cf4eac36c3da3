//! Servers and storages that do not answer. While one does not, one session at a time tries it, and the others wait without
//! an attempt of their own.

use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::Code;
use lagan_schemas::session::{Phase, Session};

use super::limited::{places, server};
use super::usage::REACHED_AFTER;
use super::{Limited, Now, WaitCause, WaitingRoom};

/// The longest delay of a retry whose plan sets none: the worker's clock may be wrong.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Time until the server or place of a session that ended because of it is tried again.
const PROBE: Duration = Duration::from_secs(10);

impl WaitingRoom {
    /// Notes that the last attempt of a session failed because something did not answer.
    pub(super) fn note_failure(&mut self, session: &Session, probe_at: Duration, now: Now) {
        for of in unreachable(session) {
            self.reviews.insert((probe_at, of.clone()));
            if self.usage.note_outage(of.clone(), probe_at) {
                self.tell_line(&of, now);
            }
        }
    }

    /// Notes what the newest fact of a session says about its server and its places.
    pub(super) fn note_answers(&mut self, session: &Session, now: Now) {
        if session.phase == Phase::Failed && session.attempts > 0 {
            self.note_failure(session, now.tick + PROBE, now);
        }
        for of in answered(session) {
            if self.trying.get(&session.key.uid).is_some_and(|(out, _)| *out == of) {
                self.trying.remove(&session.key.uid);
            }
            if self.usage.note_answer(&of) {
                self.tell_line(&of, now);
                self.call(&of, now);
            }
        }
    }

    /// Tells those in line whether they wait for an answer or for their turn.
    pub(super) fn tell_line(&mut self, of: &Limited, now: Now) {
        let Some(line) = self.lines.get(of) else { return };
        let is_out = self.usage.is_out(of);
        for uid in line.sessions().collect::<Vec<_>>() {
            self.set_cause(uid, if is_out { WaitCause::Answer(of.clone()) } else { WaitCause::Turn(of.clone()) });
            if is_out {
                self.be_patient(uid, of, now);
            }
        }
    }
}

/// The time of the next attempt of a session that retries. The worker wrote it by its own clock, which may be wrong; so it is
/// bounded by the server's time of that fact and the delay that the plan asks for.
pub(crate) fn retry_time(session: &Session) -> Option<Timestamp> {
    if mutant!("retry-at-once") {
        return None;
    }
    let after = session.retry_after.filter(|_| session.phase == Phase::Retrying)?;
    let configured = session.plan.as_ref().map_or(0, |plan| plan.retry.delay_seconds);
    let longest = Duration::from_secs(configured).max(LONGEST_RETRY);
    let latest = session.last_time.and_then(|failed| failed.checked_add(longest).ok());
    Some(latest.map_or(after, |latest| after.min(latest)))
}

/// Whether the last attempt lived for so long that it had reached everything.
fn has_worked(session: &Session) -> bool {
    let lived = session.attempt_time.zip(session.last_time).map(|(began, ended)| ended.duration_since(began));
    lived.and_then(|lived| Duration::try_from(lived).ok()).is_some_and(|lived| lived >= REACHED_AFTER)
}

/// The thing for which a session that retries waits, and since when: an attempt that did not get there either goes on with
/// what was `known`.
pub(super) fn out_since(
    session: &Session,
    known: Option<(Limited, Duration)>,
    now: Duration,
) -> Option<(Limited, Duration)> {
    let mut out = unreachable(session);
    session.outage?;
    if has_worked(session) {
        return out.pop().map(|of| (of, now));
    }
    // Without one the attempt was interrupted, which says nothing.
    known.filter(|(of, _)| out.is_empty() || out.contains(of))
}

/// For how long the attempts of a session have tried to reach a thing.
pub(super) fn tried_for(session: &Session, of: &Limited, now: Now) -> Duration {
    let own = session.outage.filter(|_| !has_worked(session) && unreachable(session).contains(of));
    own.and_then(|own| Duration::try_from(now.wall.duration_since(own.since)).ok()).unwrap_or_default()
}

fn unreachable(session: &Session) -> Vec<Limited> {
    let Some(plan) = &session.plan else { return Vec::new() };
    match session.last_failure.as_ref().map(|failure| failure.code) {
        Some(Code::DatabaseUnreachable) => server(plan).into_iter().collect(),
        Some(Code::StorageUnreachable) => places(plan).collect(),
        _ => Vec::new(),
    }
}

/// Everything that has answered the session: at its commit both, at an error of a database that one.
fn answered(session: &Session) -> Vec<Limited> {
    let Some(plan) = &session.plan else { return Vec::new() };
    match session.phase {
        Phase::Committing | Phase::Restoring | Phase::Succeeded => {
            server(plan).into_iter().chain(places(plan)).collect()
        }
        Phase::Failed if session.last_failure.as_ref().is_some_and(|failure| tells_of_server(failure.code)) => {
            server(plan).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn tells_of_server(code: Code) -> bool {
    matches!(
        code,
        Code::AccessDenied
            | Code::MissingPrivileges
            | Code::BrokenObject
            | Code::NotRestorable
            | Code::TargetNotEmpty
            | Code::RestoreObstructed
    )
}
