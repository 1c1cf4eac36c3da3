//! People's own Functions and Tasks, and the programs that an administrator allows for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use lagan_tests::tools;
use lagan_tests::world::{app_binding, configuration};

use super::{SHOP, a_small_world};

#[test]
fn an_own_function_runs_its_program_only_if_the_administrator_allows_it() -> Result<()> {
    let world = a_small_world()?;
    let (program, ran) = (world.lagan.path("own-dump"), world.lagan.path("own-dump-ran"));
    let script = format!("#!/bin/sh\n: >{}\nexec {} \"$@\"\n", ran.display(), tools::find("mariadb-dump")?.display());
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = program.to_string_lossy();
    let own = format!(
        "apiVersion: lagan.dev/v1alpha1
kind: Function
metadata: {{name: own-backup}}
spec:
  database: MariaDB
  command: [{path}]
  args: [--single-transaction, --routines, --events, --triggers, --hex-blob]
  extraArgs: \"${{args:=}}\"
  stream: {{stdout: dumpfile.sql}}
---
apiVersion: lagan.dev/v1alpha1
kind: Task
metadata: {{name: own-backup}}
spec:
  steps: [{{name: own-backup}}]
"
    );
    world.lagan.manifest("own.yaml", &own)?;
    world.configure("shop", "local", SHOP, "")?;
    let yaml = fs::read_to_string(world.lagan.manifests_dir().join("shop.yaml"))?;
    world.lagan.manifest("shop.yaml", &yaml.replace("task: {params:", "task: {name: own-backup, params:"))?;

    let mut up = world.up(&[])?;
    let refused = world.backup("shop", &[])?;
    ensure!(refused.status.code() == Some(3) && refused.stderr.contains("allow-list"), "{}", refused.stderr);
    ensure!(!ran.exists() && !world.repository_dir().join("snapshots").exists());
    up.terminate(lagan_tests::world::PATIENCE)?;

    // The script writes a file outside its own folder.
    let _up = world.up(&["--allow-program", &path, "--no-sandbox"])?;
    world.good_backup("shop")?;
    ensure!(ran.exists(), "the own program made the dump");
    let wrong = world.lagan.run(&["up", "--manifests", "x", "--allow-program", "own-dump"])?;
    ensure!(wrong.status.code() != Some(0));
    world.judge()
}

#[test]
fn a_plan_that_is_too_large_for_the_log_fails_and_names_the_field() -> Result<()> {
    let world = a_small_world()?;
    let bundle = format!("{{caBundle: {}, url: ", "QUJD".repeat(100_000));
    world.lagan.manifest("huge.yaml", &app_binding("huge", &world.db).replace("{url: ", &bundle))?;
    let large = configuration("large", "local", SHOP, "").replace("name: shop}}", "name: huge}}");
    world.lagan.manifest("large.yaml", &large)?;
    world.configure("small", "local", SHOP, "")?;
    let _up = world.up(&[])?;
    let output = world.backup("large", &[])?;
    assert!(output.stderr.contains("work.backup.target.database.tls.caBundle"), "{}", output.stderr);
    assert!(output.stderr.contains("may have 262144"), "{}", output.stderr);
    // No other session waits behind it, and its target is free.
    world.good_backup("small")?;
    world.judge()
}
