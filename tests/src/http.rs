//! Sends one blocking HTTP request to a server on loopback. It is no client library.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const TIMEOUT: Duration = Duration::from_secs(10);

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub fn request(method: &str, port: u16, path: &str) -> Result<Response> {
    send(method, port, path, "*/*", "")
}

pub fn request_json(port: u16, path: &str) -> Result<Response> {
    send("GET", port, path, "application/json", "")
}

pub fn post_json(port: u16, path: &str, body: &str) -> Result<Response> {
    send("POST", port, path, "application/json", body)
}

pub fn put(port: u16, path: &str, body: &str) -> Result<Response> {
    send("PUT", port, path, "*/*", body)
}

fn send(method: &str, port: u16, path: &str, accept: &str, body: &str) -> Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // With HTTP/1.0 the body ends with the connection and is not chunked.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("answer without a body")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("answer without a status")?;
    Ok(Response { status, head: head.to_owned(), body: body.to_owned() })
}
