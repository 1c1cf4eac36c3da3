//! A small HTTP server on loopback that receives hooks. It must not judge the requests.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use anyhow::Result;

/// The body of the server's answers.
#[derive(Clone, Copy)]
pub enum ResponseBody {
    Text(&'static str),
    /// The whole request, as some servers answer for unknown paths.
    Echo,
}

/// Starts a server that answers each request with the status in its path, and passes the request to the test.
pub fn start(answer: ResponseBody) -> Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut text, mut block) = (String::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut block) {
                text.push_str(&String::from_utf8_lossy(&block[..count]));
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                    break;
                }
            }
            let status = text.split('/').nth(1).and_then(|path| path.get(..3)).unwrap_or("500").to_owned();
            let said = match answer {
                ResponseBody::Text(said) => said,
                ResponseBody::Echo => text.as_str(),
            };
            let length = said.len();
            let _ =
                write!(stream, "HTTP/1.1 {status} S\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{said}");
            let _ = asked.send(text);
        }
    });
    Ok((port, requests))
}
