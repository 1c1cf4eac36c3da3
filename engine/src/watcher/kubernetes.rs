//! The watcher of a cluster: publishes the objects of the API server. At the end of each list it buries objects that the
//! list did not have, so a deletion that was missed is seen then; `unwatched` buries those that no list is about. It must
//! not write to the API server.

mod unwatched;

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use lagan_schemas::error::chain;
use lagan_schemas::manifest::problems;
use lagan_schemas::resource::{Group, Kind, Metadata, Object, Spec};
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, LAST_APPLIED, api_resource};
use lagan_sources::stand_in;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::publish::{Publisher, bury, publish_if_new, publish_refused};
use crate::error::EngineError;
use crate::view::Refused;

const PAGE: u32 = 500;
/// Number of publications in flight; each waits for the server's answer.
const PUBLISHERS: usize = 64;
/// Failed starts of a watch before everything is listed anew: a watch keeps its resource version for ever, and the server
/// may never reach that version.
const ERRORS_UNTIL_LIST: u32 = 5;
/// Interval at which everything is listed anew, whatever the watch says.
const RESYNC: Duration = Duration::from_secs(30 * 60);
const SLOWEST: Duration = Duration::from_secs(30);

/// The kind, group and namespace of one watch.
#[derive(Debug, Clone)]
struct Scope {
    group: Group,
    kind: Kind,
    namespace: Option<String>,
}

pub(super) async fn watch(
    publisher: Publisher<'_>,
    api: &Kubernetes,
    intent: &watch::Sender<bool>,
) -> Result<(), EngineError> {
    let mut scopes = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret) {
        for group in api.groups().into_iter().filter(|group| api_resource(*group, kind).is_some()) {
            for namespace in api.scopes(kind) {
                scopes.push(Scope { group, kind, namespace });
            }
        }
    }
    let (listed, mut lists) = tokio::sync::mpsc::unbounded_channel();
    let expected = scopes.len();
    let mut streams: FuturesUnordered<_> =
        scopes.into_iter().map(|scope| follow(publisher, api, scope, listed.clone())).collect();
    let all_listed = async {
        for _ in 0..expected {
            lists.recv().await;
        }
        intent.send_replace(true);
        unwatched::bury_all(publisher, api).await;
    };
    tokio::select! {
        () = all_listed => {}
        // The watches never end, and neither do the burials.
        _ = streams.next() => {}
    }
    Ok(())
}

/// Follows one kind for ever: list, watch, and list again when the watch can't be trusted.
async fn follow(
    publisher: Publisher<'_>,
    api: &Kubernetes,
    scope: Scope,
    listed: tokio::sync::mpsc::UnboundedSender<()>,
) {
    let mut reported = Reported { listed: Some(listed), absent: false };
    let mut pause = Duration::from_millis(500);
    loop {
        let began = Instant::now();
        one_watch(publisher, api, &scope, &mut reported).await;
        if began.elapsed() > SLOWEST {
            pause = Duration::from_millis(500);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SLOWEST);
    }
}

/// The state of a kind that has been reported: each is reported once.
struct Reported {
    /// Used up when the first list is complete, or when there is nothing to list.
    listed: Option<tokio::sync::mpsc::UnboundedSender<()>>,
    absent: bool,
}

impl Reported {
    fn listed(&mut self) {
        if let Some(listed) = self.listed.take() {
            let _ = listed.send(());
        }
    }
}

async fn one_watch(publisher: Publisher<'_>, api: &Kubernetes, scope: &Scope, reported: &mut Reported) {
    let Some(resource) = api_resource(scope.group, scope.kind) else { return };
    let config = watcher::Config::default().page_size(PAGE);
    let objects = api.api(&resource, scope.namespace.as_deref());
    let events = watcher(objects, config).default_backoff();
    tokio::pin!(events);
    let resync = tokio::time::sleep(RESYNC);
    tokio::pin!(resync);
    let mut seen: HashSet<ObjectKey> = HashSet::new();
    let mut batch: Vec<Incoming> = Vec::new();
    let mut errors = 0;
    loop {
        let event = tokio::select! {
            () = &mut resync => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                if is_absent(&error) {
                    if !std::mem::replace(&mut reported.absent, true) {
                        tracing::info!(
                            kind = resource.plural,
                            group = resource.group,
                            "kind is not installed, waiting for it"
                        );
                    }
                    // Objects of the kind are gone with its definition.
                    sweep(publisher, scope, &HashSet::new()).await;
                    reported.listed();
                    tokio::time::sleep(SLOWEST).await;
                    return;
                }
                errors += 1;
                tracing::warn!(kind = resource.plural, group = resource.group, error = chain(&error), "watch broke");
                if errors >= ERRORS_UNTIL_LIST || was_away(&error) {
                    return;
                }
                continue;
            }
            Some(Ok(event)) => {
                if !take(publisher, scope, event, &mut seen, &mut batch, reported).await {
                    // An event comes only once: a new list finds what could not be published.
                    return;
                }
            }
        }
        errors = 0;
    }
}

