//! Leaves a server through which JetStream does not answer while the connection stands, such as one that is cut off from the
//! others of its cluster, or suspended, and chooses the server to go to. It sends no requests: it judges the answers to
//! those that are sent anyway. Reads prove nothing, because a server that is cut off still answers some.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{ReconnectToServer, Server, ServerAddr};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::connect::Link;

/// Time without any answer after which a client leaves its server. Most elections take less.
const SILENCE: Duration = Duration::from_secs(8);
/// The share of chance in each wait, so that the clients of one server do not leave it at the same moment.
const JITTER_MS: u128 = 2_000;
/// Shortest time between two moves. It doubles while no move helps, because a cluster without a quorum answers nowhere.
const SHORTEST_STAY: Duration = Duration::from_secs(10);
const LONGEST_STAY: Duration = Duration::from_secs(60);
/// Two requests without an answer that are further apart have nothing to do with each other.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The servers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Servers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    silence: Silence,
    choice: Choice,
}

impl Servers {
    /// Notes that the connection was made.
    pub(crate) fn connected(&self) {
        let mut state = self.state();
        state.silence.connected(Instant::now());
        state.choice.tried = None;
    }

    /// Notes that JetStream stored something, which takes a majority of the servers.
    pub(crate) fn stored(&self) {
        self.state().silence.stored();
    }

    /// Notes that a request had no answer, and returns whether it is time to leave the server.
    pub(crate) fn unanswered(&self, asked: Instant) -> bool {
        self.state().silence.unanswered(asked, Instant::now(), jitter())
    }

    /// Makes the next connection go to another server than this one first.
    fn leave(&self, server_id: &str) {
        self.state().choice.leave(server_id);
    }

    /// Notes that the new connection leads to the server that was left. Returns whether another address may lead elsewhere.
    fn is_back(&self, known: &[Server]) -> bool {
        self.state().choice.is_back(known)
    }

    /// Chooses the server of the next attempt to connect. The first connection is left to the library, which tries all.
    pub(crate) fn next(&self, known: &[Server]) -> Option<ReconnectToServer> {
        let addr = self.state().choice.next(known, |_| Uuid::new_v4().as_u128())?;
        Some(ReconnectToServer { addr, delay: None })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes to another server. A Service and an announced address may lead to one server, so an address that leads to the one that
/// was left is remembered, and another one is tried at once. Each address is found out only once.
pub(crate) async fn leave(client: async_nats::Client, servers: Arc<Servers>, mut link: watch::Receiver<Link>) {
    // With one address there is nowhere to go.
    if !client.server_pool().await.is_ok_and(|known| known.len() > 1) {
        return;
    }
    let left = client.server_info();
    let server = &left.server_name;
    tracing::warn!(server, "jetstream does not answer through this server; going to another one");
    loop {
        let generation = link.borrow().generation;
        servers.leave(&left.server_id);
        if client.force_reconnect().await.is_err() {
            return;
        }
        if link.wait_for(|link| link.connected && link.generation > generation).await.is_err() {
            return;
        }
        // The library tells of a connection before it knows the server; it answers this question afterwards.
        let Ok(known) = client.server_pool().await else { return };
        if client.server_info().server_id != left.server_id || !servers.is_back(&known) {
            return;
        }
        tracing::info!(server, "this address leads to the server that was left; trying another one");
    }
}

fn jitter() -> Duration {
    Duration::from_millis(u64::try_from(Uuid::new_v4().as_u128() % JITTER_MS).unwrap_or_default())
}

/// The time for which no request had an answer.
#[derive(Debug, Default)]
struct Silence {
    connected: Option<Instant>,
    /// Time from which the next request without an answer leads to another server.
    leave_at: Option<Instant>,
    /// The last move, and the shortest time until the next one.
    moved: Option<(Instant, Duration)>,
}

impl Silence {
    fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
        self.leave_at = None;
    }

    fn stored(&mut self) {
        self.leave_at = None;
        if let Some((_, stay)) = &mut self.moved {
            *stay = SHORTEST_STAY;
        }
    }

    /// One request alone proves nothing: its outcome may be that of a stream without a leader, or this process was suspended.
    fn unanswered(&mut self, asked: Instant, now: Instant, jitter: Duration) -> bool {
        // The answer to an earlier request was lost with the earlier connection.
        if self.connected.is_some_and(|connected| asked < connected) {
            return false;
        }
        let Some(leave_at) = self.leave_at.filter(|at| now.saturating_duration_since(*at) < FORGOTTEN) else {
            let due = asked + SILENCE + jitter;
            self.leave_at = Some(self.moved.map_or(due, |(moved, stay)| due.max(moved + stay + jitter)));
            return false;
        };
        if now < leave_at {
            return false;
        }
        let stay = self.moved.map_or(SHORTEST_STAY, |(_, stay)| (stay * 2).min(LONGEST_STAY));
        self.moved = Some((now, stay));
        self.leave_at = None;
        true
    }
}

/// The address that is connected, or was tried last.
#[derive(Debug, Default)]
struct Choice {
    current: Option<ServerAddr>,
    left: Left,
    /// During a move, the addresses that were tried. They, and those of the server that is left, come after all others.
    tried: Option<Vec<ServerAddr>>,
}

/// The server that was left last, and the addresses that are known to lead to it.
#[derive(Debug, Default)]
struct Left {
    server_id: String,
    addresses: Vec<ServerAddr>,
}

impl Choice {
    fn leave(&mut self, server_id: &str) {
        if self.left.server_id != server_id {
            self.left = Left { server_id: server_id.to_owned(), addresses: Vec::new() };
        }
        self.tried = Some(Vec::new());
    }

