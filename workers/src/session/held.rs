//! A session that this worker holds: its facts are appended here and nowhere else. Losing it is an error that
//! every later append repeats; whoever gets it stops at once and settles nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::append::AppendError;
use lagan_bus::session_log::{LogError, Writer, append_fact_as, read_session};
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Ended, Fact, Holder, TargetResult};
use lagan_schemas::session::{Author, Session};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::verdict::WorkBegun;

const WRITER: Writer = Writer { author: Author::Holder, component: "worker" };
const PAUSE: Duration = Duration::from_secs(1);
/// Refusals of one fact, for reasons that are not known to pass, after which it is given up.
const REFUSALS: u32 = 30;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HeldError {
    #[error("another worker or the engine took the session over")]
    Fenced,
    #[error("the session's log can't be written")]
    Log(#[from] LogError),
}

pub(crate) struct Held {
    bus: Bus,
    pub holder: Holder,
    session: Mutex<Session>,
    has_begun: AtomicBool,
    /// Somebody insists that the worker ends now.
    give_up: CancellationToken,
}

impl Held {
    pub fn new(bus: Bus, holder: Holder, session: Session, give_up: CancellationToken) -> Self {
        Self { bus, holder, session: Mutex::new(session), has_begun: AtomicBool::new(false), give_up }
    }

    /// Notes that the attempt does more than look. From here on a failure counts as a retry.
    pub fn begin_work(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub fn work(&self) -> WorkBegun {
        if self.has_begun.load(Ordering::Relaxed) { WorkBegun::Yes } else { WorkBegun::No }
    }

    pub async fn session(&self) -> Session {
        self.session.lock().await.clone()
    }

    /// Appends a fact of ours. If only `cancel-requested` came between, the fact is tried again behind it (P1). All tries of
    /// one fact have the same id.
    async fn append(&self, fact: Fact, id: Uuid) -> Result<(), HeldError> {
        let mut session = self.session.lock().await;
        loop {
            if session.holder != Some(self.holder) {
                return Err(HeldError::Fenced);
            }
            match append_fact_as(&self.bus, &mut session, WRITER, fact.clone(), id).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => {
                    let known = (session.phase, session.last_sequence);
                    *session = read_session(&self.bus, &session.key).await?;
                    let ours = session.holder == Some(self.holder) && session.phase == known.0;
                    if !ours || session.last_sequence == known.1 {
                        return Err(HeldError::Fenced);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends a fact before the work goes on. An outage of NATS and a full log are waited for until `stop`.
    pub async fn append_until(&self, fact: Fact, stop: &CancellationToken) -> Result<(), HeldError> {
        self.append_while(fact, stop, LogError::may_pass).await
    }

    /// Appends a fact that must not be lost: tries for as long as the session is ours. If the server refuses it for good, a
    /// smaller fact takes its place, because an end that says less is better than none.
    pub async fn append_surely(&self, fact: Fact) -> Result<(), HeldError> {
        let smallest = fact.clone().smallest();
        let mut refused = match self.append_unless_refused(fact).await {
            Err(HeldError::Log(refused)) => refused,
            done => return done,
        };
        // The snapshots that were verified stay as long as anything can be stored.
        let results = results_of(&smallest);
        let words = [results, Vec::new()].map(|results| last_word(self.holder, &refused, results));
        for smaller in std::iter::once(smallest).chain(words) {
            if self.give_up.is_cancelled() {
                break;
            }
            tracing::error!(error = chain(&refused), "fact is refused; the session ends with a smaller one");
            refused = match self.append_unless_refused(smaller).await {
                Err(HeldError::Log(refused)) => refused,
                done => return done,
            };
        }
        Err(refused.into())
    }

    /// Outages and a full log pass, however long they take. A refusal is tried again for a while.
    async fn append_unless_refused(&self, fact: Fact) -> Result<(), HeldError> {
        let mut refusals = 0;
        let may_pass = |error: &LogError| match error {
            LogError::Append(AppendError::TooLarge { .. }) => false,
            error if error.may_pass() => true,
            _ => {
                refusals += 1;
                refusals < REFUSALS
            }
        };
        self.append_while(fact, &self.give_up, may_pass).await
    }

    async fn append_while(
        &self,
        fact: Fact,
        stop: &CancellationToken,
        mut may_pass: impl FnMut(&LogError) -> bool,
    ) -> Result<(), HeldError> {
        let id = Uuid::new_v4();
        loop {
            match self.append(fact.clone(), id).await {
                Err(HeldError::Log(error)) if may_pass(&error) && !stop.is_cancelled() => {
                    tracing::warn!(error = chain(&error), fact = fact.kind().as_str(), "fact can't be appended yet");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
                other => return other,
            }
        }
    }
}

/// The verified snapshots that a fact names.
fn results_of(fact: &Fact) -> Vec<TargetResult> {
    match fact {
        Fact::Succeeded(fact) => fact.results.clone(),
        Fact::Retrying(fact) => fact.results.clone(),
        Fact::Failed(fact) | Fact::Cancelled(fact) => fact.results.clone(),
        _ => Vec::new(),
    }
}

/// The end of a session whose own end was refused.
fn last_word(holder: Holder, refused: &LogError, results: Vec<TargetResult>) -> Fact {
    Fact::Failed(Ended {
        holder: Some(holder),
        failure: Failure::new(Code::Internal, format!("how the attempt ended can't be stored: {}", chain(refused))),
        results,
        rejected_snapshots: Vec::new(),
        conditions: Vec::new(),
    })
}
