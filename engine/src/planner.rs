//! The planner: answers `requested` and `retrying` with `planned`, `skipped` or an end, under the target's lock. Any number
//! of planners run side by side on one consumer. The plan itself is made in `plan`.

use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::kv;
use lagan_bus::lock::{LockHolder, Locked};
use lagan_bus::session_log::{LogError, Writer, append_fact, read_session};
use lagan_bus::{Delivery, DeliveryError, Lanes, Settle};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Ended, Fact, Skipped};
use lagan_schemas::plan::{Plan, Work};
use lagan_schemas::resource::Spec;
use lagan_schemas::resource::backup_configuration::ConcurrencyPolicy;
use lagan_schemas::session::{Author, Phase, Session};
use lagan_schemas::subject::{ObjectKey, SESSIONS, SessionKey, SessionKind, SessionSubject};
use lagan_sources::SourceError;
use tokio::sync::mpsc;

use crate::consumers::{PLANNER, ensure_consumers};
use crate::context::Context;
use crate::error::EngineError;
use crate::log_usage::LogUsage;
use crate::plan::answers::Answers;
use crate::plan::{PlanInputs, Unresolved, plan, wipe};
use crate::sessions::Change;

/// Time that a session waits for objects it refers to: they may be created a moment after it.
const REFERENCES_WAIT: Duration = Duration::from_secs(60);
/// Retry interval for sessions whose wake-up time is unknown (P6).
const LONGEST_NAK: Duration = Duration::from_secs(10);
/// Delay before a message of an unknown kind of session is looked at again.
const UNKNOWN: Duration = Duration::from_secs(10);
const PULL: Duration = Duration::from_secs(30);

const WRITER: Writer = Writer { author: Author::Planner, component: "planner" };

pub(crate) async fn run(context: Context, changes: mpsc::UnboundedReceiver<Change>) -> Result<(), EngineError> {
    tokio::join!(pull(&context), release_locks(&context, changes)).0
}

