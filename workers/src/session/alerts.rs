//! One subscription per worker process to the facts that may end the work of a session in its slots. It only rings: the
//! session then reads its log, which alone says what counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::session_log::decode;
use lagan_bus::{Bus, Followed, ReadScope, Start, Stored};
use lagan_schemas::fact::{Fact, Holder};
use lagan_schemas::position::StoreId;
use lagan_schemas::subject::{Cluster, SESSIONS, SessionSubject, holder_filters};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// What a session has been told since its work began. Several rings may be seen as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rings {
    pub looks: u64,
    pub store: StoreKept,
}

/// Whether the stream that holds the session is still the one in which its work began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StoreKept {
    #[default]
    Yes,
    /// The stream was created again, so the session's facts are gone (P16).
    No,
}

/// Sessions by uid and attempt: a session that this worker lost and took again has two entries for a moment.
type Listeners = BTreeMap<(Uuid, u32), Listener>;

struct Listener {
    holder: Holder,
    rings: watch::Sender<Rings>,
}

pub(crate) struct Alerts {
    listeners: Arc<Mutex<Listeners>>,
    store: watch::Receiver<Option<StoreId>>,
    _follower: AbortOnDropHandle<()>,
}

impl Alerts {
    /// Follows the log from now on.
    pub fn start(bus: &Bus, cluster: &Cluster, pool: &str) -> Self {
        let listeners = Arc::<Mutex<Listeners>>::default();
        let (known, store) = watch::channel(None);
        let filters = holder_filters(cluster, pool);
        // Permissions of NATS see a filter only if it is the only one of its consumer.
        let filters = match bus.reach() {
            ReadScope::Everything => vec![filters],
            ReadScope::Consumers | ReadScope::Pool(_) => filters.into_iter().map(|filter| vec![filter]).collect(),
        };
        let streams: Vec<_> = filters.into_iter().map(|filters| follow(bus, SESSIONS, filters, Start::New)).collect();
        let mut unknown_positions = streams.len();
        let mut stream = futures::stream::select_all(streams);
        let told = Arc::clone(&listeners);
        let mut followed_store = None;
        let follower = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                let told = told.lock().unwrap_or_else(PoisonError::into_inner);
                match item {
                    Followed::Store(found) => {
                        let kept = followed_store.replace(found).is_none_or(|known| known == found);
                        ring_all(&told, if kept { StoreKept::Yes } else { StoreKept::No });
                        unknown_positions = unknown_positions.saturating_sub(1);
                        if unknown_positions == 0 {
                            known.send_replace(Some(found));
                        }
                    }
                    Followed::Message(stored) => ring(&told, &stored),
                    Followed::CaughtUp(_) => {}
                }
            }
        });
        Self { listeners, store, _follower: AbortOnDropHandle::new(follower) }
    }

    /// Listens for a session that `holder` is about to start. Every fact that is stored after the return rings, so nothing is
    /// missed if `started` is appended, with the session's last sequence expected, after that.
    pub async fn listen(&self, session: Uuid, holder: Holder) -> Listening {
        // Once the store is known, every filter has a position.
        let _ = self.store.clone().wait_for(Option::is_some).await;
        let (rings, heard) = watch::channel(Rings::default());
        let key = (session, holder.attempt);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Listener { holder, rings });
        Listening { listeners: Arc::clone(&self.listeners), key, heard }
    }
}

/// A session's subscription, until it is dropped.
pub(crate) struct Listening {
    listeners: Arc<Mutex<Listeners>>,
    key: (Uuid, u32),
    heard: watch::Receiver<Rings>,
}

impl Listening {
    /// Waits for the next ring.
    pub async fn next(&mut self) -> Rings {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.heard.borrow_and_update()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn ring_all(listeners: &Listeners, store: StoreKept) {
    for listener in listeners.values() {
        listener.rings.send_modify(|rings| {
            rings.looks += 1;
            if store == StoreKept::No {
                rings.store = StoreKept::No;
            }
        });
    }
}

fn ring(listeners: &Listeners, stored: &Stored) {
    let Ok(subject) = stored.subject.parse::<SessionSubject>() else { return };
    let uid = subject.key.uid;
    for (_, listener) in listeners.range((uid, 0)..=(uid, u32::MAX)) {
        if concerns(stored, listener.holder) {
            listener.rings.send_modify(|rings| rings.looks += 1);
        }
    }
}

/// Returns whether a fact may end the work of its session's holder.
fn concerns(stored: &Stored, holder: Holder) -> bool {
    match decode(stored) {
        Ok(Fact::CancelRequested(_)) => true,
        Ok(Fact::Started(started)) => started.holder != holder,
        Ok(Fact::Failed(ended) | Fact::Cancelled(ended)) => ended.holder != Some(holder),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
