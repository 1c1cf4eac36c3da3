//! The API server as the source of intent: deleted, replaced, ended and started objects are recognised after any outage.

use std::collections::BTreeSet;

use anyhow::Result;
use lagan_tests::canary::Canaries;
use lagan_tests::canary_secret;
use lagan_tests::kube_world::{KubeWorld, backup_session, condition, phase};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::webhook::{self, ResponseBody};
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::{FOREVER, LAGAN, configuration, ready, restore_session};

/// Lists the objects of a kind on NATS, by `lagan get`.
pub(super) fn on_the_bus(world: &KubeWorld, kind: &str) -> Option<BTreeSet<String>> {
    let url = world.nats.url();
    let names = world.lagan.ok(&["get", kind, "-n", &world.namespace, "-o", "name", "--nats-url", &url]).ok()?;
    Some(names.lines().map(|line| line.rsplit('/').next().unwrap_or(line).to_owned()).collect())
}

/// Lists the facts of a session, by `lagan events`.
pub(super) fn facts(world: &KubeWorld, session: &str) -> Result<Vec<Value>> {
    let url = world.nats.url();
    let args = ["events", "--session", session, "-n", &world.namespace, "-o", "jsonl", "--nats-url", &url];
    Ok(world.lagan.ok(&args)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[test]
fn deletions_and_changes_while_the_watcher_is_down_are_seen() -> Result<()> {
    let world = KubeWorld::new("deletes")?;
    let mut engine = world.engine(&[])?;
    for name in ["stays", "goes", "replaced"] {
        world.apply(&configuration(name, FOREVER, ""))?;
        ready(&world, name)?;
    }
    let uid = |name: &str| -> Result<Value> {
        Ok(world.kubectl_json(&["get", "backupconfigurations.lagan.dev", name])?["metadata"]["uid"].clone())
    };
    let old = uid("replaced")?;
    engine.kill9()?;
    world.kubectl(&["delete", "backupconfigurations.lagan.dev", "goes", "replaced"])?;
    world.apply(&configuration("replaced", FOREVER, "paused: true"))?;
    world.apply(&configuration("new", FOREVER, ""))?;
    assert_ne!(old, uid("replaced")?);
    let _engine = world.engine(&[])?;
    ready(&world, "new")?;
    let expected: BTreeSet<String> = ["stays", "replaced", "new"].map(str::to_owned).into();
    eventually("the bus to have what is there", PATIENCE, || {
        (on_the_bus(&world, "backupconfigurations")? == expected).then_some(())
    })?;
    let url = world.nats.url();
    let shown =
        world.lagan.json(&["get", "bc", "replaced", "-n", &world.namespace, "-o", "json", "--nats-url", &url])?;
    assert_eq!(shown["metadata"]["uid"], uid("replaced")?);
    Ok(())
}

#[test]
fn two_engines_and_two_workers_run_each_session_once() -> Result<()> {
    let world = KubeWorld::new("two")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let _engines = [world.part("engine", "engine-1", &[])?, world.part("engine", "engine-2", &[])?];
    let _workers = [world.part("worker", "worker-1", &[])?, world.part("worker", "worker-2", &[])?];
    for name in ["a", "b", "c"] {
        world.apply(&configuration(name, FOREVER, ""))?;
        ready(&world, name)?;
    }
    for name in ["a", "b", "c"] {
        world.apply(&backup_session(LAGAN, &format!("{name}-1"), name))?;
    }
    for name in ["a-1", "b-1", "c-1"] {
        let done = world.ended("backupsessions.lagan.dev", name)?;
        assert_eq!(phase(&done), "Succeeded", "{done:#}");
        let started = facts(&world, name)?.iter().filter(|f| f["type"] == "dev.lagan.backup.started.v1").count();
        assert_eq!(started, 1, "{name}");
    }
    assert_eq!(world.restic("local")?.snapshots()?.len(), 3);
    world.restic("local")?.check()?;
    Ok(())
}

#[test]
fn nothing_old_runs_again_when_jetstream_has_lost_all() -> Result<()> {
    let mut world = KubeWorld::new("loss")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let mut engine = world.engine(&[])?;
    let mut worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "first")?), "Succeeded");
    // A recorded restore that may have started.
    worker.kill9()?;
    world.apply(&restore_session("back", "copy", ""))?;
    world.until("the restore to be recorded", &["restoresessions.lagan.dev", "back"], |o| {
        o["status"]["recordedTime"].is_string()
    })?;
    engine.kill9()?;
    world.nats.delete_store()?;
    world.nats.restart()?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    let waiting = world.until("the restore to wait for a person", &["restoresessions.lagan.dev", "back"], |o| {
        condition(o, "NeedsConfirmation").is_some()
    })?;
    assert_eq!((phase(&waiting), waiting["status"]["code"].as_str()), ("Pending", Some("E0106")));
    // The objects' statuses survive the loss.
    let remembers = |object: &Value| object["status"]["lastSuccessTime"].is_string() && phase(object) == "Ready";
    world.until("the configuration to remember", &["backupconfigurations.lagan.dev", "shop"], remembers)?;
    assert_eq!(phase(&world.kubectl_json(&["get", "backupsessions.lagan.dev", "first"])?), "Succeeded");
    // Only new requests run.
    world.apply(&backup_session(LAGAN, "second", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "second")?), "Succeeded");
    assert_eq!(world.restic("local")?.snapshots()?.len(), 2);
    assert!(!copy.query("SHOW DATABASES")?.contains("shop"), "nothing was restored");
    Ok(())
}

