//! Streams as data, and the code that makes the server match. Consumers are in `consumers`.
//! It must not delete streams or take over those of another cluster.

mod state;

use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, Info, StorageType};
use lagan_schemas::subject::{self, Cluster};
use serde::Deserialize;
use tokio::time::Instant;

use self::state::dated_info;
pub use self::state::{fill, held, server_time, store_id};
pub(crate) use self::state::{leaders_info, raw_info, untrusted_for};
use crate::connect::Bus;
use crate::error::{ApiError, api, code};
use crate::limits::{LEASES_MAX_BYTES, StreamLimits};

/// KV buckets. Each is a stream `KV_<bucket>` that binds `$KV.<bucket>.>`, as NATS tools expect.
pub const LOCKS: &str = "LOCKS";
pub const LEASES: &str = "LEASES";
pub const HEARTBEATS: &str = "HEARTBEATS";

/// Metadata key of the cluster that a stream belongs to. Buckets have no cluster in their subjects.
const CLUSTER_KEY: &str = "lagan-cluster";
/// Metadata key of a stream that was lost and made again.
const AGAIN_KEY: &str = "lagan-made-again";
/// Age from which a stream proves that Lagan ran before. The streams of a first start are made within a moment.
const FIRST_START: Duration = Duration::from_secs(10);
const MIB: i64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStorage {
    File,
    Memory,
}

/// The behaviour of a full stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The write fails and stored messages stay.
    Refuse,
    DropOldest,
}

/// The compression of the blocks of a stream on disk. It is chosen when the stream is made, and stays as an administrator changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockCompression {
    None,
    S2,
}

/// Whether the server may hold a stream to other limits than Lagan asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRule {
    /// A limit that is larger already stays.
    AtLeast,
    Exact,
}

/// The configuration of a stream. Zero means "no limit", as in NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    pub name: String,
    pub description: &'static str,
    pub subjects: Vec<String>,
    pub cluster: String,
    pub storage: StreamStorage,
    pub when_full: WhenFull,
    pub max_age: Duration,
    pub max_bytes: i64,
    pub limits: LimitRule,
    pub max_per_subject: i64,
    pub duplicate_window: Duration,
    pub compression: BlockCompression,
    pub replicas: usize,
}

/// Settings from flags and the environment.
#[derive(Debug, Clone)]
pub struct Sizes {
    pub replicas: usize,
    pub limits: StreamLimits,
    pub heartbeat_ttl: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { replicas: 1, limits: StreamLimits::default(), heartbeat_ttl: Duration::from_secs(30) }
    }
}

/// Lifetime of a lease's key that is not renewed, far longer than any outage that a session survives.
const LEASE_MEMORY: Duration = HOUR.saturating_mul(24);

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "stream `{name}` belongs to {found}, not to cluster `{cluster}`: give each cluster a NATS account of its own"
    )]
    OtherCluster { name: String, cluster: String, found: String },
    #[error(
        "stream `{name}` has {found:?} storage and needs {needed:?}; NATS can't change it: delete the stream and start again"
    )]
    StorageFixed { name: String, found: StreamStorage, needed: StreamStorage },
    #[error(
        "stream `{name}` needs {max_bytes} bytes, which JetStream does not have free: raise `max_file_store` or lower the stream's limit"
    )]
    NoSpace {
        name: String,
        max_bytes: i64,
        #[source]
        source: ApiError,
    },
    #[error("can't create or update stream `{name}`")]
    Ensure {
        name: String,
        #[source]
        source: ApiError,
    },
    #[error("can't read the state of stream `{name}`")]
    State {
        name: String,
        #[source]
        source: ApiError,
    },
}

