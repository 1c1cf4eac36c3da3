//! Loopback ports that stay reserved while a server is down. They are outside the kernel's ephemeral range, because a
//! client that reconnects could otherwise get the very port that it dials, and a lock file reserves them against other
//! test processes. A port must not be held open: the server binds it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

const LOWEST: u16 = 10_240;
const EPHEMERAL: u16 = 32_768;

/// A reserved port, free for others after drop.
pub struct ReservedPort {
    number: u16,
    _lock: Flock<File>,
}

impl ReservedPort {
    pub fn reserve() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let range = highest().saturating_sub(LOWEST).max(1);
        // Test processes start at different numbers, so they seldom collide.
        let start = std::process::id().wrapping_mul(97) % u32::from(range);
        for _ in 0..range {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let offset = (start + u32::from(step)) % u32::from(range);
            let offset = u16::try_from(offset).expect("less than a u16 range");
            if let Some(port) = Self::reserve_number(LOWEST + offset)? {
                return Ok(port);
            }
        }
        bail!("no free loopback port between {LOWEST} and {}", LOWEST + range)
    }

    /// Reserves this port; `None` if it is taken.
    pub fn reserve_number(number: u16) -> Result<Option<Self>> {
        let locks = std::env::temp_dir().join("lagan-test-ports");
        fs::create_dir_all(&locks).context("creating the folder of port locks")?;
        let Ok(file) = File::create(locks.join(number.to_string())) else {
            return Ok(None);
        };
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            return Ok(None);
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        Ok(free.then_some(Self { number, _lock: lock }))
    }

    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The first port that the kernel may assign to outgoing connections.
fn highest() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .filter(|low| *low > LOWEST + 1000)
        .unwrap_or(EPHEMERAL)
}