async fn pull(context: &Context) -> Result<(), EngineError> {
    let mut log_usage = LogUsage::default();
    let mut lanes = Lanes::new(&context.bus, SESSIONS, vec![PLANNER.to_owned()]);
    loop {
        let next = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            next = lanes.next(PULL) => next,
        };
        match next {
            Ok(Some(delivery)) => handle(context, &mut log_usage, delivery).await,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(error = chain(&error), "planner can't pull");
                if matches!(error, DeliveryError::ConsumerGone { .. })
                    && let Err(error) = ensure_consumers(context).await
                {
                    tracing::warn!(error = chain(&error), "planner's consumer can't be made");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn handle(context: &Context, log_usage: &mut LogUsage, delivery: Delivery) {
    let settle = match delivery.stored().subject.parse::<SessionSubject>() {
        Ok(subject) => match turn(context, log_usage, &subject.key).await {
            Ok(settle) => settle,
            Err(error) => {
                tracing::warn!(session = %subject.key.uid, error = chain(&error), "session can't be planned yet");
                Settle::Nak { delay: Duration::from_secs(1) }
            }
        },
        // A later version may have sessions of other kinds: its planner takes the message.
        Err(error) => {
            tracing::debug!(subject = delivery.stored().subject, error = chain(&error), "subject is not known");
            Settle::Nak { delay: UNKNOWN }
        }
    };
    if let Err(error) = delivery.settle(settle).await {
        tracing::debug!(error = chain(&error), "planner's message was not settled, it comes again");
    }
}

#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Kv(#[from] kv::KvError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Looks at one session once; returns how its message is settled.
async fn turn(context: &Context, log_usage: &mut LogUsage, key: &SessionKey) -> Result<Settle, PlanError> {
    let mut session = read_session(&context.bus, key).await?;
    if !matches!(session.phase, Phase::Requested | Phase::Retrying) || session.foreign {
        return Ok(Settle::Ack);
    }
    let now = Timestamp::now();
    if let Some(wait) = wait(&session, now) {
        return Ok(Settle::Nak { delay: wait.min(LONGEST_NAK) });
    }
    // Deletions run even when the log is full: each appends only a few facts.
    let may_wait = session.key.kind != SessionKind::Maintenance;
    if session.phase == Phase::Requested && may_wait && log_usage.is_over_limit(&context.bus).await {
        return Ok(Settle::Nak { delay: LONGEST_NAK });
    }
    let Some(fact) = decide(context, &session, now).await? else {
        return Ok(Settle::Nak { delay: look_again(&session, now) });
    };
    let kind = fact.kind();
    match append_fact(&context.bus, &mut session, WRITER, fact).await {
        Ok(()) => {
            let name = session.request.as_ref().map_or("", |request| request.name.as_str());
            tracing::info!(session = name, uid = %key.uid, fact = kind.as_str(), "session decided");
            Ok(Settle::Ack)
        }
        Err(error) if error.is_conflict() => Ok(Settle::Nak { delay: Duration::ZERO }),
        Err(error) => Err(error.into()),
    }
}

/// Delay before missing objects are looked for again. Objects that are applied together arrive within moments of each
/// other; those that are missing for long are looked for less often.
fn look_again(session: &Session, now: Timestamp) -> Duration {
    let waited = session.first_time.map_or(Duration::ZERO, |first| now.duration_since(first).unsigned_abs());
    (waited / 4).clamp(Duration::from_millis(100), Duration::from_secs(2))
}

/// Time until a retry is due.
fn wait(session: &Session, now: Timestamp) -> Option<Duration> {
    let after = session
        .retry_after
        .filter(|after| session.phase == Phase::Retrying && *after > now && session.cancel.is_none())?;
    Some(after.duration_since(now).unsigned_abs())
}

/// Chooses the fact that decides the session; `None` while it has to wait for objects or for its target.
async fn decide(context: &Context, session: &Session, now: Timestamp) -> Result<Option<Fact>, PlanError> {
    let Some(request) = &session.request else {
        return Ok(Some(failed(Failure::new(Code::Expired, "the head of the session's log is gone"))));
    };
    if let Some(cancel) = &session.cancel {
        let failure = Failure::new(cancel.code, format!("cancelled by {} before it was started", cancel.by));
        return Ok(Some(Fact::Cancelled(ended(failure))));
    }
    // The view must contain the objects that the requester saw.
    let mut seen = context.resources.changes();
    let reached = seen.wait_for(|progress| progress.has_reached(request.resources_position));
    if tokio::time::timeout(Duration::from_secs(5), reached).await.is_err() {
        return Ok(None);
    }
    let requested = session.first_time.unwrap_or(now);
    if session.key.kind == SessionKind::Maintenance {
        let user = wipe::user(context.sessions.read().active.values(), session.key.uid);
        if let Some(failure) = wipe::overdue(requested, now, context.options.wipe_within, user.as_deref()) {
            return Ok(Some(failed(failure)));
        }
        if user.is_some() {
            return Ok(None);
        }
    }
    let mut answers = Answers::default();
    let planned = loop {
        let planned = {
            let view = context.resources.read();
            let inputs = PlanInputs {
                view: &view,
                answers: &answers,
                resolve: &context.options.resolve,
                pools: &context.options.pools,
                requested,
                wipe_within: context.options.wipe_within,
                namespaces: context.source().namespaces(),
                cross_namespace: context.options.cross_namespace,
            };
            plan(session.key.kind, request, &inputs)
        };
        if !answers.find_out(context.source()).await? {
            break planned;
        }
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(Unresolved::Refused(failure)) => return Ok(Some(failed(failure))),
        Err(Unresolved::Missing(names)) => {
            let since = now.duration_since(requested).unsigned_abs();
            let message = format!("{} not found, waited {} s", names.join(", "), REFERENCES_WAIT.as_secs());
            return Ok((since >= REFERENCES_WAIT).then(|| failed(Failure::new(Code::ReferenceNotFound, message))));
        }
    };
    // The server would refuse the message again and again.
    if let Err(oversize) = plan.check_size() {
        return Ok(Some(failed(Failure::new(Code::InvalidSpec, oversize.to_string()))));
    }
    match lock(context, session, &plan).await? {
        Lock::Ours => {}
        Lock::Wait => return Ok(None),
        Lock::Skip(skipped) => return Ok(Some(Fact::Skipped(skipped))),
    }
    if let Work::Restore(work) = &plan.work {
        // Recorded at the source of intent before it may start, so that it is never begun a second time (P5).
        match context.source().record_restore(&work.object).await {
            // It will not be recorded later either, and must not wait with its target locked.
            Err(error) if error.is_refusal() || error.is_gone() => {
                return Ok(Some(failed(Failure::new(Code::IntentNotConfirmed, chain(&error)))));
            }
            recorded => recorded?,
        }
    }
    Ok(Some(Fact::Planned(Box::new(plan))))
}

fn ended(failure: Failure) -> Ended {
    Ended { holder: None, failure, results: Vec::new(), rejected_snapshots: Vec::new(), conditions: Vec::new() }
}

fn failed(failure: Failure) -> Fact {
    Fact::Failed(ended(failure))
}

enum Lock {
    Ours,
    Wait,
    Skip(Skipped),
}

/// Names the lock of a plan: one session at a time works on an AppBinding, or deletes a Repository. Two AppBindings of one
/// server are two targets, so that its databases can be backed up side by side.
fn lock_key(plan: &Plan) -> String {
    let (scope, reference) = match &plan.work {
        Work::Backup(work) => ("target", &work.target.reference),
        Work::Restore(work) => ("target", &work.target.reference),
        Work::Wipe(work) => ("repository", &work.repository.reference),
    };
    kv::key(&[scope, reference.namespace.as_deref().unwrap_or("_"), &reference.name])
}

async fn lock(context: &Context, session: &Session, plan: &Plan) -> Result<Lock, PlanError> {
    let key = lock_key(plan);
    let detail = serde_json::to_value(&session.key).expect("a key is JSON");
    let ours = LockHolder { owner: session.key.uid.to_string(), detail };
    let mut locked = context.locks.acquire(&key, &ours).await?;
    // Each round takes over a stale lock or meets a faster session; after two rounds the session waits.
    for _ in 0..2 {
        let Locked::HeldBy { holder, revision } = &locked else { return Ok(Lock::Ours) };
        let Ok(other) = serde_json::from_value::<SessionKey>(holder.detail.clone()) else {
            locked = context.locks.take_over(&key, *revision, &ours).await?;
            continue;
        };
        let in_the_way = read_session(&context.bus, &other).await?;
        // Without facts the holder ended so long ago that they expired, or its stream is gone.
        if in_the_way.phase.is_end() || in_the_way.phase == Phase::Nothing || in_the_way.is_expired() {
            locked = context.locks.take_over(&key, *revision, &ours).await?;
            continue;
        }
        return Ok(behind(context, session, &in_the_way));
    }
    Ok(Lock::Wait)
}

/// Decides what a session does while another one holds its target: a run of the same configuration is skipped.
fn behind(context: &Context, session: &Session, other: &Session) -> Lock {
    let same = session.key.kind == SessionKind::Backup
        && other.key.kind == SessionKind::Backup
        && invoker(session).is_some_and(|ours| Some(ours) == invoker(other));
    if !same || session.phase != Phase::Requested || policy(context, session) == ConcurrencyPolicy::Allow {
        return Lock::Wait;
    }
    let name = other.request.as_ref().map_or_else(|| other.key.uid.to_string(), |request| request.name.clone());
    Lock::Skip(Skipped {
        reason: "PreviousRunning".to_owned(),
        message: format!("session `{name}` of the same configuration is still running"),
        behind: Some(other.key.uid),
    })
}

/// The invoker with its group: objects of two groups may have the same name.
fn invoker(session: &Session) -> Option<ObjectKey> {
    session.request.as_ref().map(|request| request.invoker.key())
}

fn policy(context: &Context, session: &Session) -> ConcurrencyPolicy {
    let Some(request) = &session.request else { return ConcurrencyPolicy::Forbid };
    let view = context.resources.read();
    let object = view.objects.get(&request.invoker.key());
    match object.map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => spec.concurrency_policy.unwrap_or(ConcurrencyPolicy::Forbid),
        _ => ConcurrencyPolicy::Forbid,
    }
}

/// Releases locks when sessions end. A lock that stays behind after a crash is stale, and the next session takes it over.
async fn release_locks(context: &Context, mut changes: mpsc::UnboundedReceiver<Change>) -> Result<(), EngineError> {
    let mut caught_up = false;
    loop {
        let change = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            change = changes.recv() => change,
        };
        let Some(change) = change else { return Ok(()) };
        let session = match change {
            Change::CaughtUp => {
                caught_up = true;
                continue;
            }
            Change::Folded(session) => session,
        };
        // Sessions that ended before this start have released their locks, or left them stale.
        if !caught_up || !session.phase.is_end() {
            continue;
        }
        let Some(key) = session.plan.as_deref().map(lock_key) else { continue };
        if let Err(error) = context.locks.release(&key, &session.key.uid.to_string()).await {
            tracing::debug!(error = chain(&error), "lock was not released; the session that needs it takes it over");
        }
    }
}
