//! Buries the objects on the bus that this engine does not watch: their namespace has left `watchNamespaces`, their group
//! belongs to a Stash operator, or their kind has gone. It must not ask the API server, which may show nothing of them.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use lagan_schemas::subject::ObjectKey;
use lagan_sources::kubernetes::Kubernetes;
use tokio::time::sleep;
use uuid::Uuid;

use super::{PUBLISHERS, RESYNC, SLOWEST};
use crate::view::View;
use crate::watcher::publish::{Publisher, bury};

const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Buries for ever: an engine with other settings may publish some of them before it ends. It begins when everything that
/// is watched was listed, so an engine that sees nothing buries nothing.
pub(super) async fn bury_all(publisher: Publisher<'_>, api: &Kubernetes) {
    let mut pause = FIRST_PAUSE;
    loop {
        let left = unwatched(&publisher.view(), api);
        if !left.is_empty() {
            tracing::warn!(objects = left.len(), "objects are not watched any more and count as deleted");
            let burials = stream::iter(left);
            burials
                .for_each_concurrent(PUBLISHERS, async |(key, uid)| {
                    bury(publisher, &key, uid).await;
                })
                .await;
        }
        let is_done = unwatched(&publisher.view(), api).is_empty();
        sleep(if is_done { RESYNC } else { pause }).await;
        pause = if is_done { FIRST_PAUSE } else { (pause * 2).min(SLOWEST) };
    }
}

fn unwatched(view: &View, api: &Kubernetes) -> Vec<(ObjectKey, Uuid)> {
    view.uids().filter(|(key, _)| !api.watches(key)).map(|(key, uid)| (key.clone(), uid)).collect()
}
