//! The signs of life of a running session, and everything that can stop it: a cancel request, its deadline, a
//! drain of the worker, another holder. It must not decide how the session ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::Bus;
use lagan_bus::heartbeat::{self, Beats, Heartbeat};
use lagan_bus::session_log::read_session;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{CancelRequested, Holder};
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::SessionKey;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::process::Pulse;
use crate::session::alerts::{Listening, StoreKept};
use crate::worker::Worker;

const READ_AGAIN: Duration = Duration::from_millis(200);

/// Why a running plan must stop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StopCause {
    Cancelled(CancelRequested),
    Deadline,
    Drained,
    Fenced,
    /// The repository, by its location, may be somebody else's now.
    LeaseLost(String),
}

impl StopCause {
    pub fn failure(&self) -> Failure {
        match self {
            Self::Cancelled(cancel) => {
                let reason = if cancel.reason.is_empty() { String::new() } else { format!(": {}", cancel.reason) };
                Failure::new(cancel.code, format!("cancelled by {}{reason}", cancel.by))
            }
            Self::Deadline => Failure::new(Code::DeadlineExceeded, "the session did not end within `timeOut`"),
            Self::Drained => Failure::new(Code::Interrupted, "the worker was stopped"),
            Self::LeaseLost(location) => {
                Failure::new(Code::RepositoryLocked, format!("the lease of repository `{location}` was lost"))
            }
            Self::Fenced => Failure::new(Code::Interrupted, "another worker took the session over"),
        }
    }
}

/// First cause wins; it cancels everything that runs for the session.
#[derive(Clone, Default)]
struct Stopper {
    cause: Arc<Mutex<Option<StopCause>>>,
    token: CancellationToken,
}

impl Stopper {
    fn stop(&self, cause: StopCause) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.token.cancel();
    }
}

pub(crate) struct Life {
    heartbeat: Heartbeat,
    stopper: Stopper,
    /// Past its first byte a restore is let to its end when the worker drains.
    past_first_byte: CancellationToken,
    /// The gaps of the heartbeat after which the log was read again.
    cleared_gaps: Arc<AtomicU64>,
    _watchers: JoinSet<()>,
}

impl Life {
    /// Begins before `started` is appended.
    pub async fn begin(worker: &Worker, session: &Session, holder: Holder) -> Self {
        let alerts = worker.alerts.listen(session.key.uid, holder).await;
        let stopper = Stopper::default();
        let past_first_byte = CancellationToken::new();
        let mut watchers = JoinSet::new();
        let ours = Ours { holder, planned: session.planned_sequence };
        watchers.spawn(watch_log(worker.bus.clone(), (session.key.clone(), ours), alerts, stopper.clone()));
        if let Some(deadline) = session.plan.as_ref().and_then(|plan| plan.deadline) {
            watchers.spawn(watch_deadline(deadline, stopper.clone()));
        }
        watchers.spawn(watch_drain(
            worker.drain.clone(),
            worker.stop_now.clone(),
            past_first_byte.clone(),
            stopper.clone(),
        ));
        let key = heartbeat::key(session.key.uid, holder.worker);
        let heartbeat = Heartbeat::start(worker.heartbeats.clone(), key, holder.worker.to_string());
        let cleared_gaps = Arc::default();
        let (beats, cleared) = (heartbeat.beats(), Arc::clone(&cleared_gaps));
        let key = session.key.clone();
        watchers.spawn(watch_gaps(worker.bus.clone(), (key, ours), beats, cleared, stopper.clone()));
        Self { heartbeat, stopper, past_first_byte, cleared_gaps, _watchers: watchers }
    }

    /// Cancelled when the plan must stop.
    pub fn token(&self) -> CancellationToken {
        self.stopper.token.clone()
    }

    pub fn stopped(&self) -> Option<StopCause> {
        self.stopper.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the plan when `signal` comes, for as long as the result lives.
    pub fn stop_when(&self, signal: CancellationToken, cause: StopCause) -> AbortOnDropHandle<()> {
        let stopper = self.stopper.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            signal.cancelled().await;
            stopper.stop(cause);
        }))
    }

    /// From here on only a second stop signal interrupts.
    pub fn pass_first_byte(&self) {
        self.past_first_byte.cancel();
    }

    /// Others may believe us dead after a full TTL; a restore pauses at half of it, until a beat is stored and the log,
    /// read after that, still names us as the holder (P12).
    pub fn pulse(&self) -> Pulse {
        if self.stopper.token.is_cancelled() {
            return Pulse::Lost;
        }
        let beats = *self.heartbeat.beats().borrow();
        let is_cleared = self.cleared_gaps.load(Ordering::SeqCst) == beats.gaps;
        if is_cleared && beats.sent.elapsed() < self.heartbeat.ttl() / 2 { Pulse::Alive } else { Pulse::Paused }
    }

    pub async fn end(self) {
        self.heartbeat.stop().await;
    }
}

