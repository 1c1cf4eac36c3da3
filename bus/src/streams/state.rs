//! Reads the state of a stream. It must not change any.

use std::time::Duration;

use async_nats::jetstream::stream::Info;
use jiff::{SignedDuration, Timestamp};
use lagan_schemas::position::StoreId;
use lagan_schemas::subject;
use serde::Deserialize;
use tokio::time::Instant;

use super::{AGAIN_KEY, StreamError};
use crate::connect::Bus;
use crate::error::{ApiError, EmptyRequest, api};
use crate::read::{store_of, timestamp};

/// Reads the id of a stream's store. It accompanies every stored sequence, which means nothing in another store.
pub async fn store_id(bus: &Bus, stream: &str) -> Result<StoreId, StreamError> {
    Ok(store_of(&of_state(stream, raw_info(bus, stream).await)?))
}

/// Reads the first and the last sequence of a stream, as its leader knows them. An empty one begins behind its last message.
pub async fn held(bus: &Bus, stream: &str) -> Result<(u64, u64), StreamError> {
    let state = of_state(stream, leaders_info(bus, stream).await)?.state;
    Ok((state.first_sequence, state.last_sequence))
}

/// Reads the time of the server's clock.
pub async fn server_time(bus: &Bus) -> Result<Timestamp, StreamError> {
    let (name, asked) = (subject::SESSIONS, Instant::now());
    let (info, now) = of_state(name, timed_info(bus, name).await)?;
    if !is_led(&info) {
        bus.note_silence(asked);
    }
    Ok(now)
}

/// Reads how full a stream is, from 0 to 1; 0 if it has no limit.
pub async fn fill(bus: &Bus, stream: &str) -> Result<f64, StreamError> {
    let info = of_state(stream, raw_info(bus, stream).await)?;
    let Ok(max) = u64::try_from(info.config.max_bytes) else { return Ok(0.0) };
    #[expect(clippy::cast_precision_loss, reason = "a ratio of sizes far below 2^52")]
    Ok(if max == 0 { 0.0 } else { info.state.bytes as f64 / max as f64 })
}

/// Returns for how long the absence of a message proves nothing: after a stream was lost and made again, until it is
/// `trusted_after` old by the server's clock.
pub(crate) async fn untrusted_for(
    bus: &Bus,
    stream: &str,
    trusted_after: Duration,
) -> Result<Option<Duration>, ApiError> {
    let (info, age) = dated_info(bus, stream).await?;
    let left = trusted_after.saturating_sub(age);
    Ok((info.config.metadata.contains_key(AGAIN_KEY) && !left.is_zero()).then_some(left))
}

/// Reads the state of a stream, and its age by the server's clock.
pub(super) async fn dated_info(bus: &Bus, stream: &str) -> Result<(Info, Duration), ApiError> {
    let (info, now) = timed_info(bus, stream).await?;
    let age: SignedDuration = now.duration_since(timestamp(info.created.unix_timestamp_nanos()));
    Ok((info, age.try_into().unwrap_or_default()))
}

/// Reads the state of a stream as its leader knows it. A server that knows no leader answers too, perhaps with a state of long ago.
pub(crate) async fn leaders_info(bus: &Bus, stream: &str) -> Result<Info, ApiError> {
    let asked = Instant::now();
    let info = raw_info(bus, stream).await?;
    if is_led(&info) {
        return Ok(info);
    }
    bus.note_silence(asked);
    Err(ApiError::NoLeader)
}

/// Reads the state of a stream as some server knows it.
pub(crate) async fn raw_info(bus: &Bus, stream: &str) -> Result<Info, ApiError> {
    Ok(timed_info(bus, stream).await?.0)
}

async fn timed_info(bus: &Bus, stream: &str) -> Result<(Info, Timestamp), ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(flatten)]
        info: Info,
        ts: Timestamp,
    }
    let Answer { info, ts } = api(bus, format!("STREAM.INFO.{stream}"), &EmptyRequest {}).await?;
    Ok((info, ts))
}

/// A stream outside of a NATS cluster has no replicas.
fn is_led(info: &Info) -> bool {
    info.cluster.as_ref().is_none_or(|replicas| replicas.leader.as_deref().is_some_and(|leader| !leader.is_empty()))
}

fn of_state<T>(stream: &str, read: Result<T, ApiError>) -> Result<T, StreamError> {
    read.map_err(|source| StreamError::State { name: stream.to_owned(), source })
}
