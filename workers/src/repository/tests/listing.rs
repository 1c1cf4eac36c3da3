//! Object stores that break off in the middle of a listing or refuse a request: neither means an empty storage.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::repository::{Presence, StoreErrorKind};

/// Answers every request with the status and body that `answer` returns for its request line, until the test ends.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            respond(stream.unwrap(), &answer);
        }
    });
    format!("http://{address}")
}

fn respond(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String)) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let (status, body) = answer(&request);
    let length = if request.starts_with("HEAD") { 0 } else { body.len() };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body.as_bytes()[..length])).unwrap_or(());
}

fn probe(endpoint: String) -> Result<Presence, Error> {
    let fixture = Fixture::new();
    Repository::probe(&Storage::S3(super::server::s3(endpoint, "p")), &fixture.access())
}

const PAGE: &str = "<ListBucketResult><IsTruncated>TRUNCATED</IsTruncated><NextContinuationToken>next</NextContinuationToken>\
    <Contents><Key>p/data/README/</Key><Size>0</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>";

#[test]
fn a_listing_that_breaks_off_is_an_error() {
    let endpoint = serve(|request| match request {
        _ if request.starts_with("HEAD") => (404, String::new()),
        _ if request.contains("continuation-token=next") => {
            (403, "<Error><Code>AccessDenied</Code><Message>AKIDCANARY may not</Message></Error>".to_owned())
        }
        _ => (200, PAGE.replace("TRUNCATED", "true")),
    });
    let error = probe(endpoint).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Denied), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
}

#[test]
fn a_complete_listing_without_files_is_absent() {
    let endpoint = serve(|request| {
        if request.starts_with("HEAD") { (404, String::new()) } else { (200, PAGE.replace("TRUNCATED", "false")) }
    });
    assert_eq!(probe(endpoint).unwrap(), Presence::Absent);
}

#[test]
fn a_refused_request_is_not_absence() {
    let error = probe(serve(|_| (403, String::new()))).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Denied), "{error:?}");
    assert_eq!(error.class(), lagan_schemas::error::Class::Permanent);
}

#[test]
fn a_missing_bucket_is_not_absence() {
    let endpoint = serve(|request| {
        if request.starts_with("HEAD") {
            (404, String::new())
        } else {
            (404, "<Error><Code>NoSuchBucket</Code></Error>".to_owned())
        }
    });
    let error = probe(endpoint).unwrap_err();
    assert!(matches!(&error, Error::Storage(error) if error.kind == StoreErrorKind::Misconfigured), "{error:?}");
}
