//! Restores touch what they name and nothing else, and know that before the first statement.

use anyhow::Result;
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::process::Process;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, restore_session};
use serde_json::{Value, json};

/// A repository with a snapshot of the databases `shop` and `till`, and a second server with databases of its own.
pub struct Scene {
    pub world: World,
    pub copy: MariaDbServer,
    _up: Process,
}

impl Scene {
    pub fn new() -> Result<Self> {
        let world = World::new()?;
        for sql in [
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, note TEXT); \
             INSERT INTO shop.t VALUES (1,'from the source'),(2,'USE `till`;\\n'); \
             INSERT INTO shop.t SELECT seq, SHA1(seq) FROM shop.seq_3_to_20002",
            "CREATE DATABASE till; CREATE TABLE till.t (id INT PRIMARY KEY); INSERT INTO till.t VALUES (1)",
        ] {
            world.db.query(sql)?;
        }
        let copy = world.second_database("copy")?;
        for sql in [
            "CREATE DATABASE till; CREATE TABLE till.t (id INT PRIMARY KEY); INSERT INTO till.t VALUES (77)",
            "CREATE DATABASE mine; CREATE TABLE mine.t (id INT PRIMARY KEY); INSERT INTO mine.t VALUES (99)",
        ] {
            copy.query(sql)?;
        }
        world.configure("both", "local", "--databases shop till", "")?;
        let up = world.up(&[])?;
        world.good_backup("both")?;
        Ok(Self { world, copy, _up: up })
    }

    fn restore(&self, name: &str, args: &str, more: &str) -> Result<Value> {
        let task = format!("task: {{params: [{{name: args, value: \"{args}\"}}]}}\n{more}");
        self.world.lagan.manifest(&format!("{name}.yaml"), &restore_session(name, "local", "copy", &task))?;
        self.world.ended("restoresessions", name, &[])
    }

    /// Stores a complete dump as another tool would, under a host of its own.
    pub fn snapshot(&self, host: &str, body: &str) -> Result<()> {
        let dump =
            format!("-- MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for Linux (x86_64)\n{body}-- Dump completed\n");
        self.world.restic()?.backup_stream(host, "dumpfile.sql", dump.as_bytes())
    }

    pub fn untouched(&self) -> Result<()> {
        assert_eq!(self.copy.query("SELECT id FROM till.t")?.trim(), "77");
        assert_eq!(self.copy.query("SELECT id FROM mine.t")?.trim(), "99");
        Ok(())
    }
}

#[test]
fn one_database_of_several_is_restored_beside_others_and_they_stay() -> Result<()> {
    let scene = Scene::new()?;
    // It needs no permission to overwrite: the database itself is new there.
    let ended = scene.restore("one", "--one-database shop", "")?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(scene.copy.checksums("shop")?, scene.world.db.checksums("shop")?);
    scene.untouched()?;

    let again = scene.restore("again", "--one-database shop", "")?;
    assert_eq!(again["status"]["code"], "E0401", "{again}");
    let message = again["status"].to_string();
    assert!(message.contains("shop") && !message.contains("till"), "{message}");

    scene.copy.query("DELETE FROM shop.t")?;
    let over = scene.restore("over", "--one-database shop", "overwrite: true")?;
    assert_eq!(over["status"]["phase"], "Succeeded", "{over}");
    assert_eq!(scene.copy.checksums("shop")?, scene.world.db.checksums("shop")?);
    scene.untouched()?;
    scene.world.judge()
}

