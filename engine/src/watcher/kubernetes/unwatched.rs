//! Buries the objects on the bus by which sessions start and which this engine does not watch: their namespace has left
//! `watchNamespaces`, their group belongs to a Stash operator, or their kind has gone. It must not ask the API server, which
//! may show nothing of them, and it leaves what sessions only use: a Repository that is not watched still has its data in
//! its place, and a wipe of another one must find it there.

use futures::StreamExt as _;
use futures::stream;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::Kubernetes;
use uuid::Uuid;

use super::PUBLISHERS;
use crate::view::View;
use crate::watcher::publish::{Publisher, bury};

/// Kinds that ask for sessions. A session must not meet a configuration of the same name in another group in place of its own,
/// so sessions are buried first.
const STARTING: [Kind; 3] = [Kind::RestoreSession, Kind::BackupSession, Kind::BackupConfiguration];

/// Buries for ever. It begins when everything that is watched was listed, so an engine that sees nothing buries nothing.
/// Each look comes after a pause: an engine with other settings may be about to take over, or to end, and sessions would end
/// because their object was missing for a moment.
pub(super) async fn bury_all(publisher: Publisher<'_>, api: &Kubernetes) {
    let pause = publisher.context.timing().deletion_confirmed_after();
    let mut changes = publisher.context.resources.changes();
    loop {
        tokio::time::sleep(pause).await;
        changes.mark_unchanged();
        let left = unwatched(&publisher.view(), api);
        if left.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        tracing::warn!(objects = left.len(), "objects are not watched any more and count as deleted");
        for kind in STARTING {
            let burials = stream::iter(left.iter().filter(|(key, _)| key.kind == kind));
            burials
                .for_each_concurrent(PUBLISHERS, async |(key, uid)| {
                    let _ = bury(publisher, key, *uid).await;
                })
                .await;
        }
    }
}

fn unwatched(view: &View, api: &Kubernetes) -> Vec<(ObjectKey, Uuid)> {
    let starting = view.uids().filter(|(key, _)| STARTING.contains(&key.kind));
    starting.filter(|(key, _)| !api.watches(key)).map(|(key, uid)| (key.clone(), uid)).collect()
}
