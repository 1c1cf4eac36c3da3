//! Settings that people write and that must do what they say: storages with TLS, client certificates, retention, snapshots
//! by id, namespaces, paused schedules, programs of their own.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "settings/programs.rs"]
mod programs;
#[path = "settings/selection.rs"]
mod selection;
#[path = "settings/streams.rs"]
mod streams;
#[path = "settings/tls.rs"]
mod tls;

use anyhow::Result;
use lagan_tests::world::World;

const SHOP: &str = "--databases shop";

/// A world whose database `shop` has one row.
fn a_small_world() -> Result<World> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    Ok(world)
}