/// Lists the streams of a cluster.
#[must_use]
pub fn of_cluster(cluster: &Cluster, sizes: &Sizes) -> Vec<StreamSpec> {
    let limits = &sizes.limits;
    let bytes = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let named = |name: &str, description| StreamSpec {
        name: name.to_owned(),
        description,
        subjects: vec![subject::stream_subjects(name, cluster)],
        cluster: cluster.to_string(),
        storage: StreamStorage::File,
        when_full: WhenFull::Refuse,
        max_age: Duration::ZERO,
        max_bytes: 0,
        limits: LimitRule::AtLeast,
        max_per_subject: 1,
        duplicate_window: Duration::ZERO,
        compression: BlockCompression::None,
        replicas: sizes.replicas,
    };
    let bucket = |name: &str, description| StreamSpec {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_bytes: bytes(LEASES_MAX_BYTES),
        ..named(name, description)
    };
    vec![
        StreamSpec {
            max_bytes: bytes(limits.resources_max_bytes),
            ..named(subject::RESOURCES, "Lagan: the last value of each object")
        },
        StreamSpec {
            max_age: limits.sessions_max_age,
            max_bytes: bytes(limits.sessions_max_bytes),
            max_per_subject: 0,
            duplicate_window: HOUR.min(limits.sessions_max_age),
            // Facts are only appended, and much of each is in the fact before it.
            compression: BlockCompression::S2,
            ..named(subject::SESSIONS, "Lagan: every fact of every session; also the queue")
        },
        StreamSpec {
            max_bytes: bytes(limits.status_max_bytes),
            ..named(subject::STATUS, "Lagan: the last status of each object")
        },
        StreamSpec {
            storage: StreamStorage::Memory,
            when_full: WhenFull::DropOldest,
            limits: LimitRule::Exact,
            max_age: Duration::from_secs(60),
            max_bytes: 64 * MIB,
            ..named(subject::PROGRESS, "Lagan: live progress of sessions")
        },
        StreamSpec {
            when_full: WhenFull::DropOldest,
            max_age: limits.dead_max_age,
            max_bytes: bytes(limits.dead_max_bytes),
            max_per_subject: 0,
            ..named(subject::DEAD, "Lagan: unreadable messages and the reasons")
        },
        StreamSpec {
            max_bytes: bytes(limits.locks_max_bytes),
            ..bucket(LOCKS, "Lagan: which session holds which target")
        },
        // Leases are on disk, unlike heartbeats: a lease that vanished in a restart could be taken while its holder still
        // trusts it. The cost is small because leases are few.
        StreamSpec { max_age: LEASE_MEMORY, ..bucket(LEASES, "Lagan: leases of roles and repositories") },
        StreamSpec {
            storage: StreamStorage::Memory,
            limits: LimitRule::Exact,
            max_age: sizes.heartbeat_ttl,
            ..bucket(HEARTBEATS, "Lagan: heartbeats of workers")
        },
    ]
}

/// Whether a stream that is missing was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Never,
    Lost,
}

/// Creates missing streams and updates those that differ, at the start of an engine. Any number of processes may do this at once.
/// If other streams are older than a moment, the missing ones were lost.
pub async fn ensure(bus: &Bus, specs: &[StreamSpec]) -> Result<(), StreamError> {
    ensure_all(bus, specs, Missing::Never).await
}

/// Does the same for streams that were all there before.
pub async fn ensure_again(bus: &Bus, specs: &[StreamSpec]) -> Result<(), StreamError> {
    ensure_all(bus, specs, Missing::Lost).await
}