#[test]
fn a_database_comes_back_under_another_name_and_replacing_leaves_nothing_of_the_old_one() -> Result<()> {
    let scene = Scene::new()?;
    let restore = |more: &[&str]| {
        let args = [&["restore", "both", "--to", "copy", "--yes", "--wait"], more].concat();
        scene.world.lagan.run(&args)
    };
    restore(&["--database", "shop", "--as", "other shop"])?.success()?;
    let found = scene.copy.checksums("other shop")?.into_values().collect::<Vec<_>>();
    assert_eq!(found, scene.world.db.checksums("shop")?.into_values().collect::<Vec<_>>());
    assert_eq!(scene.copy.query("SHOW DATABASES LIKE 'shop'")?.trim(), "");
    scene.untouched()?;

    // A table that the snapshot does not have, and a view in the place of one that it has.
    scene.copy.query("CREATE TABLE till.extra (id INT); DROP TABLE till.t; CREATE VIEW till.t AS SELECT 77 id")?;
    let merged = scene.restore("merged", "--one-database till", "overwrite: true")?;
    assert_eq!(merged["status"]["code"], "E0401", "{merged}");
    scene.untouched()?;
    restore(&["--database", "till", "--overwrite"])?.success()?;
    assert_eq!(scene.copy.query("SHOW TABLES FROM till")?.trim(), "t");
    assert_eq!(scene.copy.query("SELECT id FROM till.t")?.trim(), "1");
    assert_eq!(scene.copy.query("SELECT id FROM mine.t")?.trim(), "99");

    // Objects that are not in the snapshot stay, and the condition names them.
    scene.copy.query("CREATE TABLE till.extra (id INT)")?;
    let merged = scene.restore("again", "--one-database till", "overwrite: true")?;
    assert_eq!(merged["status"]["phase"], "Succeeded", "{merged}");
    assert!(merged["status"]["conditions"].to_string().contains("table till.extra"), "{merged}");
    assert_eq!(scene.copy.query("SHOW TABLES FROM till LIKE 'extra'")?.trim(), "extra");
    Ok(())
}

#[test]
fn a_dump_that_says_itself_where_it_goes_is_not_sent_elsewhere() -> Result<()> {
    let scene = Scene::new()?;
    scene.copy.query("CREATE DATABASE empty")?;
    let ended = scene.restore("elsewhere", "empty", "")?;
    assert_eq!(ended["status"]["code"], "E0404", "{ended}");
    assert!(ended["status"].to_string().contains("`shop`, `till`"), "{ended}");
    let ended = scene.restore("missing", "--one-database nope", "")?;
    assert_eq!(ended["status"]["code"], "E0404", "{ended}");
    // All of it goes where something is already.
    let ended = scene.restore("all", "", "")?;
    assert_eq!(ended["status"]["code"], "E0401", "{ended}");
    let message = ended["status"].to_string();
    assert!(message.contains("till") && !message.contains("mine"), "{message}");
    assert_eq!(scene.copy.query("SHOW DATABASES LIKE 'shop'")?.trim(), "");
    scene.untouched()
}

#[test]
fn several_databases_of_a_snapshot_come_back_and_the_others_stay() -> Result<()> {
    let scene = Scene::new()?;
    scene
        .world
        .db
        .query("CREATE DATABASE third; CREATE TABLE third.t (id INT PRIMARY KEY); INSERT INTO third.t VALUES (3)")?;
    scene
        .copy
        .query("CREATE DATABASE third; CREATE TABLE third.t (id INT PRIMARY KEY); INSERT INTO third.t VALUES (33)")?;
    scene.world.configure("three", "local", "--databases shop till third", "")?;
    eventually("the configuration", PATIENCE, || {
        let found = scene.world.list("backupconfigurations", &[]).ok()?;
        found.iter().any(|one| one["metadata"]["name"] == "three").then_some(())
    })?;
    scene.world.good_backup("three")?;
    let restore = |more: &[&str]| {
        scene.world.lagan.run(&[&["restore", "three", "--to", "copy", "--yes", "--wait"], more].concat())
    };
    let several = ["--database", "shop", "--database", "till"];
    let refused = restore(&[&several[..], &["--as", "x"]].concat())?;
    assert!(
        !refused.status.success() && refused.stderr.contains("--database names shop, till; name one"),
        "{}",
        refused.stderr
    );
    scene.untouched()?;
    restore(&[&several[..], &["--overwrite", "--verify", "rows"]].concat())?.success()?;
    for database in ["shop", "till"] {
        assert_eq!(scene.copy.checksums(database)?, scene.world.db.checksums(database)?);
    }
    assert_eq!(scene.copy.query("SELECT id FROM third.t")?.trim(), "33");
    assert_eq!(scene.copy.query("SELECT id FROM mine.t")?.trim(), "99");
    let facts = scene.world.facts("@latest", &[])?;
    let restoring = facts.iter().find(|fact| fact["type"] == "dev.lagan.restore.restoring.v1");
    let restoring = &restoring.unwrap_or_else(|| panic!("{facts:?}"))["data"];
    assert_eq!((&restoring["databases"], &restoring["databaseCount"]), (&json!(["shop", "till"]), &json!(2)));
    Ok(())
}

