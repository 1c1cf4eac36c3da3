//! Auto-backup: an annotation on an AppBinding is all that a backup needs; removing it keeps the data.

use anyhow::Result;
use lagan_tests::canary::Canaries;
use lagan_tests::canary_secret;
use lagan_tests::kube_world::{KubeWorld, phase};
use lagan_tests::sample::Sample;
use lagan_tests::webhook::{self, ResponseBody};
use lagan_tests::world::{PATIENCE, secret};

use super::STASH;

#[test]
fn an_annotation_makes_a_backup_and_taking_it_away_keeps_the_repository() -> Result<()> {
    let world = KubeWorld::new("auto")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let _engine = world.engine(&["--stash-compat"])?;
    let _worker = world.worker(&["--allow-hook-host", "127.0.0.1"])?;
    let namespace = &world.namespace;
    // The object is cluster-scoped, so its name must be unique to this test.
    let blueprint = format!("{namespace}-nightly");
    world.apply(&secret("auto", &[("RESTIC_PASSWORD", &world.password)]))?;
    let (port, asked) = webhook::start(ResponseBody::Text("said so"))?;
    let manifest = |token: &str| {
        format!(
            "apiVersion: {STASH}
kind: BackupBlueprint
metadata: {{name: {blueprint}}}
spec:
  backend:
    local: {{mountPath: {}, subPath: '${{TARGET_NAMESPACE}}/${{TARGET_NAME}}'}}
    storageSecretName: auto
  schedule: '0 3 1 1 *'
  task: {{name: mariadb-backup-10.6.23}}
  retentionPolicy: {{name: keep, keepLast: 3}}
  hooks: {{preBackup: {{httpPost: {{port: {port}, path: /200, body: '{token}'}}}}}}
",
            world.repository_dir("auto").display()
        )
    };
    let [first, second] = ["first", "second"].map(canary_secret);
    world.apply(&manifest(&first))?;
    let annotate = |annotations: &[&str]| {
        let mut args = vec!["annotate", "--overwrite", "appbinding", "shop"];
        args.extend(annotations);
        world.kubectl(&args)
    };
    let asks = format!("stash.appscode.com/backup-blueprint={blueprint}");
    annotate(&[&asks, "stash.appscode.com/schedule=*/1 * * * *", "params.stash.appscode.com/args=--databases shop"])?;
    let configurations = "backupconfigurations.stash.appscode.com";
    let made = world
        .until("the configuration to be made and Ready", &[configurations, "app-shop"], |o| phase(o) == "Ready")?;
    assert_eq!(made["spec"]["schedule"], "*/1 * * * *");
    assert_eq!(made["spec"]["task"]["params"][0]["value"], "--databases shop");
    let body = |object: &serde_json::Value| object["spec"]["hooks"]["preBackup"]["httpPost"]["body"].clone();
    assert_eq!(body(&made), first.as_str());
    let repository = world.kubectl_json(&["get", "repositories.stash.appscode.com", "app-shop"])?;
    assert_eq!(repository["spec"]["backend"]["local"]["subPath"], format!("{namespace}/shop"));
    // Its schedule starts a session.
    let sessions = "backupsessions.stash.appscode.com";
    world.until("a backup by itself", &[sessions], |list| {
        list["items"].as_array().is_some_and(|items| items.iter().any(|item| phase(item) == "Succeeded"))
    })?;
    assert!(asked.recv_timeout(PATIENCE)?.ends_with(&first));
    // Only the body changes, which the engine's view does not hold.
    world.apply(&manifest(&second))?;
    world.until("the body to follow", &[configurations, "app-shop"], |o| body(o) == second.as_str())?;
    // The blueprint belongs to the cluster, and this engine, like those of the tests beside this one, watches one
    // namespace: none of them tells how many databases all of them back up.
    let shown = world.plane.until(
        "the blueprint's status",
        PATIENCE,
        &["backupblueprints.stash.appscode.com", &blueprint],
        |o| o["status"]["observedGeneration"] == 2,
    )?;
    assert_eq!(shown["status"]["usages"], serde_json::Value::Null);
    // Other annotations make another configuration.
    annotate(&["stash.appscode.com/schedule=0 4 1 1 *"])?;
    world.until("the schedule to follow", &[configurations, "app-shop"], |o| o["spec"]["schedule"] == "0 4 1 1 *")?;
    // Without the annotation there is no configuration; the Repository and the data stay.
    annotate(&["stash.appscode.com/backup-blueprint-"])?;
    world.until("the configuration to go", &[configurations], |list| {
        list["items"].as_array().is_some_and(Vec::is_empty)
    })?;
    world.kubectl(&["get", "repositories.stash.appscode.com", "app-shop"])?;
    let canary = Canaries::new(&[("first body", &first), ("second body", &second)]);
    canary.absent_below(&[&world.nats.store_dir(), &world.lagan.logs_dir()])?;
    world.kubectl(&["delete", "backupblueprints.stash.appscode.com", &blueprint])?;
    Ok(())
}
