//! The durable consumers of SESSIONS that an engine keeps: one for each lane of each pool.

use lagan_bus::consumers::{self, Begin, ConsumerSpec};
use lagan_bus::streams;
use lagan_schemas::subject::{Lane, SESSIONS, planned_filter, work_consumer};

use crate::context::Context;
use crate::error::EngineError;

/// Creates the consumers that are missing. A new one starts at the oldest session that has not ended (P7).
pub(crate) async fn ensure_consumers(context: &Context) -> Result<(), EngineError> {
    let store = streams::store_id(&context.bus, SESSIONS).await?;
    let oldest = {
        let view = context.sessions.read();
        // In a stream that was made anew, the sequences of the view would pass over sessions.
        let active = view.active.values().filter(|_| view.store == Some(store));
        active.map(|session| session.first_sequence).min()
    };
    let begin = match oldest {
        Some(sequence) => Begin::At(sequence),
        None => Begin::Oldest,
    };
    let cluster = context.cluster();
    let spec = |name: String, filters: Vec<String>| ConsumerSpec {
        stream: SESSIONS.to_owned(),
        name,
        filters,
        ack_wait: context.timing().ack_wait(),
        begin,
    };
    for pool in &context.options.pools {
        for lane in Lane::ALL {
            let filter = vec![planned_filter(cluster, pool, lane)];
            consumers::ensure(&context.bus, &spec(work_consumer(pool, lane), filter)).await?;
        }
    }
    Ok(())
}
