//! A relay of HTTP/1 on loopback that answers wrongly when a test wants it to: an S3 server or an API server that refuses,
//! forgets, cuts off, changes, or never answers. It relays one request per connection, and streams what it does not change.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// A request, as far as a rule looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    pub method: String,
    /// Path and query.
    pub target: String,
}

/// The fate of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpFate {
    Relay,
    /// The server never sees it, and the client gets this status and body.
    Answer(u16, String),
    /// The server does it, and the client gets this status and body.
    AnswerAfterwards(u16, String),
    /// The server does it, and the client's connection is cut without an answer.
    LoseAnswer,
    /// The client gets the head and half of the body, and then the end of the connection.
    CutBody,
    /// One bit in the middle of the body is another one.
    ChangeBody,
    /// The server does it twice, and the client gets the second answer.
    Repeat,
    /// Nothing is ever answered.
    Hang,
}

type Rule = Box<dyn FnMut(&SeenRequest) -> HttpFate + Send>;

struct Shared {
    server: u16,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<(SeenRequest, HttpFate)>>,
    /// Connections that are never answered must stay open.
    hanging: Mutex<Vec<TcpStream>>,
}

pub struct HttpProxy {
    port: u16,
    shared: Arc<Shared>,
}

impl HttpProxy {
    /// Starts a relay to `127.0.0.1:server`.
    pub fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the proxy")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server,
            rule: Mutex::new(Box::new(|_| HttpFate::Relay)),
            seen: Mutex::default(),
            hanging: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        // The threads end with the test process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    // A client that leaves is nothing special here.
                    let _ = serve(&state, client);
                });
            }
        });
        Ok(Self { port, shared })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Decides the fate of each later request.
    pub fn rule(&self, rule: impl FnMut(&SeenRequest) -> HttpFate + Send + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// Relays everything again, and cuts the connections that were never answered.
    pub fn heal(&self) {
        self.rule(|_| HttpFate::Relay);
        for stream in self.shared.hanging.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The number of requests that had another fate than to be relayed.
    #[must_use]
    pub fn faults(&self) -> usize {
        let seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(_, fate)| *fate != HttpFate::Relay).count()
    }
}

/// Head and body of a request. The body has the length that its head names; no client of ours sends chunks.
struct Incoming {
    seen: SeenRequest,
    head: String,
    body: Vec<u8>,
}

fn serve(shared: &Shared, client: TcpStream) -> Result<()> {
    let Some(request) = read(&client)? else { return Ok(()) };
    let fate = (shared.rule.lock().unwrap_or_else(PoisonError::into_inner))(&request.seen);
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push((request.seen.clone(), fate.clone()));
    match fate {
        HttpFate::Relay => relay(&mut forward(shared.server, &request)?, &client),
        HttpFate::Answer(status, body) => answer(client, status, &body),
        HttpFate::AnswerAfterwards(status, body) => {
            whole(forward(shared.server, &request)?)?;
            answer(client, status, &body)
        }
        HttpFate::LoseAnswer => whole(forward(shared.server, &request)?).map(drop),
        HttpFate::CutBody => {
            let answer = whole(forward(shared.server, &request)?)?;
            let body = body_of(&answer);
            send(client, &answer[..body + (answer.len() - body) / 2])
        }
        HttpFate::ChangeBody => {
            let mut answer = whole(forward(shared.server, &request)?)?;
            let body = body_of(&answer);
            let middle = body + (answer.len() - body) / 2;
            if let Some(byte) = answer.get_mut(middle) {
                *byte ^= 1;
            }
            send(client, &answer)
        }
        HttpFate::Repeat => {
            whole(forward(shared.server, &request)?)?;
            relay(&mut forward(shared.server, &request)?, &client)
        }
        HttpFate::Hang => {
            shared.hanging.lock().unwrap_or_else(PoisonError::into_inner).push(client);
            Ok(())
        }
    }
}

fn read(client: &TcpStream) -> Result<Option<Incoming>> {
    let mut reader = BufReader::new(client);
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut head, mut length) = (first, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().context("the length of a body")?;
        }
        if line.trim_end().is_empty() {
            break;
        }
        // The end of the connection is the end of the answer.
        if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    head += "Connection: close\r\n\r\n";
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Incoming { seen: SeenRequest { method, target }, head, body }))
}

fn forward(server: u16, request: &Incoming) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    stream.write_all(request.head.as_bytes())?;
    stream.write_all(&request.body)?;
    Ok(stream)
}

fn relay(server: &mut TcpStream, mut client: &TcpStream) -> Result<()> {
    std::io::copy(server, &mut client)?;
    Ok(client.shutdown(Shutdown::Both)?)
}

fn whole(mut server: TcpStream) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The place where the body of an answer begins.
fn body_of(answer: &[u8]) -> usize {
    memchr::memmem::find(answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4)
}

fn send(mut client: TcpStream, bytes: &[u8]) -> Result<()> {
    client.write_all(bytes)?;
    Ok(client.shutdown(Shutdown::Both)?)
}

fn answer(client: TcpStream, status: u16, body: &str) -> Result<()> {
    let length = body.len();
    send(
        client,
        format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").as_bytes(),
    )
}