    fn is_back(&mut self, known: &[Server]) -> bool {
        let Some(current) = &self.current else { return false };
        let is_found_out = !self.left.add(current);
        !is_found_out && known.iter().any(|server| !self.left.addresses.contains(&server.addr))
    }

    /// Servers with the fewest failed attempts come first, as in the library's own choice.
    fn next(&mut self, known: &[Server], chance: impl Fn(&ServerAddr) -> u128) -> Option<ServerAddr> {
        let first = || known.iter().find(|server| server.did_connect).map(|server| server.addr.clone());
        let current = self.current.take().or_else(first)?;
        if let Some(tried) = &mut self.tried {
            if tried.is_empty() {
                self.left.add(&current);
            }
            tried.push(current.clone());
        }
        let avoided = |addr: &ServerAddr| {
            let tried = self.tried.as_ref();
            tried.is_some_and(|tried| tried.contains(addr) || self.left.addresses.contains(addr))
        };
        let rank = |server: &&Server| {
            (avoided(&server.addr), server.failed_attempts, server.addr == current, chance(&server.addr))
        };
        self.current = known.iter().min_by_key(rank).map(|server| server.addr.clone());
        self.current.clone()
    }
}

impl Left {
    /// Returns whether the address was not known.
    fn add(&mut self, addr: &ServerAddr) -> bool {
        let is_new = !self.addresses.contains(addr);
        if is_new {
            self.addresses.push(addr.clone());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn server(name: &str, failed_attempts: usize, did_connect: bool) -> Server {
        let addr: ServerAddr = name.parse().unwrap();
        Server { addr, failed_attempts, did_connect, is_discovered: false, last_error: None }
    }

    fn next(choice: &mut Choice, known: &[Server]) -> String {
        choice.next(known, |addr| addr.host().bytes().map(u128::from).sum()).unwrap().host().to_owned()
    }

    #[test]
    fn a_server_that_is_left_comes_after_all_others() {
        let mut choice = Choice::default();
        assert_eq!(choice.next(&[server("a", 0, false), server("b", 0, false)], |_| 0), None, "the first connection");
        // The others failed often in the past.
        let mut known = [server("a", 0, true), server("b", 7, false), server("c", 9, true)];
        choice.current = Some("a".parse().unwrap());
        choice.leave("A");
        assert_eq!(next(&mut choice, &known), "b");
        known[1].failed_attempts += 1;
        assert_eq!(next(&mut choice, &known), "c");
        known[2].failed_attempts += 1;
        assert_eq!(next(&mut choice, &known), "a");
        // The connection to c ends for another reason.
        let mut choice = Choice { current: Some("c".parse().unwrap()), ..Choice::default() };
        for server in &mut known {
            server.failed_attempts = 0;
        }
        assert_eq!(next(&mut choice, &known), "a");
        known[0].failed_attempts = 1;
        assert_eq!(next(&mut choice, &known), "b");
        assert_eq!(next(&mut Choice::default(), &[server("a", 0, true)]), "a", "the only server");
    }

    #[test]
    fn each_address_of_the_server_that_is_left_is_found_out_once() {
        let known = [server("a", 0, true), server("b", 0, false), server("c", 0, false)];
        let mut choice = Choice::default();
        // All three lead to one server.
        choice.leave("A");
        assert_eq!(next(&mut choice, &known), "b");
        choice.tried = None;
        assert!(choice.is_back(&known), "c may lead elsewhere");
        choice.leave("A");
        assert_eq!(next(&mut choice, &known), "c");
        choice.tried = None;
        assert!(!choice.is_back(&known), "no address is left");
        choice.leave("A");
        assert_eq!(next(&mut choice, &known), "a", "the connection itself may be what does not answer");
        choice.tried = None;
        assert!(!choice.is_back(&known));
        // What is known of a server is forgotten when another one is left.
        choice.leave("B");
        assert_eq!(next(&mut choice, &known), "b");
        let mut alone = Choice::default();
        let known = [server("a", 0, true), server("b", 0, false), server("c", 7, false)];
        alone.leave("A");
        assert_eq!(next(&mut alone, &known), "b");
        assert!(alone.is_back(&known));
        alone.leave("A");
        assert_eq!(next(&mut alone, &known), "c", "it failed often, but is the only one that may lead elsewhere");
        assert_eq!(next(&mut alone, &known), "a", "it fails again");
        assert!(!alone.is_back(&known));
    }

    #[test]
    fn a_server_is_left_after_a_silence_and_moves_that_do_not_help_become_rare() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        silence.connected(at(10));
        let mut unanswered = |asked: u64, now: u64| silence.unanswered(at(asked), at(now), Duration::ZERO);
        assert!(!unanswered(9, 14) && !unanswered(9, 30), "asked through the earlier connection");
        assert!(!unanswered(20, 25) && !unanswered(22, 27), "8 s are not over");
        assert!(unanswered(23, 28));
        let moves = (29..200).filter(|now| unanswered(*now, *now)).collect::<Vec<_>>();
        assert_eq!(moves, [38, 58, 98, 158], "after 10, 20, 40 and 60 s");
        silence.stored();
        assert!(!silence.unanswered(at(200), at(201), Duration::ZERO));
        silence.stored();
        assert!(!silence.unanswered(at(206), at(211), Duration::ZERO), "something was stored between");
        assert!(silence.unanswered(at(209), at(214), Duration::ZERO));
        let mut silence = Silence::default();
        assert!(!silence.unanswered(at(0), at(5), Duration::ZERO));
        assert!(!silence.unanswered(at(80), at(85), Duration::ZERO), "too long ago");
        assert!(silence.unanswered(at(85), at(90), Duration::ZERO));
    }
}
