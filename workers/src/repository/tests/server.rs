//! A small S3 server over a folder, which records its requests and can stop answering.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::repository::{CertificateCheck, S3};

pub(super) fn s3(endpoint: String, prefix: &str) -> S3 {
    S3 {
        endpoint,
        bucket: "b".to_owned(),
        prefix: prefix.to_owned(),
        region: None,
        tls: CertificateCheck::Verified,
        ca_pem: None,
        access_key_id: Some("AKIDCANARY".into()),
        secret_access_key: Some("SECRETCANARY".into()),
        session_token: None,
    }
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: String,
    /// Path below the bucket, and query.
    pub target: String,
    pub headers: HashMap<String, String>,
}

/// Serves the files of a folder as the objects of bucket `b`.
pub(super) struct ObjectServer {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
    is_deaf: Arc<AtomicBool>,
}

impl ObjectServer {
    pub fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (requests, is_deaf) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let server = Self { endpoint, requests: requests.clone(), is_deaf: is_deaf.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, requests, is_deaf) = (root.clone(), requests.clone(), is_deaf.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let (request, body) = read(&stream);
                    requests.lock().unwrap().push(request.clone());
                    if is_deaf.load(Ordering::Relaxed) {
                        // The connection stays open until the client closes it.
                        let _ = stream.read(&mut [0]);
                        return;
                    }
                    answer(&mut stream, &root, &request, &body);
                });
            }
        });
        server
    }

    pub fn s3(&self) -> S3 {
        s3(self.endpoint.clone(), "")
    }

    /// From now on requests are read and not answered.
    pub fn stop_answering(&self) {
        self.is_deaf.store(true, Ordering::Relaxed);
        self.requests.lock().unwrap().clear();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn wait_for_requests(&self, count: usize) {
        let since = Instant::now();
        while self.requests.lock().unwrap().len() < count {
            assert!(since.elapsed() < Duration::from_secs(20), "no request came");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn read(stream: &TcpStream) -> (Request, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap_or(0);
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().trim_start_matches("/b").trim_start_matches('/').to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap_or(());
    (Request { method, target, headers }, body)
}

fn answer(stream: &mut TcpStream, root: &Path, request: &Request, body: &[u8]) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let file = root.join(path);
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (status, content) = match request.method.as_str() {
        "GET" if query.contains("list-type=") => (200, list(root, query).into_bytes()),
        "PUT" => {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, body).unwrap();
            (200, Vec::new())
        }
        "DELETE" => {
            let _ = fs::remove_file(&file);
            (204, Vec::new())
        }
        _ => match (fs::read(&file), range) {
            (Err(_), _) => (404, Vec::new()),
            (Ok(content), None) => (200, content),
            (Ok(content), Some((from, to))) => {
                let from: usize = from.parse().unwrap();
                let to = to.parse::<usize>().map_or(content.len(), |to| (to + 1).min(content.len()));
                (206, content[from..to].to_vec())
            }
        },
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    let content = if request.method == "HEAD" { &[][..] } else { &content };
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content)).unwrap_or(());
}

fn list(root: &Path, query: &str) -> String {
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or("").replace("%2F", "/");
    let mut contents = String::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = path.strip_prefix(root).unwrap().to_str().unwrap();
            if key.starts_with(&prefix) {
                let size = fs::metadata(&path).unwrap().len();
                contents += &format!(
                    "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
                );
            }
        }
    }
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
}
