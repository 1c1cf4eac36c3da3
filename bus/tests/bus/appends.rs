//! Appends: one winner, no "perhaps".

use std::sync::atomic::Ordering;
use std::time::Duration;

use lagan_bus::append::append;
use lagan_bus::streams::{self, StreamSpec};
use lagan_bus::{AppendError, Auth, Bus, Connect, read};
use lagan_schemas::subject::SESSIONS;

use crate::support::{LossyProxy, PlainServer, Rig, cluster, fact, filter, sizes};

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_racers_one_wins_each_round() {
    let (rig, first) = Rig::start().await;
    let buses = [first, rig.bus().await];
    let mut expected = 0;
    for round in 0..20 {
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..8 {
            let bus = buses[racer % 2].clone();
            let message = fact("s1", "retrying", expected, format!("{round}-{racer}"));
            racers.spawn(async move { append(&bus, message).await });
        }
        let results = racers.join_all().await;
        let won: Vec<u64> = results.iter().filter_map(|r| r.as_ref().ok().copied()).collect();
        let lost = results.iter().filter(|r| matches!(r, Err(AppendError::Conflict { .. }))).count();
        assert_eq!((won.len(), lost), (1, 7), "round {round}: {results:?}");
        expected = won[0];
    }
    assert_eq!(read::session(&buses[0], &filter("s1")).await.unwrap().visible.len(), 20);
}

#[tokio::test]
async fn the_fence_covers_every_fact_of_a_session_and_no_other_session() {
    let (_rig, bus) = Rig::start().await;
    let requested = append(&bus, fact("s1", "requested", 0, "r")).await.unwrap();
    append(&bus, fact("s2", "requested", 0, "r")).await.unwrap();
    let planned = append(&bus, fact("s1", "default.planned.normal", requested, "p")).await.unwrap();
    assert!(matches!(append(&bus, fact("s1", "cancelled", requested, "c")).await, Err(AppendError::Conflict { .. })));
    assert!(matches!(append(&bus, fact("s1", "started", 0, "s")).await, Err(AppendError::Conflict { .. })));
    assert_eq!(read::last_sequence(&bus, &filter("s1")).await.unwrap(), planned);
    assert_eq!(read::last_sequence(&bus, &filter("s3")).await.unwrap(), 0);
    let facts = read::session(&bus, &filter("s1")).await.unwrap().visible;
    assert_eq!(facts.iter().map(|f| f.sequence).collect::<Vec<_>>(), [requested, planned]);
    assert_eq!(facts[0].headers.get("Content-Type").unwrap().as_str(), "application/cloudevents+json");
    assert_eq!(facts[0].message_id(), Some("test.s1.r"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_is_lost_is_found_again() {
    let (rig, other) = Rig::start().await;
    let proxy = LossyProxy::to(rig.server.url()).await;
    let mut options = rig.options();
    options.url.clone_from(&proxy.url);
    let bus = Bus::connect(options).await.unwrap();

    proxy.lose_next_ack.store(true, Ordering::SeqCst);
    let sequence = append(&bus, fact("s1", "requested", 0, "mine")).await.unwrap();
    assert!(!proxy.lose_next_ack.load(Ordering::SeqCst), "the proxy lost no answer");
    assert_eq!(sequence, 1);

    // The same, but somebody appends behind ours before we can look.
    proxy.lose_next_ack.store(true, Ordering::SeqCst);
    let (mine, theirs) = tokio::join!(append(&bus, fact("s1", "started", 1, "mine-2")), async {
        loop {
            if read::last_sequence(&other, &filter("s1")).await.unwrap() == 2 {
                break append(&other, fact("s1", "cancel-requested", 2, "theirs")).await.unwrap();
            }
        }
    });
    assert_eq!((mine.unwrap(), theirs), (2, 3));
    assert_eq!(read::session(&bus, &filter("s1")).await.unwrap().visible.len(), 3);
}

#[tokio::test]
async fn the_same_append_again_is_the_same_fact() {
    let (_rig, bus) = Rig::start().await;
    let first = append(&bus, fact("s1", "requested", 0, "r")).await.unwrap();
    append(&bus, fact("s1", "default.planned.normal", first, "p")).await.unwrap();
    assert_eq!(append(&bus, fact("s1", "requested", 0, "r")).await.unwrap(), first);
}

#[tokio::test]
async fn a_full_stream_refuses_and_keeps_what_it_has() {
    let rig = Rig::empty().await;
    let bus = rig.bus().await;
    let small: Vec<StreamSpec> =
        rig.specs.iter().filter(|s| s.name == SESSIONS).map(|s| StreamSpec { max_bytes: 4096, ..s.clone() }).collect();
    streams::ensure(&bus, &small).await.unwrap();
    let mut expected = 0;
    let full = loop {
        let mut message = fact("s1", "retrying", expected, expected);
        message.event = vec![b'x'; 500].into();
        match append(&bus, message).await {
            Ok(sequence) => expected = sequence,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::Full { .. }), "{full:?}");
    assert!(expected > 2);
    assert!(streams::fill(&bus, SESSIONS).await.unwrap() > 0.8);
    assert_eq!(read::session(&bus, &filter("s1")).await.unwrap().visible.len() as u64, expected);
}

#[tokio::test]
async fn an_append_that_the_permissions_deny_is_refused_at_once_and_says_so() {
    let users = "authorization { users: [
        { user: admin, password: p },
        { user: worker, password: p, permissions: { publish: { deny: \"lagan.session.*.*.*.*.*.*._.retrying\" } } },
    ] }";
    let server = PlainServer::start("", users);
    let connect = async |user: &str| {
        let auth = Auth::User { user: user.to_owned(), password: "p".to_owned().into() };
        Bus::connect(Connect { auth, ..Connect::new(server.url(), "test") }).await.unwrap()
    };
    let (admin, worker) = (connect("admin").await, connect("worker").await);
    streams::ensure(&admin, &streams::of_cluster(&cluster(), &sizes())).await.unwrap();
    let stored = append(&worker, fact("s1", "requested", 0, "a")).await.unwrap();
    // Well before the request would count as one without an answer.
    let refused = tokio::time::timeout(Duration::from_secs(4), append(&worker, fact("s1", "retrying", stored, "b")));
    let refused = refused.await.unwrap().unwrap_err();
    assert!(matches!(refused, AppendError::Refused { .. }) && !refused.is_outage(), "{refused:?}");
    let told = lagan_schemas::error::chain(&refused);
    assert!(told.contains("permission") && told.contains("s1._.retrying"), "{told}");
    append(&admin, fact("s1", "retrying", stored, "b")).await.unwrap();
}

#[tokio::test]
async fn an_append_without_a_stream_says_so() {
    let rig = Rig::empty().await;
    let bus = rig.bus().await;
    let missing = append(&bus, fact("s1", "requested", 0, "r")).await;
    assert!(matches!(missing, Err(AppendError::NoStream { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_go_on_when_the_server_is_killed() {
    let (rig, bus) = Rig::start().await;
    let writer = tokio::spawn(async move {
        let mut expected = 0;
        for id in 0..300 {
            expected = append(&bus, fact("s1", "retrying", expected, id)).await.unwrap();
        }
        (bus, expected)
    });
    rig.kill().await;
    let (bus, last) = writer.await.unwrap();
    let facts = read::session(&bus, &filter("s1")).await.unwrap().visible;
    assert_eq!((facts.len(), last), (300, 300));
}
