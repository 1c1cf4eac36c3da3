//! Drains a child's stderr into a bounded tail, so that a flood neither blocks the child nor fills our memory.

use std::{
    collections::VecDeque,
    io::Read,
    process::ChildStderr,
    sync::{Arc, Mutex, PoisonError},
};

use nix::poll::PollFlags;
use secrecy::{ExposeSecret, SecretString};

use super::{
    control::Control,
    queue::ready,
    redact::{escape, redact},
};

const HEAD_BYTES: usize = 4 * 1024;
const TAIL_BYTES: usize = 16 * 1024;

/// The beginning and the end of a child's stderr, fit to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StderrTail {
    /// The text as one line: secrets redacted, control characters escaped, left-out bytes counted.
    pub text: String,
    /// The lines of the text, redacted but not escaped, for reading error numbers.
    pub lines: Vec<String>,
    pub total_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Collector {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

pub(super) type SharedCollector = Arc<Mutex<Collector>>;

/// Reads until the last writer is gone, on a thread of its own.
pub(super) fn drain(mut stderr: ChildStderr, collector: &SharedCollector, control: &Control) {
    let mut buffer = vec![0; 32 * 1024];
    while !control.abandoned() {
        if !ready(&stderr, PollFlags::POLLIN) {
            continue;
        }
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                collector.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read stderr of a program");
                return;
            }
        }
    }
}

impl Collector {
    fn add(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    pub(super) fn tail(&self, secrets: &[SecretString]) -> StderrTail {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let mut end: Vec<u8> = self.tail.iter().copied().collect();
        let shown = if kept == self.total {
            let mut all = self.head.clone();
            all.append(&mut end);
            redact(&String::from_utf8_lossy(&all), secrets)
        } else {
            // A secret that the gap cuts in two would not be recognised, so as many bytes as it may have are dropped.
            let longest = secrets.iter().map(|secret| secret.expose_secret().len() * 2).max().unwrap_or(0);
            let head = &self.head[..self.head.len().saturating_sub(longest)];
            let end = &end[longest.min(end.len())..];
            format!(
                "{}\n[{} bytes left out]\n{}",
                redact(&String::from_utf8_lossy(head), secrets),
                self.total - kept,
                redact(&String::from_utf8_lossy(end), secrets)
            )
        };
        StderrTail {
            text: escape(shown.trim()),
            lines: shown.lines().map(ToOwned::to_owned).collect(),
            total_bytes: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let mut collector = Collector::default();
        collector.add(b"first line\n");
        for _ in 0..10_000 {
            collector.add(&[b'x'; 999]);
        }
        collector.add(b"\nlast line");
        let tail = collector.tail(&[]);
        assert!(tail.text.starts_with("first line\\n"));
        assert!(tail.text.ends_with("\\nlast line"));
        assert!(tail.text.len() < HEAD_BYTES + TAIL_BYTES + 100);
        assert_eq!(tail.total_bytes, 11 + 9_990_000 + 10);
    }

    #[test]
    fn a_secret_that_straddles_the_gap_is_not_shown_in_part() {
        let secret = "0123456789abcdef";
        let mut collector = Collector::default();
        collector.add(&[b'.'; HEAD_BYTES - 8]);
        collector.add(secret.as_bytes());
        collector.add(&vec![b'-'; TAIL_BYTES + 5]);
        let tail = collector.tail(&[SecretString::from(secret)]);
        assert!(!tail.text.contains("01234567"), "{}", tail.text);
    }
}
