//! The command line on a cluster: the same commands, exit codes and texts as on a folder, by the API server alone.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, phase};
use lagan_tests::lagan::Lagan;
use lagan_tests::process::Output;
use lagan_tests::sample::Sample;
use lagan_tests::tools;
use lagan_tests::wait::eventually;
use lagan_tests::world::PATIENCE;
use serde_json::Value;

use super::{FOREVER, configuration, ready};

/// `kubectl-lagan` as kubectl finds it, with the world's kubeconfig in `$KUBECONFIG`.
struct Plugin {
    lagan: Lagan,
    namespace: String,
}

impl Plugin {
    fn new(world: &KubeWorld) -> Result<Self> {
        let program = world.lagan.path("kubectl-lagan");
        symlink(tools::lagan()?, &program)?;
        let mut lagan = Lagan::with_program(program)?;
        lagan.env("KUBECONFIG", &world.kubeconfig.to_string_lossy());
        Ok(Self { lagan, namespace: world.namespace.clone() })
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let mut all = args.to_vec();
        all.extend(["-n", &self.namespace]);
        self.lagan.run(&all)
    }

    fn ok(&self, args: &[&str]) -> Result<String> {
        Ok(self.run(args)?.success().with_context(|| args.join(" "))?.text())
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.ok(&all)?)?)
    }
}

#[track_caller]
fn ends(done: &Output, code: i32, parts: &[&str]) -> Result<()> {
    let told = format!("{}{}", done.text(), done.stderr);
    ensure!(done.status.code() == Some(code), "{}: {told}", done.status);
    for part in parts {
        ensure!(told.contains(part), "`{part}` is missing in: {told}");
    }
    Ok(())
}

#[test]
fn the_verbs_work_through_the_api_server() -> Result<()> {
    let world = KubeWorld::new("cli")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 5 })?;
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    world.apply(&configuration("shop", FOREVER, "timeZone: Europe/Berlin"))?;
    ready(&world, "shop")?;
    let plugin = Plugin::new(&world)?;

    let done = plugin.run(&["backup", "shop", "--wait"])?;
    let story = [
        "► created BackupSession/",
        "◎ waiting to start",
        "✔ committed snapshot ",
        "✔ verified: ",
        "kubectl lagan describe session/",
    ];
    ends(&done, 0, &story)?;
    let session = plugin.json(&["get", "session", "@latest"])?;
    ensure!(phase(&session) == "Succeeded" && session["metadata"].get("managedFields").is_none(), "{session:#}");
    let name = session["metadata"]["name"].as_str().context("a name")?;
    let snapshot = session["status"]["snapshot"].as_str().context("a snapshot")?;
    let managers = world.kubectl(&["get", "backupsessions.lagan.dev", name, "--show-managed-fields", "-o", "yaml"])?;
    ensure!(managers.contains("manager: lagan-cli"), "{managers}");

    let told = plugin.ok(&["describe", "session", name])?;
    ensure!(told.contains("Events\n") && told.contains("BackupSucceeded") && !told.contains("Timeline"), "{told}");
    let url = world.nats.url();
    let told = plugin.ok(&["describe", "session", name, "--nats-url", &url])?;
    ensure!(told.contains("Timeline\n") && told.contains("✔ succeeded"), "{told}");
    ends(&plugin.run(&["events"])?, 2, &["--nats-url"])?;
    ends(&plugin.run(&["cancel", name])?, 2, &["--nats-url"])?;
    ensure!(plugin.ok(&["events", "--session", name, "--nats-url", &url])?.contains("committing"));

    let tree = plugin.ok(&["tree", "plan/shop"])?;
    for part in [
        "✔ Ready",
        "Europe/Berlin",
        "├── AppBinding/",
        "├── Repository/",
        "1 snapshot, ",
        &format!("snapshot {snapshot}"),
    ] {
        ensure!(tree.contains(part), "`{part}` is missing in: {tree}");
    }
    ensure!(plugin.json(&["tree", "plan", "shop"])?["children"].as_array().is_some_and(|c| c.len() == 3));
    ensure!(plugin.ok(&["snapshots"])?.contains(snapshot));
    ends(&plugin.run(&["restore", "shop", "--dry-run"])?, 3, &["E0401", "overwrite"])?;
    let shown = ["Would restore", snapshot, "database shop", "they are dropped", "kind: RestoreSession"];
    ends(&plugin.run(&["restore", "shop", "--dry-run", "--overwrite"])?, 0, &shown)?;
    let left = world.kubectl_json(&["get", "restoresessions.lagan.dev"])?;
    ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "a dry run leaves nothing: {left:#}");
    ends(&plugin.run(&["restore", "shop", "--wait"])?, 3, &["E0401", "overwrite"])?;
    let before = world.db.checksums("shop")?;
    world.db.query("DROP DATABASE shop; CREATE DATABASE shop")?;
    ends(&plugin.run(&["restore", "shop", "--overwrite", "--yes", "--wait"])?, 0, &["✔ restored snapshot"])?;
    ensure!(world.db.checksums("shop")? == before);

    ends(&plugin.run(&["pause", "shop"])?, 0, &["is paused"])?;
    ensure!(world.kubectl_json(&["get", "backupconfigurations.lagan.dev", "shop"])?["spec"]["paused"] == true);
    ensure!(plugin.ok(&["tree", "plan/shop"])?.contains("○ Paused"));
    ends(&plugin.run(&["resume", "shop"])?, 0, &["follows its schedule"])?;
    let made = plugin.ok(&["trigger", "shop"])?;
    let made = made
        .strip_prefix("backupsession.lagan.dev/")
        .and_then(|line| line.strip_suffix(" created\n"))
        .context(made.clone())?;
    ensure!(phase(&world.ended("backupsessions.lagan.dev", made)?) == "Succeeded");
    Ok(())
}

