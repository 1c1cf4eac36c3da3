//! One session of a worker: claims it, keeps its signs of life, has its plan run by `execution`, appends how it ended,
//! and settles its message.

pub(crate) mod alerts;
pub(crate) mod claim;
pub(crate) mod held;
pub(crate) mod in_slots;
pub(crate) mod life;
pub(crate) mod verdict;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::heartbeat;
use lagan_bus::observer::{Liveness, Observer};
use lagan_bus::session_log::{LogError, Writer, append_fact, append_fact_as, read_session};
use lagan_bus::{Delivery, Settle, trace};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Ended, Fact, Holder, Notice, Started, Succeeded, TargetResult};
use lagan_schemas::session::{Author, Session};
use lagan_schemas::subject::{SessionKind, SessionSubject};
use tracing::Instrument as _;
use uuid::Uuid;

use self::claim::{AfterDeath, Claim, claim};
use self::held::{Held, HeldError};
use self::life::Life;
use self::verdict::verdict;
use crate::progress::tell_waiting;
use crate::worker::Worker;
use crate::{backup, execution};

/// Delay before a session that this version does not understand is offered to a worker again.
const UNKNOWN: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);
const SUCCESSOR: Writer = Writer { author: Author::Successor, component: "worker" };

/// The outcome of running a plan.
pub(crate) enum SessionOutcome {
    Succeeded {
        results: Vec<TargetResult>,
        conditions: Vec<Notice>,
    },
    Failed(Box<Failed>),
    /// The session is not ours any more: nothing is said and nothing is settled.
    Fenced,
}

pub(crate) struct Failed {
    pub failure: Failure,
    /// Snapshots that were verified before something else failed.
    pub results: Vec<TargetResult>,
    pub rejected_snapshots: Vec<String>,
    pub conditions: Vec<Notice>,
}

impl From<Failure> for SessionOutcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(Failed {
            failure,
            results: Vec::new(),
            rejected_snapshots: Vec::new(),
            conditions: Vec::new(),
        }))
    }
}

/// The reason why the work of a plan broke off.
pub(crate) enum Broken {
    /// The session is not ours any more.
    Fenced,
    Failed(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Worker {
    /// Handles one message to its end. Whatever goes wrong here ends in a message that comes again.
    pub(crate) async fn handle(&self, delivery: Delivery, observer: &mut Observer) {
        let Ok(subject) = delivery.stored().subject.parse::<SessionSubject>() else {
            // A later version may spell subjects in another way: leave it to a worker that knows them.
            tracing::debug!(subject = delivery.stored().subject, "subject is not known");
            return settle(delivery, Settle::Nak { delay: UNKNOWN }).await;
        };
        let span = tracing::info_span!("session", uid = %subject.key.uid, invoker = %subject.key.invoker);
        trace::continue_in(&span, &delivery.stored().headers);
        let turn = async {
            match read_session(&self.bus, &subject.key).await {
                Ok(session) => self.claim(delivery, subject.pool.as_deref(), session, observer).await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "session can't be read yet");
                    settle(delivery, Settle::Nak { delay: Duration::from_secs(1) }).await;
                }
            }
        };
        Box::pin(turn).instrument(span).await;
    }

    async fn claim(&self, delivery: Delivery, pool: Option<&str>, session: Session, observer: &mut Observer) {
        let again_soon = Settle::Nak { delay: self.timing.failover };
        let me = self.in_slots.has(session.key.uid).then_some(self.instance);
        match claim(&session, delivery.stored().sequence, me) {
            Claim::Done => settle(delivery, Settle::Ack).await,
            Claim::Start => self.start(delivery, session).await,
            Claim::Ours => settle(delivery, again_soon).await,
            Claim::Foreign => {
                tracing::warn!("session is of a later version of Lagan; this worker leaves it to a newer one");
                tell_waiting(&self.bus, &session, pool.unwrap_or_default()).await;
                settle(delivery, Settle::Nak { delay: UNKNOWN }).await;
            }
            Claim::AskHolder(then) => {
                let key =
                    session.holder.map(|holder| heartbeat::key(session.key.uid, holder.worker)).unwrap_or_default();
                let verdict = self.while_alive(&delivery, observer.settle(&key)).await;
                observer.forget(&key);
                match (verdict, then) {
                    (Liveness::Alive | Liveness::Unknown, _) => settle(delivery, again_soon).await,
                    (Liveness::Dead, AfterDeath::Start) => self.start(delivery, session).await,
                    (Liveness::Dead, AfterDeath::FailRestore) => self.fail_restore(delivery, session).await,
                }
            }
        }
    }