async fn take(
    publisher: Publisher<'_>,
    scope: &Scope,
    event: Event<DynamicObject>,
    seen: &mut HashSet<ObjectKey>,
    batch: &mut Vec<Incoming>,
    reported: &mut Reported,
) -> bool {
    match event {
        Event::Init => {
            seen.clear();
            batch.clear();
            true
        }
        Event::InitApply(object) => {
            let Some(incoming) = Incoming::read(scope, object) else { return true };
            seen.insert(incoming.key.clone());
            batch.push(incoming);
            batch.len() < PAGE as usize || publish_all(publisher, std::mem::take(batch)).await
        }
        Event::InitDone => {
            let published = publish_all(publisher, std::mem::take(batch)).await && sweep(publisher, scope, seen).await;
            seen.clear();
            if published {
                reported.absent = false;
                reported.listed();
            }
            published
        }
        Event::Apply(object) => match Incoming::read(scope, object) {
            Some(incoming) => incoming.publish(publisher).await,
            None => true,
        },
        Event::Delete(object) => match Incoming::read(scope, object) {
            Some(incoming) => bury(publisher, &incoming.key, incoming.uid).await,
            None => true,
        },
    }
}

async fn publish_all(publisher: Publisher<'_>, batch: Vec<Incoming>) -> bool {
    let published = stream::iter(batch).map(async |incoming: Incoming| incoming.publish(publisher).await);
    published.buffer_unordered(PUBLISHERS).all(async |published| published).await
}

/// Buries objects that a list did not have. The list must have been read to its end.
async fn sweep(publisher: Publisher<'_>, scope: &Scope, seen: &HashSet<ObjectKey>) -> bool {
    let gone: Vec<(ObjectKey, Uuid)> = {
        let view = publisher.view();
        let in_scope = |key: &ObjectKey| {
            key.kind == scope.kind
                && key.group == scope.group.as_str()
                && (scope.namespace.is_none() || key.namespace == scope.namespace)
        };
        let missing = view.uids().filter(|(key, _)| in_scope(key) && !seen.contains(*key));
        missing.map(|(key, uid)| (key.clone(), uid)).collect()
    };
    let mut buried = true;
    for (key, uid) in gone {
        buried &= bury(publisher, &key, uid).await;
    }
    buried
}

/// Whether no API server was there to watch. The one that returns may have been restored from an older copy, and a watch from a
/// version of its future would wait for it in silence.
fn was_away(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(error) if !matches!(error, kube::Error::Api(_)))
}

/// Whether the kind is not installed: the API server answers 404 for all of it.
fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_not_found(),
        _ => false,
    }
}

/// An object as it came from the API server, in its published form.
struct Incoming {
    key: ObjectKey,
    uid: Uuid,
    object: Result<Object, Refused>,
    problem: Option<String>,
}

impl Incoming {
    fn read(scope: &Scope, object: DynamicObject) -> Option<Self> {
        let resource = api_resource(scope.group, scope.kind)?;
        let mut value = trimmed(object)?;
        value["apiVersion"] = resource.api_version.clone().into();
        value["kind"] = resource.kind.into();
        let metadata: Metadata = serde_json::from_value(value["metadata"].clone()).ok()?;
        let key = ObjectKey {
            group: scope.group.as_str().to_owned(),
            kind: scope.kind,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
        };
        // The reporter made it, and STATUS has all of it (P2). Published, each would leave a tombstone.
        if scope.kind == Kind::BackupSession && stand_in::session_of(&metadata).is_some() {
            return None;
        }
        if let Err(error) = key.check() {
            tracing::error!(object = %key, %error, "object can't be named on the bus");
            return None;
        }
        let uid = metadata.uid.unwrap_or_default();
        Some(match Object::from_json(value) {
            Ok(object) => {
                // Sessions end by themselves with a reason.
                let judged = !matches!(object.spec, Spec::BackupSession(_));
                let problem = judged.then(|| problems(&object).join("; ")).filter(|text| !text.is_empty());
                Self { key, uid, object: Ok(object.published()), problem }
            }
            Err(error) => {
                let refused = Refused {
                    metadata: metadata.published(),
                    api_version: resource.api_version,
                    problem: chain(&error),
                };
                Self { key, uid, object: Err(refused), problem: None }
            }
        })
    }

    async fn publish(self, publisher: Publisher<'_>) -> bool {
        match &self.object {
            Ok(object) => publish_if_new(publisher, object, self.problem).await,
            Err(refused) => publish_refused(publisher, &self.key, refused).await,
        }
    }
}

/// Drops the parts that are not read or must not be published: managed fields, kubectl's copy of the manifest, the
/// status.
fn trimmed(mut object: DynamicObject) -> Option<Value> {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    let mut value = serde_json::to_value(object).ok()?;
    value.as_object_mut()?.remove("status");
    Some(value)
}

#[cfg(test)]
mod tests;
