//! Selections: which snapshots go, which one is restored, in which namespace, and whether a schedule runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::restic::Restic;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, app_binding, configuration, restore_session, secret};

use super::{SHOP, a_small_world};

#[test]
fn a_retention_that_only_reports_keeps_every_snapshot() -> Result<()> {
    let world = a_small_world()?;
    world.configure("shop", "local", SHOP, "retentionPolicy: {name: trial, keepLast: 1, dryRun: true}")?;
    let _up = world.up(&[])?;
    let first = world.good_backup("shop")?;
    world.db.query("INSERT INTO shop.t VALUES (2)")?;
    let second = world.good_backup("shop")?;
    let removed = second["retention"]["removedSample"].as_array().context("a list")?;
    let id = first["snapshot"].as_str().context("an id")?;
    ensure!(removed.len() == 1 && id.starts_with(removed[0].as_str().unwrap()), "{second:#}");
    ensure!(second["retention"]["dryRun"] == true, "{second:#}");
    ensure!(world.snapshots()? == 2);
    world.judge()
}

#[test]
fn a_restore_takes_the_snapshot_that_the_dry_run_showed() -> Result<()> {
    let world = a_small_world()?;
    let copy = world.second_database("copy")?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&[])?;
    let first = world.good_backup("shop")?;
    world.db.query("INSERT INTO shop.t VALUES (2)")?;
    let second = world.good_backup("shop")?;
    let id = |result: &serde_json::Value| result["snapshot"].as_str().unwrap().to_owned();

    let shown = world.lagan.json(&["restore", "shop", "--to", "copy", "--dry-run", "-o", "json"])?;
    ensure!(shown["spec"]["target"]["rules"][0]["snapshots"][0] == id(&second)[..8], "{shown:#}");
    ensure!(shown["spec"]["dryRun"].is_null(), "{shown:#}");
    let text = world.lagan.ok(&["restore", "shop", "--to", "copy", "--dry-run"])?;
    for part in ["Would restore", "database shop", "there is no data yet", "nothing was written", "snapshots:"] {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    ensure!(text.matches(&id(&second)[..8]).count() == 3, "{text}");
    eventually("the dry runs to be removed", PATIENCE, || {
        world.list("restoresessions", &[]).ok()?.is_empty().then_some(())
    })?;
    ensure!(copy.query("SHOW DATABASES LIKE 'shop'")?.trim().is_empty());

    let start = &id(&first)[..8];
    world.lagan.ok(&["restore", "shop", "--snapshot", start, "--to", "copy", "--yes", "--wait"])?;
    ensure!(copy.query("SELECT COUNT(*) FROM shop.t")? == "1", "the first snapshot has one row");
    let absent = world.lagan.run(&["restore", "shop", "--snapshot", "00000000", "--to", "copy", "--dry-run"])?;
    ensure!(absent.status.code() == Some(3) && absent.stderr.contains("E0310"), "{}", absent.stderr);
    world.judge()
}

#[test]
fn objects_of_two_namespaces_have_the_same_names_and_nothing_else_in_common() -> Result<()> {
    let world = a_small_world()?;
    world.db.query("CREATE DATABASE other; CREATE TABLE other.t (v INT); INSERT INTO other.t VALUES (42)")?;
    world.configure("shop", "local", SHOP, "")?;
    let folder = world.lagan.path("prod-repository");
    let repository = format!(
        "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: local}}
spec:
  backend: {{storageSecretName: repository, local: {{mountPath: {}}}}}
",
        secret("repository", &[("RESTIC_PASSWORD", &world.password)]),
        folder.display()
    );
    let all = [repository, app_binding("shop", &world.db), configuration("shop", "local", "--databases other", "")]
        .join("---\n");
    world.lagan.manifest("prod.yaml", &all.replace("metadata: {name:", "metadata: {namespace: prod, name:"))?;
    let copy = world.second_database("copy")?;
    let binding = app_binding("copy", &copy).replace("metadata: {name:", "metadata: {namespace: prod, name:");
    world.lagan.manifest("prod-copy.yaml", &binding)?;
    let _up = world.up(&[])?;

    world.good_backup("shop")?;
    world.backup("shop", &["-n", "prod"])?.success()?;
    ensure!(world.snapshots()? == 1);
    let restic = lagan_tests::restic::Restic::folder(&folder, &world.password)?;
    let dumped = restic.dump("latest", "/dumpfile.sql")?;
    ensure!(String::from_utf8_lossy(&dumped).contains("`other`"), "namespace prod backs up its own database");
    world.lagan.ok(&["restore", "shop", "--to", "copy", "-n", "prod", "--yes", "--wait"])?;
    ensure!(copy.query("SELECT v FROM other.t")? == "42");
    for (more, count) in [(&["-n", "prod"][..], 1), (&["-A"], 2), (&[], 1)] {
        ensure!(world.list("backupsessions", more)?.len() == count, "{more:?}");
    }
    restic.check()
}