    /// Waits while telling the server that the message is still in good hands.
    async fn while_alive<T>(&self, delivery: &Delivery, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(self.timing.failover / 3) => {
                    if let Err(error) = delivery.progress().await {
                        tracing::debug!(error = chain(&error), "sign of life was not taken");
                    }
                }
            }
        }
    }

    async fn fail_restore(&self, delivery: Delivery, mut session: Session) {
        let snapshot = session.restoring_snapshot.clone().unwrap_or_default();
        let host = session.worker_host.clone().unwrap_or_default();
        let message = format!(
            "the worker on {host} died while it restored snapshot {snapshot}; the target may hold part of the data"
        );
        let ended = Ended {
            holder: None,
            failure: Failure::new(Code::TargetPartiallyRestored, message),
            results: Vec::new(),
            rejected_snapshots: Vec::new(),
            conditions: Vec::new(),
        };
        let settle_with = match append_fact(&self.bus, &mut session, SUCCESSOR, Fact::Failed(ended)).await {
            Ok(()) => Settle::Ack,
            Err(error) => after_lost_race(&error),
        };
        settle(delivery, settle_with).await;
    }

    async fn start(&self, delivery: Delivery, mut session: Session) {
        let Some(plan) = session.plan.clone() else { return settle(delivery, Settle::Ack).await };
        let _in_slot = self.in_slots.enter(session.key.uid);
        let holder = Holder { attempt: session.attempts + 1, worker: self.instance };
        let started = Fact::Started(Started { holder, host: self.host.clone() });
        // The heartbeat beats before the fact says so: nobody may find a holder without one.
        let life = self.while_alive(&delivery, Life::begin(self, &session, holder)).await;
        let starting = Box::pin(self.append_started(&mut session, started));
        if let Err(error) = self.while_alive(&delivery, starting).await {
            life.end().await;
            return settle(delivery, after_lost_race(&error)).await;
        }
        let name = session.request.as_ref().map(|r| r.name.clone()).unwrap_or_default();
        tracing::info!(session = name, attempt = holder.attempt, "session started");
        let held = Arc::new(Held::new(self.bus.clone(), holder, session, self.stop_now.clone()));
        let life = Arc::new(life);
        let outcome = self.while_alive(&delivery, Box::pin(execution::run(self, &held, &life, &plan))).await;
        let said = self.while_alive(&delivery, Box::pin(self.conclude(&held, &life, outcome))).await;
        if let Some(life) = Arc::into_inner(life) {
            life.end().await;
        }
        match said {
            Ok(()) => settle(delivery, Settle::Ack).await,
            // Whoever fenced us has the message too; it is not ours to settle (P1).
            Err(HeldError::Fenced) => tracing::warn!(session = name, "session was taken over, this worker drops it"),
            Err(error) => tracing::error!(session = name, error = chain(&error), "end of the session was not written"),
        }
    }

    /// Appends `started`. An outage of NATS and a full log are waited for: a session that we hold without knowing it would wait
    /// in vain.
    async fn append_started(&self, session: &mut Session, started: Fact) -> Result<(), LogError> {
        let id = Uuid::new_v4();
        loop {
            match append_fact_as(&self.bus, session, SUCCESSOR, started.clone(), id).await {
                Err(error) if error.may_pass() && !self.drain.is_cancelled() => {
                    tracing::warn!(error = chain(&error), "the start of the session can't be appended yet");
                    tokio::time::sleep(AGAIN).await;
                }
                other => return other,
            }
        }
    }

    /// Appends the last fact of this attempt.
    async fn conclude(&self, held: &Held, life: &Life, outcome: SessionOutcome) -> Result<(), HeldError> {
        let session = held.session().await;
        let fact = match outcome {
            SessionOutcome::Fenced => return Err(HeldError::Fenced),
            SessionOutcome::Succeeded { results, conditions } => {
                for result in &results {
                    tracing::info!(
                        snapshot = result.snapshot,
                        size_bytes = result.size_bytes,
                        added_bytes = result.added_bytes,
                        "session succeeded"
                    );
                }
                Fact::Succeeded(Succeeded { holder: held.holder, results, conditions })
            }
            SessionOutcome::Failed(failed) => {
                tracing::warn!(failure = %failed.failure, "session did not succeed");
                verdict(&session, life.stopped().as_ref(), (held.holder, held.work()), *failed, Timestamp::now())
            }
        };
        let retries = matches!(fact, Fact::Retrying(_));
        held.append_surely(fact).await?;
        if !retries && session.key.kind == SessionKind::Backup {
            backup::forget(self, held).await;
        }
        Ok(())
    }
}

/// Somebody else decided first: look again at once. Otherwise the bus is in trouble: look again soon.
fn after_lost_race(error: &LogError) -> Settle {
    if error.is_conflict() {
        return Settle::Nak { delay: Duration::ZERO };
    }
    tracing::warn!(error = chain(error), "fact could not be appended");
    Settle::Nak { delay: Duration::from_secs(1) }
}

async fn settle(delivery: Delivery, how: Settle) {
    if let Err(error) = delivery.settle(how).await {
        tracing::debug!(
            error = chain(&error),
            "message was not settled, it comes again and its session's facts decide"
        );
    }
}
