//! Tables that change while they are dumped.

use anyhow::Result;
use lagan_tests::world::World;
use serde_json::Value;

use super::{FAST, Hold, SHOP, the_session, world_with};

/// Changes a table that the dump has not reached yet, and returns the session and its facts.
fn changed_during_a_dump(change: &str) -> Result<(World, Value, Vec<Value>)> {
    let mut world = world_with(4)?;
    world.db.query("CREATE TABLE shop.zz (id INT PRIMARY KEY) SELECT 1 AS id")?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "retryConfig: {maxRetry: 2, delay: 500ms}")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    world.db.query(change)?;
    hold.release()?;
    let session = the_session(&world, &[])?;
    let facts = world.facts("@latest", &[])?;
    Ok((world, session, facts))
}

/// Asserts that an attempt failed because of table `zz`, and that the next one succeeded.
fn was_tried_again(world: &World, session: &Value, facts: &[Value]) -> Result<()> {
    let retry = facts.iter().find(|fact| fact["type"] == "dev.lagan.backup.retrying.v1");
    let message = retry.map(|fact| fact["data"]["message"].to_string()).unwrap_or_default();
    assert!(message.contains("zz"), "the table is not named: {facts:?}");
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn a_table_that_is_altered_during_a_dump_is_named_and_dumped_again() -> Result<()> {
    let (world, session, facts) = changed_during_a_dump("ALTER TABLE shop.zz ADD COLUMN more INT, ALGORITHM=COPY")?;
    was_tried_again(&world, &session, &facts)
}

#[test]
fn a_table_that_is_dropped_during_a_dump_is_named_and_dumped_again() -> Result<()> {
    let (world, session, facts) = changed_during_a_dump("DROP TABLE shop.zz")?;
    was_tried_again(&world, &session, &facts)
}

#[test]
fn a_table_without_transactions_that_is_written_during_a_dump_is_told() -> Result<()> {
    let mut world = world_with(4)?;
    world.db.query("CREATE TABLE shop.zz (id INT PRIMARY KEY) ENGINE=MyISAM SELECT 1 AS id")?;
    let hold = Hold::new(&mut world)?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&FAST)?;
    world.lagan.ok(&["backup", "shop"])?;
    hold.wait_for_runs(1)?;
    world.db.query("INSERT INTO shop.zz VALUES (2)")?;
    hold.release()?;
    let session = the_session(&world, &[])?;
    assert_eq!(session["status"]["phase"], "Succeeded", "{session}");
    let conditions = session["status"]["conditions"].to_string();
    assert!(conditions.contains("NonTransactionalTables") && conditions.contains("zz"), "{conditions}");
    world.judge()
}