#[test]
fn a_paused_schedule_starts_nothing_until_it_is_resumed() -> Result<()> {
    let world = a_small_world()?;
    let minutely = "schedule: \"* * * * *\"\nconcurrencyPolicy: Allow";
    world.configure("paused", "local", SHOP, &format!("{minutely}\npaused: true"))?;
    world.configure("running", "local", SHOP, minutely)?;
    let _up = world.up(&[])?;
    let slots = |name: &str| -> Result<usize> {
        let sessions = world.list("backupsessions", &[])?;
        Ok(sessions.iter().filter(|session| session["spec"]["invoker"]["name"] == name).count())
    };
    eventually("a slot of the schedule that runs", Duration::from_secs(100), || {
        (slots("running").ok()? > 0).then_some(())
    })?;
    ensure!(slots("paused")? == 0, "a paused schedule started a session");
    world.good_backup("paused").context("by hand it is backed up all the same")?;
    world.configure("paused", "local", SHOP, minutely)?;
    eventually("a slot of the resumed schedule", Duration::from_secs(100), || (slots("paused").ok()? > 1).then_some(()))
}

#[test]
fn a_broken_manifest_keeps_its_own_objects_and_nothing_else() -> Result<()> {
    let world = a_small_world()?;
    for name in ["broken", "deleted"] {
        world.configure(name, "local", SHOP, "")?;
    }
    let _up = world.up(&["--failover", "5"])?;
    let get = |name: &str| world.lagan.json(&["get", "backupconfiguration", name, "-o", "json"]).ok();
    eventually("both configurations to be ready", PATIENCE, || {
        let is_ready = |name: &str| (get(name)?["status"]["phase"] == "Ready").then_some(());
        is_ready("broken").and(is_ready("deleted"))
    })?;
    let good = std::fs::read_to_string(world.lagan.manifests_dir().join("broken.yaml"))?;
    world.lagan.manifest("broken.yaml", "kind: [\n")?;
    world.lagan.remove_manifest("deleted.yaml")?;
    eventually("the deletion of the other", PATIENCE, || get("deleted").is_none().then_some(()))?;
    let told = eventually("a condition that names the file", PATIENCE, || {
        let object = get("broken")?;
        let conditions = object["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|condition| condition["type"] == "ManifestRead")?;
        Some(found["message"].as_str()?.to_owned())
    })?;
    ensure!(told.contains("broken.yaml:"), "{told}");
    world.good_backup("broken").context("it is backed up as before")?;
    world.lagan.manifest("broken.yaml", &good)?;
    eventually("the condition to go", PATIENCE, || {
        let object = get("broken")?;
        let conditions = object["status"]["conditions"].as_array()?;
        conditions.iter().all(|condition| condition["type"] != "ManifestRead").then_some(())
    })
}

#[test]
fn a_manifest_that_was_never_valid_is_invalid_wherever_it_is_named_until_it_is_corrected() -> Result<()> {
    let world = a_small_world()?;
    let path = world.lagan.path("second");
    let good = format!(
        "apiVersion: lagan.dev/v1alpha1\nkind: Repository\nmetadata: {{name: second}}\nspec:\n  backend: {{storageSecretName: repository, local: {{mountPath: {}}}}}\n",
        path.display()
    );
    let file = world.lagan.manifest("second.yaml", &good.replace("backend:", "backnd:"))?;
    world.configure("shop", "second", SHOP, "")?;
    let copy = world.second_database("copy")?;
    let _up = world.up(&["--failover", "5"])?;
    let problem = format!("{}:5:3: unknown field `backnd`; did you mean `backend`?", file.display());
    let named = format!("Repository default/second is invalid: {problem}");
    let condition = |kind: &str, name: &str, condition: &str| -> Option<serde_json::Value> {
        let object = world.lagan.json(&["get", kind, name, "-o", "json"]).ok()?;
        let conditions = object["status"]["conditions"].as_array()?;
        conditions.iter().find(|found| found["type"] == condition).cloned()
    };
    let own = eventually("the Repository to be invalid", PATIENCE, || condition("repository", "second", "Ready"))?;
    ensure!(own["reason"] == "Invalid" && own["message"] == problem, "{own:#}");
    let found = eventually("the configuration to say so", PATIENCE, || {
        condition("backupconfiguration", "shop", "RepositoryFound")
    })?;
    ensure!(found["status"] == "False" && found["message"] == named, "{found:#}");
    let described = world.lagan.ok(&["describe", "repository", "second"])?;
    ensure!(described.contains("did you mean `backend`?"), "{described}");

    let refused = world.backup("shop", &[])?;
    ensure!(refused.status.code() == Some(3), "{}", refused.stderr);
    let facts = world.facts("@latest", &[])?;
    let last = facts.last().context("facts")?;
    ensure!(last["data"]["code"] == "E0101" && last["data"]["message"] == named, "{last:#}");
    let restore = world.lagan.run(&["restore", "--from", "second", "--to", "copy", "--yes", "--wait"])?;
    ensure!(restore.status.code() == Some(1) && restore.stderr.contains(&named), "{}", restore.stderr);

    world.lagan.manifest("second.yaml", &good)?;
    eventually("the configuration to be ready", PATIENCE, || {
        (condition("backupconfiguration", "shop", "Ready")?["status"] == "True").then_some(())
    })?;
    let own = condition("repository", "second", "Ready").context("a condition")?;
    ensure!(own["reason"] == "NotUsedYet", "{own:#}");
    world.good_backup("shop")?;
    ensure!(Restic::folder(&path, &world.password)?.snapshots()?.len() == 1);
    let session = restore_session("again", "second", "copy", "");
    world.lagan.manifest("again.yaml", &session.replace("repository:", "repositry:"))?;
    let own = eventually("the RestoreSession to be invalid", PATIENCE, || {
        condition("restoresession", "again", "ValidationPassed")
    })?;
    ensure!(own["status"] == "False", "{own:#}");
    world.lagan.manifest("again.yaml", &session)?;
    let ended = world.ended("restoresessions", "again", &[])?;
    ensure!(ended["status"]["phase"] == "Succeeded" && copy.query("SELECT COUNT(*) FROM shop.t")? == "1", "{ended:#}");

    // A refused object that is deleted is gone for those who name it too.
    world.lagan.manifest("third.yaml", &good.replace("second", "third").replace("backend:", "backnd:"))?;
    eventually("another invalid Repository", PATIENCE, || condition("repository", "third", "Ready"))?;
    world.lagan.remove_manifest("third.yaml")?;
    eventually("it to be gone", PATIENCE, || {
        (world.lagan.run(&["get", "repository", "third"]).ok()?.status.code() == Some(5)).then_some(())
    })
}

#[test]
fn two_backups_asked_for_in_one_second_are_two_sessions() -> Result<()> {
    let world = a_small_world()?;
    world.configure("shop", "local", SHOP, "")?;
    let _up = world.up(&[])?;
    world.good_backup("shop")?;
    let made = std::thread::scope(|scope| {
        let triggers: Vec<_> = (0..4).map(|_| scope.spawn(|| world.lagan.ok(&["trigger", "shop"]))).collect();
        triggers.into_iter().map(|trigger| trigger.join().unwrap()).collect::<Result<Vec<String>>>()
    })?;
    let mut names: Vec<&str> = made.iter().filter_map(|line| line.trim().split(['/', ' ']).nth(1)).collect();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == 4, "each command created a session of its own: {made:?}");
    eventually("five sessions", PATIENCE, || (world.list("backupsessions", &[]).ok()?.len() == 5).then_some(()))
}
