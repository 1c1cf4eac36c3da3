//! Deliveries: one at a time, settled once, never lost.

use std::time::{Duration, Instant};

use lagan_bus::append::append;
use lagan_bus::consumers::{self, Begin, ConsumerSpec};
use lagan_bus::{Bus, Delivery, DeliveryError, Lanes, Settle};
use lagan_schemas::subject::SESSIONS;

use crate::support::{Rig, fact};

const ACK_WAIT: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(8);

async fn consumer(bus: &Bus, lane: &str) {
    let filters = vec![format!("lagan.session.test.*.*.*.*.*.default.planned.{lane}")];
    let name = format!("work-default-{lane}");
    let spec = ConsumerSpec { stream: SESSIONS.into(), name, filters, ack_wait: ACK_WAIT, begin: Begin::Oldest };
    consumers::ensure(bus, &spec).await.unwrap();
}

fn lanes(bus: &Bus) -> Lanes {
    Lanes::new(bus, SESSIONS, vec!["work-default-urgent".into(), "work-default-normal".into()])
}

async fn plan(bus: &Bus, session: &str, lane: &str) -> u64 {
    append(bus, fact(session, &format!("default.planned.{lane}"), 0, "p")).await.unwrap()
}

async fn next(lanes: &mut Lanes) -> Delivery {
    lanes.next(WAIT).await.unwrap().expect("a message in time")
}

async fn nothing_waits(bus: &Bus) {
    for lane in ["urgent", "normal"] {
        assert_eq!(consumers::waiting(bus, SESSIONS, &format!("work-default-{lane}")).await.unwrap(), 0, "{lane}");
    }
}

