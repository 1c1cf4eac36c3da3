//! Connections: which servers are refused and how it is said; requests; our own server.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::push;
use async_nats::jetstream::stream::Config as StreamConfig;
use lagan_bus::request::{self, Denied, RequestError};
use lagan_bus::server::{ServerError, ServerOptions, SupervisedServer};
use lagan_bus::sync::{Sync, sync_always};
use lagan_bus::{Auth, Bus, Connect, ConnectError};
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, binary};

async fn fake_server(version: &str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let info = serde_json::json!({ "server_id": "x", "version": version, "headers": true, "max_payload": 1_048_576 });
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            write.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") && write.write_all(b"PONG\r\n").await.is_err() {
                    break;
                }
            }
        }
    });
    (url, task)
}

fn impatient(url: &str) -> Connect {
    Connect { patience: Duration::from_millis(500), ..Connect::new(url, "test") }
}

#[tokio::test]
async fn an_old_server_is_refused_with_its_version() {
    let (url, task) = fake_server("2.11.9").await;
    let refused = Bus::connect(impatient(&url)).await.err().unwrap();
    assert!(matches!(&refused, ConnectError::TooOld { version, .. } if version == "2.11.9"), "{refused:?}");
    task.abort();
}

#[tokio::test]
async fn nobody_there_and_wrong_credentials_are_told_apart() {
    let nobody = Bus::connect(impatient("nats://127.0.0.1:1")).await.err().unwrap();
    assert!(matches!(nobody, ConnectError::Unreachable { .. }), "{nobody:?}");
    let rig = Rig::empty().await;
    let mut wrong = rig.options();
    wrong.auth = Auth::Token("wrong".into());
    let wrong = Bus::connect(wrong).await.err().unwrap();
    assert!(matches!(wrong, ConnectError::Unauthorized { .. }), "{wrong:?}");
    let missing = Connect { auth: Auth::Credentials("/nonexistent.creds".into()), ..impatient(rig.server.url()) };
    assert!(matches!(Bus::connect(missing).await, Err(ConnectError::Credentials { .. })));
    assert!(matches!(Bus::connect(impatient("nats://")).await, Err(ConnectError::Address(_))));
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = tokio::process::Command::new(binary())
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let connect = Connect::new(format!("nats://127.0.0.1:{port}"), "test");
    let refused = Bus::connect(connect).await.err().unwrap();
    assert!(matches!(refused, ConnectError::JetStreamDisabled { .. }), "{refused:?}");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_client_knows_the_servers_that_it_may_connect_to() {
    let (rig, bus) = Rig::start().await;
    let port = rig.server.url().rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(bus.servers().await.unwrap(), [("127.0.0.1".to_owned(), port)]);
}

#[tokio::test]
async fn one_of_several_servers_is_enough_and_all_of_them_are_known() {
    let rig = Rig::empty().await;
    let mut connect = rig.options();
    connect.url = format!("nats://127.0.0.1:1,{}", connect.url);
    let bus = Bus::connect(connect).await.unwrap();
    let mut servers = bus.servers().await.unwrap();
    servers.sort();
    let port = rig.server.url().rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(servers, [("127.0.0.1".to_owned(), 1), ("127.0.0.1".to_owned(), port)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnection_is_noticed() {
    let (rig, bus) = Rig::start().await;
    let mut link = bus.link();
    assert_eq!((link.borrow().generation, bus.is_connected()), (1, true));
    rig.kill().await;
    link.wait_for(|l| l.connected && l.generation == 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_denied_or_lost_and_says_which() {
    let rig = Rig::empty().await;
    let (bus, engine) = (rig.bus().await, rig.bus().await);
    let ask = async |question: u64| {
        request::request::<u64, u64>(&bus, "lagan.request.test.double", &question, Duration::from_secs(2)).await
    };
    assert!(matches!(ask(1).await, Err(RequestError::NoResponders { .. })));
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move {
            let double = |question: u64| async move {
                match question {
                    0 => Err(Denied { code: "Zero".into(), message: "nothing to\ndouble".into() }),
                    n => Ok(n * 2),
                }
            };
            request::serve(&engine, "lagan.request.test.double", "engine", stop, double).await
        }
    });
    let doubled = loop {
        match ask(21).await {
            Err(RequestError::NoResponders { .. }) => tokio::task::yield_now().await,
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(doubled, 42);
    let Err(RequestError::Denied(denied)) = ask(0).await else { panic!("not denied") };
    assert_eq!(denied, Denied { code: "Zero".into(), message: "nothing to double".into() });
    let text: Result<u64, _> = request::request(&bus, "lagan.request.test.double", &"x", Duration::from_secs(2)).await;
    assert!(matches!(text, Err(RequestError::Denied(Denied { code, .. })) if code == "InvalidRequest"));
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_message_that_a_consumer_delivers_to_the_subject_of_requests_is_no_request() {
    let rig = Rig::empty().await;
    let (bus, engine) = (rig.bus().await, rig.bus().await);
    let context = rig.admin().await;
    let config = StreamConfig { name: "OTHER".into(), subjects: vec!["other.>".into()], ..StreamConfig::default() };
    let stream = context.create_stream(config).await.unwrap();
    context.publish("other.x", "21".into()).await.unwrap().await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (stop, asked) = (stop.clone(), Arc::clone(&asked));
        async move {
            let note = |question: u64| {
                asked.lock().unwrap().push(question);
                async { Ok::<_, Denied>(0_u64) }
            };
            request::serve(&engine, "lagan.request.test.note", "engine", stop, note).await
        }
    });
    let ask = async || request::request::<u64, u64>(&bus, "lagan.request.test.note", &1, Duration::from_secs(2)).await;
    while matches!(ask().await, Err(RequestError::NoResponders { .. })) {
        tokio::task::yield_now().await;
    }
    let push = push::Config {
        deliver_subject: "lagan.request.test.note".into(),
        deliver_group: Some("engine".into()),
        durable_name: Some("forger".into()),
        ..push::Config::default()
    };
    let mut consumer = stream.create_consumer(push).await.unwrap();
    while consumer.info().await.unwrap().delivered.stream_sequence == 0 {
        tokio::task::yield_now().await;
    }
    // The server has sent it before this request, on the same connection.
    assert_eq!(ask().await.unwrap(), 0);
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert!(asked.lock().unwrap().iter().all(|question| *question == 1), "the stored message was obeyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_syncs_always_and_keeps_its_token_to_itself() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = ServerOptions::new(binary(), dir.path().join("nats \"data\""));
    options.monitoring = Some(port);
    // Any program that execs will do as a guard.
    options.guard = vec!["env".into(), "--".into()];
    let server = SupervisedServer::start(options).await.unwrap();
    let monitoring = format!("http://127.0.0.1:{port}");
    assert_eq!(sync_always(Some(&monitoring)).await, Sync::Always);
    assert!(matches!(sync_always(None).await, Sync::Unknown(_)));
    let config = dir.path().join("nats \"data\"/nats-server.conf");
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", server.token()).contains(server.token().expose_secret()));
    let pid = server.pid().borrow().unwrap();
    let argv = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(argv.contains("--config") && !argv.contains(server.token().expose_secret()), "{argv}");
    server.stop().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_program_that_is_not_a_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = SupervisedServer::start(ServerOptions::new("/nonexistent/nats-server", dir.path())).await;
    assert!(matches!(missing, Err(ServerError::Run { .. })));
    let echo = SupervisedServer::start(ServerOptions::new("echo", dir.path())).await;
    assert!(matches!(echo, Err(ServerError::TooOld { .. })));
}