#[test]
fn what_was_not_done_has_its_exit_code() -> Result<()> {
    let world = KubeWorld::new("cli-exit")?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    let plugin = Plugin::new(&world)?;
    // No engine is running.
    let done = plugin.run(&["backup", "shop", "--wait", "--timeout", "18s"])?;
    ends(&done, 124, &["no engine has taken it for 15s", "timed out; the backup goes on in the background"])?;
    ends(&plugin.run(&["backup", "nosuch"])?, 5, &["not found", "shop"])?;
    ends(&plugin.run(&["get", "plans", "--context", "nosuch"])?, 20, &["nosuch"])?;
    // The database does not exist: the waiting session fails, and so does the command that waits for the next one.
    let _engine = world.engine(&[])?;
    let _worker = world.worker(&[])?;
    let over = |item: &Value| phase(item) == "Failed";
    world.until("the first session to fail", &["backupsessions.lagan.dev"], |list| {
        list["items"].as_array().is_some_and(|items| !items.is_empty() && items.iter().all(over))
    })?;
    let done = plugin.run(&["backup", "shop", "--wait"])?;
    ends(&done, 3, &["failed after", "(E0203)", "  help: ", "next: kubectl lagan describe session/"])?;
    Ok(())
}

/// An API server drops a field that it does not know, and without `dryRun` the object would be a restore.
#[test]
fn a_cluster_that_does_not_know_a_field_gets_no_object_without_it() -> Result<()> {
    let world = KubeWorld::on(Arc::new(ControlPlane::start()?), "older")?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/dryRun";
    let patch = format!(r#"[{{"op":"remove","path":"{field}"}}]"#);
    world.plane.kubectl(&["patch", "crd", "restoresessions.lagan.dev", "--type=json", "-p", &patch])?;
    let dry = "apiVersion: lagan.dev/v1alpha1\nkind: RestoreSession\nmetadata: {name: dry}\nspec:\n  dryRun: true\n  \
               repository: {name: local}\n  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}\n";
    let file = world.lagan.path("dry.yaml");
    std::fs::write(&file, dry)?;
    let strict = ["create", "--dry-run=server", "--validate=strict", "-f", &file.to_string_lossy()];
    eventually("the API server to use the older definition", PATIENCE, || {
        let refused = world.plane.try_kubectl(&[&strict[..], &["-n", &world.namespace]].concat()).ok()?;
        refused.stderr.contains("unknown field").then_some(())
    })?;
    let plugin = Plugin::new(&world)?;
    ends(&plugin.run(&["restore", "shop", "--dry-run"])?, 1, &["spec.dryRun", "definitions", "nothing was created"])?;
    let left = world.kubectl_json(&["get", "restoresessions.lagan.dev"])?;
    ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "{left:#}");
    Ok(())
}
