//! Reading a session: a constant number of requests, and never less than the leader has.

use lagan_bus::append::append;
use lagan_bus::{Bus, read};
use lagan_schemas::subject::SESSIONS;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{Rig, fact, filter, subject};

async fn grow(bus: &Bus, session: &str, facts: u64) -> u64 {
    let mut last = 0;
    for number in 0..facts {
        last = append(bus, fact(session, "retrying", last, number)).await.unwrap();
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_read_with_as_many_requests_however_long_it_is() {
    let (rig, bus) = Rig::start().await;
    for (session, facts) in [("none", 0), ("short", 1), ("long", 1203)] {
        let last = grow(&bus, session, facts).await;
        let (found, messages) = rig.messages_of(read::session(&bus, &filter(session))).await;
        let found = found.unwrap();
        assert_eq!(found.len() as u64, facts);
        assert_eq!(found.last().map_or(0, |stored| stored.sequence), last);
        let ids: Vec<_> = (0..facts).map(|number| format!("test.{session}.{number}")).collect();
        let found: Vec<_> = found.iter().map(|stored| stored.message_id().unwrap().to_owned()).collect();
        assert_eq!(found, ids);
        // An answer holds 1000 messages.
        let needed = if facts > 1000 { 3 } else { 2 };
        assert!(messages <= needed + 2, "{session}: {messages} messages");
    }
}

#[tokio::test]
async fn what_is_read_at_once_is_what_is_read_one_by_one() {
    let (_rig, bus) = Rig::start().await;
    let last = grow(&bus, "s1", 3).await;
    let all = read::session(&bus, &filter("s1")).await.unwrap();
    let one = read::last(&bus, SESSIONS, &filter("s1")).await.unwrap().unwrap();
    let same = all.last().unwrap();
    assert_eq!(same.sequence, last);
    assert_eq!((&same.subject, same.sequence, same.time), (&one.subject, one.sequence, one.time));
    assert_eq!((&same.headers, &same.payload), (&one.headers, &one.payload));
}

/// A replica that answers instead of the stream with its first fact only, as one that lags behind would. Only the bare
/// protocol can send the status line of an answer's end.
async fn lagging(rig: &Rig) -> tokio::task::JoinHandle<()> {
    let stream = TcpStream::connect(rig.server.url().trim_start_matches("nats://")).await.unwrap();
    let (from_server, mut to_server) = stream.into_split();
    let token = rig.server.token().expose_secret();
    let greeting = format!(
        "CONNECT {{\"auth_token\":\"{token}\",\"headers\":true}}\r\nSUB $JS.API.DIRECT.GET.{SESSIONS} 1\r\nPING\r\n"
    );
    to_server.write_all(greeting.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(from_server).lines();
    while lines.next_line().await.unwrap().unwrap() != "PONG" {}
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let words: Vec<&str> = line.split(' ').collect();
            let ["MSG", _, _, reply, _] = words[..] else { continue };
            let first = format!(
                "NATS/1.0\r\nNats-Stream: {SESSIONS}\r\nNats-Subject: {}\r\nNats-Sequence: 1\r\nNats-Time-Stamp: \
                 2026-01-01T00:00:00Z\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 0\r\n\r\n",
                subject("s1", "retrying")
            );
            let end = "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 1\r\n\r\n";
            for headers in [first.as_str(), end] {
                let length = headers.len();
                let message = format!("HPUB {reply} {length} {length}\r\n{headers}\r\n");
                to_server.write_all(message.as_bytes()).await.unwrap();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_hides_no_fact() {
    let (rig, bus) = Rig::start().await;
    grow(&bus, "s1", 3).await;
    let admin = rig.admin().await;
    let mut config = admin.get_stream(SESSIONS).await.unwrap().info().await.unwrap().config.clone();
    config.allow_direct = false;
    admin.update_stream(&config).await.unwrap();
    // No answer comes, as before an engine of this version has updated the stream.
    assert_eq!(read::session(&bus, &filter("s1")).await.unwrap().len(), 3);
    let replica = lagging(&rig).await;
    let found = read::session(&bus, &filter("s1")).await.unwrap();
    // The first one came from the replica, with a time that the stream does not have.
    assert_eq!(found[0].time.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(found.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    replica.abort();
}