#[test]
fn rows_and_objects_that_are_missing_at_the_end_fail_the_session_and_additional_ones_are_told() -> Result<()> {
    let scene = Scene::new()?;
    // Statements of the dump take away what earlier ones brought, or leave rows out.
    scene.snapshot(
        "rows",
        "CREATE DATABASE odd;\nUSE `odd`;\nCREATE TABLE t (a int PRIMARY KEY);\nINSERT IGNORE INTO t VALUES (1),(1);\n",
    )?;
    scene.snapshot("objects", "CREATE DATABASE gone;\nUSE `gone`;\nCREATE VIEW v AS SELECT 1;\nDROP VIEW v;\n")?;
    let restore = |name: &str, host: &str, verify: &str| {
        scene.copy.query("DROP DATABASE IF EXISTS odd; DROP DATABASE IF EXISTS gone")?;
        let rule = format!("  rules: [{{sourceHost: {host}, snapshots: [latest]}}]\n{verify}");
        scene.world.lagan.manifest(&format!("{name}.yaml"), &restore_session(name, "local", "copy", &rule))?;
        scene.world.ended("restoresessions", name, &[])
    };
    assert_eq!(restore("names", "rows", "")?["status"]["phase"], "Succeeded");
    let ended = restore("counted", "rows", "verify: Rows")?;
    assert_eq!(ended["status"]["code"], "E0406", "{ended}");
    assert!(
        ended.to_string().contains("every statement ran, but the target lacks 1 of 2 rows of table `odd`.`t`"),
        "{ended}"
    );
    assert_eq!(scene.copy.query("SELECT COUNT(*) FROM odd.t")?.trim(), "1");
    let ended = restore("lost", "objects", "")?;
    assert_eq!(ended["status"]["code"], "E0406", "{ended}");
    assert!(ended.to_string().contains("view `gone`.`v`"), "{ended}");
    assert_eq!(restore("unread", "objects", "verify: None")?["status"]["phase"], "Succeeded");

    scene.copy.query("CREATE TABLE till.extra (id INT)")?;
    let more = scene.restore(
        "more",
        "--one-database till",
        "existing: Merge\nrules: [{sourceHost: host-0, snapshots: [latest]}]",
    )?;
    assert_eq!(more["status"]["phase"], "Succeeded", "{more}");
    let conditions = more["status"]["conditions"].to_string();
    assert!(conditions.contains("TargetHoldsMore") && conditions.contains("table `till`.`extra`"), "{more}");
    Ok(())
}

