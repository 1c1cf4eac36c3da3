//! Object stores: checksums, redirects, refused addresses, and answers that are not S3's.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::server::{ObjectServer, s3};
use super::*;
use crate::repository::{S3, StoreErrorKind};

fn probe(s3: S3) -> (String, Duration) {
    let began = Instant::now();
    let error = Repository::probe(&Storage::S3(s3), &Fixture::new().access()).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Misconfigured), "{error:?}");
    assert_eq!(error.class(), lagan_schemas::error::Class::Permanent, "{error:?}");
    (error.to_string(), began.elapsed())
}

#[test]
fn every_upload_carries_the_checksum_of_its_content() {
    let fixture = Fixture::new();
    let server = ObjectServer::start(fixture.root());
    let repository = Repository::init(&Storage::S3(server.s3()), &PASSWORD.into(), &fixture.access()).unwrap();
    // The check value of the algorithm.
    repository.store.write("snapshots/x", vec!["123456789".into()]).unwrap();
    store(&repository, &noise(20 << 20, 30));
    let uploads: Vec<_> = server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    assert!(uploads.len() >= 7, "{uploads:?}");
    for upload in &uploads {
        assert_eq!(upload.headers["x-amz-checksum-crc32c"].len(), 8, "{upload:?}");
    }
    let check = uploads.iter().find(|upload| upload.target == "snapshots/x").unwrap();
    assert_eq!(check.headers["x-amz-checksum-crc32c"], "4waSgw==");
    std::fs::remove_file(fixture.root().join("snapshots/x")).unwrap();
    fixture.restic_says(&["check", "--read-data"]);
}

#[test]
fn addresses_of_metadata_services_are_refused_without_a_request() {
    for endpoint in ["http://169.254.169.254", "169.254.169.254", "http://0xa9fea9fe/", "http://[::ffff:a9fe:a9fe]:80"]
    {
        let (text, took) = probe(s3(endpoint.to_owned(), "p"));
        assert!(text.contains("link-local") && text.contains("--allow-storage-host"), "{endpoint}: {text}");
        assert!(took < Duration::from_secs(1));
    }
}

#[test]
fn a_redirect_is_not_followed_and_is_told() {
    let victim = TcpListener::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let target = victim.local_addr().unwrap();
    for status in [301, 302, 307, 308] {
        let head = format!(
            "HTTP/1.1 {status} X\r\nLocation: http://{target}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (text, took) = probe(s3(always(head), "p"));
        assert!(text.contains(&status.to_string()) && text.contains("redirect"), "{text}");
        assert!(took < Duration::from_secs(5));
    }
    assert!(victim.accept().is_err(), "the redirect was followed");
}

#[test]
fn a_server_without_tls_behind_an_assumed_https_is_told_at_once() {
    let endpoint = always("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned());
    let (text, took) = probe(s3(endpoint.trim_start_matches("http://").to_owned(), "p"));
    assert!(text.contains("`http://`"), "{text}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_answer_of_another_kind_of_server_is_one_short_clean_line() {
    let said = format!("<html>\u{1b}[31m\n\n{}\u{202e}</html>", "spam\r\n".repeat(100_000));
    let answer = |status: u16| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}", said.len())
    };
    for status in [400, 405, 501] {
        // The question for `config` is a HEAD, whose answer has no text.
        let (text, took) = probe(s3(always(answer(status)), "p"));
        assert!(text.contains(&format!("answers {status}")) && text.contains("S3 server"), "{text}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        let (text, _) = probe(s3(after_absent_config(answer(status)), "p"));
        assert!(text.len() < 600 && text.contains("spam spam"), "{} bytes: {text}", text.len());
        assert!(!text.contains(char::is_control) && !text.contains('\u{202e}'), "{text}");
    }
}

#[test]
fn the_token_of_temporary_credentials_is_sent_with_every_request() {
    let fixture = Fixture::new();
    let server = ObjectServer::start(fixture.root());
    let s3 = S3 { session_token: Some("TOKENCANARY".into()), ..server.s3() };
    Repository::init(&Storage::S3(s3), &PASSWORD.into(), &fixture.access()).unwrap();
    for request in server.requests() {
        assert_eq!(request.headers["x-amz-security-token"], "TOKENCANARY", "{request:?}");
        assert!(request.headers["authorization"].contains("x-amz-security-token"), "it is signed: {request:?}");
    }
}

#[test]
fn a_refusal_without_words_is_asked_for_words() {
    let body = "<Error><Code>ExpiredToken</Code><Message>TOKENCANARY</Message></Error>";
    let refused = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let error = Repository::probe(&Storage::S3(s3(always(refused), "p")), &Fixture::new().access()).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Expired), "{error:?}");
    assert_eq!(error.class(), lagan_schemas::error::Class::Transient);
    assert!(error.to_string().contains("have expired"), "{error}");
}

#[test]
fn a_listing_without_an_end_is_given_up() {
    let endpoint = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || endless(stream.unwrap()));
            }
        });
        endpoint
    };
    let (text, _) = probe(s3(endpoint, "p"));
    assert!(text.contains("longer than"), "{text}");
}

fn endless(mut stream: std::net::TcpStream) {
    let mut head = [0; 4096];
    let count = stream.read(&mut head).unwrap_or(0);
    if head[..count].starts_with(b"HEAD") {
        let _ = stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let _ = stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n<ListBucketResult>");
    let block = vec![b' '; 65536];
    while stream.write_all(&block).is_ok() {}
}

/// A server that gives the same answer each time.
fn always(answer: String) -> String {
    serve(move |head| {
        let end = answer.find("\r\n\r\n").map_or(answer.len(), |at| at + 4);
        if head.starts_with("HEAD") { answer[..end].to_owned() } else { answer.clone() }
    })
}

/// A server that has no `config` and gives the same answer to all other requests.
fn after_absent_config(answer: String) -> String {
    const ABSENT: &str = "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    serve(move |head| if head.starts_with("HEAD") { ABSENT.to_owned() } else { answer.clone() })
}

fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let _ = stream.write_all(answer(&String::from_utf8_lossy(&head[..count])).as_bytes());
        }
    });
    endpoint
}
