//! How full the session log is. Near its limit no new session is accepted, so that running sessions can still append
//! their ends (P16).

use std::time::Duration;

use lagan_bus::{Bus, streams};
use lagan_schemas::error::chain;
use lagan_schemas::subject::SESSIONS;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Part of the log's size from which on no new session is accepted.
const LIMIT: f64 = 0.9;
/// Time for which a measurement is used.
const VALID_FOR: Duration = Duration::from_secs(30);

/// The last measurement of the session log.
#[derive(Default)]
pub(crate) struct LogUsage(Mutex<Measurement>);

#[derive(Default)]
struct Measurement {
    ratio: f64,
    measured_at: Option<Instant>,
}

impl LogUsage {
    pub async fn is_over_limit(&self, bus: &Bus) -> bool {
        let mut last = self.0.lock().await;
        if last.measured_at.is_none_or(|at| at.elapsed() >= VALID_FOR) {
            match streams::fill(bus, SESSIONS).await {
                Ok(ratio) => (last.ratio, last.measured_at) = (ratio, Some(Instant::now())),
                Err(error) => tracing::warn!(error = chain(&error), "usage of the session log can't be measured"),
            }
            if last.ratio >= LIMIT {
                let usage_percent = last.ratio * 100.0;
                tracing::error!(
                    usage_percent,
                    "session log is nearly full: no new session starts; raise --sessions-max-bytes of the engine (nats.streams.sessionsMaxBytes of the chart)"
                );
            }
        }
        last.ratio >= LIMIT
    }
}
