//! A JetStream domain: every request goes to its API, and none to the default one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use lagan_bus::append::append;
use lagan_bus::consumers::{self, Begin, ConsumerSpec};
use lagan_bus::follow::follow;
use lagan_bus::kv::Bucket;
use lagan_bus::lock::{LockHolder, Locked, Locks};
use lagan_bus::streams::{self, LOCKS};
use lagan_bus::{Bus, Connect, ConnectError, Followed, Lanes, Settle, Start, read};
use lagan_schemas::subject::{Lane, SESSIONS, STATUS, planned_filter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PlainServer, cluster, fact, filter, sizes};

/// A server with a domain, behind a proxy that records what clients send.
struct DomainServer {
    _server: PlainServer,
    url: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl DomainServer {
    async fn start() -> Self {
        let server = PlainServer::start("domain: hub", "");
        let sent = Arc::default();
        let url = record(server.port, Arc::clone(&sent)).await;
        Self { _server: server, url, sent }
    }

    fn connect(&self, domain: &str) -> Connect {
        Connect { domain: Some(domain.to_owned()), ..Connect::new(&self.url, "test") }
    }

    /// Counts the messages that clients sent to subjects with a prefix.
    fn count(&self, prefix: &str) -> usize {
        let sent = String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned();
        ["PUB ", "HPUB "].iter().map(|verb| sent.matches(&format!("\n{verb}{prefix}")).count()).sum()
    }
}

/// Forwards connections to a port and keeps what comes from the clients.
async fn record(port: u16, sent: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read) = from_client.read(&mut buffer).await {
                    sent.lock().unwrap().extend_from_slice(&buffer[..read]);
                    if read == 0 || to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_goes_to_the_api_of_the_domain() {
    let server = DomainServer::start().await;
    let bus = Bus::connect(server.connect("hub")).await.unwrap();
    let specs = streams::of_cluster(&cluster(), &sizes());
    streams::ensure(&bus, &specs).await.unwrap();
    let name = "work-default-normal".to_owned();
    let filters = vec![planned_filter(&cluster(), "default", Lane::Normal)];
    let ack_wait = Duration::from_secs(5);
    let spec = ConsumerSpec { stream: SESSIONS.into(), name: name.clone(), filters, ack_wait, begin: Begin::Oldest };
    consumers::ensure(&bus, &spec).await.unwrap();

    let planned = append(&bus, fact("s1", "default.planned.normal", 0, "p")).await.unwrap();
    assert_eq!(read::last_sequence(&bus, &filter("s1")).await.unwrap(), planned);
    let mut lanes = Lanes::new(&bus, SESSIONS, vec![name.clone()]);
    let delivery = lanes.next(Duration::from_secs(10)).await.unwrap().unwrap();
    delivery.progress().await.unwrap();
    delivery.settle(Settle::Ack).await.unwrap();
    assert_eq!(consumers::waiting(&bus, SESSIONS, &name).await.unwrap(), 0);

    let mut followed = follow(&bus, SESSIONS, vec![filter("s1")], Start::All);
    let sequence = loop {
        if let Followed::Message(stored) = followed.next().await.unwrap() {
            break stored.sequence;
        }
    };
    assert_eq!(sequence, planned);

    let locks = Locks::new(Bucket::of(&bus, &specs, LOCKS).unwrap());
    let holder = LockHolder { owner: "a".to_owned(), detail: serde_json::Value::Null };
    assert_eq!(locks.acquire("k", &holder).await.unwrap(), Locked::Acquired);
    lagan_bus::purge::purge_subject(&bus, STATUS, "lagan.status.test.x").await.unwrap();
    assert_eq!(server.count("$JS.API."), 0);
    assert!(server.count("$JS.hub.API.") > 10, "{}", server.count("$JS.hub.API."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_does_not_exist_is_an_error() {
    let server = DomainServer::start().await;
    Bus::connect(server.connect("hub")).await.unwrap();
    let patience = Duration::from_secs(1);
    let refused = Bus::connect(Connect { patience, ..server.connect("elsewhere") }).await.map(drop).unwrap_err();
    assert!(matches!(refused, ConnectError::JetStream { .. }), "{refused}");
}
