//! The outside of a simulated engine. Each effect has a gap before and after it, in which anything may happen: other processes
//! go on, time passes, or the process dies.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::AppendError;
use lagan_bus::kv::KvError;
use lagan_bus::lock::{LockHolder, Locked};
use lagan_bus::session_log::{LogError, Writer};
use lagan_schemas::fact::{Fact, Requested};
use lagan_schemas::plan::Plan;
use lagan_schemas::resource::{Object, ObjectRef};
use lagan_schemas::session::{Recorded, RecordedContent, Session};
use lagan_schemas::subject::{Cluster, ObjectKey, SessionKey};
use lagan_sources::open_slot::DecidedSlot;
use lagan_sources::{SourceError, Standing};
use uuid::Uuid;

use super::asked::AskedPlan;
use super::world::{Fate, SimWorld, short};
use crate::log_usage::LogUsage;
use crate::outside::Outside;
use crate::plan::Unresolved;
use crate::sessions::Sessions;
use crate::view::Resources;
use crate::waiting::Limits;

pub type SharedWorld = Arc<Mutex<SimWorld>>;

pub struct SimOutside {
    pub world: SharedWorld,
    pub name: String,
    pub cluster: Cluster,
    pub sessions: Sessions,
    pub resources: Resources,
    pub limits: Limits,
    /// Seconds by which the server's clock was ahead when it was asked last.
    pub clock_ahead: AtomicI64,
}

/// A moment between two steps of a process.
#[derive(Default)]
struct Gap(bool);

impl Future for Gap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl SimOutside {
    pub fn world(&self) -> MutexGuard<'_, SimWorld> {
        self.world.lock().unwrap()
    }

    /// Does something in the world, between two gaps. `None` if nobody learns what came of it.
    async fn effect<T>(&self, what: impl FnOnce(&mut SimWorld) -> T) -> Option<T> {
        Gap::default().await;
        let (fate, done) = {
            let mut world = self.world();
            let fate = world.fate();
            let done = (fate != Fate::Lost).then(|| what(&mut world));
            (fate, done)
        };
        Gap::default().await;
        done.filter(|_| fate == Fate::Done)
    }
}

fn not_connected(key: &str) -> AppendError {
    AppendError::NotConnected { subject: key.to_owned() }
}

fn source_fault(world: &mut SimWorld) -> Result<(), SourceError> {
    if world.fault(60) {
        return Err(SourceError::Folder { key: "object".to_owned(), file: "manifest".to_owned() });
    }
    Ok(())
}

fn lock_slot(world: &SimWorld, key: &str) -> (u64, Option<LockHolder>) {
    world.locks.get(key).cloned().unwrap_or((0, None))
}

/// The state that `Locks::acquire_anew` finds.
fn acquire(world: &mut SimWorld, key: &str, ours: &LockHolder) -> Locked {
    match lock_slot(world, key) {
        (_, Some(found)) if found == *ours => Locked::Acquired,
        (revision, Some(holder)) => Locked::HeldBy { holder, revision },
        (revision, None) => {
            world.put_lock(key, revision, Some(ours.clone()));
            Locked::Acquired
        }
    }
}

