//! Publishes one object on RESOURCES under the lease of the watcher and with compare-and-set, if it is not there already. It
//! must not know where objects come from.

use std::sync::RwLockReadGuard;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lagan_bus::lease::Tenure;
use lagan_bus::publish::{Publish, publish_under};
use lagan_bus::{AppendError, Expect, HeaderMap, read, tombstone};
use lagan_schemas::error::chain;
use lagan_schemas::event::{CloudEvent, ResourceEvent};
use lagan_schemas::resource::Object;
use lagan_schemas::subject::{ObjectKey, RESOURCES};
use serde_json::Value;
use uuid::Uuid;

use crate::context::Context;
use crate::view::{LastingTombstone, Refused, View};

/// A watcher that has its lease, and the standing of that lease.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub context: &'a Context,
    pub tenure: &'a Tenure,
}

impl Publisher<'_> {
    /// Everything that is on the bus.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.context.resources.read()
    }
}

/// Publishes an object in its published form. Returns false if it has to be tried again, like the other functions here.
pub(super) async fn publish_if_new(publisher: Publisher<'_>, object: &Object, problem: Option<String>) -> bool {
    let key = object.key();
    let is_unreadable = publisher.view().unreadable.contains(&key);
    let is_known = !is_unreadable
        && match &problem {
            None => publisher.view().objects.get(&key).is_some_and(|known| **known == *object),
            Some(problem) => publisher.view().refused.get(&key).is_some_and(|known| {
                let Refused { metadata, problem: told, .. } = known;
                *metadata == object.metadata && told == problem
            }),
        };
    if is_known {
        return true;
    }
    let uid = object.metadata.uid.unwrap_or_default();
    let ignored_fields = object.ignored_fields.clone();
    let event = ResourceEvent { object: Some(object.to_json()), uid, ignored_fields, problem };
    match send(publisher, &key, event).await {
        Sent::Yes => true,
        Sent::Later => false,
        // It must not keep the others of its kind from being published.
        Sent::TooLarge(bytes) => publish_refused(publisher, &key, &too_large(object, bytes)).await,
    }
}

/// The head of an object that is too large to be published, with the reason.
fn too_large(object: &Object, bytes: usize) -> Refused {
    let mut metadata = object.metadata.clone();
    (metadata.annotations, metadata.labels) = Default::default();
    Refused {
        metadata,
        api_version: object.api_version.clone(),
        problem: format!(
            "with {bytes} bytes the object is too large for NATS: make it smaller, or raise `max_payload` of the server"
        ),
    }
}

/// Publishes the head of an object that can't be read as its type, with the reason.
pub(super) async fn publish_refused(publisher: Publisher<'_>, key: &ObjectKey, refused: &Refused) -> bool {
    if publisher.view().refused.get(key) == Some(refused) {
        return true;
    }
    let head = serde_json::json!({
        "apiVersion": refused.api_version, "kind": key.kind, "metadata": refused.metadata, "spec": Value::Null,
    });
    let uid = refused.metadata.uid.unwrap_or_default();
    let problem = Some(refused.problem.clone());
    published(
        key,
        send(publisher, key, ResourceEvent { object: Some(head), uid, ignored_fields: Vec::new(), problem }).await,
    )
}

/// Whether nothing has to be tried again. What is too large even so is passed over.
fn published(key: &ObjectKey, sent: Sent) -> bool {
    if let Sent::TooLarge(bytes) = sent {
        tracing::error!(object = %key, bytes, "object is too large for NATS and can't be used: shorten its name or its problem");
    }
    !matches!(sent, Sent::Later)
}

/// Publishes a tombstone for an object that is gone.
pub(super) async fn bury(publisher: Publisher<'_>, key: &ObjectKey, uid: Uuid) -> bool {
    published(
        key,
        send(publisher, key, ResourceEvent { object: None, uid, ignored_fields: Vec::new(), problem: None }).await,
    )
}

