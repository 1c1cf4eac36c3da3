//! Numbers for Prometheus: gauges under Stash's names for a Pushgateway, and Lagan's own on /metrics. What they are is
//! decided here and in `metrics/`, purely; only `push` talks to anybody. No session waits for a number or fails by one.

mod gauge;
mod group;
pub(crate) mod push;
mod series;
mod shown;
pub(crate) mod stash;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lagan_schemas::resource::Object;
use lagan_schemas::session::Session;
use lagan_schemas::subject::ObjectKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use serde_json::Value;

use self::series::Series;

/// What an engine tells on /metrics. Clones are one and the same. Only the process that reports has sessions to tell of:
/// over all engines of a cluster each session counts once.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Series>>);

impl Metrics {
    /// `registry` shows them from now on, under prefix `lagan`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.sub_registry_with_prefix("lagan").register_collector(Box::new(metrics.clone()));
        metrics
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session's end that is news.
    pub(crate) fn ended(&self, session: &Session) {
        self.series().ended(session);
    }

    /// The status of an object, whenever it is looked at.
    pub(crate) fn object(&self, object: &Object, status: &Value) {
        self.series().object(object, status, Timestamp::now());
    }

    /// The series of an object go with it.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.series().forget(key);
    }

    /// Another process reports from now on.
    pub(crate) fn clear(&self) {
        *self.series() = Series::default();
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        shown::encode(&self.series(), encoder, Timestamp::now())
    }
}
