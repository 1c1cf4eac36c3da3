//! Reads many stored messages through a consumer that the server removes by itself. The replica that holds the consumer may lag
//! behind, so the caller compares the answer with what the stream's leader knows.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info, PullConsumer, pull};
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use crate::connect::Bus;
use crate::error::{ApiError, api};

const BATCH: u64 = 500;
/// The server removes the consumer after this time without a request. It has no name that anybody could use again.
const INACTIVE: Duration = Duration::from_secs(5);

/// Reads the messages that match the filter, from `sequence` on, as one replica has them.
pub(crate) async fn consumed(bus: &Bus, stream: &str, filter: &str, sequence: u64) -> Result<Vec<Message>, ApiError> {
    let name = format!("read-{}", uuid::Uuid::new_v4().simple());
    let deliver_policy = match sequence {
        0 | 1 => DeliverPolicy::All,
        start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
    };
    let config = Config {
        name: Some(name.clone()),
        deliver_policy,
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        filter_subject: filter.to_owned(),
        inactive_threshold: INACTIVE,
        num_replicas: 1,
        memory_storage: true,
        ..Config::default()
    };
    let request = json!({ "stream_name": stream, "config": config, "action": "create" });
    let info: Info = api(bus, format!("CONSUMER.CREATE.{stream}.{name}.{filter}"), &request).await?;
    let mut pending = info.num_pending;
    let config = pull::Config { name: Some(name), ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = PullConsumer::new(config, info, bus.context().clone());
    let mut found = Vec::new();
    while pending > 0 {
        let size = usize::try_from(pending.min(BATCH)).unwrap_or(1);
        let failed = |error: async_nats::Error| ApiError::Request(error);
        let mut batch = consumer.fetch().max_messages(size).messages().await.map_err(|error| failed(error.into()))?;
        let before = found.len();
        while let Some(message) =
            timeout(bus.answer_within(), batch.next()).await.map_err(|_elapsed| ApiError::TimedOut)?
        {
            found.push(message.map_err(failed)?);
        }
        let got = u64::try_from(found.len() - before).unwrap_or(u64::MAX);
        // The rest has expired since.
        if got == 0 {
            break;
        }
        pending = pending.saturating_sub(got);
    }
    Ok(found)
}
