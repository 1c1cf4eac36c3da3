//! The watcher: publishes the objects of the source on RESOURCES. One process at a time watches a cluster. `folder` and
//! `kubernetes` read objects, `publish` publishes them.

mod folder;
mod kubernetes;
mod publish;
mod tombstones;

use std::time::Duration;

use lagan_bus::kv;
use lagan_bus::lease::{LeaseError, LeaseMode};
use lagan_sources::source::Watched;
use tokio::sync::watch;

use self::publish::Publisher;
use crate::context::Context;
use crate::error::EngineError;

/// If the lease is not granted immediately, another process is already watching.
const FIRST_TRY: Duration = Duration::from_millis(500);
const NEXT_TRY: Duration = Duration::from_secs(60);

/// Watches while this process has the lease. `intent` becomes true when every object has been published once, or another
/// process has the lease.
pub(crate) async fn run(context: Context, intent: watch::Sender<bool>) -> Result<(), EngineError> {
    let scope = kv::key(&["role", "watcher"]);
    let owner = context.instance.to_string();
    let mut patience = FIRST_TRY;
    loop {
        let lease = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            lease = context.leases.acquire(&scope, LeaseMode::Exclusive, &owner, patience) => lease,
        };
        patience = NEXT_TRY;
        let lease = match lease {
            Ok(lease) => lease,
            // Nobody watches yet.
            Err(LeaseError::MadeAgain { .. }) => continue,
            Err(_) => {
                intent.send_replace(true);
                continue;
            }
        };
        tracing::info!("this process watches the objects");
        let watched = tokio::select! {
            () = context.stop.cancelled() => None,
            () = lease.tenure().unconfirmed() => None,
            watched = watch(Publisher { context: &context, tenure: lease.tenure() }, &intent) => Some(watched),
        };
        lease.release().await;
        match watched {
            Some(Err(error)) => return Err(error),
            _ if context.stop.is_cancelled() => return Ok(()),
            _ => tracing::warn!("watcher lease lost, waiting for it"),
        }
    }
}

async fn watch(publisher: Publisher<'_>, intent: &watch::Sender<bool>) -> Result<(), EngineError> {
    let watched = async {
        match publisher.context.source().watched() {
            Watched::Files(local) => folder::watch(publisher, local, intent).await,
            Watched::Objects(api) => kubernetes::watch(publisher, api, intent).await,
        }
    };
    tokio::select! {
        watched = watched => watched,
        never = tombstones::let_expire(publisher) => match never {},
    }
}
