//! Moves from one server to another: which silence counts.

use std::time::{Duration, Instant};

use lagan_bus::{Bus, DeliveryError, Lanes};
use lagan_schemas::subject::SESSIONS;

use crate::support::{LossyProxy, Rig};

/// Longer than a server may be silent before its clients leave it.
const LONGER_THAN_SILENCE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_consumer_stays_where_jetstream_answers() {
    let (rig, _engine) = Rig::start().await;
    let second = LossyProxy::to(rig.server.url()).await;
    let mut options = rig.options();
    options.url = format!("{},{}", options.url, second.url);
    let bus = Bus::connect(options).await.unwrap();
    assert_eq!(bus.servers().await.unwrap().len(), 2);
    let mut lanes = Lanes::new(&bus, SESSIONS, vec!["work-away-normal".into()]);
    let (began, mut refused) = (Instant::now(), 0);
    while began.elapsed() < LONGER_THAN_SILENCE {
        match lanes.next(Duration::from_millis(500)).await {
            Err(DeliveryError::ConsumerGone { .. }) => refused += 1,
            // The answer may be late.
            Ok(None) => {}
            other => panic!("{:?}", other.map(|_| "a delivery")),
        }
    }
    assert!(refused > 1);
    assert_eq!(bus.link().borrow().generation, 1, "it has changed the server");
}
