//! Locks, leases and heartbeats: one holder, and death only when proven.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lagan_bus::heartbeat::Heartbeat;
use lagan_bus::kv::{self, Written};
use lagan_bus::lease::{LeaseError, LeaseMode, Leases, Lost};
use lagan_bus::lock::{LockHolder, Locked, Locks};
use lagan_bus::observer::{Liveness, Observer};
use lagan_bus::publish::{Publish, publish_under};
use lagan_bus::streams::{HEARTBEATS, LEASES, LOCKS};
use lagan_bus::{AppendError, Bus, Expect, HeaderMap, read};
use lagan_schemas::subject::{RESOURCES, SESSIONS};
use nix::sys::signal::Signal;

use crate::support::{LossyProxy, Rig, TTL};

fn holder(owner: impl ToString) -> LockHolder {
    LockHolder { owner: owner.to_string(), detail: serde_json::Value::Null }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_taken_over_by_one_of_many() {
    let (rig, bus) = Rig::start().await;
    let locks = Locks::new(rig.bucket(&bus, LOCKS));
    let key = kv::key(&["shop", "AppBinding", "my.db"]);
    assert_eq!(locks.acquire(&key, &holder("old")).await.unwrap(), Locked::Acquired);
    assert_eq!(locks.acquire(&key, &holder("old")).await.unwrap(), Locked::Acquired);
    let Locked::HeldBy { holder: found, revision } = locks.acquire(&key, &holder("new")).await.unwrap() else {
        panic!("taken twice");
    };
    assert_eq!(found.owner, "old");
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..8 {
        let (locks, key) = (locks.clone(), key.clone());
        racers.spawn(async move { (racer, locks.take_over(&key, revision, &holder(racer)).await.unwrap()) });
    }
    let results = racers.join_all().await;
    let winners: Vec<_> = results.iter().filter(|(_, locked)| *locked == Locked::Acquired).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    let winner = winners[0].0.to_string();
    assert_eq!(locks.holder(&key).await.unwrap().unwrap().owner, winner);
    locks.release(&key, "old").await.unwrap();
    assert_eq!(locks.holder(&key).await.unwrap().unwrap().owner, winner);
    // Our own lock with another detail is ours to renew, and whoever saw the old revision loses.
    let renewed = LockHolder { detail: serde_json::json!(2), ..holder(&winner) };
    let Locked::HeldBy { revision: seen, .. } = locks.acquire_anew(&key, &renewed).await.unwrap() else {
        panic!("the detail differs")
    };
    assert_eq!(locks.acquire(&key, &renewed).await.unwrap(), Locked::Acquired);
    assert_eq!(locks.take_over(&key, seen, &renewed).await.unwrap(), Locked::Acquired);
    let late = locks.take_over(&key, seen, &holder("late")).await.unwrap();
    assert!(matches!(late, Locked::HeldBy { holder, .. } if holder == renewed));
    locks.release(&key, &winner).await.unwrap();
    assert_eq!(locks.holder(&key).await.unwrap(), None);
    assert_eq!(locks.acquire(&key, &holder("next")).await.unwrap(), Locked::Acquired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_value_is_no_holder_is_taken_over() {
    let (rig, bus) = Rig::start().await;
    let bucket = rig.bucket(&bus, LOCKS);
    let locks = Locks::new(bucket.clone());
    let key = kv::key(&["shop", "AppBinding", "my.db"]);
    // An answer of the server, which a client may let it send anywhere.
    bucket.put(&key, r#"{"type":"io.nats.jetstream.api.v1.account_info_response"}"#.into()).await.unwrap();
    let Locked::HeldBy { holder: found, revision } = locks.acquire_anew(&key, &holder("new")).await.unwrap() else {
        panic!("the value is not ours")
    };
    assert_eq!(found, holder(""));
    locks.release(&key, "new").await.unwrap();
    assert_eq!(locks.take_over(&key, revision, &holder("new")).await.unwrap(), Locked::Acquired);
    assert_eq!(locks.holder(&key).await.unwrap(), Some(holder("new")));
}

#[tokio::test]
async fn the_marker_of_a_released_lock_goes_and_takes_no_other_writer_along() {
    let (rig, bus) = Rig::start().await;
    let bucket = rig.bucket(&bus, LOCKS);
    let locks = Locks::new(bucket.clone());
    assert_eq!(locks.acquire("a", &holder("one")).await.unwrap(), Locked::Acquired);
    locks.release("a", "one").await.unwrap();
    let marker = read::last(&bus, "KV_LOCKS", "$KV.LOCKS.a").await.unwrap().unwrap();
    assert_eq!(marker.headers.get("Nats-TTL").unwrap().as_str(), "1h");
    // As the server does after that time.
    let stream = rig.admin().await.get_stream("KV_LOCKS").await.unwrap();
    assert!(stream.cached_info().config.allow_message_ttl);
    stream.purge().filter("$KV.LOCKS.a").await.unwrap();
    assert_eq!(bucket.put_at("a", marker.sequence, "late".into()).await.unwrap(), Written::Lost);
    assert_eq!(locks.acquire("a", &holder("two")).await.unwrap(), Locked::Acquired);
    assert_eq!(bucket.put_at("a", 0, "late".into()).await.unwrap(), Written::Lost);
    let sessions = rig.admin().await.get_stream(SESSIONS).await.unwrap();
    assert!(!sessions.cached_info().config.allow_message_ttl, "no fact of a session may expire alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_ours() {
    let (rig, _bus) = Rig::start().await;
    let proxy = LossyProxy::to(rig.server.url()).await;
    let mut options = rig.options();
    options.url.clone_from(&proxy.url);
    let bus = Bus::connect(options).await.unwrap();
    let bucket = rig.bucket(&bus, LOCKS);
    proxy.lose_next_ack.store(true, Ordering::SeqCst);
    assert_eq!(bucket.put_at("a", 0, "mine".into()).await.unwrap(), Written::At(1));
    assert!(!proxy.lose_next_ack.load(Ordering::SeqCst), "the proxy lost no answer");
    assert_eq!(bucket.put_at("a", 0, "mine".into()).await.unwrap(), Written::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_lease_stands_alone() {
    let (rig, bus) = Rig::start().await;
    let leases = Leases::new(rig.bucket(&bus, LEASES), TTL);
    let scope = kv::key(&["repo", "s3://bucket/a.b"]);
    let now = Duration::ZERO;
    let one = leases.acquire(&scope, LeaseMode::Shared, "w1", now).await.unwrap();
    let two = leases.acquire(&scope, LeaseMode::Shared, "w2", now).await.unwrap();
    let Err(LeaseError::Held { mut owners }) = leases.acquire(&scope, LeaseMode::Exclusive, "prune", now).await else {
        panic!("exclusive beside shared");
    };
    owners.sort();
    assert_eq!(owners, ["w1", "w2"]);

    // Waiting for it keeps newcomers out; it comes when the last one goes.
    let waiting = {
        let (leases, scope) = (leases.clone(), scope.clone());
        tokio::spawn(
            async move { leases.acquire(&scope, LeaseMode::Exclusive, "prune", Duration::from_secs(20)).await },
        )
    };
    loop {
        match leases.acquire(&scope, LeaseMode::Shared, "w3", now).await {
            Err(LeaseError::Held { owners }) => break assert_eq!(owners, ["prune"]),
            Ok(lease) => lease.release().await,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(one.tenure().is_held() && two.tenure().is_held());
    one.release().await;
    assert!(!waiting.is_finished());
    two.release().await;
    let prune = waiting.await.unwrap().unwrap();
    assert!(leases.acquire(&scope, LeaseMode::Shared, "w3", now).await.is_err());
    assert!(leases.acquire(&scope, LeaseMode::Exclusive, "init", now).await.is_err());
    // Renewed beyond its TTL.
    let until = Instant::now() + TTL * 2;
    while Instant::now() < until {
        assert!(prune.tenure().is_held());
        assert!(leases.acquire(&scope, LeaseMode::Shared, "w3", now).await.is_err());
    }
    prune.release().await;
    leases.acquire(&scope, LeaseMode::Shared, "w3", now).await.unwrap().release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_and_exclusive_racers_never_meet() {
    let (rig, _bus) = Rig::start().await;
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..6 {
        let leases = Leases::new(rig.bucket(&rig.bus().await, LEASES), TTL);
        let inside = std::sync::Arc::clone(&inside);
        racers.spawn(async move {
            let mode = if racer % 3 == 0 { LeaseMode::Exclusive } else { LeaseMode::Shared };
            let (weight, allowed) = if mode == LeaseMode::Exclusive { (100, 0..=0) } else { (1, 0..=99) };
            for _ in 0..6 {
                let lease =
                    leases.acquire("repo.x", mode, &format!("r{racer}"), Duration::from_secs(30)).await.unwrap();
                let others = inside.fetch_add(weight, Ordering::SeqCst);
                assert!(allowed.contains(&others), "{mode:?} met {others}");
                tokio::task::yield_now().await;
                inside.fetch_sub(weight, Ordering::SeqCst);
                lease.release().await;
            }
        });
    }
    racers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_knows_before_anybody_else_gets_the_lease() {
    let (rig, bus) = Rig::start().await;
    let proxy = LossyProxy::to(rig.server.url()).await;
    let mut options = rig.options();
    options.url.clone_from(&proxy.url);
    let cut_off = Bus::connect(options).await.unwrap();
    let others = Leases::new(rig.bucket(&bus, LEASES), TTL);
    // A shared holder is taken over as an exclusive one is.
    for (scope, mode) in [("role.reporter", LeaseMode::Exclusive), ("repository.x", LeaseMode::Shared)] {
        let lease = Leases::new(rig.bucket(&cut_off, LEASES), TTL);
        let lease = lease.acquire(scope, mode, "a", Duration::ZERO).await.unwrap();
        proxy.open.send_replace(false);
        let (unconfirmed, taken) = tokio::join!(
            async {
                lease.tenure().unconfirmed().await;
                Instant::now()
            },
            async {
                let taken = others.acquire(scope, LeaseMode::Exclusive, "b", TTL * 5).await.unwrap();
                (Instant::now(), taken)
            }
        );
        assert!(!lease.tenure().is_held());
        assert!(unconfirmed < taken.0, "{:?} late", unconfirmed - taken.0);
        // The holder has not been told yet, so this may be an outage for all that it knows.
        assert!(!lease.tenure().lost().is_cancelled());
        proxy.open.send_replace(true);
        assert_eq!(lease.tenure().confirmed().await, Err(Lost), "{scope}");
        assert!(lease.tenure().lost().is_cancelled());
        lease.release().await;
        assert!(taken.1.tenure().is_held());
        taken.1.release().await;
    }
}

/// How a server comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// As it was, with requests that wait in its sockets.
    Continued,
    /// Without its memory, such as the heartbeats.
    Restarted,
}

/// The holder's requests give up before the outage ends, so that it does not know which of them were stored.
async fn impatient(rig: &Rig) -> Bus {
    let mut options = rig.options();
    options.patience = Duration::from_secs(1);
    Bus::connect(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_everybody_sees_kills_nobody_and_takes_no_lease() {
    for (back, mode) in [(Return::Continued, LeaseMode::Exclusive), (Return::Restarted, LeaseMode::Shared)] {
        let (rig, bus) = Rig::start().await;
        let holding = impatient(&rig).await;
        let lease = Leases::new(rig.bucket(&holding, LEASES), TTL);
        let lease = lease.acquire("repository.x", mode, "a", Duration::ZERO).await.unwrap();
        let heartbeat = Heartbeat::start(rig.bucket(&holding, HEARTBEATS), "w1".into(), "w1".into());
        heartbeat.beats().changed().await.unwrap();
        let mut observer = Observer::new(rig.bucket(&bus, HEARTBEATS));
        let watching = tokio::spawn(async move { while observer.settle("w1").await != Liveness::Dead {} });
        let others = Leases::new(rig.bucket(&impatient(&rig).await, LEASES), TTL);
        let mut waiting =
            tokio::spawn(
                async move { others.acquire("repository.x", LeaseMode::Exclusive, "b", TTL * 20).await.unwrap() },
            );
        rig.signal(Signal::SIGSTOP);
        lease.tenure().unconfirmed().await;
        assert!(tokio::time::timeout(TTL * 3, &mut waiting).await.is_err(), "{back:?}: taken in the outage");
        assert!(heartbeat.age() > TTL * 2 && !lease.tenure().is_held());
        match back {
            Return::Continued => rig.signal(Signal::SIGCONT),
            Return::Restarted => rig.kill().await,
        }
        assert_eq!(lease.tenure().confirmed().await, Ok(()), "{back:?}");
        let gaps = heartbeat.beats().wait_for(|beats| beats.gaps > 0).await.unwrap().gaps;
        assert_eq!(gaps, 1, "{back:?}");
        assert!(tokio::time::timeout(TTL * 3, &mut waiting).await.is_err(), "{back:?}: taken after the outage");
        assert!(lease.tenure().is_held() && !watching.is_finished(), "{back:?}");
        lease.release().await;
        assert!(waiting.await.unwrap().tenure().is_held());
        watching.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_heartbeats_outlive_a_killed_server() {
    let (rig, bus) = Rig::start().await;
    let leases = Leases::new(rig.bucket(&bus, LEASES), TTL);
    let lease = leases.acquire("role.watcher", LeaseMode::Exclusive, "a", Duration::ZERO).await.unwrap();
    let heartbeat = Heartbeat::start(rig.bucket(&bus, HEARTBEATS), "w1".into(), "w1".into());
    let mut beats = heartbeat.beats();
    beats.changed().await.unwrap();
    rig.kill().await;
    let restarted = tokio::time::Instant::now();
    // The bucket was in memory and is made anew by the next beat.
    beats.wait_for(|beats| beats.sent > restarted).await.unwrap();
    assert!(heartbeat.age() < TTL);
    assert!(lease.tenure().is_held());
    assert!(rig.bucket(&bus, HEARTBEATS).get("w1").await.unwrap().is_some());
    heartbeat.stop().await;
    assert!(rig.bucket(&bus, HEARTBEATS).get("w1").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_calls_nobody_dead_before_a_full_ttl_of_silence() {
    let (rig, bus) = Rig::start().await;
    let heartbeat = Heartbeat::start(rig.bucket(&rig.bus().await, HEARTBEATS), "w1".into(), "w1".into());
    heartbeat.beats().changed().await.unwrap();
    let mut observer = Observer::new(rig.bucket(&bus, HEARTBEATS));
    assert_eq!(observer.look("w1").await, Liveness::Unknown);
    assert_eq!(observer.settle("w1").await, Liveness::Alive);
    drop(heartbeat);
    let silent = Instant::now();
    let verdict = loop {
        // A beat may have been on its way when the heart stopped.
        match observer.settle("w1").await {
            Liveness::Alive => {}
            verdict => break verdict,
        }
    };
    assert_eq!(verdict, Liveness::Dead);
    assert!(silent.elapsed() >= TTL * 9 / 10, "{:?}", silent.elapsed());

    let asked = Instant::now();
    assert_eq!(observer.settle("never-was").await, Liveness::Dead);
    assert!(asked.elapsed() >= TTL, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_a_holder_is_not_sent_while_the_lease_is_not_confirmed() {
    let (rig, bus) = Rig::start().await;
    let lease = Leases::new(rig.bucket(&bus, LEASES), TTL);
    let lease = lease.acquire("role.watcher", LeaseMode::Exclusive, "a", Duration::ZERO).await.unwrap();
    let publish = async |name: &str| {
        let subject = format!("lagan.resource.test.lagan_dev.Repository.n.{name}");
        let (message_id, headers, payload) = (name.to_owned(), HeaderMap::new(), "{}".into());
        let expect = Expect::Last { filter: subject.clone(), sequence: 0 };
        let value = Publish { subject, message_id, headers, payload };
        publish_under(&bus, lease.tenure(), RESOURCES, value, &expect).await
    };
    publish("held").await.unwrap();
    // The connection stays, and so would a message that is written to it.
    rig.signal(Signal::SIGSTOP);
    lease.tenure().unconfirmed().await;
    let refused = publish("unconfirmed").await;
    assert!(matches!(refused, Err(AppendError::NoLease { .. })), "{refused:?}");
    rig.signal(Signal::SIGCONT);
    lease.tenure().confirmed().await.unwrap();
    publish("confirmed").await.unwrap();
    for (name, is_stored) in [("held", true), ("unconfirmed", false), ("confirmed", true)] {
        let stored = read::last(&bus, RESOURCES, &format!("lagan.resource.*.*.*.*.{name}")).await.unwrap();
        assert_eq!(stored.is_some(), is_stored, "{name}");
    }
}
