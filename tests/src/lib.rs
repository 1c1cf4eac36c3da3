//! The harness: starts real programs (nats-server, MariaDB, S3, `lagan` itself) on loopback, watches them, breaks them,
//! and leaves nothing behind. It must not use Lagan's crates.
//!
//! Everything returns `anyhow::Result`: a test ends with `?`, and the error contains the end of the log.

pub mod audit;
pub mod bench;
pub mod canary;
pub mod control_plane;
pub mod fleet;
pub mod http;
pub mod http_proxy;
pub mod kube_world;
pub mod lagan;
pub mod mariadb;
pub mod nats;
pub mod nats_cluster;
pub mod ports;
pub mod postgres;
mod proc;
pub mod process;
pub mod proxy;
pub mod pushgateway;
pub mod restic;
pub mod s3;
pub mod sample;
mod scratch;
pub mod synthetic;
pub mod tls;
pub mod tools;
pub mod wait;
pub mod webhook;
pub mod world;

pub use scratch::Scratch;

use sha2::{Digest, Sha256};

/// A unique secret, with characters that URL encoding and base64 change.
#[must_use]
pub fn canary_secret(role: &str) -> String {
    format!("{role}/{}+z", uuid::Uuid::new_v4().simple())
}

/// The SHA-256 of bytes in lower-case hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
