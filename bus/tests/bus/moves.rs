//! Moves from one server to another: which silence counts, and that a move reaches another server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lagan_bus::{Bus, Connect, DeliveryError, Lanes, streams};
use lagan_schemas::subject::SESSIONS;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{LossyProxy, Rig};

/// Longer than a server may be silent before its clients leave it.
const LONGER_THAN_SILENCE: Duration = Duration::from_secs(12);
/// Shorter than the time between two moves.
const SHORTER_THAN_STAY: Duration = Duration::from_secs(8);

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

/// A server that answers the first question, whether there is JetStream, and nothing more. It listens at several addresses.
struct SilentServer {
    addresses: Vec<String>,
    connections: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl SilentServer {
    async fn start(id: &'static str, addresses: usize) -> Self {
        let (mut listening, connections) = (JoinSet::new(), Arc::<AtomicUsize>::default());
        let mut server =
            Self { addresses: Vec::new(), connections: Arc::clone(&connections), _listening: JoinSet::new() };
        for _ in 0..addresses {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            server.addresses.push(format!("nats://{}", listener.local_addr().unwrap()));
            let connections = Arc::clone(&connections);
            listening.spawn(async move {
                let mut serving = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    serving.spawn(async move { serve(client, id).await.unwrap_or_default() });
                }
            });
        }
        Self { _listening: listening, ..server }
    }
}

async fn serve(client: TcpStream, id: &str) -> std::io::Result<()> {
    let (read, mut write) = client.into_split();
    let info = serde_json::json!({
        "server_id": id, "server_name": id, "version": "2.12.0", "headers": true, "jetstream": true, "max_payload": 1_048_576,
    });
    write.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(read);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["PING"] => write.write_all(b"PONG\r\n").await?,
            ["PUB" | "HPUB", subject, .., bytes] => {
                let mut payload = vec![0; bytes.parse::<usize>().unwrap() + 2];
                lines.read_exact(&mut payload).await?;
                if subject == "$JS.API.INFO" {
                    // The answers to all requests go to one subscription, which has the number 0.
                    write.write_all(format!("MSG {} 0 2\r\n{{}}\r\n", words[2]).as_bytes()).await?;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_reaches_another_server_though_most_addresses_lead_to_the_same_one() {
    const ALIASES: usize = 6;
    let (one, other) = (SilentServer::start("one", ALIASES).await, SilentServer::start("other", 1).await);
    let connect = |url: String| Connect { answer_within: Duration::from_millis(300), ..Connect::new(url, "test") };
    let held = LossyProxy::to(&other.addresses[0]).await;
    held.open.send_replace(false);
    let bus = Bus::connect(connect(format!("{},{}", one.addresses.join(","), held.url))).await.unwrap();
    held.open.send_replace(true);
    // No request is answered from now on.
    let mut moved = None;
    while other.connections.load(Ordering::SeqCst) == 0 {
        assert!(streams::held(&bus, SESSIONS).await.is_err());
        if bus.link().borrow().generation > 1 {
            moved.get_or_insert_with(Instant::now);
        }
    }
    let took = moved.map(|moved| moved.elapsed()).unwrap_or_default();
    assert!(took < SHORTER_THAN_STAY, "the next move, and not the same one, reached it after {took:?}");
    let connections = one.connections.load(Ordering::SeqCst);
    assert!(connections <= ALIASES, "each address is found out once, not {connections} times");
}