/// Writes a tombstone again if it is still the last message of its object. Returns false if it was refused.
pub(super) async fn renew_tombstone(publisher: Publisher<'_>, key: &ObjectKey, tombstone: LastingTombstone) -> bool {
    let LastingTombstone { uid, sequence } = tombstone;
    let event = ResourceEvent { object: None, uid, ignored_fields: Vec::new(), problem: None };
    match send_after(publisher, key, &event, sequence).await {
        Ok(sent) => matches!(sent, Sent::Yes),
        Err(Raced) => {
            tracing::debug!(object = %key, "tombstone was replaced meanwhile");
            true
        }
    }
}

/// The result of sending an event.
enum Sent {
    Yes,
    Later,
    /// The server accepts no message of this many bytes.
    TooLarge(usize),
}

async fn send(publisher: Publisher<'_>, key: &ObjectKey, event: ResourceEvent) -> Sent {
    let known = publisher.view().sequences.get(key).copied();
    match send_after(publisher, key, &event, known.unwrap_or(0)).await {
        Ok(sent) => sent,
        Err(Raced) => match tombstone_of(publisher, key, known).await {
            Some(sequence) => send_after(publisher, key, &event, sequence).await.unwrap_or(Sent::Later),
            None => {
                tracing::debug!(object = %key, "another watcher was faster, or the view is behind");
                Sent::Later
            }
        },
    }
}

/// The subject has another last sequence than was expected.
struct Raced;

/// The last sequence of a subject, if nothing of the object is on the bus: that of its tombstone, which the view does not keep, or 0
/// when that has expired.
async fn tombstone_of(publisher: Publisher<'_>, key: &ObjectKey, known: Option<u64>) -> Option<u64> {
    let subject = key.resource_subject(publisher.context.cluster());
    match read::last(&publisher.context.bus, RESOURCES, &subject).await {
        Ok(None) => Some(0),
        Ok(Some(stored)) if known.is_none() => {
            let is_tombstone = ResourceEvent::from_bytes(&stored.payload).is_ok_and(|event| event.object.is_none());
            is_tombstone.then_some(stored.sequence)
        }
        Ok(Some(_)) => None,
        Err(error) => {
            tracing::warn!(object = %key, error = chain(&error), "what is on the bus of an object can't be read");
            None
        }
    }
}

async fn send_after(
    publisher: Publisher<'_>,
    key: &ObjectKey,
    event: &ResourceEvent,
    sequence: u64,
) -> Result<Sent, Raced> {
    let cluster = publisher.context.cluster();
    let subject = key.resource_subject(cluster);
    // A value may come back later, so each publication has an id of its own; compare-and-set prevents duplicates.
    let message_id = format!("{cluster}.resource.{}", Uuid::now_v7().simple());
    let data = serde_json::to_value(event).expect("an object is JSON");
    let source = format!("/lagan/{cluster}/watcher");
    let cloud_event = CloudEvent::new(message_id.clone(), source, event.kind().to_owned(), Timestamp::now(), data)
        .about(key.to_string())
        .in_cluster(cluster.as_str());
    let payload = Bytes::from(cloud_event.to_bytes());
    let bytes = payload.len();
    let headers = if event.object.is_some() { HeaderMap::new() } else { tombstone::headers() };
    let value = Publish { subject: subject.clone(), message_id, headers, payload };
    let mut seen = publisher.context.resources.changes();
    let expect = Expect::Last { filter: subject, sequence };
    match publish_under(&publisher.context.bus, publisher.tenure, RESOURCES, value, &expect).await {
        Ok(published) => {
            tracing::info!(object = %key, deleted = event.object.is_none(), "object published");
            // The next look compares with the view, so the view must contain this publication.
            let _ = tokio::time::timeout(
                Duration::from_secs(5),
                seen.wait_for(|progress| progress.sequence() >= published),
            )
            .await;
            Ok(Sent::Yes)
        }
        Err(AppendError::Conflict { .. }) => Err(Raced),
        Err(AppendError::TooLarge { .. }) => Ok(Sent::TooLarge(bytes)),
        Err(error) => {
            tracing::warn!(object = %key, error = chain(&error), "object was not published, the next look tries again");
            Ok(Sent::Later)
        }
    }
}
