//! Options for the sizes and ages of the engine's streams in NATS.

use std::time::Duration;

use clap::Args;
use lagan_bus::StreamLimits;

use crate::human::{parse_duration, parse_size};

const SHORTEST_AGE: Duration = Duration::from_secs(3600);
const SMALLEST: u64 = 1024 * 1024;

/// Limits of streams. A stream that is larger already, or keeps its messages for longer, stays as it is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Streams")]
pub struct StreamFlags {
    /// Size of the session log. No session starts while it is 90 % full
    #[arg(long, env = "LAGAN_SESSIONS_MAX_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub sessions_max_bytes: u64,
    /// Time that facts of sessions are kept. A session ends a day before its first fact expires
    #[arg(long, env = "LAGAN_SESSIONS_MAX_AGE", value_name = "DURATION", default_value = "7d", value_parser = age)]
    pub sessions_max_age: Duration,
    /// Size of the stream with the last value of each object
    #[arg(long, env = "LAGAN_RESOURCES_MAX_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub resources_max_bytes: u64,
    /// Size of the stream with the last status of each object
    #[arg(long, env = "LAGAN_STATUS_MAX_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub status_max_bytes: u64,
    /// Size of the stream with unreadable messages; the oldest are dropped
    #[arg(long, env = "LAGAN_DEAD_MAX_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub dead_max_bytes: u64,
    /// Time that unreadable messages are kept
    #[arg(long, env = "LAGAN_DEAD_MAX_AGE", value_name = "DURATION", default_value = "30d", value_parser = age)]
    pub dead_max_age: Duration,
    /// Size of the bucket with the locks of targets
    #[arg(long, env = "LAGAN_LOCKS_MAX_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub locks_max_bytes: u64,
}

impl StreamFlags {
    pub fn limits(&self) -> StreamLimits {
        StreamLimits {
            sessions_max_bytes: self.sessions_max_bytes,
            sessions_max_age: self.sessions_max_age,
            resources_max_bytes: self.resources_max_bytes,
            status_max_bytes: self.status_max_bytes,
            dead_max_bytes: self.dead_max_bytes,
            dead_max_age: self.dead_max_age,
            locks_max_bytes: self.locks_max_bytes,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size < SMALLEST { Err("a stream has at least 1MiB".to_owned()) } else { Ok(size) }
}

fn age(text: &str) -> Result<Duration, String> {
    let age = parse_duration(text)?;
    if age < SHORTEST_AGE { Err("messages are kept for at least 1h".to_owned()) } else { Ok(age) }
}
