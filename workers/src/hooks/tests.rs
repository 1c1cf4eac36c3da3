//! Actions against real sockets on loopback, which the tests allow.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Instant;

use lagan_schemas::resource::hooks::{ExecutionPolicy, Hook};
use lagan_sources::folder::Folder;
use lagan_sources::ledger::Ledger;
use lagan_sources::source::FolderSource;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::ready::ReadyPostHook;
use super::*;

fn folder() -> Source {
    let dir = tempfile::tempdir().unwrap().keep();
    Source::from(FolderSource {
        folder: Folder::new(vec![dir.clone()]).into(),
        ledger: Ledger::open(&dir).unwrap().into(),
        objects: dir.clone(),
        data_dir: dir,
    })
}

fn hook(action: serde_json::Value) -> ReadyHook {
    let hook: Hook = serde_json::from_value(action).unwrap();
    let actions = [
        hook.exec.map(Action::Exec),
        hook.http_get.map(Action::HttpGet),
        hook.http_post.map(Action::HttpPost),
        hook.tcp_socket.map(Action::TcpSocket),
    ];
    ReadyHook { action: actions.into_iter().flatten().next().unwrap(), container: None }
}

/// Runs a hook for an application on loopback. `allowed` are the exceptions of the administrator.
async fn run_allowed(action: serde_json::Value, allowed: &[String]) -> Result<String, HookError> {
    let (source, application) = (folder(), Application::Host("127.0.0.1".to_owned()));
    let outbound = Outbound { hook_hosts: allowed.to_vec(), ..Outbound::default() };
    let site =
        Site { source: &source, application: &application, host: "127.0.0.1", ca_pem: None, outbound: &outbound };
    let data = TemplateData { name: "shop-1".to_owned(), ..TemplateData::default() };
    site.run(&hook(action), &data, &CancellationToken::new()).await
}

async fn run(action: serde_json::Value) -> Result<String, HookError> {
    run_allowed(action, &["127.0.0.1".to_owned()]).await
}

/// Handles a connection whose request has been read.
type Answer = fn(TcpStream) -> futures::future::BoxFuture<'static, ()>;

/// Starts a server; returns its port and a channel with the requests that it reads.
async fn server(answer: Answer) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = asked.send(read_request(&mut stream).await);
            tokio::spawn(answer(stream));
        }
    });
    (port, requests)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut block = [0; 4096];
    loop {
        let count = stream.read(&mut block).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&block[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return text;
            }
            continue;
        };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if count == 0 || body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

macro_rules! answers {
    ($text:expr) => {
        |mut stream| {
            Box::pin(async move {
                let _ = stream.write_all($text.as_bytes()).await;
            })
        }
    };
}

const OK: Answer = answers!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

#[tokio::test]
async fn a_get_that_is_answered_with_success_succeeds() {
    let (port, mut asked) = server(OK).await;
    let said = run(
        json!({"httpGet": {"port": port, "path": "/ready?deep=1", "httpHeaders": [{"name": "X-Key", "value": "v"}]}}),
    )
    .await;
    assert_eq!(said.unwrap(), format!("http://127.0.0.1:{port} answered 200"));
    let request = asked.recv().await.unwrap();
    assert!(request.starts_with("GET /ready?deep=1 HTTP/1.1\r\n") && request.contains("x-key: v\r\n"), "{request}");
}

#[tokio::test]
async fn a_post_sends_its_body_with_templates_filled_in() {
    let (port, mut asked) = server(OK).await;
    run(json!({"httpPost": {"port": port, "body": "{\"session\": {{ .Name | toJson }}}"}})).await.unwrap();
    let request = asked.recv().await.unwrap();
    assert!(
        request.starts_with("POST / HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{\"session\": \"shop-1\"}"),
        "{request}"
    );
}

#[tokio::test]
async fn a_post_without_a_body_sends_its_form() {
    let (port, mut asked) = server(OK).await;
    run(json!({"httpPost": {"port": port, "form": [{"key": "a b", "values": ["1", "&"]}]}})).await.unwrap();
    let request = asked.recv().await.unwrap();
    assert!(
        request.contains("content-type: application/x-www-form-urlencoded") && request.ends_with("a+b=1&a+b=%26"),
        "{request}"
    );
}

#[tokio::test]
async fn an_answer_of_failure_is_shown_without_path_and_token() {
    let (port, _asked) = server(answers!("HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\nit is\n\nbroken")).await;
    let error = run(json!({"httpGet": {"port": port, "path": "/TOKEN"}})).await.unwrap_err().failure("hooks.preBackup");
    assert_eq!(error.code, Code::HookFailed);
    assert_eq!(error.message, format!("hooks.preBackup: http://127.0.0.1:{port} answered 500: it is | broken"));
}

/// The port of the second server. The answer of the first server needs it, and that is a plain function.
static VICTIM: std::sync::OnceLock<u16> = std::sync::OnceLock::new();

#[tokio::test]
async fn a_redirect_is_success_and_is_not_followed() {
    let (victim, mut reached) = server(OK).await;
    VICTIM.set(victim).unwrap();
    let (port, _asked) = server(answers!(format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
        VICTIM.get().unwrap()
    )))
    .await;
    assert!(run(json!({"httpGet": {"port": port}})).await.unwrap().ends_with("answered 302"));
    assert!(reached.try_recv().is_err(), "nobody asked where the redirect led");
}

