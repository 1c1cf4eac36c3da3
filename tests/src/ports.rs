//! Loopback ports that stay ours while a server is down: outside the kernel's ephemeral range (a
//! client that reconnects can otherwise be given the very port it dials) and reserved by a lock file
//! against test processes side by side. Must not hold the port open: the server binds it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

const LOWEST: u16 = 10_240;
const EPHEMERAL: u16 = 32_768;

/// A reserved port; another owner may have it after drop.
pub struct Port {
    number: u16,
    _lock: Flock<File>,
}

impl Port {
    pub fn reserve() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let range = highest().saturating_sub(LOWEST).max(1);
        // Test processes start at different places, so they seldom meet.
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

    /// `None` if somebody has it.
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

/// First port that the kernel may hand out to outgoing connections.
fn highest() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .filter(|low| *low > LOWEST + 1000)
        .unwrap_or(EPHEMERAL)
}
