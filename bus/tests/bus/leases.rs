//! Leases of many: hundreds of holders of one scope, and those that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lagan_bus::lease::{Lease, LeaseError, LeaseMode, Leases};
use lagan_bus::streams::{self, LEASES};
use tokio::task::JoinSet;

use crate::support::Rig;

const TTL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
const SHARERS: u32 = 250;

/// Asks for a shared lease as every one of `owners`, all at once.
fn sharers(leases: &Leases, owners: std::ops::Range<u32>, got: &Arc<AtomicU32>) -> JoinSet<Lease> {
    let mut asking = JoinSet::new();
    for owner in owners {
        let (leases, got) = (leases.clone(), Arc::clone(got));
        asking.spawn(async move {
            let lease =
                leases.acquire("repository.x", LeaseMode::Shared, &format!("s{owner}"), PATIENCE).await.unwrap();
            got.fetch_add(1, Ordering::SeqCst);
            lease
        });
    }
    asking
}

async fn release(held: Vec<Lease>) {
    let mut releasing: JoinSet<()> = held.into_iter().map(Lease::release).collect();
    while releasing.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_sharers_and_an_exclusive_waiter_among_them_all_get_the_lease() {
    let (rig, bus) = Rig::start().await;
    let leases = Leases::new(rig.bucket(&bus, LEASES), TTL);
    let got = Arc::<AtomicU32>::default();
    let (held, messages) = rig.messages_of(async { sharers(&leases, 0..SHARERS, &got).join_all().await }).await;
    // None of them was in another's way: each has looked once, written once, and asked for the age of the bucket.
    assert!(messages <= u64::from(3 * SHARERS) + 2, "{messages} messages");

    let exclusive = {
        let leases = leases.clone();
        tokio::spawn(async move { leases.acquire("repository.x", LeaseMode::Exclusive, "prune", PATIENCE).await })
    };
    loop {
        match leases.acquire("repository.x", LeaseMode::Shared, "probe", Duration::ZERO).await {
            Err(LeaseError::Held { owners }) => break assert_eq!(owners, ["prune"]),
            Ok(lease) => lease.release().await,
            Err(error) => panic!("{error}"),
        }
    }
    let second = sharers(&leases, SHARERS..2 * SHARERS, &got);
    let since = Instant::now();
    let waiting = rig.messages_of(async {
        release(held).await;
        exclusive.await.unwrap().unwrap()
    });
    let (exclusive, messages) = waiting.await;
    assert_eq!(got.load(Ordering::SeqCst), SHARERS, "no sharer passes the one that waits");
    assert!(since.elapsed() < TTL / 2, "it takes as long as a look does: {:?}", since.elapsed());
    // A release reads its key and deletes it; a waiter looks once and opens a watch, with four requests. On
    // a slow machine both are repeated. Without a watch there would be a message for each pair of them.
    assert!(messages < u64::from(12 * SHARERS), "{messages} messages");
    exclusive.release().await;
    let held = second.join_all().await;
    assert!(since.elapsed() < TTL, "{:?}", since.elapsed());
    assert_eq!(got.load(Ordering::SeqCst), 2 * SHARERS);
    release(held).await;
    leases.acquire("repository.x", LeaseMode::Exclusive, "prune", Duration::ZERO).await.unwrap().release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_sends_next_to_nothing_and_is_there_at_once() {
    let (rig, bus) = Rig::start().await;
    let leases = Leases::new(rig.bucket(&bus, LEASES), TTL);
    for mode in [LeaseMode::Exclusive, LeaseMode::Shared] {
        let active = leases.acquire("role.x", LeaseMode::Exclusive, "active", Duration::ZERO).await.unwrap();
        let standby = Leases::new(rig.bucket(&rig.bus().await, LEASES), TTL);
        let waiting = Duration::from_secs(3);
        let (refused, messages) = rig.messages_of(standby.acquire("role.x", mode, "standby", waiting)).await;
        assert!(matches!(refused, Err(LeaseError::Held { .. })));
        assert!(messages <= 8, "{mode:?}: {messages} messages");

        let watches =
            || async { rig.admin().await.get_stream("KV_LEASES").await.unwrap().cached_info().state.consumer_count };
        let before = watches().await;
        let standby = tokio::spawn(async move { standby.acquire("role.x", mode, "standby", PATIENCE).await });
        while watches().await <= before {}
        let released = Instant::now();
        active.release().await;
        let lease = standby.await.unwrap().unwrap();
        assert!(released.elapsed() < TTL / 8, "{:?}", released.elapsed());
        lease.release().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_of_a_bucket_that_was_made_again_is_granted_while_a_lost_one_may_be_relied_on() {
    let (rig, bus) = Rig::start().await;
    let ttl = Duration::from_secs(4);
    let leases = |bus: &lagan_bus::Bus| Leases::new(rig.bucket(bus, LEASES), ttl);
    // At a first start nobody can rely on any.
    let holder = leases(&bus).acquire("role.x", LeaseMode::Exclusive, "a", Duration::ZERO).await.unwrap();
    let others = leases(&rig.bus().await);
    let waiting = {
        let others = others.clone();
        tokio::spawn(async move { others.acquire("role.x", LeaseMode::Exclusive, "b", PATIENCE).await })
    };
    rig.admin().await.delete_stream("KV_LEASES").await.unwrap();
    let lost = Instant::now();
    streams::ensure_again(&bus, &rig.specs).await.unwrap();
    let refused = others.acquire("role.y", LeaseMode::Shared, "c", Duration::ZERO).await;
    assert!(matches!(refused, Err(LeaseError::MadeAgain { .. })), "{:?}", refused.map(drop));
    let granted = waiting.await.unwrap().unwrap();
    assert!(lost.elapsed() >= ttl, "granted after {:?}", lost.elapsed());
    assert!(!holder.tenure().is_held());
    granted.release().await;
    others.acquire("role.y", LeaseMode::Shared, "c", Duration::ZERO).await.unwrap().release().await;
}
