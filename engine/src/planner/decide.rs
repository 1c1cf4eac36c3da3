//! The steps of a planner with one session: it resolves the plan, and appends the fact that decides the session.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::AppendError;
use lagan_bus::session_log::{LogError, Writer};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Cause as Asked, Ended, Fact, Requested, Skipped};
use lagan_schemas::plan::{Plan, Work};
use lagan_schemas::resource::backup_configuration::{ConcurrencyPolicy, Priority};
use lagan_schemas::resource::{Object, Spec};
use lagan_schemas::schedule::starting_deadline;
use lagan_schemas::session::{Author, Phase, Session};
use lagan_schemas::subject::SessionKind;
use uuid::Uuid;

use super::ends::{lost_for_long, overdue, planned_until, unanswered};
use super::lock::{self, Lock};
use crate::log_usage::LogUsage;
use crate::outside::Outside;
use crate::plan::{Unresolved, deadline, wipe};
use crate::view::View;
use crate::waiting::{
    AnswerPatience, Overlap, QuotaVerdict, SessionLook, SessionNeeds, Until, WaitCause, WaitOrder, limited_uses,
    limiting_objects, retry_time,
};

/// Time that a session waits for objects it refers to: they may be created a moment after it.
const REFERENCES_WAIT: Duration = Duration::from_secs(60);
/// Time after which the log is measured again while it is full.
const LOG_FULL: Duration = Duration::from_secs(10);
/// Time after which a source that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Time after which a session looks again for another one whose end it waits for, in case its facts are gone.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

const WRITER: Writer = Writer { author: Author::Planner, component: "planner" };

/// The result of looking at a session.
pub(crate) enum Outlook {
    /// It can be planned when it is its turn.
    Ready(Arc<Session>, Box<Plan>, SessionNeeds),
    Ends(Arc<Session>, Box<Fact>),
    /// It stands in line for the quota of its namespace until a time.
    BeyondQuota(Arc<Session>, Overlap, Option<Timestamp>),
    Waits(SessionWait),
    /// Somebody else has decided it.
    Decided,
}

/// A reason to wait.
pub(crate) struct SessionWait {
    pub cause: WaitCause,
    pub until: Until,
    /// Last sequence of the objects that the look saw.
    pub seen: u64,
}

impl SessionWait {
    fn after(cause: WaitCause, delay: Duration) -> Self {
        Self { cause, until: Until::After(delay), seen: 0 }
    }

    /// Waits with the lock of the target and with everything that was reserved.
    fn with_lock(cause: WaitCause, delay: Duration) -> Self {
        Self { cause, until: Until::AfterWithLock(delay), seen: 0 }
    }

    fn source(error: &dyn std::error::Error) -> Self {
        Self::after(WaitCause::Source(chain(error)), ASK_AGAIN)
    }
}

/// Looks at one session: it may end, wait, or be ready.
pub(super) async fn look(outside: &impl Outside, log_usage: &LogUsage, look: &SessionLook) -> Outlook {
    let session = &look.session;
    let ends = |fact| Outlook::Ends(Arc::clone(session), Box::new(fact));
    if !matches!(session.phase, Phase::Requested | Phase::Retrying) || session.foreign {
        return Outlook::Decided;
    }
    let now = outside.now();
    if let Some(fact) = early_end(session, look.verdict) {
        return ends(fact);
    }
    let Some(request) = &session.request else { return Outlook::Decided };
    let expires = expires(&outside.resources().read(), session, request);
    let until = planned_until(session, expires);
    if until.is_some_and(|at| now >= at) {
        return ends(failed(overdue(session, &look.cause, expires)));
    }
    if let Some(delay) = retry_delay(session, now) {
        let delay = until.map_or(delay, |at| delay.min(elapsed(now, at) + Duration::from_millis(1)));
        return Outlook::Waits(SessionWait::after(WaitCause::Retry, delay));
    }
    if let Some(of) = &look.unanswering {
        return ends(failed(unanswered(of)));
    }
    if look.verdict == QuotaVerdict::StandInLine {
        let overlap = overlap(&outside.resources().read(), request);
        return Outlook::BeyondQuota(Arc::clone(session), overlap, expires);
    }
    // Deletions run even when the log is full: each appends only a few facts.
    let may_wait = session.key.kind != SessionKind::Maintenance;
    if session.phase == Phase::Requested && may_wait && outside.is_log_full(log_usage).await {
        return Outlook::Waits(SessionWait::after(WaitCause::LogFull, LOG_FULL));
    }
    match resolve(outside, session, request, now).await {
        Err(wait) => Outlook::Waits(wait),
        Ok(Err(failure)) => ends(failed(failure)),
        Ok(Ok(plan)) => {
            let needs = needs(outside, session, request, &plan, until);
            Outlook::Ready(Arc::clone(session), plan, needs)
        }
    }
}

