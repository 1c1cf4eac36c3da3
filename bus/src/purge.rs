//! Removes the last value of a subject, for statuses of deleted objects. It must not be used on SESSIONS.

use serde::Deserialize;
use serde_json::json;

use crate::connect::Bus;
use crate::error::{ApiError, api};

#[derive(Deserialize)]
struct Purged {}

pub async fn purge_subject(bus: &Bus, stream: &str, subject: &str) -> Result<(), ApiError> {
    let _: Purged = api(bus, format!("STREAM.PURGE.{stream}"), &json!({ "filter": subject })).await?;
    Ok(())
}
