//! The values of locks and heartbeats are written and read as their fixtures say. That of leases is in `lease`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../schemas/fixtures/check.rs"]
mod check;

use lagan_bus::heartbeat::Beat;
use lagan_bus::lock::LockHolder;

#[test]
fn values_of_locks_and_heartbeats_are_kept() {
    let detail = serde_json::json!({ "cluster": "local" });
    check::is_kept("kv/lock.json", &LockHolder { owner: "00000000-0000-0000-0000-000000000007".to_owned(), detail });
    check::is_kept("kv/heartbeat.json", &Beat { instance: "worker-0".to_owned(), count: 3 });
}
