//! Metrics for Prometheus: Lagan's own on /metrics, and gauges under Stash's names for a Pushgateway. Everything here is
//! pure except `push`, which sends. No session waits for a metric or fails because of one.

mod gauge;
mod group;
pub(crate) mod push;
mod series;
mod shown;
pub(crate) mod stash;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use lagan_schemas::resource::{Object, Spec, Status};
use lagan_schemas::session::{Course, Session};
use lagan_schemas::subject::ObjectKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use self::series::Series;

/// The metrics of an engine on /metrics. Clones share one set. Only the process that reports counts sessions, so that over
/// all engines of a cluster each session counts once.
#[derive(Debug, Clone, Default)]
pub struct EngineMetrics {
    series: Arc<Mutex<Series>>,
    /// Waiting sessions by reason. Every engine knows all of them.
    waiting: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    /// Messages of SESSIONS that this process copied to DEAD.
    unreadable: Arc<AtomicU64>,
}

impl EngineMetrics {
    /// Creates metrics that `registry` shows under the prefix `lagan`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.sub_registry_with_prefix("lagan").register_collector(Box::new(metrics.clone()));
        metrics
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the end of a session that was no dry run, once.
    pub(crate) fn session_ended(&self, session: &Session) {
        self.series().session_ended(session);
    }

    /// Takes in the status of an object. The same status changes nothing.
    pub(crate) fn object_changed(&self, object: &Object, status: &Status) {
        self.series().object_changed(object, status, Timestamp::now());
    }

    /// Removes the series of a deleted object.
    pub(crate) fn object_deleted(&self, key: &ObjectKey) {
        self.series().object_deleted(key);
    }

    /// Counts a message of SESSIONS that is no fact.
    pub(crate) fn unreadable_message(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the numbers of waiting sessions.
    pub(crate) fn waiting(&self, counts: BTreeMap<&'static str, u64>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Takes in how far the clock of this machine is ahead of the server's.
    pub(crate) fn clock_skew(&self, skew: SignedDuration) {
        self.series().clock_skew = Some(skew);
    }

    /// Removes the series of sessions and objects, because another process reports from now on.
    pub(crate) fn clear(&self) {
        let mut series = self.series();
        *series = Series { clock_skew: series.clock_skew, ..Series::default() };
    }
}

/// Whether a session restores nothing, so that it is no success and no failure of a restore. One that was refused before its
/// plan is known by the object that asked.
pub(crate) fn is_dry_run(session: &Session, invoker: &Object) -> bool {
    let asks = matches!(&invoker.spec, Spec::RestoreSession(spec) if spec.dry_run == Some(true));
    session.course() == Course::DryRun || (session.plan.is_none() && asks)
}

impl Collector for EngineMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = (&waiting, self.unreadable.load(Ordering::Relaxed));
        shown::encode(&self.series(), own, encoder, Timestamp::now())
    }
}
