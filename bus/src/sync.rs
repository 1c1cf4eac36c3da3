//! Finds out whether an external NATS server syncs every write to disk, from its monitoring page.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(3);
const LARGEST_PAGE: u64 = 1024 * 1024;

/// The moment from which an acknowledged message survives a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sync {
    /// At its acknowledgement.
    Always,
    /// Up to this time later. A power cut before that loses it, or the whole stream.
    Interval(Duration),
    /// Not known, for this reason.
    Unknown(String),
}

/// Asks `GET <monitoring url>/varz` over plain HTTP, which is all that monitoring ports usually offer.
pub async fn sync_always(monitoring: Option<&str>) -> Sync {
    let Some(url) = monitoring else {
        return Sync::Unknown("no monitoring URL is given".to_owned());
    };
    match tokio::time::timeout(TIMEOUT, ask(url)).await {
        Ok(Ok(sync)) => sync,
        Ok(Err(why)) => Sync::Unknown(why),
        Err(_elapsed) => Sync::Unknown(format!("`{url}` does not answer")),
    }
}

#[derive(Deserialize)]
struct Varz {
    jetstream: JetStream,
}

#[derive(Deserialize)]
struct JetStream {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
    #[serde(default)]
    sync_interval: u64,
}

async fn ask(url: &str) -> Result<Sync, String> {
    let parsed = url::Url::parse(url).map_err(|_| format!("`{url}` is not a URL"))?;
    if parsed.scheme() != "http" {
        return Err("only http monitoring URLs can be asked".to_owned());
    }
    let host = parsed.host_str().ok_or_else(|| format!("`{url}` names no host"))?;
    let port = parsed.port_or_known_default().unwrap_or(8222);
    let failed = |error: std::io::Error| format!("`{url}` can't be read: {error}");
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    let path = parsed.path().trim_end_matches('/');
    let request = format!("GET {path}/varz HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LARGEST_PAGE).read_to_end(&mut answer).await.map_err(failed)?;
    read(&answer).ok_or_else(|| format!("`{url}` is not the monitoring page of a NATS server with JetStream"))
}

fn read(answer: &[u8]) -> Option<Sync> {
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let varz: Varz = serde_json::from_slice(&answer[body..]).ok()?;
    let config = varz.jetstream.config?;
    Some(if config.sync_always { Sync::Always } else { Sync::Interval(Duration::from_nanos(config.sync_interval)) })
}
