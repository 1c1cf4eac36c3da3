//! A TCP relay on loopback whose connections a test can cut or slow down, and which a test can close for a while.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

#[derive(Default)]
struct State {
    open: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
    accepted: AtomicUsize,
    /// Bytes that each direction of each connection relays in a second; 0 is no limit.
    rate: AtomicU64,
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts a relay to `127.0.0.1:to`.
    pub fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the proxy")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        // The thread ends with the test process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    let _ = client.shutdown(Shutdown::Both);
                    continue;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.extend(client.try_clone().ok());
                open.extend(server.try_clone().ok());
                drop(open);
                relay(&client, &server, &shared);
                relay(&server, &client, &shared);
            }
        });
        Ok(Self { port, state })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Number of connections that were relayed so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Cuts every connection; new ones are accepted.
    pub fn cut(&self) {
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection and refuses new ones until [`Self::open`].
    pub fn close(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }

    /// Relays at most so many bytes in a second, in each direction of each connection.
    pub fn limit(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::SeqCst);
    }
}

fn relay(from: &TcpStream, to: &TcpStream, state: &Arc<State>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut block = [0; 16 * 1024];
        loop {
            match from.read(&mut block) {
                Ok(count) if count > 0 && to.write_all(&block[..count]).is_ok() => {
                    let rate = state.rate.load(Ordering::SeqCst);
                    if let Some(milliseconds) = (count as u64 * 1000).checked_div(rate) {
                        thread::sleep(Duration::from_millis(milliseconds));
                    }
                }
                _ => break,
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
