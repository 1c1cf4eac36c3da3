//! MariaDB's own programs against real servers: what is dumped comes back byte for byte, what cannot be dumped
//! whole is refused, and failures are told apart.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "mariadb/beyond.rs"]
mod beyond;
#[path = "mariadb/exact.rs"]
mod exact;
#[path = "mariadb/existing.rs"]
mod existing;
#[path = "mariadb/faults.rs"]
mod faults;
#[path = "mariadb/grants.rs"]
mod grants;
#[path = "mariadb/hostile.rs"]
mod hostile;
#[path = "mariadb/loadable.rs"]
mod loadable;
#[path = "mariadb/obstacles.rs"]
mod obstacles;
#[path = "mariadb/preflight.rs"]
mod preflight;
#[path = "mariadb/rights.rs"]
mod rights;
#[path = "mariadb/round_trip.rs"]
mod round_trip;
#[path = "mariadb/scope.rs"]
mod scope;
#[path = "mariadb/server.rs"]
mod server;
#[path = "mariadb/steps.rs"]
mod steps;
#[path = "mariadb/tls.rs"]
mod tls;
