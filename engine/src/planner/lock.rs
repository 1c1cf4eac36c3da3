//! The lock of a target: a key that names the session that works on it, without a TTL. It is stale once that session has
//! ended, or waits for its next attempt since it took the lock.

use std::sync::Arc;

use lagan_bus::kv::KvError;
use lagan_bus::lock::{LockHolder, Locked};
use lagan_bus::session_log::LogError;
use lagan_schemas::error::chain;
use lagan_schemas::plan::Plan;
use lagan_schemas::position::StoreId;
use lagan_schemas::session::{Phase, Session};
use lagan_schemas::subject::SessionKey;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::EngineError;
use crate::outside::Outside;
use crate::waiting::lock_key;

/// The holder of a lock, and its state when it took the lock.
#[derive(Debug, Serialize, Deserialize)]
struct LockDetail {
    #[serde(flatten)]
    session: SessionKey,
    /// Last sequence of the session when it took the lock. Of a session that retries, only the lock of an earlier attempt is
    /// stale.
    #[serde(default)]
    sequence: u64,
    /// The store that the sequence is of; `None` in a lock of an earlier version.
    #[serde(default)]
    store: Option<StoreId>,
}

impl LockDetail {
    /// The sequence, if it is of the store that is read now. Sequences of different stores are never compared.
    fn sequence_in(&self, store: Option<StoreId>) -> Option<u64> {
        let is_known = self.store.is_none() || self.store == store;
        is_known.then_some(self.sequence)
    }
}

/// The result of asking for a lock.
pub(super) enum Lock {
    Ours,
    /// The session was planned since it was looked at.
    Outdated,
    /// Another session has it.
    HeldBy {
        session: Uuid,
        name: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// Takes the lock of a plan's target.
pub(super) async fn acquire(outside: &impl Outside, session: &Session, plan: &Plan) -> Result<Lock, LockError> {
    if mutant!("plan-without-lock") {
        return Ok(Lock::Ours);
    }
    let key = lock_key(plan);
    let store = outside.sessions().read().store;
    let detail = LockDetail { session: session.key.clone(), sequence: session.last_sequence, store };
    let detail = serde_json::to_value(detail).expect("a key is JSON");
    let ours = LockHolder { owner: session.key.uid.to_string(), detail };
    let mut locked = outside.acquire_lock(&key, &ours).await?;
    loop {
        let Locked::HeldBy { holder, revision } = &locked else { return Ok(Lock::Ours) };
        let detail = serde_json::from_value::<LockDetail>(holder.detail.clone()).ok();
        let is_own = detail.as_ref().is_some_and(|detail| detail.session.uid == session.key.uid);
        // A look that took long must not make the lock of a later attempt look stale. A lock that is ahead of the log is of
        // facts that are gone, because the log was set back.
        let planned_at = detail.as_ref().and_then(|detail| detail.sequence_in(store));
        if is_own
            && let Some(planned_at) = planned_at.filter(|sequence| *sequence > session.last_sequence)
            && outside.read_session(&session.key).await?.last_sequence >= planned_at
        {
            return Ok(Lock::Outdated);
        }
        if is_own && mutant!("own-lock-kept") {
            return Ok(Lock::Ours);
        }
        if let Some(detail) = detail.filter(|_| !is_own)
            && let Some(other) = living(outside, &detail).await?
        {
            let name = other.request.as_ref().map_or_else(|| other.key.uid.to_string(), |request| request.name.clone());
            return Ok(Lock::HeldBy { session: other.key.uid, name });
        }
        locked = outside.take_over_lock(&key, *revision, &ours).await?;
    }
}

/// The session that holds a lock, unless the lock is stale. Without facts it ended so long ago that they expired, or its
/// stream is gone.
async fn living(outside: &impl Outside, detail: &LockDetail) -> Result<Option<Arc<Session>>, LogError> {
    if mutant!("living-lock-stale") {
        return Ok(None);
    }
    let (known, store) = {
        let view = outside.sessions().read();
        (view.active.get(&detail.session.uid).cloned(), view.store)
    };
    let session = match known {
        Some(session) if session.phase != Phase::Retrying => session,
        _ => Arc::new(outside.read_session(&detail.session).await?),
    };
    let has_ended = session.phase.is_end() || session.phase == Phase::Nothing || session.is_expired();
    let is_earlier = detail.sequence_in(store).is_none_or(|sequence| sequence < session.last_sequence);
    let retries = session.phase == Phase::Retrying && is_earlier;
    Ok((!has_ended && !retries).then_some(session))
}

/// The lock that a planned session holds or held.
pub(crate) struct HeldLock {
    pub key: String,
    pub session: Uuid,
}

impl HeldLock {
    pub fn of(session: &Session) -> Option<Self> {
        Some(Self { key: lock_key(session.plan.as_deref()?), session: session.key.uid })
    }
}

/// Releases locks when sessions end. A lock that stays behind after a crash is stale, and the next session takes it over.
pub(super) async fn release(
    outside: impl Outside,
    mut ended: mpsc::UnboundedReceiver<HeldLock>,
) -> Result<(), EngineError> {
    while let Some(HeldLock { key, session }) = ended.recv().await {
        if let Err(error) = outside.release_lock(&key, session).await {
            tracing::debug!(error = chain(&error), "lock was not released; the session that needs it takes it over");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lagan_schemas::position::StoreId;
    use lagan_schemas::subject::SessionKind;

    use super::LockDetail;
    use crate::fixtures::{at, story};

    #[test]
    fn the_sequence_of_another_store_is_not_compared() {
        let stores = [0, 1].map(|created| StoreId::created(at(created)));
        let detail = |store| LockDetail { session: story(SessionKind::Backup).end().key, sequence: 40, store };
        assert_eq!(detail(Some(stores[0])).sequence_in(Some(stores[0])), Some(40));
        assert_eq!(detail(Some(stores[0])).sequence_in(Some(stores[1])), None);
        assert_eq!(detail(None).sequence_in(Some(stores[1])), Some(40), "an earlier version wrote it");
    }
}
