//! Publishes on PROGRESS how far a session is, twice a second while bytes move. Nothing depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lagan_bus::Bus;
use lagan_schemas::event::{Activity, CloudEvent, Progress};
use lagan_schemas::plan::Plan;
use lagan_schemas::session::Session;
use lagan_schemas::subject::{SessionKey, progress};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

const EVERY: Duration = Duration::from_millis(500);

/// Publishes until it is dropped.
pub(crate) struct ProgressReporter {
    _task: AbortOnDropHandle<()>,
}

/// The session whose progress is published, and where its numbers stand.
pub(crate) struct ProgressContext {
    pub key: SessionKey,
    pub pool: String,
    pub session_name: String,
    pub target: String,
    pub activity: Activity,
    pub bytes: Arc<AtomicU64>,
    pub total_bytes: Option<u64>,
}

impl ProgressContext {
    pub fn new(key: &SessionKey, plan: &Plan) -> Self {
        Self {
            key: key.clone(),
            pool: plan.pool.clone(),
            session_name: plan.session_name.clone(),
            target: plan.target().map(|target| target.name.clone()).unwrap_or_default(),
            activity: Activity::Preparing,
            bytes: Arc::default(),
            total_bytes: None,
        }
    }
}

/// Says once that a session waits for a worker that can read its plan.
pub(crate) async fn tell_waiting(bus: &Bus, session: &Session, pool: &str) {
    let context = ProgressContext {
        key: session.key.clone(),
        pool: pool.to_owned(),
        session_name: session.request.as_ref().map(|request| request.name.clone()).unwrap_or_default(),
        target: String::new(),
        activity: Activity::Waiting,
        bytes: Arc::default(),
        total_bytes: None,
    };
    tell(bus, &context, 0, 0).await;
}

impl ProgressReporter {
    pub fn start(bus: Bus, context: ProgressContext) -> Self {
        Self { _task: AbortOnDropHandle::new(tokio::spawn(publish(bus, context))) }
    }
}

async fn publish(bus: Bus, context: ProgressContext) {
    let (mut last_bytes, mut last_time) = (0u64, Instant::now());
    loop {
        let bytes = context.bytes.load(Ordering::Relaxed);
        let seconds = last_time.elapsed().as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let bytes_per_second = (bytes.saturating_sub(last_bytes) as f64 / seconds) as u64;
        (last_bytes, last_time) = (bytes, Instant::now());
        tell(&bus, &context, bytes, bytes_per_second).await;
        tokio::time::sleep(EVERY).await;
    }
}

async fn tell(bus: &Bus, context: &ProgressContext, bytes: u64, bytes_per_second: u64) {
    let data = Progress {
        session: context.key.uid,
        session_name: context.session_name.clone(),
        target: context.target.clone(),
        activity: context.activity,
        bytes,
        bytes_per_second,
        total_bytes: context.total_bytes,
    };
    let data = serde_json::to_value(&data).expect("numbers and strings are JSON");
    let source = format!("/lagan/{}/worker", context.key.cluster);
    let event = CloudEvent::new(Uuid::new_v4().to_string(), source, Progress::TYPE.to_owned(), Timestamp::now(), data)
        .in_cluster(context.key.cluster.as_str())
        .of_session(context.key.uid.to_string());
    let subject = progress(&context.key, &context.pool);
    lagan_bus::publish::progress(bus, subject, Bytes::from(event.to_bytes())).await;
}