/// The end of a session that is not planned, whatever its plan would be.
fn early_end(session: &Session, verdict: QuotaVerdict) -> Option<Fact> {
    if session.request.is_none() {
        return Some(failed(Failure::new(Code::Expired, "the head of the session's log is gone")));
    }
    if let Some(cancel) = &session.cancel {
        let failure = Failure::new(cancel.code, format!("cancelled by {} before it was started", cancel.by));
        return Some(Fact::Cancelled(ended(failure)));
    }
    let refusal = || {
        let namespace = &session.key.namespace;
        let message =
            format!("namespace {namespace} has too many sessions that have not ended, and too many that wait");
        failed(Failure::new(Code::QuotaExceeded, message))
    };
    (verdict == QuotaVerdict::Refuse).then(refusal)
}

/// Resolves the plan. The inner error ends the session.
async fn resolve(
    outside: &impl Outside,
    session: &Session,
    request: &Requested,
    now: Timestamp,
) -> Result<Result<Box<Plan>, Failure>, SessionWait> {
    // The view must contain the objects that the requester saw.
    let progress = *outside.resources().changes().borrow();
    let seen = progress.sequence();
    if !progress.has_reached(request.resources_position) {
        let cause = WaitCause::Objects(vec!["the engine to read the newest objects".to_owned()]);
        return Err(SessionWait { cause, until: Until::Objects { pause: Duration::ZERO, latest: ASK_AGAIN }, seen });
    }
    let requested = session.first_time.unwrap_or(now);
    let kept = kept_for(outside, request);
    if let Some(failure) = lost_for_long(session, request, kept) {
        return Ok(Err(failure));
    }
    if session.key.kind == SessionKind::Maintenance {
        let user = wipe::user(outside.sessions().read().active.values().map(Arc::as_ref), session.key.uid);
        let name = user.as_ref().map(|(_, name)| name.as_str());
        if let Some(failure) = wipe::overdue(requested, now, outside.wipe_within(), name) {
            return Ok(Err(failure));
        }
        if let Some((uid, name)) = user {
            let left = requested + outside.wipe_within() - now;
            let latest = Duration::try_from(left).unwrap_or_default().min(LOOK_AGAIN) + Duration::from_millis(1);
            return Err(SessionWait { cause: WaitCause::Session(name), until: Until::SessionEnds(uid, latest), seen });
        }
    }
    let plan = match outside.make_plan(session, request, requested).await {
        Ok(plan) => plan,
        Err(error) if error.is_refusal() => return Ok(Err(Failure::new(Code::SourceRefused, chain(&error)))),
        Err(error) => return Err(SessionWait::source(&error)),
    };
    match plan {
        Ok(plan) => Ok(match plan.check_size() {
            // The server would refuse the message again and again.
            Err(oversize) => Err(Failure::new(Code::InvalidSpec, oversize.to_string())),
            Ok(()) => Ok(Box::new(plan)),
        }),
        Err(Unresolved::Refused(failure)) => Ok(Err(failure)),
        Err(Unresolved::Missing(names)) => match missing(session, names, seen, now) {
            Ok(wait) => Err(wait),
            Err(failure) => Ok(Err(failure)),
        },
    }
}

/// Age up to which the slot of a configuration is made up for.
fn kept_for(outside: &impl Outside, request: &Requested) -> Duration {
    let view = outside.resources().read();
    let deadline = match view.objects.get(&request.invoker.key()).map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => starting_deadline(spec.starting_deadline_seconds),
        _ => Duration::ZERO,
    };
    deadline.max(outside.sessions_max_age())
}

/// How long a session waits for objects that are missing. Those that are applied together arrive within moments of each
/// other; the longer they are missing, the less often they are looked for.
fn missing(session: &Session, names: Vec<String>, seen: u64, now: Timestamp) -> Result<SessionWait, Failure> {
    let mut waited = session.first_time.map_or(Duration::ZERO, |first| elapsed(first, now));
    if mutant!("references-for-ever") {
        waited = Duration::ZERO;
    }
    let Some(left) = REFERENCES_WAIT.checked_sub(waited).filter(|left| !left.is_zero()) else {
        let message = format!("{} not found, waited {} s", names.join(", "), REFERENCES_WAIT.as_secs());
        return Err(Failure::new(Code::ReferenceNotFound, message));
    };
    let pause = (waited / 4).clamp(Duration::from_millis(100), Duration::from_secs(2));
    // Secrets are not watched, so nothing announces a new one.
    let is_unseen = names.iter().any(|name| name.starts_with("Secret "));
    let latest = if is_unseen { pause } else { left };
    Ok(SessionWait { cause: WaitCause::Objects(names), until: Until::Objects { pause, latest }, seen })
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Time until a retry is due.
fn retry_delay(session: &Session, now: Timestamp) -> Option<Duration> {
    retry_time(session).filter(|after| *after > now).map(|after| elapsed(now, after))
}

fn needs(
    outside: &impl Outside,
    session: &Session,
    request: &Requested,
    plan: &Plan,
    expires: Option<Timestamp>,
) -> SessionNeeds {
    let view = outside.resources().read();
    let invoker = view.objects.get(&request.invoker.key()).map(|object| &object.spec);
    SessionNeeds {
        order: WaitOrder::of(session, priority(invoker)),
        overlap: overlap(&view, request),
        uses: limited_uses(&session.key.namespace, plan, &view, outside.limits()),
        objects: limiting_objects(plan),
        expires,
        patience: AnswerPatience::of(session, plan),
    }
}

fn overlap(view: &View, request: &Requested) -> Overlap {
    let policy = match view.objects.get(&request.invoker.key()).map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => spec.concurrency_policy.unwrap_or(ConcurrencyPolicy::Forbid),
        _ => ConcurrencyPolicy::Forbid,
    };
    match (policy, &request.cause) {
        (ConcurrencyPolicy::Allow, _) => Overlap::Allowed,
        (ConcurrencyPolicy::Forbid, Asked::Slot { .. }) => Overlap::ForbiddenSlot,
        (ConcurrencyPolicy::Forbid, Asked::Object { .. }) => Overlap::Forbidden,
    }
}

