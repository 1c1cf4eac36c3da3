//! The things that sessions share, of which only so many sessions may use one at a time, and what a session needs of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::kv;
use lagan_schemas::fact::Urgency;
use lagan_schemas::forecast::MAX_CONCURRENT_ANNOTATION;
use lagan_schemas::place::{Place, Volumes};
use lagan_schemas::plan::{Plan, Work};
use lagan_schemas::resource::backup_configuration::Priority;
use lagan_schemas::resource::{Object, ObjectRef, Spec};
use lagan_schemas::session::Session;
use lagan_schemas::subject::{Lane, ObjectKey};
use uuid::Uuid;

use crate::view::View;

/// Number of planned sessions that may wait for a worker in one lane of a pool. It is just enough to keep workers busy: the
/// order is chosen among the sessions that are not planned yet.
const QUEUE: u32 = 64;

/// Numbers of sessions at a time, from flags and the environment. Zero means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For each repository whose object sets no `maxConcurrent`.
    pub repository: u32,
    /// For each database server whose AppBinding has no annotation.
    pub server: u32,
    pub namespace: u32,
    pub pool: u32,
    pub overall: u32,
    /// Sessions of a namespace that have not ended. More of them wait outside, up to `QUOTA_LINE`; then they are refused.
    pub open: u32,
    /// Shares of namespaces, where they compete; 1 for those that are not named.
    pub weights: BTreeMap<String, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            repository: 16,
            server: 8,
            namespace: 100,
            pool: 0,
            overall: 1000,
            open: 10_000,
            weights: BTreeMap::new(),
        }
    }
}

/// A thing that sessions share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Limited {
    /// An AppBinding, or a Repository that is wiped: one session at a time.
    Target(ObjectKey),
    /// A database server, by its address.
    Server(String),
    /// The place of a repository.
    Repository(String),
    Namespace(String),
    Pool(String),
    /// The planned sessions that no worker has taken yet.
    Queue(String, Lane),
    Overall,
    /// The sessions of a namespace that have not ended.
    Quota(String),
}

impl Limited {
    /// The reason of a wait for it, in CamelCase.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Target(_) => "TargetBusy",
            Self::Server(_) => "ServerBusy",
            Self::Repository(_) => "RepositoryBusy",
            Self::Namespace(_) => "NamespaceBusy",
            Self::Pool(_) | Self::Queue(..) => "WorkersBusy",
            Self::Overall => "ClusterBusy",
            Self::Quota(_) => "QuotaExceeded",
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(key) => write!(f, "{key}, which another session uses"),
            Self::Server(address) => write!(f, "database server {address}"),
            Self::Repository(place) => write!(f, "repository {place}"),
            Self::Namespace(name) => write!(f, "other sessions of namespace {name}"),
            Self::Pool(pool) | Self::Queue(pool, _) => write!(f, "workers of pool `{pool}`"),
            Self::Overall => f.write_str("other sessions of the cluster"),
            Self::Quota(name) => write!(f, "the quota of open sessions of namespace {name}"),
        }
    }
}

/// The order of sessions that wait for the same thing: those that a person asked for, then by priority, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaitOrder {
    pub urgency: u8,
    pub priority: Priority,
    pub arrival: u64,
    pub session: Uuid,
}

impl WaitOrder {
    pub fn of(session: &Session, priority: Priority) -> Self {
        let urgent = session.request.as_ref().is_some_and(|request| request.priority == Urgency::Urgent);
        Self { urgency: u8::from(!urgent), priority, arrival: session.first_sequence, session: session.key.uid }
    }
}

/// Whether a session stands back while another one of its configuration has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// It waits for the target.
    Allowed,
    /// It is skipped if another one is under way.
    Forbidden,
    /// It is skipped also if an older one still waits: slots must not pile up.
    ForbiddenSlot,
}

/// What a session that could be planned now needs.
#[derive(Debug, Clone)]
pub(crate) struct SessionNeeds {
    pub order: WaitOrder,
    pub overlap: Overlap,
    /// Everything that it uses, and how many sessions may use it.
    pub uses: Vec<(Limited, u32)>,
    /// The objects that set such limits.
    pub objects: Vec<ObjectKey>,
    /// When it ends if it was not planned by then.
    pub expires: Option<Timestamp>,
    pub patience: AnswerPatience,
}

/// How long a session waits for somebody who does not answer, while others try it: as long as its own attempts would.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerPatience {
    pub server: Duration,
    pub storage: Duration,
}

/// How long a storage is waited for before attempts count, as the workers do.
const OUTAGE: Duration = Duration::from_secs(300);
/// Time that an attempt waits in its worker's slot.
const ATTEMPT: Duration = Duration::from_secs(10);

