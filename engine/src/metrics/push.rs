//! Pushes gauges to a Pushgateway in the background: the newest value of each group, with a few tries. It returns the
//! results and must not act on them.

use std::collections::BTreeMap;
use std::time::Duration;

use lagan_schemas::error::chain;
use lagan_schemas::subject::ObjectKey;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

use super::gauge::{Gauge, text};
use super::group::PushJob;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between tries. After the last one the value is given up.
const PAUSES: [u64; 5] = [1, 4, 16, 60, 240];
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The session whose gauges a push carries, and the object that shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PushedSession {
    pub key: ObjectKey,
    pub uid: Uuid,
}

/// The result of a push. After a failure, a later try may still succeed and is returned too.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub origin: PushedSession,
    pub result: Result<(), String>,
}

/// Accepts gauges to push. Dropping it ends the push that is on its way.
pub(crate) struct Pusher {
    orders: mpsc::UnboundedSender<(PushJob, Order)>,
    _task: AbortOnDropHandle<()>,
}

enum Order {
    Put(PushedSession, Vec<Gauge>),
    Delete,
}

impl Pusher {
    pub fn start(gateway: Url, results: mpsc::UnboundedSender<Pushed>) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        Self { orders, _task: AbortOnDropHandle::new(tokio::spawn(run(gateway, receiver, results))) }
    }

    /// Replaces the group of `object` with these gauges.
    pub fn put(&self, object: &ObjectKey, origin: PushedSession, gauges: Vec<Gauge>) {
        self.order(object, Order::Put(origin, gauges));
    }

    pub fn delete(&self, object: &ObjectKey) {
        self.order(object, Order::Delete);
    }

    fn order(&self, object: &ObjectKey, order: Order) {
        if let Some(group) = PushJob::of(object) {
            // The task ends only when the reporter stops.
            let _ = self.orders.send((group, order));
        }
    }
}

struct Pending {
    order: Order,
    failures: usize,
    after: Instant,
}

async fn run(
    gateway: Url,
    mut orders: mpsc::UnboundedReceiver<(PushJob, Order)>,
    results: mpsc::UnboundedSender<Pushed>,
) {
    let client = match reqwest::Client::builder().timeout(TIMEOUT).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(error = chain(&error), "metrics can't be pushed"),
    };
    let mut pending: BTreeMap<PushJob, Pending> = BTreeMap::new();
    loop {
        let next = pending.iter().min_by_key(|(_, pending)| pending.after).map(|(group, p)| (group.clone(), p.after));
        tokio::select! {
            order = orders.recv() => {
                let Some((group, order)) = order else { return };
                pending.insert(group, Pending { order, failures: 0, after: Instant::now() });
            }
            () = tokio::time::sleep_until(next.as_ref().map_or_else(Instant::now, |(_, at)| *at)), if next.is_some() => {
                let Some(due) = next.and_then(|(group, _)| pending.remove_entry(&group)) else { continue };
                let (group, due) = due;
                let result = send(&client, group.url(&gateway), &due.order).await;
                if let Some(again) = settle(&group, due, result, &results) {
                    pending.insert(group, again);
                }
            }
        }
    }
}

/// Sends the result, and returns what is to be tried again. An order that arrives meanwhile replaces it.
fn settle(
    group: &PushJob,
    done: Pending,
    result: Result<(), String>,
    results: &mpsc::UnboundedSender<Pushed>,
) -> Option<Pending> {
    let again = match &result {
        Ok(()) => None,
        Err(error) => {
            let pause = PAUSES.get(done.failures).copied().map(Duration::from_secs);
            let again = if pause.is_some() { "yes" } else { "no" };
            tracing::warn!(%group, error, again, "metrics were not pushed");
            pause
        }
    };
    if let (Order::Put(origin, _), true) = (&done.order, result.is_ok() || done.failures == 0) {
        // The receiver is dropped only when the reporter stops.
        let _ = results.send(Pushed { origin: origin.clone(), result });
    }
    again.map(|pause| Pending { failures: done.failures + 1, after: Instant::now() + pause, ..done })
}

async fn send(client: &reqwest::Client, url: Url, order: &Order) -> Result<(), String> {
    let request = match order {
        Order::Put(_, gauges) => {
            client.post(url).header(reqwest::header::CONTENT_TYPE, CONTENT_TYPE).body(text(gauges.clone()))
        }
        Order::Delete => client.delete(url),
    };
    // The address may hold a password.
    let answer = request.send().await.map_err(|error| chain(&error.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    let why: String = body.trim().chars().take(300).collect();
    Err(format!("the gateway answered {status}: {why}"))
}
