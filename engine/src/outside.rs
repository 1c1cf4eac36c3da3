//! The world around the decisions of planner, scheduler, sweep and cancel requests: the log of sessions, the locks, the source
//! of intent, the time. `Context` is the real one; the simulation puts another in its place. It must not decide anything.

use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::kv::KvError;
use lagan_bus::lock::{LockHolder, Locked};
use lagan_bus::session_log::{self, LogError, Writer};
use lagan_schemas::fact::{Fact, Requested};
use lagan_schemas::plan::Plan;
use lagan_schemas::resource::{Object, ObjectRef};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{Cluster, ObjectKey, SessionKey};
use lagan_sources::open_slot::DecidedSlot;
use lagan_sources::{SourceError, Standing};
use uuid::Uuid;

use crate::context::Context;
use crate::ended_objects;
use crate::log_usage::LogUsage;
use crate::plan::answers::Answers;
use crate::plan::{PlanInputs, Unresolved, plan};
use crate::sessions::Sessions;
use crate::view::Resources;
use crate::waiting::Limits;

/// Each method that returns a future is one effect, or one question. A process may die before and after each of them.
pub(crate) trait Outside: Send + Sync {
    /// The present time, by which everything is decided.
    fn now(&self) -> Timestamp;
    fn cluster(&self) -> &Cluster;
    fn sessions(&self) -> &Sessions;
    fn resources(&self) -> &Resources;
    fn limits(&self) -> &Limits;
    /// How long a deleted Repository waits for its data to be deleted.
    fn wipe_within(&self) -> Duration;
    /// Time that facts are kept.
    fn sessions_max_age(&self) -> Duration;
    /// Whether the source lets a deleted Repository go only after its data.
    fn deletes_data(&self) -> bool;
    fn read_session(&self, key: &SessionKey) -> impl Future<Output = Result<Session, LogError>> + Send;
    fn find_session(&self, uid: Uuid) -> impl Future<Output = Result<Option<Session>, LogError>> + Send;
    /// Appends a fact that is legal in `session`, and applies it to `session`.
    fn append(
        &self,
        session: &mut Session,
        writer: Writer,
        fact: Fact,
    ) -> impl Future<Output = Result<(), LogError>> + Send;
    fn is_log_full(&self, usage: &LogUsage) -> impl Future<Output = bool> + Send;
    fn acquire_lock(&self, key: &str, holder: &LockHolder) -> impl Future<Output = Result<Locked, KvError>> + Send;
    fn take_over_lock(
        &self,
        key: &str,
        revision: u64,
        holder: &LockHolder,
    ) -> impl Future<Output = Result<Locked, KvError>> + Send;
    fn release_lock(&self, key: &str, owner: Uuid) -> impl Future<Output = Result<(), KvError>> + Send;
    /// Makes the plan of a session from the objects that are known now.
    fn make_plan(
        &self,
        session: &Session,
        request: &Requested,
        requested: Timestamp,
    ) -> impl Future<Output = Result<Result<Plan, Unresolved>, SourceError>> + Send;
    /// Records at the source of intent that a restore may begin (P5).
    fn record_restore(&self, object: &ObjectRef) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// The memory of the source of an object that asks for a session.
    fn standing(&self, object: &Object) -> impl Future<Output = Result<Standing, SourceError>> + Send;
    /// Whether the session that an object shows has ended according to STATUS; `None` if that is not known now.
    fn has_ended(&self, key: &ObjectKey, uid: Uuid) -> impl Future<Output = Option<bool>> + Send;
    /// The last slot of a configuration that was decided.
    fn mark(&self, configuration: Uuid) -> Result<Option<Timestamp>, SourceError>;
    fn set_marks(&self, marks: Vec<DecidedSlot>) -> Result<(), SourceError>;
}

impl Outside for Context {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn cluster(&self) -> &Cluster {
        &self.options.cluster
    }

    fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn resources(&self) -> &Resources {
        &self.resources
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    fn wipe_within(&self) -> Duration {
        self.options.wipe_within
    }

    fn sessions_max_age(&self) -> Duration {
        self.options.streams.sessions_max_age
    }

    fn deletes_data(&self) -> bool {
        self.source().deletes_data()
    }

    async fn read_session(&self, key: &SessionKey) -> Result<Session, LogError> {
        session_log::read_session(&self.bus, key).await
    }

    async fn find_session(&self, uid: Uuid) -> Result<Option<Session>, LogError> {
        session_log::find_session(&self.bus, self.cluster(), uid).await
    }

    async fn append(&self, session: &mut Session, writer: Writer, fact: Fact) -> Result<(), LogError> {
        session_log::append_fact(&self.bus, session, writer, fact).await
    }

    async fn is_log_full(&self, usage: &LogUsage) -> bool {
        usage.is_over_limit(&self.bus).await
    }

    async fn acquire_lock(&self, key: &str, holder: &LockHolder) -> Result<Locked, KvError> {
        self.locks.acquire_anew(key, holder).await
    }

    async fn take_over_lock(&self, key: &str, revision: u64, holder: &LockHolder) -> Result<Locked, KvError> {
        self.locks.take_over(key, revision, holder).await
    }

    async fn release_lock(&self, key: &str, owner: Uuid) -> Result<(), KvError> {
        self.locks.release(key, &owner.to_string()).await
    }

    async fn make_plan(
        &self,
        session: &Session,
        request: &Requested,
        requested: Timestamp,
    ) -> Result<Result<Plan, Unresolved>, SourceError> {
        let mut answers = Answers::default();
        loop {
            let planned = {
                let view = self.resources.read();
                let inputs = PlanInputs {
                    view: &view,
                    answers: &answers,
                    resolve: &self.options.resolve,
                    pools: &self.options.pools,
                    requested,
                    wipe_within: self.options.wipe_within,
                    stall_seconds: u32::try_from(self.options.stall.as_secs()).unwrap_or(u32::MAX),
                    namespaces: self.source().namespaces(),
                    cross_namespace: self.options.cross_namespace,
                };
                plan(session.key.kind, request, &inputs)
            };
            if !answers.find_out(self.source()).await? {
                return Ok(planned);
            }
        }
    }

    async fn record_restore(&self, object: &ObjectRef) -> Result<(), SourceError> {
        self.source().record_restore(object).await
    }
    async fn standing(&self, object: &Object) -> Result<Standing, SourceError> {
        self.source().standing(object).await
    }

    async fn has_ended(&self, key: &ObjectKey, uid: Uuid) -> Option<bool> {
        ended_objects::has_ended(self, key, uid).await
    }

    fn mark(&self, configuration: Uuid) -> Result<Option<Timestamp>, SourceError> {
        self.source().mark(configuration)
    }

    fn set_marks(&self, marks: Vec<DecidedSlot>) -> Result<(), SourceError> {
        self.source().set_marks(marks)
    }
}
