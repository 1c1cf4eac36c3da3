//! The main path with real programs: resources become sessions, sessions become snapshots, snapshots are restored.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "sessions/clusters.rs"]
mod clusters;
#[path = "sessions/existing.rs"]
mod existing;
#[path = "sessions/forecast.rs"]
mod forecast;
#[path = "sessions/forged.rs"]
mod forged;
#[path = "sessions/hooks.rs"]
mod hooks;
#[path = "sessions/metrics.rs"]
mod metrics;
#[path = "sessions/postgres.rs"]
mod postgres;
#[path = "sessions/results.rs"]
mod results;
#[path = "sessions/scope.rs"]
mod scope;
#[path = "sessions/stalls.rs"]
mod stalls;
#[path = "sessions/waiting.rs"]
mod waiting;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lagan_tests::nats::NatsServer;
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::sha256;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, app_binding, configuration, restore_session, secret};

const SHOP: &str = "--databases shop";
const DUMP: [&str; 8] = [
    "--databases",
    "shop",
    "--routines",
    "--events",
    "--triggers",
    "--hex-blob",
    "--single-transaction",
    "--skip-dump-date",
];

fn sample(megabytes: u32) -> Sample {
    Sample { megabytes, seed: 7 }
}

#[test]
fn what_was_backed_up_comes_back_byte_for_byte() -> Result<()> {
    let world = World::new()?;
    world.db.load_sample("shop", sample(50))?;
    let copy = world.second_database("copy")?;
    world.configure("nightly", "local", SHOP, "")?;
    let _up = world.up(&[])?;

    let first = world.good_backup("nightly")?;
    let restic = world.restic()?;
    let dumped = restic.dump("latest", "/dumpfile.sql")?;
    assert_eq!(first["sha256"], sha256(&dumped), "restic gives what was sent");
    assert_eq!(first["sizeBytes"], dumped.len());

    // A second backup of the same configuration stores the new content and adds little.
    world.db.change_sample("shop", sample(50))?;
    let second = world.good_backup("nightly")?;
    assert_ne!(first["sha256"], second["sha256"]);
    assert_eq!(second["sha256"], sha256(&restic.dump("latest", "/dumpfile.sql")?));
    let (all, added) = (first["addedBytes"].as_u64().unwrap(), second["addedBytes"].as_u64().unwrap());
    assert!(added * 2 < all, "the second backup added {added} of {all}");

    world.lagan.ok(&["restore", "nightly", "--to", "copy", "--yes", "--wait"])?;
    assert!(copy.dump(&DUMP)? == world.db.dump(&DUMP)?, "the copy's dump is the original's");
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);

    // Now the target holds data, so a restore is refused unless it may overwrite.
    let refused = world.lagan.run(&["restore", "nightly", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(refused.status.code(), Some(3));
    assert!(refused.stderr.contains("E0401"), "{}", refused.stderr);
    copy.query("DROP TABLE shop.order_items")?;
    world.lagan.ok(&["restore", "nightly", "--to", "copy", "--overwrite", "--yes", "--wait"])?;
    assert!(copy.dump(&DUMP)? == world.db.dump(&DUMP)?);
    assert_eq!(world.snapshots()?, 2);
    world.judge()
}

#[test]
fn an_object_store_holds_two_configurations_and_each_restores_its_own() -> Result<()> {
    let world = World::new()?;
    let server = S3Server::start()?;
    server.create_bucket("backups")?;
    world.s3_repository(&server, "backups", "prod/shop")?;
    world.db.load_sample("shop", sample(5))?;
    world.db.query("CREATE DATABASE other; CREATE TABLE other.t (v INT); INSERT INTO other.t VALUES (42)")?;
    world.configure("shop", "s3", SHOP, "")?;
    world.configure("other", "s3", "--databases other", "retentionPolicy: {name: one, keepLast: 1}")?;
    let copy = world.second_database("copy")?;
    let _up = world.up(&[])?;
    world.good_backup("shop")?;
    world.good_backup("other")?;
    let kept = world.good_backup("other")?;
    assert_eq!(kept["retention"]["removed"], 1, "keepLast 1 forgets the first of its own");
    assert_eq!(kept["retention"]["removedSample"].as_array().unwrap().len(), 1);

    world.lagan.ok(&["restore", "shop", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);
    world.lagan.ok(&["restore", "other", "--to", "copy", "--overwrite", "--yes", "--wait"])?;
    assert_eq!(copy.query("SELECT v FROM other.t")?.trim(), "42");

    // Without a configuration `latest` is ambiguous: the error lists the candidates.
    let ambiguous = world.lagan.run(&["restore", "--from", "s3", "--to", "copy", "--overwrite", "--yes", "--wait"])?;
    assert_eq!(ambiguous.status.code(), Some(3));
    assert!(ambiguous.stderr.contains("E0311"), "{}", ambiguous.stderr);

    let restic = Restic::s3(&server, "backups", "prod/shop", &world.password)?;
    assert_eq!(restic.snapshots()?.len(), 2);
    restic.check()
}

#[test]
fn manifests_of_stash_run_unchanged() -> Result<()> {
    let world = World::new()?;
    world.db.load_sample("shop", sample(3))?;
    let folder = world.lagan.path("stash-repository");
    world.lagan.manifest("stash.yaml", &stash_manifests(&world, &folder))?;
    let address = format!("sample-mariadb.demo.svc:3306={}:{}", world.db.host(), world.db.port());
    let _up = world.up(&["--resolve", &address])?;
    let backup = world.ended("backupsessions", "sample-mariadb-backup-1", &["-n", "demo"])?;
    let status = &backup["status"];
    assert_eq!(status["phase"], "Succeeded", "{status}");
    assert_eq!(status["targets"][0]["stats"][0]["hostname"], "host-0");
    assert_eq!(status["targets"][0]["stats"][0]["snapshots"][0]["path"], "/dumpfile.sql");
    let conditions = status["conditions"].as_array().unwrap();
    for (kind, is) in
        [("RetentionPolicyApplied", "True"), ("RepositoryIntegrityVerified", "True"), ("SpaceFreed", "False")]
    {
        assert!(conditions.iter().any(|c| c["type"] == kind && c["status"] == is), "{kind}: {conditions:?}");
    }

    // Like Stash, we restore over existing data in its group; a condition says so.
    world.db.query("DROP TABLE shop.order_items")?;
    let restore = "apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: sample-mariadb-restore, namespace: demo}
spec:
  task: {name: mariadb-restore-10.6.23}
  repository: {name: gcs-repo}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: sample-mariadb}
    rules: [{snapshots: [latest]}]
";
    world.lagan.manifest("restore.yaml", restore)?;
    let restored = world.ended("restoresessions", "sample-mariadb-restore", &["-n", "demo"])?;
    assert_eq!(restored["status"]["phase"], "Succeeded", "{restored}");
    let conditions = restored["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "RestoreCompleted" && c["status"] == "True"), "{conditions:?}");
    assert!(conditions.iter().any(|c| c["type"] == "TargetOverwritten"), "{conditions:?}");
    assert!(world.db.query("SELECT COUNT(*) FROM shop.order_items")?.trim().parse::<u64>()? > 0);
    Restic::folder(&folder, &world.password)?.check()
}

/// Secret, Repository, AppBinding, BackupConfiguration and BackupSession of Stash's MariaDB tutorial.
fn stash_manifests(world: &World, folder: &Path) -> String {
    format!(
        "{}---\n{}---
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {{name: gcs-repo, namespace: demo}}
spec:
  backend:
    local: {{hostPath: {{path: {folder}}}, mountPath: /safe/data}}
    storageSecretName: stash-secret
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata:
  name: sample-mariadb
  namespace: demo
  labels: {{app.kubernetes.io/instance: sample-mariadb}}
spec:
  appRef: {{apiGroup: kubedb.com, kind: MariaDB, name: sample-mariadb, namespace: demo}}
  clientConfig:
    service: {{name: sample-mariadb, port: 3306, scheme: tcp}}
  secret: {{name: sample-mariadb-auth}}
  type: kubedb.com/mariadb
  version: 10.6.23
  parameters:
    stash:
      addon:
        backupTask: {{name: mariadb-backup-10.6.23, params: [{{name: args, value: --databases mysql}}]}}
        restoreTask: {{name: mariadb-restore-10.6.23}}
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {{name: sample-mariadb-backup, namespace: demo}}
spec:
  schedule: \"*/5 * * * *\"
  task: {{name: mariadb-backup-10.6.23, params: [{{name: args, value: --databases shop}}]}}
  repository: {{name: gcs-repo}}
  target:
    ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: sample-mariadb}}
  retentionPolicy: {{name: keep-last-5, keepLast: 5, prune: true}}
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupSession
metadata: {{name: sample-mariadb-backup-1, namespace: demo}}
spec:
  invoker: {{apiGroup: stash.appscode.com, kind: BackupConfiguration, name: sample-mariadb-backup}}
",
        namespaced(&secret("stash-secret", &[("RESTIC_PASSWORD", &world.password)])),
        namespaced(&secret("sample-mariadb-auth", &[("username", world.db.user()), ("password", world.db.password())])),
        folder = folder.display(),
    )
}