#[test]
fn a_restore_that_fails_says_which_statements_ran() -> Result<()> {
    let scene = Scene::new()?;
    let bad = "CREATE TABLE u (a nosuchtype);\n";
    scene.snapshot("first", &format!("USE `odd`;\n{bad}"))?;
    scene.snapshot("second", &format!("USE `odd`;\nCREATE TABLE t (a int);\n{bad}"))?;
    let restore = |name: &str, host: &str, more: &str| {
        scene.copy.query("CREATE OR REPLACE DATABASE odd")?;
        if more.contains("Replace") {
            scene.copy.query("CREATE TABLE odd.old (a INT)")?;
        }
        let ended =
            scene.restore(name, "", &format!("rules: [{{sourceHost: {host}, snapshots: [latest]}}]\n{more}"))?;
        let tables = scene.copy.query("SHOW TABLES FROM odd")?.trim().to_owned();
        Ok::<_, anyhow::Error>((
            ended["status"]["code"].as_str().unwrap_or_default().to_owned(),
            ended.to_string(),
            tables,
        ))
    };
    let (code, words, tables) = restore("nothing", "first", "")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0403", ""), "{words}");
    assert!(words.contains("nothing was written: the client failed: ERROR 4161"), "{words}");
    let (code, words, tables) = restore("some", "second", "")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0402", "t"), "{words}");
    assert!(words.contains("the statements before line 4 of the client's input ran: "), "{words}");
    // The databases were emptied before the first statement of the stream.
    let (code, words, tables) = restore("emptied", "first", "existing: Replace")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0402", ""), "{words}");
    Ok(())
}

#[test]
fn obstacles_end_a_restore_before_its_first_statement() -> Result<()> {
    let scene = Scene::new()?;
    scene.world.db.query("CREATE TABLE shop.big (b LONGBLOB); INSERT INTO shop.big VALUES (REPEAT('x', 1500000))")?;
    scene.world.good_backup("both")?;
    scene.copy.query("SET GLOBAL max_allowed_packet = 1048576")?;
    let ended = scene.restore("long", "--one-database shop", "")?;
    assert_eq!(ended["status"]["code"], "E0405", "{ended}");
    assert!(ended["status"].to_string().contains("the server takes 1048576 (max_allowed_packet)"), "{ended}");
    assert_eq!(scene.copy.query("SHOW DATABASES LIKE 'shop'")?.trim(), "");
    // The other database of the snapshot has no long statement.
    let ended = scene.restore("short", "--one-database till", "existing: Replace")?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(scene.copy.query("SELECT id FROM till.t")?.trim(), "1");
    Ok(())
}

#[test]
fn a_dry_run_finds_what_a_restore_would_find_and_writes_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let restored = |name: &str, args: &str, more: &str| -> Result<(Value, Value)> {
        let dry = scene.restore(&format!("{name}-dry"), args, &format!("dryRun: true\n{more}"))?;
        scene.untouched()?;
        assert_eq!(scene.copy.query("SHOW DATABASES LIKE 'shop'")?.trim(), "", "{dry}");
        Ok((dry, scene.restore(name, args, more)?))
    };
    // A refusal has the same code and the same words.
    for (name, args, code) in [("full", "", "E0401"), ("absent", "--one-database nothing", "E0404")] {
        let (dry, real) = restored(name, args, "")?;
        assert_eq!((&dry["status"]["code"], &dry["status"]["message"]), (&code.into(), &real["status"]["message"]));
    }
    let condition = |ended: &Value, kind: &str| {
        let conditions = ended["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|c| c["type"] == kind).and_then(|c| c["message"].as_str().map(str::to_owned))
    };
    let dry = scene.restore("all-dry", "", "dryRun: true\nexisting: Replace")?;
    assert_eq!(dry["status"]["phase"], "Succeeded", "{dry}");
    let found = condition(&dry, "DryRun").unwrap_or_default();
    for part in ["2 databases: shop, till", "till", "they are dropped", "nothing was written"] {
        assert!(found.contains(part), "`{part}` is not in: {found}");
    }
    assert_eq!((condition(&dry, "TargetOverwritten"), condition(&dry, "RestoreCompleted")), (None, None), "{dry}");
    scene.untouched()?;
    let real = scene.restore("all", "", "existing: Replace")?;
    assert_eq!(real["status"]["phase"], "Succeeded", "{real}");
    assert_eq!(scene.copy.query("SELECT id FROM till.t")?.trim(), "1");
    // After its end a dry run's command leaves nothing.
    scene.world.lagan.ok(&["restore", "both", "--to", "copy", "--dry-run", "--overwrite", "--timeout", "5m"])?;
    let created: [&str; 6] = ["absent", "absent-dry", "all", "all-dry", "full", "full-dry"];
    eventually("the command's session to be removed", PATIENCE, || {
        let sessions = scene.world.list("restoresessions", &[]).ok()?;
        let mut names: Vec<&str> = sessions.iter().filter_map(|session| session["metadata"]["name"].as_str()).collect();
        names.sort_unstable();
        (names == created).then_some(())
    })
}

