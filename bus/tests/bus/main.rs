//! The bus against a real nats-server: from `LAGAN_NATS_SERVER`, or on the PATH.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod appends;
mod connections;
mod deliveries;
mod domains;
mod follows;
mod holds;
mod leases;
mod moves;
mod reads;
mod streams;
mod support;