fn namespaced(secret: &str) -> String {
    secret.replace("metadata: {name:", "metadata: {namespace: demo, name:")
}

#[test]
fn separate_processes_run_each_slot_and_each_object_once() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    world.configure("minutely", "local", SHOP, "schedule: \"* * * * *\"\nconcurrencyPolicy: Allow")?;
    let nats = NatsServer::start()?;
    let monitoring = nats.monitoring_url();
    let more = ["--nats-monitoring-url", &monitoring];
    let _engines =
        [world.part("engine", "engine-1", &nats.url(), &more)?, world.part("engine", "engine-2", &nats.url(), &more)?];
    let _workers =
        [world.part("worker", "worker-1", &nats.url(), &more)?, world.part("worker", "worker-2", &nats.url(), &more)?];
    for name in ["one", "two", "three"] {
        let yaml = format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: BackupSession\nmetadata: {{name: {name}}}\nspec:\n  invoker: {{kind: BackupConfiguration, name: minutely}}\n"
        );
        world.lagan.manifest(&format!("{name}.yaml"), &yaml)?;
    }
    let url = nats.url();
    let client = ["--nats-url", url.as_str()];
    for name in ["one", "two", "three"] {
        let ended = world.ended("backupsessions", name, &client)?;
        assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    }
    // The next full minute starts one session, although there are two schedulers.
    eventually("a slot's session", Duration::from_secs(100), || {
        let sessions = world.list("backupsessions", &client).ok()?;
        sessions.iter().any(|s| is_slot(s) && s["status"]["phase"] == "Succeeded").then_some(())
    })?;
    let events = world.lagan.ok(&["events", "-o", "jsonl", "--nats-url", &url])?;
    let of = |fact: &str| -> Vec<String> {
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let kind = format!("dev.lagan.backup.{fact}.v1");
        events.filter(|e| e["type"] == kind.as_str()).map(|e| e["sessionuid"].as_str().unwrap().to_owned()).collect()
    };
    let (requested, succeeded) = (of("requested"), of("succeeded"));
    assert_eq!(requested.len(), requested.iter().collect::<BTreeSet<_>>().len(), "each session is requested once");
    assert_eq!(succeeded.len(), succeeded.iter().collect::<BTreeSet<_>>().len(), "each session ends once");
    let tagged: BTreeSet<String> = world.restic()?.snapshots()?.iter().map(session_tag).collect();
    assert_eq!(tagged.len(), world.snapshots()?, "one snapshot for each session");
    world.judge()
}

