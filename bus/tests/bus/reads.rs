//! Reading a session: a constant number of requests, and never less than the leader has.

use lagan_bus::append::append;
use lagan_bus::session_log::find_session;
use lagan_bus::{Append, Bus, Connect, ReadScope, read};
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
        let found = found.unwrap().visible;
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
    let all = read::session(&bus, &filter("s1")).await.unwrap().visible;
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
    assert_eq!(read::session(&bus, &filter("s1")).await.unwrap().visible.len(), 3);
    let replica = lagging(&rig).await;
    let found = read::session(&bus, &filter("s1")).await.unwrap().visible;
    // The first one came from the replica, with a time that the stream does not have.
    assert_eq!(found[0].time.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(found.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    replica.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reads_the_facts_of_its_pool_and_of_the_engine_and_knows_where_the_log_ends() {
    let (rig, bus) = Rig::start().await;
    let mut last = 0;
    for (number, name) in
        ["requested", "disk.planned.normal", "disk.started", "tape.planned.normal", "cancel-requested"]
            .into_iter()
            .enumerate()
    {
        last = append(&bus, fact("s1", name, last, number)).await.unwrap();
    }
    // Another session stands behind it, and a pool whose name begins like ours.
    append(&bus, fact("s2", "disk.started", 0, "a")).await.unwrap();
    let hidden = append(&bus, fact("s1", "disks.started", last, "b")).await.unwrap();
    let pool = |name: &str| Connect { reach: ReadScope::Pool(name.to_owned()), ..rig.options() };
    let disk = Bus::connect(pool("disk")).await.unwrap();
    let facts = read::session(&disk, &filter("s1")).await.unwrap();
    let names: Vec<&str> = facts.visible.iter().filter_map(|stored| stored.subject.split(".s1.").nth(1)).collect();
    assert_eq!(names, ["_.requested", "disk.planned.normal", "disk.started", "_.cancel-requested"]);
    assert_eq!((facts.last_sequence, facts.is_last_hidden()), (hidden, true));
    // The next append expects what this connection can't see.
    let after = append(&disk, fact("s1", "disk.committing", hidden, "c")).await.unwrap();
    let facts = read::session(&disk, &filter("s1")).await.unwrap();
    assert_eq!((facts.last_sequence, facts.is_last_hidden()), (after, false));
    assert_eq!(read::last_sequence(&disk, &filter("s1")).await.unwrap(), after);
    // A write whose answer was lost is found by its own subject.
    assert_eq!(append(&disk, fact("s1", "disk.committing", hidden, "c")).await.unwrap(), after);
    let none = read::session(&disk, &filter("none")).await.unwrap();
    assert_eq!((none.visible.len(), none.last_sequence, none.is_last_hidden()), (0, 0, false));
    // Nothing of what was asked is stored.
    assert_eq!(read::session(&bus, "lagan.session.>").await.unwrap().visible.len(), 8);
    let everything = Bus::connect(Connect { reach: ReadScope::Consumers, ..rig.options() }).await.unwrap();
    let through = read::session(&everything, &filter("s1")).await.unwrap().visible;
    let directly = read::session(&bus, &filter("s1")).await.unwrap().visible;
    let content = |found: &[lagan_bus::Stored]| -> Vec<_> {
        found.iter().map(|f| (f.subject.clone(), f.sequence, f.time, f.payload.clone())).collect()
    };
    assert_eq!((content(&through), through.len()), (content(&directly), 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_pool_appends_after_an_end_hides_nothing_from_a_worker() {
    let (rig, bus) = Rig::start().await;
    let uid = uuid::Uuid::from_u128(7);
    let session = uid.to_string();
    let event = |fact: &str| {
        let path =
            format!("{}/../schemas/fixtures/v1/facts/dev.lagan.backup.{fact}.v1.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let add = async |name: &str, last: u64, event: String| {
        append(&bus, Append { event: event.into(), ..fact(&session, name, last, last) }).await.unwrap()
    };
    let disk = Connect { reach: ReadScope::Pool("disk".to_owned()), ..rig.options() };
    let disk = Bus::connect(disk).await.unwrap();
    let cluster = crate::support::cluster();
    let requested = add("requested", 0, event("requested")).await;
    // While the session may go on, a hidden fact means that it goes on elsewhere.
    let hidden = add("tape.started", requested, event("started")).await;
    assert!(find_session(&disk, &cluster, uid).await.unwrap().is_none());
    let skipped = add("skipped", hidden, event("skipped")).await;
    add("tape.started", skipped, event("started")).await;
    let found = find_session(&disk, &cluster, uid).await.unwrap().expect("its end is visible");
    assert!(found.phase.is_end());
    assert!(find_session(&disk, &cluster, uuid::Uuid::from_u128(8)).await.unwrap().is_none());
}
