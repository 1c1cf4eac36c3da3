//! Applies pending changes to the objects of a cluster. A change that fails is tried again, merged with what came
//! since, so at most one change of each object is on its way.

mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::runtime::events::{Recorder, Reporter as EventSource};
use lagan_schemas::error::chain;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::{Kubernetes, KubernetesError};
use tokio::time::Instant;
use uuid::Uuid;

use super::sink::{PendingChange, PendingChanges};

/// Requests at the same time: the API server serves everybody.
const CONCURRENCY: usize = 8;
/// Pause after a failure that may pass.
const PAUSE: Duration = Duration::from_secs(1);

/// Applies changes until the sender is gone.
pub(super) async fn run(api: &Kubernetes, mut changes: PendingChanges, instance: Uuid) {
    let source = EventSource { controller: "lagan.dev/engine".to_owned(), instance: Some(instance.to_string()) };
    let recorder = &Recorder::new(api.client.clone(), source);
    let mut queue = Queue::default();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < CONCURRENCY
            && let Some((key, change)) = queue.next()
        {
            let known_uid = change.session().and_then(|session| queue.stand_ins.get(&session).copied());
            running.push(async move {
                let written = write::write(api, recorder, &key, &change, known_uid).await;
                (key, change, written)
            });
        }
        tokio::select! {
            change = changes.recv() => {
                let Some((key, change)) = change else { return };
                queue.add(key, change);
            }
            Some((key, change, written)) = running.next() => queue.settle(key, change, written),
            () = tokio::time::sleep_until(queue.paused_until.unwrap_or_else(Instant::now)), if queue.is_paused() => {}
        }
    }
}

#[derive(Default)]
struct Queue {
    pending: BTreeMap<ObjectKey, PendingChange>,
    in_progress: HashSet<ObjectKey>,
    /// Uids of the objects that stand for scheduled sessions, by session.
    stand_ins: HashMap<Uuid, Uuid>,
    paused_until: Option<Instant>,
}

impl Queue {
    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| Instant::now() < until)
    }

    fn add(&mut self, key: ObjectKey, change: PendingChange) {
        self.pending.entry(key).or_default().merge(change);
    }

    /// A change to an object that no other change is being applied to.
    fn next(&mut self) -> Option<(ObjectKey, PendingChange)> {
        if self.is_paused() {
            return None;
        }
        let key = self.pending.keys().find(|key| !self.in_progress.contains(*key))?.clone();
        let change = self.pending.remove(&key)?;
        self.in_progress.insert(key.clone());
        Some((key, change))
    }

    fn settle(&mut self, key: ObjectKey, change: PendingChange, written: Result<Option<Uuid>, KubernetesError>) {
        self.in_progress.remove(&key);
        match (written, change.session()) {
            (Ok(_), Some(session)) if change.deletes() => drop(self.stand_ins.remove(&session)),
            (Ok(Some(uid)), Some(session)) => drop(self.stand_ins.insert(session, uid)),
            (Ok(_), _) => {}
            (Err(error), session) if is_final(&error) => {
                // The object that was known is gone. A later change may create it again.
                if let Some(session) = session {
                    self.stand_ins.remove(&session);
                }
                tracing::warn!(object = %key, error = chain(&error), "status was refused, it is not tried again");
            }
            (Err(error), _) => {
                tracing::warn!(object = %key, error = chain(&error), "status was not applied, it is tried again");
                let mut again = change;
                if let Some(later) = self.pending.remove(&key) {
                    again.merge(later);
                }
                self.pending.insert(key, again);
                self.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }
}

/// Whether another try can't help: the object is gone or replaced, or its definition or a policy refuses the change.
/// A refused status is compared again with every catch-up.
fn is_final(error: &KubernetesError) -> bool {
    let is_refused = |status: &kube::core::Status| {
        let is_forbidden = status.is_forbidden() || matches!(status.code, 400 | 413);
        is_forbidden || status.is_not_found() || status.is_conflict() || status.is_invalid()
    };
    error.status().is_some_and(is_refused)
}