/// Sees a cancel request at once, a successor, and an end that the engine or a successor wrote. A fact only makes it look: the
/// log as a whole says who its author is, and whether it counts.
async fn watch_log(bus: Bus, (key, ours): (SessionKey, Ours), mut alerts: Listening, stopper: Stopper) {
    loop {
        if alerts.next().await.store == StoreKept::No {
            stopper.stop(StopCause::Fenced);
        }
        let session = read_again(&bus, &key).await;
        if let Some(cancel) = session.cancel.clone() {
            stopper.stop(StopCause::Cancelled(cancel));
        }
        if !ours.is_kept(&session) {
            stopper.stop(StopCause::Fenced);
        }
    }
}

/// What this worker holds, or is about to start.
#[derive(Debug, Clone, Copy)]
struct Ours {
    holder: Holder,
    /// Sequence of the plan that it runs.
    planned: u64,
}

impl Ours {
    /// Returns whether the session is still ours. Its watch begins before `started` is stored, and a log without it, which still has
    /// our plan, proves nothing: if somebody else starts it, our own append fails.
    fn is_kept(self, session: &Session) -> bool {
        let starts = session.phase == Phase::Planned
            && session.planned_sequence == self.planned
            && session.attempts < self.holder.attempt;
        starts || (session.holder == Some(self.holder) && session.phase.is_held())
    }
}

/// Reads a session, however long that takes.
async fn read_again(bus: &Bus, key: &SessionKey) -> Session {
    loop {
        match read_session(bus, key).await {
            Ok(session) => return session,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the log can't be read again yet");
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }
}

/// Reads the log after each gap of the heartbeat: others may have seen a full TTL of silence and taken the session over.
async fn watch_gaps(
    bus: Bus,
    (key, ours): (SessionKey, Ours),
    mut beats: watch::Receiver<Beats>,
    cleared: Arc<AtomicU64>,
    stopper: Stopper,
) {
    while beats.changed().await.is_ok() {
        let gaps = beats.borrow_and_update().gaps;
        if cleared.load(Ordering::SeqCst) != gaps {
            if !ours.is_kept(&read_again(&bus, &key).await) {
                return stopper.stop(StopCause::Fenced);
            }
            cleared.store(gaps, Ordering::SeqCst);
        }
    }
}

async fn watch_deadline(deadline: Timestamp, stopper: Stopper) {
    // The wall clock may be set while we wait, so look again now and then.
    loop {
        let left = deadline.duration_since(Timestamp::now());
        if !left.is_positive() {
            return stopper.stop(StopCause::Deadline);
        }
        tokio::time::sleep(left.unsigned_abs().min(Duration::from_secs(30))).await;
    }
}

async fn watch_drain(
    drain: CancellationToken,
    stop_now: CancellationToken,
    past_first_byte: CancellationToken,
    stopper: Stopper,
) {
    drain.cancelled().await;
    if past_first_byte.is_cancelled() {
        tracing::warn!("a restore is being written; it is let to its end, a second signal stops it");
        stop_now.cancelled().await;
    }
    stopper.stop(StopCause::Drained);
}

#[cfg(test)]
mod tests {
    use lagan_schemas::subject::SessionKind;
    use uuid::Uuid;

    use super::*;
    use crate::fixtures;

    #[test]
    fn a_log_that_does_not_have_our_start_yet_does_not_fence_us() {
        let ours = Ours { holder: Holder { attempt: 2, worker: Uuid::from_u128(5) }, planned: 7 };
        let other = Holder { attempt: 2, worker: Uuid::from_u128(6) };
        for (phase, planned, attempts, holder, kept) in [
            (Phase::Planned, 7, 1, None, true),
            (Phase::Started, 7, 2, Some(ours.holder), true),
            (Phase::Committing, 7, 2, Some(ours.holder), true),
            // Another plan, another holder, an end, and a store without the session.
            (Phase::Planned, 9, 1, None, false),
            (Phase::Planned, 7, 2, None, false),
            (Phase::Started, 7, 2, Some(other), false),
            (Phase::Failed, 7, 1, None, false),
            (Phase::Cancelled, 7, 2, Some(ours.holder), false),
            (Phase::Nothing, 0, 0, None, false),
        ] {
            let mut session = fixtures::session(SessionKind::Backup);
            (session.phase, session.planned_sequence) = (phase, planned);
            (session.attempts, session.holder) = (attempts, holder);
            assert_eq!(ours.is_kept(&session), kept, "{phase:?} {planned} {attempts}");
        }
    }
}
