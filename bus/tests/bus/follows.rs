//! Following: no gap, no double, complete views.

use std::time::Duration;

use futures::StreamExt;
use lagan_bus::append::append;
use lagan_bus::follow::{follow, follow_within};
use lagan_bus::{Expect, Followed, HeaderMap, Start, publish, streams};
use lagan_schemas::subject::{RESOURCES, SESSIONS};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use crate::support::{Rig, fact};

const ALL: &str = "lagan.session.test.>";
const SOON: Duration = Duration::from_secs(30);

async fn next(stream: &mut (impl futures::Stream<Item = Followed> + Unpin)) -> Followed {
    timeout(SOON, stream.next()).await.expect("something to follow").unwrap()
}

/// Sequences up to the next `CaughtUp`, and how many stores were named.
async fn until_caught_up(stream: &mut (impl futures::Stream<Item = Followed> + Unpin)) -> (Vec<u64>, usize) {
    let (mut sequences, mut stores) = (Vec::new(), 0);
    loop {
        match next(stream).await {
            Followed::Store(_) => stores += 1,
            Followed::Message(stored) => sequences.push(stored.sequence),
            Followed::CaughtUp(_) => return (sequences, stores),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_stream_is_caught_up_at_once() {
    let (_rig, bus) = Rig::start().await;
    let mut stream = follow(&bus, SESSIONS, vec![ALL.into()], Start::All);
    assert_eq!(until_caught_up(&mut stream).await, (vec![], 1));
    append(&bus, fact("s1", "requested", 0, "r")).await.unwrap();
    assert!(matches!(next(&mut stream).await, Followed::Message(stored) if stored.sequence == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_survives_kills_without_gap_or_double() {
    let (rig, bus) = Rig::start().await;
    let mut stream = follow(&rig.bus().await, SESSIONS, vec![ALL.into()], Start::All);
    let writer = tokio::spawn(async move {
        let mut expected = 0;
        for id in 0..600 {
            expected = append(&bus, fact("s1", "retrying", expected, id)).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    let (mut stores, mut complete) = (0, 0);
    let reader = async {
        while seen.len() < 600 {
            match next(&mut stream).await {
                Followed::Message(stored) => seen.push(stored.sequence),
                Followed::Store(_) => stores += 1,
                Followed::CaughtUp(_) => complete += 1,
            }
        }
    };
    let killer = async {
        rig.kill().await;
        rig.kill().await;
    };
    tokio::join!(reader, killer);
    writer.await.unwrap();
    assert_eq!(seen, (1..=600).collect::<Vec<_>>());
    assert_eq!(stores, 1);
    assert!(complete > 0 || matches!(next(&mut stream).await, Followed::CaughtUp(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_filters_and_a_start_are_honoured() {
    let (_rig, bus) = Rig::start().await;
    for (index, name) in ["requested", "started", "succeeded", "started"].into_iter().enumerate() {
        append(&bus, fact(&format!("s{index}"), name, 0, "x")).await.unwrap();
    }
    let filters = vec![
        "lagan.session.test.*.*.*.*.*.*.started".to_owned(),
        "lagan.session.test.*.*.*.*.*.*.succeeded".to_owned(),
    ];
    let mut all = follow(&bus, SESSIONS, filters.clone(), Start::All);
    assert_eq!(until_caught_up(&mut all).await.0, [2, 3, 4]);
    let store = streams::store_id(&bus, SESSIONS).await.unwrap();
    let mut after = follow(&bus, SESSIONS, filters.clone(), Start::After(store, 3));
    assert_eq!(until_caught_up(&mut after).await.0, [4]);
    let mut fresh = follow(&bus, SESSIONS, filters, Start::New);
    assert_eq!(until_caught_up(&mut fresh).await.0, Vec::<u64>::new());
    append(&bus, fact("s9", "started", 0, "x")).await.unwrap();
    assert!(matches!(next(&mut fresh).await, Followed::Message(stored) if stored.sequence == 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_is_told_and_read_from_its_start() {
    let (rig, bus) = Rig::start().await;
    for session in ["s1", "s2", "s3"] {
        append(&bus, fact(session, "requested", 0, "r")).await.unwrap();
    }
    let mut stream = follow(&bus, SESSIONS, vec![ALL.into()], Start::All);
    assert_eq!(until_caught_up(&mut stream).await, (vec![1, 2, 3], 1));
    rig.admin().await.delete_stream(SESSIONS).await.unwrap();
    streams::ensure(&bus, &rig.specs).await.unwrap();
    append(&bus, fact("s4", "requested", 0, "r")).await.unwrap();
    loop {
        let (sequences, stores) = until_caught_up(&mut stream).await;
        if stores > 0 {
            assert_eq!((sequences, stores), (vec![1], 1));
            break;
        }
        assert!(sequences.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_away_for_longer_than_tombstones_live_reads_everything_anew() {
    let (rig, bus) = Rig::start().await;
    for name in ["a", "b", "c"] {
        let value = publish::Publish {
            subject: format!("lagan.resource.test.lagan_dev.Repository.shop.{name}"),
            message_id: name.to_owned(),
            headers: HeaderMap::new(),
            payload: "{}".into(),
        };
        publish::publish(&bus, RESOURCES, value, &Expect::Any).await.unwrap();
    }
    let filter = || vec!["lagan.resource.test.>".to_owned()];
    let limit = Duration::from_secs(2);
    let mut brief = follow(&bus, RESOURCES, filter(), Start::All);
    let mut away = follow_within(&bus, RESOURCES, filter(), Start::All, limit);
    assert_eq!(until_caught_up(&mut brief).await, (vec![1, 2, 3], 1));
    assert_eq!(until_caught_up(&mut away).await, (vec![1, 2, 3], 1));
    // The last object is deleted and its tombstone goes while they are away.
    rig.admin().await.get_stream(RESOURCES).await.unwrap().purge().filter("*.*.*.*.*.*.c").await.unwrap();
    rig.signal(Signal::SIGSTOP);
    assert!(timeout(limit * 3 / 2, away.next()).await.is_err(), "nothing comes meanwhile");
    rig.kill().await;
    assert_eq!(until_caught_up(&mut away).await, (vec![1, 2], 1));
    assert_eq!(until_caught_up(&mut brief).await, (vec![], 0), "of a short absence it has missed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_counts_although_its_last_message_is_gone() {
    let (rig, bus) = Rig::start().await;
    for session in ["s1", "s2", "s3"] {
        append(&bus, fact(session, "requested", 0, "r")).await.unwrap();
    }
    rig.admin().await.get_stream(SESSIONS).await.unwrap().delete_message(3).await.unwrap();
    let mut stream = follow(&bus, SESSIONS, vec![ALL.into()], Start::All);
    let mut last = 0;
    let end = loop {
        match next(&mut stream).await {
            Followed::Store(_) => {}
            Followed::Message(stored) => last = stored.sequence,
            Followed::CaughtUp(end) => break end,
        }
    };
    assert_eq!((last, end), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_values_are_complete_while_they_change() {
    let (_rig, bus) = Rig::start().await;
    let put = async |name: usize, round: usize| {
        let value = publish::Publish {
            subject: format!("lagan.resource.test.lagan_dev.Repository.shop.r{name}"),
            message_id: format!("{name}.{round}"),
            headers: HeaderMap::new(),
            payload: round.to_string().into(),
        };
        publish::publish(&bus, RESOURCES, value, &Expect::Any).await.unwrap();
    };
    for round in 0..3 {
        for name in 0..20 {
            put(name, round).await;
        }
    }
    let mut stream = follow(&bus, RESOURCES, vec!["lagan.resource.test.>".into()], Start::LastPerSubject);
    let (sequences, _) = until_caught_up(&mut stream).await;
    assert_eq!(sequences, (41..=60).collect::<Vec<_>>());
    put(7, 3).await;
    assert!(matches!(next(&mut stream).await, Followed::Message(stored) if &stored.payload[..] == b"3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_leaves_a_consumer_that_does_not_get_what_the_stream_has() {
    let (rig, bus) = Rig::start().await;
    let mut stream = follow(&bus, SESSIONS, vec![ALL.into()], Start::All);
    append(&bus, fact("s1", "requested", 0, "r")).await.unwrap();
    assert_eq!(until_caught_up(&mut stream).await.0, [1]);
    // As a consumer on a server that does not follow the others: it lives, and has nothing to deliver.
    let log = rig.admin().await.get_stream(SESSIONS).await.unwrap();
    let name = log.consumer_names().next().await.unwrap().unwrap();
    let mut config = log.consumer_info(&name).await.unwrap().config;
    config.filter_subject = "lagan.session.test.nowhere.>".into();
    log.create_consumer(config).await.unwrap();
    append(&bus, fact("s2", "requested", 0, "r")).await.unwrap();
    assert!(matches!(next(&mut stream).await, Followed::Message(stored) if stored.sequence == 2));
    assert_eq!(until_caught_up(&mut stream).await, (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_last_messages_match_no_filter_is_caught_up_to_its_end() {
    let (_rig, bus) = Rig::start().await;
    for (session, name) in [("s1", "requested"), ("s2", "started"), ("s3", "started")] {
        append(&bus, fact(session, name, 0, "x")).await.unwrap();
    }
    let filters = vec!["lagan.session.test.*.*.*.*.*.*.requested".to_owned()];
    let mut stream = follow(&bus, SESSIONS, filters, Start::All);
    let end = loop {
        if let Followed::CaughtUp(end) = next(&mut stream).await {
            break end;
        }
    };
    assert_eq!(end, 3);
}