#[tokio::test]
async fn a_path_that_looks_like_a_host_stays_a_path() {
    let (port, mut asked) = server(OK).await;
    for path in ["//other.invalid/x", "@other.invalid/x", ":1@other.invalid"] {
        run(json!({"httpGet": {"port": port, "path": path}})).await.unwrap();
        let request = asked.recv().await.unwrap();
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn of_a_huge_answer_only_the_beginning_is_read_and_less_is_shown() {
    let (port, _asked) = server(|mut stream| {
        Box::pin(async move {
            let _ = stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 10485760\r\n\r\n").await;
            let block = b"xxxxxxx ".repeat(8 * 1024);
            for _ in 0..160 {
                if stream.write_all(&block).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    let message = run(json!({"httpGet": {"port": port}})).await.unwrap_err().to_string();
    assert!(message.len() < 2200 && message.contains("503: xxx"), "{} bytes", message.len());
}

#[tokio::test]
async fn an_answer_that_never_ends_does_not_hold_the_session() {
    let (port, _asked) = server(|mut stream| {
        Box::pin(async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    })
    .await;
    let began = Instant::now();
    assert!(run(json!({"httpGet": {"port": port}})).await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_is_waited_for_30_seconds_and_no_longer() {
    let (port, _asked) = server(|stream| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
    })
    .await;
    let error = run(json!({"httpGet": {"port": port}})).await.unwrap_err();
    assert!(matches!(error, HookError::NoAnswer(..) | HookError::TooSlow(_)), "{error}");
}

#[tokio::test]
async fn a_hook_stops_with_its_session() {
    let (port, mut asked) = server(|stream| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
    })
    .await;
    let (source, application, stop) = (folder(), Application::Host("127.0.0.1".into()), CancellationToken::new());
    let outbound = Outbound { hook_hosts: vec!["127.0.0.1".to_owned()], ..Outbound::default() };
    let site =
        Site { source: &source, application: &application, host: "127.0.0.1", ca_pem: None, outbound: &outbound };
    let get = hook(json!({"httpGet": {"port": port}}));
    let data = TemplateData::default();
    let (done, ()) = tokio::join!(site.run(&get, &data, &stop), async {
        asked.recv().await.unwrap();
        stop.cancel();
    });
    assert!(matches!(done, Err(HookError::Stopped)));
}

#[tokio::test]
async fn a_socket_that_accepts_is_success_and_one_that_does_not_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(run(json!({"tcpSocket": {"port": port}})).await.unwrap().ends_with("accepts connections"));
    drop(listener);
    assert!(matches!(run(json!({"tcpSocket": {"port": port}})).await, Err(HookError::Connect(..))));
}

#[tokio::test]
async fn without_leave_nothing_is_connected_to() {
    let (port, mut reached) = server(OK).await;
    for host in ["127.0.0.1", "localhost", "::1", "0x7f.1", "169.254.169.254"] {
        for action in ["httpGet", "httpPost", "tcpSocket"] {
            let error = run_allowed(json!({action: {"port": port, "host": host}}), &[]).await.unwrap_err();
            assert!(matches!(error, HookError::Address(AddressError::Refused { .. })), "{host}: {error}");
        }
    }
    assert!(reached.try_recv().is_err());
}

#[tokio::test]
async fn a_server_without_a_certificate_we_know_is_refused() {
    let (port, _asked) = server(OK).await;
    let error = run(json!({"httpGet": {"port": port, "scheme": "HTTPS"}})).await.unwrap_err();
    assert!(matches!(error, HookError::NoAnswer(..)), "{error}");
}

#[tokio::test]
async fn what_a_folder_can_t_do_is_refused_before_anything_runs() {
    let source = folder();
    let application = Application::Service { namespace: "demo".into(), name: "db".into() };
    let exec = || Some(hook(json!({"exec": {"command": ["true"]}})));
    let named = hook(json!({"tcpSocket": {"port": "mysql"}}));
    let number = || Some(hook(json!({"tcpSocket": {"port": "3306"}})));
    let refused = |pre: Option<ReadyHook>, post: Option<ReadyHook>| {
        let post = post.map(|hook| ReadyPostHook { hook, policy: ExecutionPolicy::Always });
        check_supported(&source, &application, &ReadyHooks { pre, post })
    };
    assert!(matches!(refused(exec(), None), Err(HookError::ExecInFolder)));
    assert!(matches!(refused(None, exec()), Err(HookError::ExecInFolder)));
    assert!(matches!(refused(Some(named), None), Err(HookError::PortNameInFolder(name)) if name == "mysql"));
    assert!(refused(number(), number()).is_ok());
}

#[tokio::test]
async fn what_can_not_be_sent_is_refused_without_being_quoted() {
    let whole_in_name = json!({"httpGet": {"port": 1, "httpHeaders": [
        {"name": "X-Good", "value": "a"}, {"name": "Authorization: Bearer t0ken-of-ours", "value": ""}
    ]}});
    let message = run(whole_in_name).await.unwrap_err().to_string();
    assert!(message.contains("entry 2 of httpHeaders") && !message.contains("t0ken"), "{message}");
    let template = json!({"httpPost": {"port": 1, "body": "{{ t0ken_of_ours }}"}});
    let message = run(template).await.unwrap_err().to_string();
    assert!(message.contains("template") && !message.contains("t0ken_of_ours"), "{message}");
}