fn is_slot(session: &serde_json::Value) -> bool {
    session["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("minutely-"))
}

fn session_tag(snapshot: &serde_json::Value) -> String {
    let tags = snapshot["tags"].as_array().unwrap().iter().filter_map(|t| t.as_str());
    tags.filter(|t| t.starts_with("lagan-session=")).map(str::to_owned).next().unwrap()
}

#[test]
fn a_restore_that_ended_is_never_run_again() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT); INSERT INTO shop.t VALUES (1)")?;
    world.configure("shop", "local", SHOP, "")?;
    let up = ["--failover", "5"];
    let mut process = world.up(&up)?;
    world.good_backup("shop")?;
    let yaml = restore_session("once", "local", "shop", "overwrite: true");
    world.lagan.manifest("once.yaml", &yaml)?;
    assert_eq!(world.ended("restoresessions", "once", &[])?["status"]["phase"], "Succeeded");
    world.db.query("INSERT INTO shop.t VALUES (2)")?;
    let untouched = || -> Result<()> {
        // A session that was requested later has ended, so an earlier request would have been seen.
        world.good_backup("shop")?;
        assert_eq!(world.db.query("SELECT COUNT(*) FROM shop.t")?.trim(), "2", "the restore ran again");
        Ok(())
    };

    world.lagan.touch_manifest("once.yaml")?;
    untouched()?;
    let (file, away) = (world.lagan.manifests_dir().join("once.yaml"), world.lagan.path("once.away"));
    std::fs::rename(&file, &away)?;
    eventually("the deletion to be confirmed", PATIENCE, || {
        world.list("restoresessions", &[]).ok()?.is_empty().then_some(())
    })?;
    std::fs::rename(&away, &file)?;
    untouched()?;
    process.terminate(PATIENCE)?;
    let mut process = world.up(&up)?;
    untouched()?;
    process.terminate(PATIENCE)?;
    std::fs::remove_dir_all(world.lagan.data_dir().join("nats"))?;
    let _process = world.up(&up)?;
    untouched()?;
    world.judge()
}

