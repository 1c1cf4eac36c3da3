//! What a worker tells on /metrics: how many sessions it can run, and how many it runs.

use lagan_schemas::subject::Lane;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type ByLane = Family<[(&'static str, &'static str); 1], Gauge>;

/// Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    slots: ByLane,
    busy: ByLane,
}

impl WorkerMetrics {
    /// `registry` shows them from now on, under prefix `lagan`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("lagan_worker");
        registry.register("slots", "Sessions that this worker runs at once", metrics.slots.clone());
        registry.register("busy", "Sessions that this worker has in hand", metrics.busy.clone());
        metrics
    }

    pub(crate) fn slots(&self, lane: Lane, count: usize) {
        self.slots.get_or_create(&[("lane", lane.as_str())]).set(i64::try_from(count).unwrap_or(i64::MAX));
        self.busy.get_or_create(&[("lane", lane.as_str())]).set(0);
    }

    pub(crate) fn taken(&self, lane: Lane) {
        self.busy.get_or_create(&[("lane", lane.as_str())]).inc();
    }

    pub(crate) fn settled(&self, lane: Lane) {
        self.busy.get_or_create(&[("lane", lane.as_str())]).dec();
    }
}