async fn start() -> (Rig, Bus) {
    let (rig, bus) = Rig::start().await;
    consumer(&bus, "urgent").await;
    consumer(&bus, "normal").await;
    (rig, bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_and_terminated_messages_do_not_come_again() {
    let (_rig, bus) = start().await;
    plan(&bus, "s1", "normal").await;
    plan(&bus, "s2", "normal").await;
    let mut lanes = lanes(&bus);
    let first = next(&mut lanes).await;
    assert_eq!((first.stored().sequence, first.lane(), first.deliveries()), (1, 1, 1));
    first.settle(Settle::Ack).await.unwrap();
    next(&mut lanes).await.settle(Settle::Term { reason: "can't be\nread".into() }).await.unwrap();
    nothing_waits(&bus).await;
    assert!(lanes.next(Duration::from_millis(300)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_back_comes_again_after_its_delay() {
    let (_rig, bus) = start().await;
    plan(&bus, "s1", "normal").await;
    let mut lanes = lanes(&bus);
    next(&mut lanes).await.settle(Settle::Nak { delay: Duration::from_millis(400) }).await.unwrap();
    let given_back = Instant::now();
    let again = next(&mut lanes).await;
    assert!(given_back.elapsed() >= Duration::from_millis(350), "{:?}", given_back.elapsed());
    assert_eq!(again.deliveries(), 2);
    again.settle(Settle::Ack).await.unwrap();
    nothing_waits(&bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsettled_message_comes_again_after_ack_wait_unless_there_is_progress() {
    let (_rig, bus) = start().await;
    plan(&bus, "s1", "normal").await;
    let mut lanes = lanes(&bus);
    let held = next(&mut lanes).await;
    let taken = Instant::now();
    let mut progressed = taken;
    while taken.elapsed() < ACK_WAIT * 2 {
        assert!(lanes.next(ACK_WAIT / 4).await.unwrap().is_none());
        held.progress().await.unwrap();
        progressed = Instant::now();
    }
    drop(held);
    let again = next(&mut lanes).await;
    assert!(progressed.elapsed() >= ACK_WAIT * 9 / 10, "{:?}", progressed.elapsed());
    again.settle(Settle::Ack).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_urgent_lane_goes_first_and_nobody_hoards() {
    let (rig, bus) = start().await;
    let mut mine = lanes(&bus);
    // Both pulls wait at the server when the first message comes.
    let waiting = tokio::spawn(async move { (next(&mut mine).await, mine) });
    plan(&bus, "s1", "normal").await;
    let (busy, mut mine) = waiting.await.unwrap();
    assert_eq!(busy.lane(), 1);
    // I am busy, but my urgent pull is still open: what comes must go to somebody else at once.
    plan(&bus, "s2", "urgent").await;
    let second = rig.bus().await;
    let mut other = lanes(&second);
    let asked = Instant::now();
    let taken = next(&mut other).await;
    assert_eq!(taken.lane(), 0);
    assert!(asked.elapsed() < ACK_WAIT, "{:?}", asked.elapsed());
    taken.settle(Settle::Ack).await.unwrap();
    busy.settle(Settle::Ack).await.unwrap();
    assert!(mine.next(Duration::from_millis(200)).await.unwrap().is_none());
    nothing_waits(&bus).await;

    for session in ["s3", "s4", "s5"] {
        plan(&bus, session, "normal").await;
    }
    plan(&bus, "s6", "urgent").await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut mine).await;
        order.push(delivery.stored().sequence);
        delivery.settle(Settle::Ack).await.unwrap();
    }
    order.sort_unstable();
    assert_eq!(order, [3, 4, 5, 6]);
    nothing_waits(&bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_taken_once_by_competing_workers() {
    let (rig, bus) = start().await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let bus = rig.bus().await;
        workers.spawn(async move {
            let mut lanes = lanes(&bus);
            let mut taken = Vec::new();
            while let Some(delivery) = lanes.next(Duration::from_secs(2)).await.unwrap() {
                taken.push(delivery.stored().sequence);
                delivery.settle(Settle::Ack).await.unwrap();
            }
            taken
        });
    }
    for index in 0..60 {
        plan(&bus, &format!("s{index}"), if index % 3 == 0 { "urgent" } else { "normal" }).await;
    }
    let mut all: Vec<u64> = workers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_told_apart_and_can_be_made_anew() {
    let (rig, bus) = start().await;
    let mut lanes = lanes(&bus);
    let admin = rig.admin().await;
    let waiting = tokio::spawn(async move { (lanes.next(Duration::from_secs(5)).await, lanes) });
    let urgent: async_nats::jetstream::consumer::PullConsumer =
        admin.get_consumer_from_stream("work-default-urgent", SESSIONS).await.unwrap();
    while urgent.get_info().await.unwrap().num_waiting == 0 {}
    admin.delete_consumer_from_stream("work-default-urgent", SESSIONS).await.unwrap();
    let (gone, mut lanes) = waiting.await.unwrap();
    assert!(matches!(gone, Err(DeliveryError::ConsumerGone { .. })), "{:?}", gone.map(drop_delivery));
    let gone = lanes.next(Duration::from_millis(200)).await;
    assert!(matches!(gone, Err(DeliveryError::ConsumerGone { .. })), "{:?}", gone.map(drop_delivery));
    consumer(&bus, "urgent").await;
    plan(&bus, "s1", "urgent").await;
    next(&mut lanes).await.settle(Settle::Ack).await.unwrap();
}

fn drop_delivery(delivery: Option<Delivery>) -> Option<u64> {
    delivery.map(|d| d.stored().sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_no_worker_and_loses_no_message() {
    let (rig, bus) = start().await;
    let mut lanes = lanes(&bus);
    plan(&bus, "s1", "normal").await;
    let held = next(&mut lanes).await;
    rig.kill().await;
    // The server may have forgotten that it delivered it: then the acknowledgement counts for nothing, and is told so.
    let confirmed = held.settle(Settle::Ack).await.is_ok();
    plan(&bus, "s2", "normal").await;
    let mut taken = Vec::new();
    while !taken.contains(&2) || !(confirmed || taken.contains(&1)) {
        // Whatever the restart made of the open pulls, the caller only loops.
        if let Ok(Some(delivery)) = lanes.next(Duration::from_secs(1)).await {
            taken.push(delivery.stored().sequence);
            delivery.settle(Settle::Ack).await.unwrap();
        }
    }
    nothing_waits(&bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_has_more_idle_slots_than_a_server_lets_wait_by_default() {
    const SLOTS: usize = 600;
    let (rig, bus) = start().await;
    let mut slots = tokio::task::JoinSet::new();
    for _ in 0..SLOTS {
        let mut lane = Lanes::new(&bus, SESSIONS, vec!["work-default-normal".into()]);
        slots.spawn(async move {
            let delivery = lane.next(Duration::from_secs(60)).await.unwrap().unwrap();
            let sequence = delivery.stored().sequence;
            delivery.settle(Settle::Ack).await.unwrap();
            sequence
        });
    }
    let stream = rig.admin().await.get_stream(SESSIONS).await.unwrap();
    let info = || async { stream.consumer_info("work-default-normal").await.unwrap() };
    while info().await.num_waiting < SLOTS {}
    for session in 0..SLOTS {
        plan(&bus, &format!("s{session}"), "normal").await;
    }
    let mut taken = slots.join_all().await;
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), SLOTS);
    // A consumer that nobody uses any more, such as that of a renamed pool, goes by itself.
    assert_eq!(info().await.config.inactive_threshold, Duration::from_secs(86_400));
}
