//! The position in SESSIONS up to which the end of every session has been reported. It is an entry of STATUS, so that it
//! is lost with the statuses that it speaks of. It must not be written before them.

use bytes::Bytes;
use jiff::Timestamp;
use lagan_bus::publish::{Publish, publish};
use lagan_bus::{AppendError, Expect, HeaderMap, Stored};
use lagan_schemas::error::chain;
use lagan_schemas::event::{CloudEvent, STATUS_CHANGED};
use lagan_schemas::position::Position;
use lagan_schemas::subject::{Cluster, STATUS, reporter_position};
use serde_json::json;
use uuid::Uuid;

use crate::context::Context;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StoredPosition {
    /// Sequence of the entry in STATUS; 0 without one.
    entry: u64,
    pub position: Option<Position>,
}

/// The result of writing the position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Saved {
    Yes,
    Later,
    /// STATUS does not hold what this reporter wrote to it: it was emptied or rolled back, or another process reports.
    Replaced,
}

impl StoredPosition {
    /// Takes the position from a message of STATUS; false if the message is something else.
    pub fn take(&mut self, cluster: &Cluster, stored: &Stored) -> bool {
        if stored.subject != reporter_position(cluster) {
            return false;
        }
        let event = CloudEvent::from_bytes(&stored.payload).ok();
        // A position that can't be read is written anew, and everything is read until then.
        let position = event.and_then(|event| serde_json::from_value(event.data).ok());
        *self = Self { entry: stored.sequence, position };
        true
    }

    /// Whether STATUS still has what was stored: it may have been emptied, made anew or set back.
    async fn is_there(&self, context: &Context, subject: &str) -> Saved {
        match lagan_bus::read::last(&context.bus, STATUS, subject).await {
            Ok(stored) if stored.as_ref().map_or(0, |stored| stored.sequence) == self.entry => Saved::Yes,
            Ok(_) => Saved::Replaced,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the reporter's position can't be read back");
                Saved::Later
            }
        }
    }

    pub async fn save(&mut self, context: &Context, position: Position) -> Saved {
        let cluster = context.cluster();
        let subject = reporter_position(cluster);
        if self.position == Some(position) {
            return self.is_there(context, &subject).await;
        }
        let message_id = format!("{cluster}.status.{}", Uuid::now_v7().simple());
        let source = format!("/lagan/{cluster}/reporter");
        let (kind, now) = (STATUS_CHANGED.to_owned(), Timestamp::now());
        let event =
            CloudEvent::new(message_id.clone(), source, kind, now, json!(position)).in_cluster(cluster.as_str());
        let payload = Bytes::from(event.to_bytes());
        let value = Publish { subject: subject.clone(), message_id, headers: HeaderMap::new(), payload };
        match publish(&context.bus, STATUS, value, &Expect::Last { filter: subject, sequence: self.entry }).await {
            Ok(entry) => {
                *self = Self { entry, position: Some(position) };
                Saved::Yes
            }
            Err(AppendError::Conflict { .. }) => Saved::Replaced,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the reporter's position was not stored yet");
                Saved::Later
            }
        }
    }
}
