//! Asks why no worker has taken a session that was planned: whether workers of its pool are connected, and how many are busy.

use std::time::Duration;

use lagan_bus::Bus;
use lagan_bus::consumers::workload;
use lagan_schemas::subject::{Lane, SESSIONS, work_consumer};

use crate::narration::PoolState;

/// Time after which a planned session that no worker has taken is worth a question.
pub const FIRST: Duration = Duration::from_secs(3);
/// Interval of further questions, for as long as a person waits.
pub const AGAIN: Duration = Duration::from_secs(10);

/// Returns why a session of this lane waits; `None` if a worker is free, or if the server does not say.
pub async fn ask(bus: &Bus, pool: &str, lane: Lane) -> Option<PoolState> {
    let mut busy = 0;
    for one in Lane::ALL {
        let load = workload(bus, SESSIONS, &work_consumer(pool, one)).await.ok()?;
        if one == lane && load.idle > 0 {
            return None;
        }
        busy += load.busy;
    }
    Some(if busy == 0 { PoolState::NoWorker } else { PoolState::Busy(busy) })
}
