//! Sessions of slots whose facts are gone although they are not known to have ended: after a loss of JetStream their marks
//! would keep them from ever running. They are requested again under their uids, so that a snapshot that they wrote is
//! adopted (P10, P16). It must not decide slots.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use lagan_schemas::error::chain;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::{ObjectKey, SessionKind};
use lagan_sources::open_slot::OpenSlot;
use tokio::sync::watch;

use super::request::{request, slot_request};
use crate::context::Context;
use crate::error::EngineError;
use crate::outside::Outside as _;

/// Requests that wait for the server's answer at the same time.
const REQUESTS: usize = 64;
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Interval at which sessions that have ended are looked for.
const CLOSES: Duration = Duration::from_secs(2);

/// The state of the session of an open slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is in the log.
    Known,
    Ended,
    /// It was not possible to find out, or to request it.
    NotYet,
}

/// Requests lost sessions once, and then forgets those that have ended. It begins when every object has been published, so
/// that the planner finds what the sessions name.
pub(super) async fn run(context: Context, mut intent: watch::Receiver<bool>) -> Result<(), EngineError> {
    let work = async {
        if intent.wait_for(|seen| *seen).await.is_err() {
            return Ok(());
        }
        while !recover(&context).await {
            tokio::time::sleep(AGAIN).await;
        }
        // Only what is not in the statuses of objects has to be remembered.
        while context.source().statuses().is_none() {
            tokio::time::sleep(CLOSES).await;
            close(&context).await?;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = context.stop.cancelled() => Ok(()),
        ended = work => ended,
    }
}

/// Requests every open slot whose session the log does not have; false if some must be tried again.
async fn recover(context: &Context) -> bool {
    let open = match context.source().open_slots().await {
        Ok(open) => open,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the source does not say which scheduled sessions were running");
            return false;
        }
    };
    let lost = open.into_iter().filter(|slot| !context.sessions.knows(slot.session));
    let found = stream::iter(lost).map(|slot| async move { (slot.session, again(context, slot).await) });
    let found: Vec<_> = found.buffer_unordered(REQUESTS).collect().await;
    let ended = found.iter().filter(|(_, found)| *found == Found::Ended).map(|(session, _)| *session).collect();
    if let Err(error) = context.source().close_slots(ended) {
        tracing::warn!(error = chain(&error), "ended sessions can't be remembered yet");
        return false;
    }
    found.iter().all(|(_, found)| *found != Found::NotYet)
}

/// Requests the session of a slot again, unless STATUS says that it has ended.
async fn again(context: &Context, open: OpenSlot) -> Found {
    let OpenSlot { session, slot, invoker } = open;
    let Some(position) = context.resources.read().position else { return Found::NotYet };
    let asked = slot_request(invoker.clone(), slot, 0, position);
    let key = ObjectKey { kind: Kind::BackupSession, name: asked.name.clone(), ..invoker.key() };
    match context.has_ended(&key, session).await {
        Some(false) => {}
        Some(true) => return Found::Ended,
        None => return Found::NotYet,
    }
    tracing::warn!(session = asked.name, uid = %session, "the log has lost a scheduled session; it is requested again");
    let asked = (SessionKind::Backup, invoker.name.clone(), asked);
    if request(context, &invoker, session, asked).await { Found::Known } else { Found::NotYet }
}

/// Forgets the slots whose sessions have ended.
async fn close(context: &Context) -> Result<(), EngineError> {
    let mut ended: Vec<_> = context.source().open_slots().await?.into_iter().map(|slot| slot.session).collect();
    ended.retain(|session| context.sessions.has_ended(*session));
    if !ended.is_empty() {
        context.source().close_slots(ended)?;
    }
    Ok(())
}