fn priority(invoker: Option<&Spec>) -> Priority {
    match invoker {
        Some(Spec::BackupConfiguration(spec)) => spec.priority.unwrap_or_default(),
        Some(Spec::RestoreSession(spec)) => spec.priority.unwrap_or_default(),
        _ => Priority::default(),
    }
}

/// When a session ends that was not begun: its `timeOut` counts from the request.
fn expires(view: &View, session: &Session, request: &Requested) -> Option<Timestamp> {
    let requested = session.first_time?;
    let invoker: Option<&Object> = view.objects.get(&request.invoker.key()).map(|object| &**object);
    let time_out = match invoker.map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => spec.time_out,
        Some(Spec::RestoreSession(spec)) => spec.time_out,
        // A wipe has a deadline of its own.
        _ => None,
    };
    deadline(requested, time_out)
}

pub(super) fn skipped(behind: Uuid, name: &str, waits: bool) -> Fact {
    let state = if waits { "still waits" } else { "is still running" };
    Fact::Skipped(Skipped {
        reason: "PreviousRunning".to_owned(),
        message: format!("session `{name}` of the same configuration {state}"),
        behind: Some(behind),
    })
}

/// Takes the lock of the plan's target, and appends the plan.
pub(super) async fn plan_under_lock(
    outside: &impl Outside,
    session: &Session,
    plan: Box<Plan>,
) -> Result<(), SessionWait> {
    match lock::acquire(outside, session, &plan).await {
        Ok(Lock::Ours) => {}
        // The log tells what became of it.
        Ok(Lock::Outdated) => return Ok(()),
        Ok(Lock::HeldBy { session, name }) => {
            return Err(SessionWait {
                cause: WaitCause::Session(name),
                until: Until::SessionEnds(session, LOOK_AGAIN),
                seen: 0,
            });
        }
        // It may have been taken.
        Err(error) => return Err(SessionWait::with_lock(WaitCause::Source(chain(&error)), ASK_AGAIN)),
    }
    if let Work::Restore(work) = &plan.work {
        // Recorded at the source of intent before it may start, so that it is never begun a second time (P5).
        match outside.record_restore(&work.object).await {
            // It will not be recorded later either, and must not wait with its target locked.
            Err(error) if error.is_refusal() || error.is_gone() => {
                return append(outside, session, failed(Failure::new(Code::IntentNotConfirmed, chain(&error)))).await;
            }
            Err(error) => return Err(SessionWait::with_lock(WaitCause::Source(chain(&error)), ASK_AGAIN)),
            Ok(()) => {}
        }
    }
    append(outside, session, Fact::Planned(plan)).await
}

/// Appends the fact that decides a session. If another planner was faster, the log tells.
pub(super) async fn append(outside: &impl Outside, session: &Session, fact: Fact) -> Result<(), SessionWait> {
    let mut session = session.clone();
    let kind = fact.kind();
    let appended = match outside.append(&mut session, WRITER, fact).await {
        Err(LogError::Append(AppendError::TooLarge { .. })) if kind == lagan_schemas::fact::FactKind::Planned => {
            let message = "the plan is larger than NATS accepts: raise `max_payload` of the NATS server";
            outside.append(&mut session, WRITER, failed(Failure::new(Code::InvalidSpec, message))).await
        }
        appended => appended,
    };
    match appended {
        Ok(()) => {
            let name = session.request.as_ref().map_or("", |request| request.name.as_str());
            tracing::info!(session = name, uid = %session.key.uid, fact = kind.as_str(), "session decided");
            Ok(())
        }
        Err(error) if error.is_conflict() => Ok(()),
        Err(LogError::Append(AppendError::Full { .. })) => Err(SessionWait::with_lock(WaitCause::LogFull, LOG_FULL)),
        Err(error) => Err(SessionWait::with_lock(WaitCause::Source(chain(&error)), ASK_AGAIN)),
    }
}

fn ended(failure: Failure) -> Ended {
    Ended { holder: None, failure, results: Vec::new(), rejected_snapshots: Vec::new(), conditions: Vec::new() }
}

pub(super) fn failed(failure: Failure) -> Fact {
    Fact::Failed(ended(failure))
}