/// Goes on after an error, so that one stream that can't be read leaves no other one missing, and returns the first error. Where a
/// stream belongs to another cluster, nothing more is made.
async fn ensure_all(bus: &Bus, specs: &[StreamSpec], mut missing: Missing) -> Result<(), StreamError> {
    let mut result = Ok(());
    for spec in specs {
        // After one that was waited for in vain, the others are tried once.
        let deadline = if result.is_ok() { bus.deadline() } else { Instant::now() };
        match ensure_by(bus, spec, missing, deadline).await {
            Ok(age) if age > FIRST_START => missing = Missing::Lost,
            Ok(_) => {}
            Err(error @ StreamError::OtherCluster { .. }) => return Err(error),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Waits until another process, the engine, has made the streams. It changes none.
pub async fn wait_for(bus: &Bus, specs: &[StreamSpec]) -> Result<(), StreamError> {
    for spec in specs {
        let mut waited = 0u32;
        loop {
            match raw_info(bus, &spec.name).await {
                Ok(info) => break check_owner(spec, &info.config)?,
                Err(error) if error.is_transient() || error.code() == Some(code::STREAM_NOT_FOUND) => {
                    if waited == 0 {
                        tracing::info!(stream = spec.name, "waiting for the engine to create the stream");
                    }
                    waited = waited.saturating_add(1);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(source) => return Err(StreamError::State { name: spec.name.clone(), source }),
            }
        }
    }
    Ok(())
}

/// Makes a stream again that was there before.
pub(crate) async fn ensure_one(bus: &Bus, spec: &StreamSpec) -> Result<(), StreamError> {
    ensure_by(bus, spec, Missing::Lost, bus.deadline()).await.map(drop)
}

/// Returns the age of the stream; that of a new one is zero.
async fn ensure_by(bus: &Bus, spec: &StreamSpec, missing: Missing, deadline: Instant) -> Result<Duration, StreamError> {
    loop {
        let refused = match attempt(bus, spec, missing).await {
            Ok(age) => return Ok(age),
            Err(refused) => refused,
        };
        // A server that just started needs a moment, and another process may have created the stream first.
        let again = matches!(&refused, StreamError::Ensure { source, .. }
            if source.is_transient() || source.code() == Some(code::NAME_IN_USE));
        if !again || Instant::now() >= deadline {
            return Err(refused);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn attempt(bus: &Bus, spec: &StreamSpec, missing: Missing) -> Result<Duration, StreamError> {
    let failed = |source: ApiError| match source.code() {
        Some(
            code::STORAGE_RESOURCES | code::INSUFFICIENT_RESOURCES | code::MEMORY_RESOURCES | code::ACCOUNT_RESOURCES,
        ) => StreamError::NoSpace { name: spec.name.clone(), max_bytes: spec.max_bytes, source },
        Some(code::SUBJECT_OVERLAP) => StreamError::OtherCluster {
            name: spec.name.clone(),
            cluster: spec.cluster.clone(),
            found: "another stream that binds its subjects".to_owned(),
        },
        _ => StreamError::Ensure { name: spec.name.clone(), source },
    };
    let existing = match dated_info(bus, &spec.name).await {
        Ok(dated) => Some(dated),
        Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => None,
        Err(error) => return Err(failed(error)),
    };
    let Some((Info { config: existing, .. }, age)) = existing else {
        let mut wanted = overlay(spec, None);
        if missing == Missing::Lost {
            wanted.metadata.insert(AGAIN_KEY.to_owned(), "true".to_owned());
        }
        let _: Created = api(bus, format!("STREAM.CREATE.{}", spec.name), &wanted).await.map_err(failed)?;
        tracing::info!(stream = spec.name, ?missing, "stream created");
        return Ok(Duration::ZERO);
    };
    check_owner(spec, &existing)?;
    let wanted = overlay(spec, Some(&existing));
    if wanted.max_age != spec.max_age || wanted.max_bytes != spec.max_bytes.max(-1) {
        let (max_bytes, max_age_s) = (wanted.max_bytes, wanted.max_age.as_secs());
        tracing::info!(
            stream = spec.name,
            max_bytes,
            max_age_s,
            "stream keeps limits that are larger than the settings"
        );
    }
    if wanted != existing {
        let _: Created = api(bus, format!("STREAM.UPDATE.{}", spec.name), &wanted).await.map_err(failed)?;
        tracing::info!(stream = spec.name, "stream updated");
    }
    Ok(age)
}

#[derive(Deserialize)]
struct Created {}

fn check_owner(spec: &StreamSpec, existing: &Config) -> Result<(), StreamError> {
    let other = |found| StreamError::OtherCluster { name: spec.name.clone(), cluster: spec.cluster.clone(), found };
    if let Some(owner) = existing.metadata.get(CLUSTER_KEY)
        && *owner != spec.cluster
    {
        return Err(other(format!("cluster `{owner}`")));
    }
    if existing.subjects.iter().any(|s| !spec.subjects.contains(s)) {
        return Err(other(format!("a user of the subjects {}", existing.subjects.join(", "))));
    }
    let found = match existing.storage {
        StorageType::File => StreamStorage::File,
        StorageType::Memory => StreamStorage::Memory,
    };
    if found != spec.storage {
        return Err(StreamError::StorageFixed { name: spec.name.clone(), found, needed: spec.storage });
    }
    Ok(())
}

/// Overwrites only the fields that Lagan needs: placement, compression and the like stay as the administrator set them.
fn overlay(spec: &StreamSpec, existing: Option<&Config>) -> Config {
    // The server shows "no limit" as -1 and "no window" as its own default.
    let limit = |wanted: i64| if wanted > 0 { wanted } else { -1 };
    let (mut max_bytes, mut max_age) = (limit(spec.max_bytes), spec.max_age);
    if let Some(existing) = existing
        && spec.limits == LimitRule::AtLeast
    {
        let unlimited = max_bytes < 0 || existing.max_bytes <= 0;
        max_bytes = if unlimited { -1 } else { max_bytes.max(existing.max_bytes) };
        let for_ever = max_age.is_zero() || existing.max_age.is_zero();
        max_age = if for_ever { Duration::ZERO } else { max_age.max(existing.max_age) };
    }
    let base = existing.cloned().unwrap_or_else(|| Config {
        compression: (spec.compression == BlockCompression::S2).then_some(Compression::S2),
        ..Config::default()
    });
    let mut metadata = base.metadata;
    metadata.insert(CLUSTER_KEY.to_owned(), spec.cluster.clone());
    Config {
        name: spec.name.clone(),
        description: Some(spec.description.to_owned()),
        subjects: spec.subjects.clone(),
        storage: match spec.storage {
            StreamStorage::File => StorageType::File,
            StreamStorage::Memory => StorageType::Memory,
        },
        discard: match spec.when_full {
            WhenFull::Refuse => DiscardPolicy::New,
            WhenFull::DropOldest => DiscardPolicy::Old,
        },
        max_age,
        max_bytes,
        max_messages: -1,
        max_messages_per_subject: limit(spec.max_per_subject),
        duplicate_window: if spec.duplicate_window.is_zero() { base.duplicate_window } else { spec.duplicate_window },
        num_replicas: spec.replicas,
        // For reading many messages with one request. A replica may answer with an outdated value, so `read::all` compares.
        allow_direct: true,
        // The marks of what was deleted go by themselves. The facts of sessions must not be able to.
        allow_message_ttl: base.allow_message_ttl || spec.max_per_subject == 1,
        metadata,
        ..base
    }
}
