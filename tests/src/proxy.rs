//! A TCP relay on loopback whose connections a test can cut, slow down, or keep open while it loses what goes one way.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// One direction of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

#[derive(Default)]
struct State {
    open: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
    accepted: AtomicUsize,
    /// Bytes that each direction of each connection relays in a second; 0 is no limit.
    rate: AtomicU64,
    /// Milliseconds for which each block is kept back.
    delay: AtomicU64,
    /// The direction in which nothing passes.
    held: Mutex<Option<Way>>,
    released: Condvar,
}

impl State {
    /// Waits until bytes may pass this way.
    fn pass(&self, way: Way) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.released.wait_while(held, |held| *held == Some(way)).unwrap_or_else(PoisonError::into_inner));
        let delay = self.delay.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
    }
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
                relay(&client, &server, Way::ToServer, &shared);
                relay(&server, &client, Way::ToClient, &shared);
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

    /// Keeps back everything that goes this way, as a network does that lost one direction: connections stay, and no end
    /// learns of it.
    pub fn hold(&self, way: Way) {
        *self.state.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    /// Keeps each block back for so long.
    pub fn delay(&self, by: Duration) {
        self.state.delay.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Relays everything again, and at once.
    pub fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
        self.state.delay.store(0, Ordering::SeqCst);
        *self.state.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.released.notify_all();
    }

    /// Relays at most so many bytes in a second, in each direction of each connection.
    pub fn limit(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::SeqCst);
    }
}

fn relay(from: &TcpStream, to: &TcpStream, way: Way, state: &Arc<State>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut block = [0; 16 * 1024];
        loop {
            let read = from.read(&mut block);
            state.pass(way);
            match read {
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