#[test]
fn a_restore_whose_object_was_replaced_does_not_touch_the_database() -> Result<()> {
    let mut world = KubeWorld::new("replaced")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let _engine = world.engine(&[])?;
    let mut worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    world.ended("backupsessions.lagan.dev", "first")?;
    worker.kill9()?;
    world.apply(&restore_session("back", "copy", ""))?;
    let planned = world.until("the restore to be recorded", &["restoresessions.lagan.dev", "back"], |o| {
        o["status"]["recordedTime"].is_string()
    })?;
    let uid = planned["metadata"]["uid"].as_str().unwrap().to_owned();
    world.kubectl(&["delete", "restoresessions.lagan.dev", "back"])?;
    let _worker = world.worker(&[])?;
    let last = eventually("the old restore to end", PATIENCE, || {
        facts(&world, &uid).ok()?.pop().filter(|fact| fact["type"] == "dev.lagan.restore.failed.v1")
    })?;
    assert_eq!(last["data"]["code"], "E0107", "{last:#}");
    assert!(!copy.query("SHOW DATABASES")?.contains("shop"), "nothing was restored");
    Ok(())
}

#[test]
fn no_secret_leaves_the_cluster() -> Result<()> {
    let world = KubeWorld::new("canary")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    // Other tools keep whole manifests in annotations, and fields that Lagan does not read may hold anything.
    let kept = canary_secret("kept");
    // An AppBinding with credentials in the URL; kubectl keeps a copy of it in an annotation.
    let url = format!("{}:{}@tcp({}:{})/", world.db.user(), world.db.password(), world.db.host(), world.db.port());
    world.apply(&format!(
        "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: shop, annotations: {{kapp.k14s.io/original: {kept}, objectset.rio.cattle.io/applied: {kept}}}}}
spec:
  type: mariadb
  mine: {kept}
  clientConfig: {{url: \"{url}\", other: {kept}}}
"
    ))?;
    let (port, asked) = webhook::start(ResponseBody::Echo)?;
    let [token, told] = ["token", "told"].map(canary_secret);
    let hook = |status: u16, token: &str| {
        format!(
            "{{httpPost: {{port: {port}, path: '/{status}/{token}', body: '{token}', httpHeaders: [{{name: X, value: '{token}'}}]}}}}"
        )
    };
    let hooks = format!("hooks:\n  preBackup: {}", hook(200, &token));
    let _engine = world.engine(&["-vv"])?;
    let _worker = world.worker(&["-vv", "--allow-hook-host", "127.0.0.1"])?;
    world.apply(&configuration("shop", FOREVER, &hooks))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "one", "shop"))?;
    let done = world.ended("backupsessions.lagan.dev", "one")?;
    assert_eq!(phase(&done), "Succeeded", "{done:#}");
    assert_eq!(asked.recv_timeout(PATIENCE)?.matches(&token).count(), 3);
    world.apply(&configuration("told", FOREVER, &format!("hooks:\n  postBackup: {}", hook(500, &told))))?;
    ready(&world, "told")?;
    world.apply(&backup_session(LAGAN, "two", "told"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "two")?), "Failed");
    let canary = Canaries::new(&[
        ("repository password", &world.password),
        ("database password", world.db.password()),
        ("token of a hook", &token),
        ("token that a server repeats", &told),
        ("token in annotations and unknown fields", &kept),
    ]);
    canary.absent_below(&[&world.nats.store_dir(), &world.lagan.logs_dir(), &world.nats.log_path()])?;
    let ignored = "jsonpath={.status.conditions[?(@.type==\"FieldIgnored\")].message}";
    let ignored = world.kubectl(&["get", "backupconfigurations.lagan.dev", "shop", "-o", ignored])?;
    for part in ["AppBinding", "clientConfig.other (", "mine ("] {
        assert!(ignored.contains(part), "{part}: {ignored}");
    }
    // A configuration holds its hooks, readable to all who may read the object.
    let statuses = world.kubectl(&["get", "backupsessions.lagan.dev,events", "-o", "json"])?;
    assert!(canary.found_in(statuses.as_bytes()).is_empty());
    Ok(())
}
