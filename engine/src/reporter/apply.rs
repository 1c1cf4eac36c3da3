//! Applies pending changes to the objects of a cluster. At most one change of each object is on its way. One that fails is
//! tried again after a pause of its own, merged with what came since, and delays no other object. Progress waits until
//! nothing else is left to apply.

mod write;

use std::collections::HashMap;
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
use super::work::KeyedWork;

/// Requests at the same time: the API server serves everybody.
const CONCURRENCY: usize = 32;
/// Pause while the API server does not answer at all.
const PAUSE: Duration = Duration::from_secs(1);
/// Uids of objects that are remembered. Those that were forgotten are asked for again.
const REMEMBERED: usize = 10_000;

/// Failures after which a conflict counts as that of an object that was replaced.
const CONFLICTS: u32 = 4;

/// Applies changes until the sender is gone.
pub(super) async fn run(api: &Kubernetes, mut changes: PendingChanges, instance: Uuid) {
    let source = EventSource { controller: "lagan.dev/engine".to_owned(), instance: Some(instance.to_string()) };
    let recorder = &Recorder::new(api.client.clone(), source);
    let mut queue = Queue::default();
    let mut running = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        while running.len() < CONCURRENCY
            && let Some((key, change)) = queue.next(now)
        {
            let known_uid = change.session().and_then(|session| queue.stand_ins.get(&session).copied());
            running.push(async move {
                let written = write::write(api, recorder, &key, &change, known_uid).await;
                (key, change, written)
            });
        }
        let wake = queue.wake(now);
        tokio::select! {
            change = changes.recv() => {
                let Some((key, change)) = change else { return };
                queue.work.add(key, change);
            }
            Some((key, change, written)) = running.next() => queue.settle(key, change, written, Instant::now()),
            () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
        }
    }
}

#[derive(Default)]
struct Queue {
    work: KeyedWork<ObjectKey, PendingChange>,
    /// Uids of the objects that stand for scheduled sessions, by session.
    stand_ins: HashMap<Uuid, Uuid>,
    /// Changes that got no answer since the last answer.
    unanswered: usize,
    paused_until: Option<Instant>,
}

impl Queue {
    fn next(&mut self, now: Instant) -> Option<(ObjectKey, PendingChange)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.work.next(now)
    }

    /// When something can be done that can't be done now.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let paused = self.paused_until.filter(|until| *until > now);
        paused.or_else(|| self.work.next_retry())
    }

    fn settle(
        &mut self,
        key: ObjectKey,
        change: PendingChange,
        written: Result<Option<Uuid>, KubernetesError>,
        now: Instant,
    ) {
        match &written {
            Err(error) if error.status().is_none() => self.unanswered += 1,
            _ => self.unanswered = 0,
        }
        // One object may be the reason of a lost answer; a whole round of them means that nobody answers.
        if self.unanswered >= CONCURRENCY {
            self.paused_until = Some(now + PAUSE);
        }
        match (written, change.session()) {
            (Ok(uid), session) => {
                self.remember(&change, session, uid);
                self.work.done(&key);
            }
            (Err(error), session) if is_final(&error, self.work.failures(&key)) => {
                // The object that was known is gone. A later change may create it again.
                if let Some(session) = session {
                    self.stand_ins.remove(&session);
                }
                tracing::warn!(object = %key, error = chain(&error), "status was refused, it is not tried again");
                self.work.done(&key);
            }
            (Err(error), _) => {
                tracing::warn!(object = %key, error = chain(&error), "status was not applied, it is tried again");
                self.work.failed(key, change, now);
            }
        }
    }

    fn remember(&mut self, change: &PendingChange, session: Option<Uuid>, uid: Option<Uuid>) {
        let Some(session) = session else { return };
        match uid {
            _ if change.deletes() => drop(self.stand_ins.remove(&session)),
            Some(uid) => {
                if self.stand_ins.len() >= REMEMBERED {
                    self.stand_ins = HashMap::new();
                }
                self.stand_ins.insert(session, uid);
            }
            None => {}
        }
    }
}

/// Whether another try can't help: the object is gone or replaced, or its definition or a policy refuses the change. A conflict
/// is that of an object that was replaced, or of a write at the same moment, which the next try does not meet.
/// A refused status is compared again with every catch-up.
fn is_final(error: &KubernetesError, failures: u32) -> bool {
    let is_refused = |status: &kube::core::Status| {
        let is_forbidden = status.is_forbidden() || matches!(status.code, 400 | 413);
        let is_replaced = status.is_conflict() && failures >= CONFLICTS;
        is_forbidden || status.is_not_found() || is_replaced || status.is_invalid()
    };
    error.status().is_some_and(is_refused)
}

#[cfg(test)]
mod tests {
    use lagan_schemas::resource::Kind;
    use serde_json::json;

    use super::*;

    /// Number of times that a change is tried which the API server always refuses with this code.
    fn tries(code: u16, reason: &str) -> usize {
        let status = json!({ "status": "Failure", "message": "no", "reason": reason, "code": code });
        let (group, namespace) = ("lagan.dev".to_owned(), Some("default".to_owned()));
        let key = ObjectKey { group, kind: Kind::BackupSession, namespace, name: "s".to_owned() };
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.work.add(key.clone(), PendingChange::default());
        let mut tries = 0;
        while let Some((key, change)) = queue.next(now)
            && tries < 100
        {
            tries += 1;
            let status = serde_json::from_value(status.clone()).unwrap();
            let error = KubernetesError::Refused { action: "apply", object: key.to_string(), status };
            queue.settle(key, change, Err(error), now);
            now = queue.wake(now).unwrap_or(now);
        }
        tries
    }

    #[test]
    fn a_refusal_is_final_and_a_conflict_only_when_it_comes_again_and_again() {
        assert_eq!((tries(403, "Forbidden"), tries(404, "NotFound"), tries(422, "Invalid")), (1, 1, 1));
        assert_eq!(tries(409, "Conflict"), 5, "a write at the same moment conflicts once");
        assert_eq!(tries(500, "InternalError"), 100);
    }
}