#[test]
fn a_running_session_skips_the_next_can_be_cancelled_and_has_a_deadline() -> Result<()> {
    let mut world = World::new()?;
    world.db.load_sample("shop", sample(4))?;
    let hold = world.lagan.path("hold");
    std::fs::write(&hold, "")?;
    world.stub(
        "mariadb-dump",
        &format!("$REAL \"$@\" | {{ head -c 1000000; while [ -e {} ]; do sleep 0.05; done; cat; }}", hold.display()),
    )?;
    world.configure("shop", "local", SHOP, "")?;
    world.configure("late", "local", SHOP, "timeOut: 3s")?;
    let _up = world.up(&["--failover", "5"])?;
    world.lagan.ok(&["backup", "shop"])?;
    let running = eventually("a running session", PATIENCE, || {
        let sessions = world.list("backupsessions", &[]).ok()?;
        sessions.into_iter().find(|s| s["status"]["phase"] == "Running")
    })?;
    let name = running["metadata"]["name"].as_str().unwrap();
    let skipped = world.backup("shop", &[])?;
    assert_eq!(skipped.status.code(), Some(3));
    assert!(skipped.stderr.contains("skipped"), "{}", skipped.stderr);
    world.lagan.ok(&["cancel", name, "--reason", "a test"])?;
    let ended = world.ended("backupsessions", name, &[])?;
    assert_eq!(ended["status"]["phase"], "Failed");
    assert_eq!(ended["status"]["code"], "E0503", "{ended}");
    let late = world.backup("late", &[])?;
    assert!(late.stderr.contains("E0502"), "{}", late.stderr);
    assert_eq!(world.snapshots()?, 0);
    std::fs::remove_file(&hold)?;
    world.good_backup("shop")?;
    assert_eq!(world.snapshots()?, 1);
    world.judge()
}

#[test]
fn the_command_line_keeps_its_promises() -> Result<()> {
    let world = World::new()?;
    world.db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    assert_eq!(world.lagan.run(&["get", "sessions"])?.status.code(), Some(20), "nothing runs");
    world.configure("shop", "local", SHOP, "")?;
    let wrong = configuration("typo", "local", SHOP, "").replace("schedule:", "shedule:");
    world.lagan.manifest("typo.yaml", &wrong)?;
    world.lagan.manifest("copy-db.yaml", &app_binding("copy", &world.db))?;
    let mut up = world.up(&[])?;
    up.wait_for_log("did you mean `schedule`?", PATIENCE)?;
    world.good_backup("shop")?;
    let table = world.lagan.ok(&["get", "sessions"])?;
    assert!(table.starts_with("NAME") && table.contains("Succeeded") && !table.contains('\u{1b}'), "{table}");
    let before = world.snapshots()?;
    // A dry run fails with what the restore would fail with: the database holds its data.
    let refused = world.lagan.run(&["restore", "shop", "--dry-run"])?;
    assert!(refused.status.code() == Some(3) && refused.stderr.contains("E0401"), "{}", refused.stderr);
    world.lagan.ok(&["restore", "shop", "--dry-run", "--overwrite"])?;
    eventually("the dry runs to be removed", PATIENCE, || {
        world.list("restoresessions", &[]).ok()?.is_empty().then_some(())
    })?;
    assert_eq!(world.snapshots()?, before);
    for (args, code) in [
        (&["get", "sessions", "nothing"][..], 5),
        (&["backup", "nothing"], 5),
        (&["frobnicate"], 2),
        (&["get", "sessions", "--nats-url", "nats://127.0.0.1:1"], 20),
        (&["explain", "E0201"], 0),
        (&["describe", "repository/local"], 0),
        (&["snapshots"], 0),
        (&["version"], 0),
    ] {
        let done = world.lagan.run(args)?;
        assert_eq!(done.status.code(), Some(code), "{args:?}: {}", done.stderr);
    }
    // An object that is refused is there, and invalid: no session is made for it.
    let typo = world.lagan.run(&["backup", "typo"])?;
    assert_eq!(typo.status.code(), Some(1));
    let invalid = "BackupConfiguration default/typo is invalid: ";
    assert!(typo.stderr.contains(invalid), "{}", typo.stderr);
    assert!(typo.stderr.contains("typo.yaml:") && typo.stderr.contains("did you mean `schedule`?"), "{}", typo.stderr);
    up.terminate(PATIENCE)?;
    assert_eq!(up.group_members()?, [""; 0]);
    Ok(())
}
