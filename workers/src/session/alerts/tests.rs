use std::time::Duration;

use jiff::Timestamp;
use lagan_bus::append::append;
use lagan_bus::server::{ServerOptions, SupervisedServer};
use lagan_bus::streams::{self, Sizes};
use lagan_bus::{Append, Auth, Connect};
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{CancelRequested, Ended, Started};
use lagan_schemas::subject::{SessionKey, SessionKind};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn key(uid: u128) -> SessionKey {
    SessionKey { uid: Uuid::from_u128(uid), ..crate::fixtures::session(SessionKind::Backup).key }
}

fn holder(worker: u128, attempt: u32) -> Holder {
    Holder { attempt, worker: Uuid::from_u128(worker) }
}

fn ended(holder: Option<Holder>) -> Ended {
    Ended {
        holder,
        failure: Failure::new(Code::Internal, "x"),
        results: Vec::new(),
        rejected_snapshots: Vec::new(),
        conditions: Vec::new(),
    }
}

fn cancel() -> Fact {
    Fact::CancelRequested(CancelRequested { by: "x".into(), reason: String::new(), code: Code::Cancelled })
}

/// Stores a fact behind all others of its session.
async fn store(bus: &Bus, key: &SessionKey, pool: Option<&str>, fact: Fact) {
    let id = Uuid::new_v4().to_string();
    let subject = pool.map_or_else(|| key.engine_fact(fact.kind()), |pool| key.worker_fact(pool, fact.kind()));
    let last = lagan_bus::read::last_sequence(bus, &key.filter()).await.unwrap();
    let message = Append {
        subject,
        session_filter: key.filter(),
        expected_last_sequence: last,
        message_id: id.clone(),
        event: fact.event(key, id, "test", Timestamp::now()).to_bytes().into(),
    };
    append(bus, message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_rung_for_what_others_say_of_it_and_for_nothing_else() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file());
    let directory = tempfile::tempdir().unwrap();
    let server = SupervisedServer::start(ServerOptions::new(binary.unwrap(), directory.path())).await.unwrap();
    let mut connect = Connect::new(server.url(), "test");
    connect.auth = Auth::Token(server.token().clone());
    let bus = Bus::connect(connect).await.unwrap();
    let cluster = key(1).cluster;
    let specs = streams::of_cluster(&cluster, &Sizes::default());
    streams::ensure(&bus, &specs).await.unwrap();
    let token = server.token().expose_secret().to_owned();
    let admin = async_nats::ConnectOptions::with_token(token).connect(server.url()).await.unwrap();
    let admin = async_nats::jetstream::new(admin);

    // Before the worker starts: nobody listens yet.
    store(&bus, &key(1), None, cancel()).await;
    let alerts = Alerts::start(&bus, &cluster, "p");
    let mine = holder(9, 2);
    let mut first = alerts.listen(key(1).uid, mine).await;
    let mut second = alerts.listen(key(2).uid, holder(9, 1)).await;
    // Our own facts, other pools, later attempts of ours, and the facts that stop nobody are silent.
    store(&bus, &key(1), Some("p"), Fact::Started(Started { holder: mine, host: "h".into() })).await;
    store(&bus, &key(1), Some("other"), Fact::Failed(ended(None))).await;
    store(&bus, &key(1), Some("p"), Fact::Failed(ended(Some(mine)))).await;
    store(&bus, &key(3), None, cancel()).await;
    let successor = Fact::Started(Started { holder: holder(7, 3), host: "h".into() });
    for (pool, fact) in [
        (None, cancel()),
        (Some("p"), successor),
        (Some("p"), Fact::Failed(ended(None))),
        (None, Fact::Cancelled(ended(None))),
    ] {
        let looks = first.heard.borrow().looks;
        store(&bus, &key(1), pool, fact).await;
        let rings = timeout(SOON, first.next()).await.unwrap();
        assert_eq!(rings, Rings { looks: looks + 1, store: StoreKept::Yes });
    }
    assert_eq!(*second.heard.borrow(), Rings::default());

    // An attempt that was dropped hears nothing, and does not take the entry of the next one along.
    let mut next = alerts.listen(key(1).uid, holder(9, 4)).await;
    drop(first);
    store(&bus, &key(1), None, cancel()).await;
    assert_eq!(timeout(SOON, next.next()).await.unwrap().looks, 1);
    assert_eq!(alerts.listeners.lock().unwrap().len(), 2);

    // Sessions cost no consumers.
    assert_eq!(admin.get_stream(SESSIONS).await.unwrap().cached_info().state.consumer_count, 1);

    // Everybody hears that the store was lost.
    admin.delete_stream(SESSIONS).await.unwrap();
    streams::ensure(&bus, &specs).await.unwrap();
    for heard in [&mut second, &mut next] {
        let lost = async { while heard.next().await.store == StoreKept::Yes {} };
        timeout(SOON, lost).await.unwrap();
    }
}
