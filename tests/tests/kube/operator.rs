//! A Stash operator in the same cluster: its objects are left to it. Its webhooks' APIService shows that it runs.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::{FOREVER, LAGAN, STASH, configuration, ready};

/// The APIService as Stash's chart registers it; no server is behind it here.
const API_SERVICE: &str = "\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.admission.stash.appscode.com}
spec:
  group: admission.stash.appscode.com
  version: v1beta1
  groupPriorityMinimum: 10000
  versionPriority: 15
  insecureSkipTLSVerify: true
  service: {namespace: default, name: stash}
";

/// Lists fields and statuses of Stash's objects that one of our field managers owns.
fn touched(world: &KubeWorld) -> Result<Vec<String>> {
    let kinds = "backupconfigurations.stash.appscode.com,backupsessions.stash.appscode.com";
    let list = world.kubectl_json(&["get", kinds, "--show-managed-fields"])?;
    let items = list["items"].as_array().context("a list")?;
    ensure!(items.len() == 2, "{list:#}");
    let ours = |item: &&Value| {
        let managers = item["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let lagan = |m: &Value| m["manager"].as_str().is_none_or(|manager| manager.contains("lagan"));
        managers.iter().any(lagan) || item["status"].is_object() || item["metadata"]["finalizers"].is_array()
    };
    Ok(items.iter().filter(ours).map(|item| format!("{item:#}")).collect())
}

#[test]
fn objects_of_stash_are_left_to_a_stash_operator_that_runs() -> Result<()> {
    // A control plane of its own: a group without a server slows down discovery for all other clients.
    let plane = Arc::new(ControlPlane::start()?);
    let world = KubeWorld::on(Arc::clone(&plane), "operator")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    plane.apply("default", API_SERVICE)?;
    let ours = configuration("shop", FOREVER, "");
    // The Repository of Stash's group exists too, so only the operator can be the reason.
    world.apply(&world.storage("local").replace("lagan.dev/v1alpha1", "stash.appscode.com/v1alpha1"))?;
    world.apply(&ours.replace(LAGAN, STASH))?;
    world.apply(&backup_session(STASH, "theirs", "shop"))?;

    let mut engine = world.engine(&["--stash-compat"])?;
    let _worker = world.worker(&[])?;
    let why = "a Stash operator runs in this cluster: objects of stash.appscode.com are left to it";
    engine.wait_for_log(why, PATIENCE)?;
    world.apply(&ours)?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "ours", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "ours")?), "Succeeded");
    assert_eq!(touched(&world)?, Vec::<String>::new());

    // When the operator is gone, the engine ends, and takes over after its restart.
    plane.kubectl(&["delete", "apiservice", "v1beta1.admission.stash.appscode.com"])?;
    ensure!(!engine.wait_exit(PATIENCE)?.success(), "an engine that ends without being told to says so");
    ensure!(engine.log_text().contains("the Stash operator of this cluster is gone"), "{}", engine.log_text());
    let mut engine = world.part("engine", "engine-2", &["--stash-compat"])?;
    assert_eq!(phase(&world.ended("backupsessions.stash.appscode.com", "theirs")?), "Succeeded");
    assert!(!engine.log_text().contains(why));

    // When the operator returns, the engine ends, and after its restart it leaves the objects to the operator.
    plane.apply("default", API_SERVICE)?;
    ensure!(!engine.wait_exit(PATIENCE)?.success(), "an engine that ends without being told to says so");
    let log = engine.log_text();
    ensure!(log.contains("a Stash operator was installed"), "{log}");
    Ok(())
}
