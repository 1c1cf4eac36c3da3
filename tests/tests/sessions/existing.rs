//! Restores over existing data say before what becomes of it, and what they change beyond it.

use anyhow::Result;
use lagan_tests::world::restore_session;
use serde_json::Value;

use super::scope::Scene;

#[test]
fn the_fate_of_existing_data_and_what_reaches_beyond_it_are_told_before() -> Result<()> {
    let scene = Scene::new()?;
    let run = |host: &str, name: &str, more: &str| {
        let more = format!("  rules: [{{sourceHost: {host}, snapshots: [latest]}}]\n{more}");
        scene.world.lagan.manifest(&format!("{name}.yaml"), &restore_session(name, "local", "copy", &more))?;
        scene.world.ended("restoresessions", name, &[])
    };
    let condition = |ended: &Value, kind: &str| {
        let conditions = ended["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.and_then(|found| found["message"].as_str().map(str::to_owned)).unwrap_or_default()
    };
    let connections = || scene.copy.query("SELECT @@GLOBAL.max_connections");
    scene.snapshot(
        "server",
        "CREATE DATABASE `new`;\nUSE `new`;\nCREATE TABLE t (a INT);\nSET GLOBAL max_connections=77;\n",
    )?;
    let dry = run("server", "server-dry", "dryRun: true")?;
    assert!(condition(&dry, "BeyondDatabases").contains("`SET GLOBAL max_connections=77`"), "{dry}");
    assert_ne!(connections()?.trim(), "77");
    let real = run("server", "server", "")?;
    assert_eq!(condition(&real, "BeyondDatabases"), condition(&dry, "BeyondDatabases"), "{real}");
    assert_eq!(connections()?.trim(), "77");

    scene.snapshot("rows", "USE `till`;\nLOCK TABLES `t` WRITE;\nINSERT INTO `t` VALUES (78);\nUNLOCK TABLES;\n")?;
    let refused = run("rows", "rows-replace", "existing: Replace")?;
    assert_eq!(refused["status"]["code"], "E0405", "{refused}");
    assert!(refused["status"].to_string().contains("they would be dropped first (`till.t`)"), "{refused}");
    scene.untouched()?;
    let added = run("rows", "rows", "existing: Merge")?;
    assert!(condition(&added, "TargetOverwritten").contains("only rows of these, adds them"), "{added}");
    assert_eq!(scene.copy.query("SELECT GROUP_CONCAT(id) FROM till.t")?.trim(), "77,78");

    scene.copy.query("CREATE TABLE till.extra (id INT)")?;
    scene.snapshot(
        "drops",
        "DROP DATABASE IF EXISTS `till`;\nCREATE DATABASE `till`;\nUSE `till`;\nCREATE TABLE t (a INT);\n",
    )?;
    let dropped = run("drops", "drops", "overwrite: true")?;
    let words = condition(&dropped, "TargetOverwritten");
    assert!(words.contains("drops all that was there in `till`") && !words.contains("stays"), "{dropped}");
    assert_eq!(scene.copy.query("SHOW TABLES FROM till")?.trim(), "t");
    Ok(())
}