impl Outside for SimOutside {
    fn now(&self) -> Timestamp {
        let world = self.world();
        SimWorld::time_of(world.now, self.clock_ahead.load(Ordering::Relaxed))
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn resources(&self) -> &Resources {
        &self.resources
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn wipe_within(&self) -> Duration {
        Duration::from_secs(600)
    }

    fn sessions_max_age(&self) -> Duration {
        Duration::from_secs(7 * 86_400)
    }

    fn deletes_data(&self) -> bool {
        true
    }

    async fn read_session(&self, key: &SessionKey) -> Result<Session, LogError> {
        let read = self.effect(|world| world.session(key)).await;
        read.ok_or_else(|| LogError::Append(not_connected("session")))
    }

    async fn find_session(&self, uid: Uuid) -> Result<Option<Session>, LogError> {
        let found = self.effect(|world| world.log.sessions.get(&uid).cloned()).await;
        found.ok_or_else(|| LogError::Append(not_connected("session")))
    }

    async fn append(&self, session: &mut Session, writer: Writer, fact: Fact) -> Result<(), LogError> {
        let checked = session.check(writer.author, fact.kind());
        checked.map_err(|source| LogError::Illegal { session: session.key.uid, source })?;
        let fact = session.completed(fact).bounded();
        let by = (writer.author, self.name.as_str());
        let stored = self
            .effect(|world| {
                let id = Uuid::from_u128(world.rng.u128(..));
                if let Fact::Requested(request) = &fact {
                    world.asked.entry(session.key.uid).or_insert_with(|| AskedPlan::of_slot(request));
                }
                (world.append(session, id, by, fact.clone()), world.server_time())
            })
            .await;
        let Some((stored, time)) = stored else { return Err(LogError::Append(not_connected("fact"))) };
        let conflict = || LogError::Append(AppendError::Conflict { filter: short(session.key.uid) });
        let sequence = stored.ok_or_else(conflict)?;
        let pool = session.pool_of(&fact).map(str::to_owned);
        session.apply(Recorded { sequence, time, pool, content: RecordedContent::Fact(fact) });
        Ok(())
    }

    async fn is_log_full(&self, _: &LogUsage) -> bool {
        self.world().fault(100)
    }

    async fn acquire_lock(&self, key: &str, holder: &LockHolder) -> Result<Locked, KvError> {
        let locked = self.effect(|world| acquire(world, key, holder)).await;
        locked.ok_or_else(|| KvError::Write { key: key.to_owned(), source: not_connected(key) })
    }

    async fn take_over_lock(&self, key: &str, revision: u64, holder: &LockHolder) -> Result<Locked, KvError> {
        let take_over = |world: &mut SimWorld| {
            if world.put_lock(key, revision, Some(holder.clone())) {
                return Locked::Acquired;
            }
            acquire(world, key, holder)
        };
        let locked = self.effect(take_over).await;
        locked.ok_or_else(|| KvError::Write { key: key.to_owned(), source: not_connected(key) })
    }

    async fn release_lock(&self, key: &str, owner: Uuid) -> Result<(), KvError> {
        let release = |world: &mut SimWorld| {
            if let (revision, Some(holder)) = lock_slot(world, key)
                && holder.owner == owner.to_string()
            {
                world.put_lock(key, revision, None);
            }
        };
        let released = self.effect(release).await;
        released.ok_or_else(|| KvError::Write { key: key.to_owned(), source: not_connected(key) })
    }

    async fn make_plan(
        &self,
        session: &Session,
        request: &Requested,
        requested: Timestamp,
    ) -> Result<Result<Plan, Unresolved>, SourceError> {
        Gap::default().await;
        let mut world = self.world();
        source_fault(&mut world)?;
        let now = world.now;
        let Some(asked) = world.asked.get(&session.key.uid) else {
            return Ok(Err(Unresolved::Missing(vec!["its invoker".to_owned()])));
        };
        if asked.complete_at.is_none_or(|at| now < at) {
            return Ok(Err(Unresolved::Missing(vec!["Repository x/y".to_owned()])));
        }
        Ok(Ok(asked.plan(session.key.uid, request.priority, requested)))
    }

    async fn record_restore(&self, object: &ObjectRef) -> Result<(), SourceError> {
        Gap::default().await;
        {
            let mut world = self.world();
            source_fault(&mut world)?;
            world.recorded_restores.extend(object.uid);
        }
        Gap::default().await;
        Ok(())
    }

    async fn standing(&self, object: &Object) -> Result<Standing, SourceError> {
        Gap::default().await;
        let mut world = self.world();
        source_fault(&mut world)?;
        let uid = object.metadata.uid.unwrap_or_default();
        Ok(if world.ended_at_source.contains(&uid) {
            Standing::Ended
        } else if world.recorded_restores.contains(&uid) {
            Standing::Recorded
        } else {
            Standing::New
        })
    }

    async fn has_ended(&self, _: &ObjectKey, uid: Uuid) -> Option<bool> {
        Gap::default().await;
        let mut world = self.world();
        (!world.fault(60)).then(|| world.ended_at_source.contains(&uid))
    }

    fn mark(&self, configuration: Uuid) -> Result<Option<Timestamp>, SourceError> {
        Ok(self.world().marks.get(&configuration).copied())
    }

    fn set_marks(&self, marks: Vec<DecidedSlot>) -> Result<(), SourceError> {
        let mut world = self.world();
        for DecidedSlot { configuration, slot, .. } in marks {
            let mark = world.marks.entry(configuration).or_insert(slot);
            *mark = (*mark).max(slot);
        }
        Ok(())
    }
}