#[test]
fn a_snapshot_that_another_tool_left_half_changes_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let dump = scene.world.db.dump(&["--databases", "till"])?;
    let half = &dump[..dump.len() - 100];
    scene.world.restic()?.backup_stream("half", "dumpfile.sql", half)?;
    let rule = "  rules: [{sourceHost: half, snapshots: [latest]}]\noverwrite: true";
    scene.world.lagan.manifest("half.yaml", &restore_session("half", "local", "copy", rule))?;
    let ended = scene.world.ended("restoresessions", "half", &[])?;
    assert_eq!(ended["status"]["code"], "E0315", "{ended}");
    scene.untouched()
}

#[test]
fn a_snapshot_with_a_missing_pack_changes_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let data = std::fs::read_dir(scene.world.repository_dir().join("data"))?;
    let packs = data.flatten().flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    let largest = packs.max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    std::fs::remove_file(largest.path())?;
    let ended = scene.restore("damaged", "", "overwrite: true")?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert_ne!(ended["status"]["code"], "E0402", "{ended}");
    scene.untouched()
}

#[test]
fn a_snapshot_holds_its_record_beside_the_dump_and_stock_restic_reads_both() -> Result<()> {
    let scene = Scene::new()?;
    let restic = scene.world.restic()?;
    let record: Value = serde_json::from_slice(&restic.dump("latest", "/lagan-record.json")?)?;
    let rows: Vec<(&str, u64)> = record["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| (database["name"].as_str().unwrap(), database["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [("shop", 20_002), ("till", 1)]);
    let totals = &scene.world.result("@latest", &[])?["record"];
    assert_eq!((&totals["databases"], &totals["tables"], &totals["rows"]), (&2.into(), &2.into(), &20_003.into()));
    assert_eq!(totals["sha256"], lagan_tests::sha256(&restic.dump("latest", "/lagan-record.json")?));
    assert_eq!(record["bytes"].as_u64().unwrap(), restic.dump("latest", "/dumpfile.sql")?.len() as u64);
    scene.world.judge()
}

#[test]
fn a_record_of_another_stream_does_not_let_a_stream_write_to_other_databases() -> Result<()> {
    let scene = Scene::new()?;
    let restic = scene.world.restic()?;
    scene.world.configure("small", "local", "--databases shop", "")?;
    eventually("the configuration", PATIENCE, || {
        let found = scene.world.list("backupconfigurations", &[]).ok()?;
        found.iter().any(|one| one["metadata"]["name"] == "small").then_some(())
    })?;
    scene.world.good_backup("small")?;
    // The record of `shop` alone, beside a stream that also has `till`.
    let record = restic.dump("latest", "/lagan-record.json")?;
    let dump = scene.world.db.dump(&["--databases", "shop", "till"])?;
    restic.backup_files("forged", &[("dumpfile.sql", &dump), ("lagan-record.json", &record)])?;
    let listed = restic.snapshots()?;
    let forged = listed.iter().find(|one| one["hostname"] == "forged").expect("restic made it");
    let id = forged["short_id"].as_str().unwrap_or_default();
    let ended = scene.restore("forged", "", &format!("rules: [{{snapshots: [{id}]}}]"))?;
    assert_eq!(ended["status"]["phase"], "Failed", "{ended}");
    assert!(ended.to_string().contains("the record of the snapshot does not tell of a statement"), "{ended}");
    scene.untouched()?;
    let ended = scene.restore("trusted", "", &format!("existing: Replace\nrules: [{{snapshots: [{id}]}}]"))?;
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(scene.copy.query("SELECT id FROM till.t")?.trim(), "1");
    Ok(())
}