impl AnswerPatience {
    pub fn of(session: &Session, plan: &Plan) -> Self {
        let left = plan.retry.max.saturating_sub(session.counted_retries);
        let retries = (Duration::from_secs(plan.retry.delay_seconds) + ATTEMPT).saturating_mul(left);
        let server = plan.target().map_or(OUTAGE, |target| Duration::from_secs(target.database.wait_seconds.into()));
        Self { server: server.saturating_add(retries), storage: OUTAGE.saturating_add(retries) }
    }

    pub const fn with(self, of: &Limited) -> Duration {
        match of {
            Limited::Server(_) => self.server,
            _ => self.storage,
        }
    }
}

/// The object that a plan locks: one session at a time works on an AppBinding, or deletes a Repository. Two AppBindings of one
/// server are two targets, so that its databases can be backed up side by side.
fn target(plan: &Plan) -> &ObjectRef {
    match &plan.work {
        Work::Backup(work) => &work.target.reference,
        Work::Restore(work) => &work.target.reference,
        Work::Wipe(work) => &work.repository.reference,
    }
}

/// Names the lock of a plan's target.
pub(crate) fn lock_key(plan: &Plan) -> String {
    let reference = target(plan);
    let scope = if matches!(plan.work, Work::Wipe(_)) { "repository" } else { "target" };
    kv::key(&[scope, reference.namespace.as_deref().unwrap_or("_"), &reference.name])
}

/// The database server that a plan works on.
pub(crate) fn server(plan: &Plan) -> Option<Limited> {
    let database = &plan.target()?.database;
    Some(Limited::Server(format!("{}:{}", database.host.to_ascii_lowercase(), database.port)))
}

/// The places that a plan reads or writes.
pub(crate) fn places(plan: &Plan) -> impl Iterator<Item = Limited> {
    plan.repositories().filter_map(|repository| place(&repository.backend))
}

fn place(backend: &lagan_schemas::resource::repository::Backend) -> Option<Limited> {
    Place::of(backend, Volumes::Mounted).map(|place| Limited::Repository(place.to_string()))
}

/// Everything that a planned session uses until it ends, in the order in which it is waited for. Wipes stand outside the
/// limits, because each appends only a few facts and frees space.
pub(crate) fn uses(namespace: &str, plan: &Plan) -> Vec<Limited> {
    let target = Limited::Target(target(plan).key());
    if matches!(plan.work, Work::Wipe(_)) {
        return vec![target];
    }
    let mut uses = vec![target];
    uses.extend(server(plan));
    uses.extend(places(plan));
    uses.push(Limited::Namespace(namespace.to_owned()));
    uses.push(Limited::Pool(plan.pool.clone()));
    uses.push(Limited::Overall);
    uses
}

/// The queue of a planned session that no worker has taken yet.
pub(crate) fn queue(plan: &Plan) -> Limited {
    Limited::Queue(plan.pool.clone(), plan.lane)
}

/// Everything that a session of this plan needs, with the limits that hold for it.
///
/// A session that a person asked for stands outside the limits of namespace, pool and cluster, so that schedules do not delay it.
pub(crate) fn limited_uses(namespace: &str, plan: &Plan, view: &View, limits: &Limits) -> Vec<(Limited, u32)> {
    let is_urgent = plan.lane == Lane::Urgent;
    let own_limit = |wanted: &Limited| {
        let mut repositories = plan.repositories().filter(|one| place(&one.backend).as_ref() == Some(wanted));
        let object = view.objects.get(&repositories.next()?.reference.key())?;
        max_concurrent(object)
    };
    let binding = plan.target().and_then(|target| view.objects.get(&target.reference.key()));
    let limit = |wanted: &Limited| match wanted {
        Limited::Target(_) => 1,
        Limited::Namespace(_) | Limited::Pool(_) | Limited::Overall if is_urgent => 0,
        Limited::Server(_) => binding.and_then(|object| max_concurrent(object)).unwrap_or(limits.server),
        Limited::Repository(_) => own_limit(wanted).unwrap_or(limits.repository),
        Limited::Namespace(_) => limits.namespace,
        Limited::Pool(_) => limits.pool,
        Limited::Overall => limits.overall,
        Limited::Queue(..) => QUEUE,
        Limited::Quota(_) => limits.open,
    };
    let uses = uses(namespace, plan).into_iter().chain([queue(plan)]);
    uses.map(|wanted| (wanted.clone(), limit(&wanted))).collect()
}

/// The objects that may set limits of a plan.
pub(crate) fn limiting_objects(plan: &Plan) -> Vec<ObjectKey> {
    let binding = plan.target().map(|target| target.reference.key());
    binding.into_iter().chain(plan.repositories().map(|repository| repository.reference.key())).collect()
}

/// The limit that an object itself sets.
fn max_concurrent(object: &Object) -> Option<u32> {
    match &object.spec {
        Spec::Repository(spec) => spec.max_concurrent.and_then(|limit| u32::try_from(limit).ok()),
        _ => object.metadata.annotations.get(MAX_CONCURRENT_ANNOTATION)?.parse().ok(),
    }
}
