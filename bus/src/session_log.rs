//! The log of one session: reads and folds all of it, and appends legal facts.
//! It must not decide which fact to append; engine and workers do.

use bytes::Bytes;
use jiff::Timestamp;
use lagan_schemas::event::{CloudEvent, EventError};
use lagan_schemas::fact::Fact;
use lagan_schemas::session::{Author, IllegalFact, Recorded, RecordedContent, Session};
use lagan_schemas::subject::{Cluster, SESSIONS, SessionKey, SessionSubject, uid_filter};
use uuid::Uuid;

use crate::append::{Append, AppendError, append};
use crate::connect::Bus;
use crate::error::ApiError;
use crate::read::{self, SessionFacts, Stored};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("can't read the facts of session `{session}`")]
    Read {
        session: Uuid,
        #[source]
        source: ApiError,
    },
    #[error("session `{session}`: {source}")]
    Illegal { session: Uuid, source: IllegalFact },
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl LogError {
    /// Returns whether another writer decided first, so that the session must be read again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Illegal { .. } | Self::Append(AppendError::Conflict { .. }))
    }

    /// Returns whether NATS was away, so that the same request may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_transient(),
            Self::Append(source) => source.is_outage(),
            Self::Illegal { .. } => false,
        }
    }

    /// Returns whether the same request may succeed later: after an outage, or when a full log has room again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_outage() || matches!(self, Self::Append(AppendError::Full { .. }))
    }
}

/// Reads and folds a session. A session without facts is in phase `Nothing`.
pub async fn read_session(bus: &Bus, key: &SessionKey) -> Result<Session, LogError> {
    let facts = read::session(bus, &key.filter()).await;
    let facts = facts.map_err(|source| LogError::Read { session: key.uid, source })?;
    Ok(fold(key.clone(), &facts))
}

fn fold(key: SessionKey, facts: &SessionFacts) -> Session {
    let mut session = Session::fold(key, facts.visible.iter().map(recorded));
    // Facts that this connection may not read are those of other pools, which have no say in the session as its plan is now.
    session.last_sequence = session.last_sequence.max(facts.last_sequence);
    session
}

/// Finds a session by its uid alone; `None` if it has no facts. A worker does not know a session that ended in another pool.
pub async fn find_session(bus: &Bus, cluster: &Cluster, uid: Uuid) -> Result<Option<Session>, LogError> {
    let failed = |source| LogError::Read { session: uid, source };
    if bus.pool().is_some() {
        let facts = read::session(bus, &uid_filter(cluster, uid)).await.map_err(failed)?;
        let subject = facts.visible.iter().find_map(|stored| stored.subject.parse::<SessionSubject>().ok());
        let session = subject.map(|subject| fold(subject.key, &facts));
        // After an end nothing counts, so what another pool writes there hides nothing.
        return Ok(session.filter(|session| session.phase.is_end() || !facts.is_last_hidden()));
    }
    let last = read::last(bus, SESSIONS, &uid_filter(cluster, uid)).await.map_err(failed)?;
    match last.and_then(|stored| stored.subject.parse::<SessionSubject>().ok()) {
        Some(subject) => read_session(bus, &subject.key).await.map(Some),
        None => Ok(None),
    }
}

/// Decodes a stored message for the fold.
#[must_use]
pub fn recorded(stored: &Stored) -> Recorded {
    let (pool, content) = match stored.subject.parse::<SessionSubject>() {
        Ok(subject) => (subject.pool, RecordedContent::read(subject.fact, &stored.payload)),
        Err(error) => (None, RecordedContent::Garbage(error.to_string())),
    };
    if let RecordedContent::Garbage(why) = &content {
        tracing::debug!(subject = stored.subject, why, "message is no fact");
    }
    Recorded { sequence: stored.sequence, time: stored.time, pool, content }
}

pub fn decode(stored: &Stored) -> Result<Fact, EventError> {
    Fact::decode(CloudEvent::from_bytes(&stored.payload)?)
}

/// The author of a fact and its component's name in the event's `source`.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    pub author: Author,
    /// `scheduler`, `planner`, `worker`.
    pub component: &'static str,
}

/// Appends `fact` if it is legal in `session`, and applies it to `session`.
pub async fn append_fact(bus: &Bus, session: &mut Session, writer: Writer, fact: Fact) -> Result<(), LogError> {
    append_fact_as(bus, session, writer, fact, Uuid::new_v4()).await
}

/// Appends `fact` as `append_fact` does, under an id of the caller's. A caller that tries one fact again after an outage keeps
/// the id: if the first try was stored after all, it is found by it, and not mistaken for another writer's.
pub async fn append_fact_as(
    bus: &Bus,
    session: &mut Session,
    writer: Writer,
    fact: Fact,
    id: Uuid,
) -> Result<(), LogError> {
    let key = &session.key;
    session.check(writer.author, fact.kind()).map_err(|source| LogError::Illegal { session: key.uid, source })?;
    let fact = session.completed(fact).bounded();
    let pool = session.pool_of(&fact).map(str::to_owned);
    let subject = match (&fact, &pool) {
        (Fact::Planned(plan), _) => key.planned(&plan.pool, plan.lane),
        (fact, Some(pool)) => key.worker_fact(pool, fact.kind()),
        (fact, None) => key.engine_fact(fact.kind()),
    };
    let now = Timestamp::now();
    // The id is unique for each fact: a writer must never mistake another writer's fact for its own. It is stored twice, in
    // the event and in a header, and the server remembers it for an hour, so it does not repeat what the subject says.
    let message_id = id.simple().to_string();
    let event = fact.event(key, message_id.clone(), writer.component, now);
    let stored = append(
        bus,
        Append {
            subject,
            session_filter: key.filter(),
            expected_last_sequence: session.last_sequence,
            message_id,
            event: Bytes::from(event.to_bytes()),
        },
    );
    let sequence = stored.await?;
    tracing::debug!(session = %session.key.uid, fact = fact.kind().as_str(), sequence, "fact appended");
    session.apply(Recorded { sequence, time: now, pool, content: RecordedContent::Fact(fact) });
    Ok(())
}
