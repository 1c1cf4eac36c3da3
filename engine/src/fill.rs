//! How full the session log is. Near its limit no new session is let in, so that those that run can still write
//! their ends (P16).

use std::time::Duration;

use lagan_bus::{Bus, streams};
use lagan_schemas::error::chain;
use lagan_schemas::subject::SESSIONS;
use tokio::time::Instant;

const FULL: f64 = 0.9;
const LOOKS: Duration = Duration::from_secs(30);

/// The last look, and when it was.
#[derive(Default)]
pub(crate) struct Fill {
    ratio: f64,
    looked: Option<Instant>,
}

impl Fill {
    pub async fn is_full(&mut self, bus: &Bus) -> bool {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOKS) {
            match streams::fill(bus, SESSIONS).await {
                Ok(ratio) => (self.ratio, self.looked) = (ratio, Some(Instant::now())),
                Err(error) => tracing::warn!(error = chain(&error), "can't see how full the session log is"),
            }
            if self.ratio >= FULL {
                let fill_percent = self.ratio * 100.0;
                tracing::error!(fill_percent, "session log is nearly full: no new session starts; raise its max_bytes");
            }
        }
        self.ratio >= FULL
    }
}
