//! The planners of this cluster: each holds a shared lease, and knows the others by theirs. A planner that is not known yet, or
//! that has just died, costs nothing but a moment: after it anyone looks at its sessions.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use lagan_bus::follow::follow;
use lagan_bus::lease::LeaseMode;
use lagan_bus::{Followed, Start, Stored, kv};
use lagan_schemas::error::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::context::Context;

const LEASE_WAIT: Duration = Duration::from_secs(3600);
const OPERATION: &str = "KV-Operation";

/// Holds this planner's lease, and sends the living planners whenever they change, until the engine stops.
pub(super) fn peers(context: &Context) -> mpsc::Receiver<Vec<Uuid>> {
    let (sender, receiver) = mpsc::channel(1);
    let context = context.clone();
    tokio::spawn(async move {
        tokio::join!(hold(&context), watch(&context, sender));
    });
    receiver
}

fn scope() -> String {
    kv::key(&["role", "planner"])
}

async fn hold(context: &Context) {
    let (scope, owner) = (scope(), context.instance.to_string());
    loop {
        let acquired = tokio::select! {
            () = context.stop.cancelled() => return,
            acquired = context.leases.acquire(&scope, LeaseMode::Shared, &owner, LEASE_WAIT) => acquired,
        };
        match acquired {
            Ok(lease) => {
                tokio::select! {
                    () = context.stop.cancelled() => return lease.release().await,
                    () = lease.tenure().unconfirmed() => lease.release().await,
                }
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "planner is not known to the others yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn watch(context: &Context, sender: mpsc::Sender<Vec<Uuid>>) {
    let prefix = format!("$KV.{}.{}.shared.", lagan_bus::streams::LEASES, scope());
    let stream = format!("KV_{}", lagan_bus::streams::LEASES);
    let mut keys = follow(&context.bus, &stream, vec![format!("{prefix}>")], Start::LastPerSubject);
    let ttl = context.timing().heartbeat_ttl();
    let mut seen: HashMap<Uuid, Instant> = HashMap::new();
    let mut told = Vec::new();
    loop {
        let oldest = seen.values().min().map(|at| *at + ttl);
        tokio::select! {
            () = sender.closed() => return,
            item = keys.next() => match item {
                Some(Followed::Message(stored)) => note(&mut seen, &prefix, &stored),
                // Its keys are gone, and the planners write them again.
                Some(Followed::Store(_)) => seen.clear(),
                Some(Followed::CaughtUp(_)) => {}
                None => return,
            },
            () = tokio::time::sleep_until(oldest.unwrap_or_else(Instant::now)), if oldest.is_some() => {
                seen.retain(|_, at| at.elapsed() < ttl);
            }
        }
        let mut living: Vec<Uuid> = seen.keys().copied().collect();
        living.sort_unstable();
        if living != told && sender.send(living.clone()).await.is_err() {
            return;
        }
        told = living;
    }
}

fn note(seen: &mut HashMap<Uuid, Instant>, prefix: &str, stored: &Stored) {
    let Some(planner) = stored.subject.strip_prefix(prefix).and_then(|key| Uuid::parse_str(key).ok()) else { return };
    if stored.headers.get(OPERATION).is_some() {
        seen.remove(&planner);
    } else {
        seen.insert(planner, Instant::now());
    }
}
