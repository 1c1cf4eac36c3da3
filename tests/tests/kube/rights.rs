//! The chart's rights: what it renders is accepted, the parts run under exactly these ServiceAccounts, and what they may do
//! stands in a golden file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::process::{guarded, run};
use lagan_tests::sample::Sample;
use lagan_tests::tools;
use serde_json::{Value, json};

use super::{LAGAN, configuration, ready, restore_session};

const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?.to_owned())
}

/// What `helm template` makes of the chart in namespace `namespace`.
fn rendered(values: &Path, namespace: &str, more: &[&str]) -> Result<String> {
    let mut command: Command = guarded(&tools::cached("helm-", "helm")?);
    command.args(["template", "lagan"]).arg(root()?.join("deploy/helm/lagan")).args(["--namespace", namespace]);
    command.arg("--values").arg(values).args(more);
    let done = run(command, PATIENCE)?.success().with_context(|| format!("rendering {}", values.display()))?;
    Ok(done.text())
}

fn value_sets() -> Result<Vec<PathBuf>> {
    let dir = root()?.join("deploy/helm/lagan/ci");
    let mut sets: Vec<PathBuf> = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    sets.sort();
    ensure!(sets.len() >= 5, "at least five value sets");
    Ok(sets)
}

#[test]
fn every_object_of_every_value_set_is_accepted_by_the_api_server() -> Result<()> {
    let plane = ControlPlane::shared()?;
    for namespace in ["lagan-system", "team-a", "team-b"] {
        // Other tests may have made them.
        plane.try_kubectl(&["create", "namespace", namespace])?;
    }
    for values in value_sets()? {
        let yaml = rendered(&values, "lagan-system", &["--set", "metrics.serviceMonitor.enabled=false"])?;
        let file = tempfile(&yaml)?;
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", &file.1];
        let done = plane.try_kubectl(&args)?.success().with_context(|| values.display().to_string())?;
        ensure!(done.text().lines().count() > 10, "{}: {}", values.display(), done.text());
    }
    Ok(())
}

fn tempfile(text: &str) -> Result<(lagan_tests::Scratch, String)> {
    let scratch = lagan_tests::Scratch::new("rendered")?;
    let path = scratch.private_file("rendered.yaml", text)?;
    Ok((scratch, path.to_string_lossy().into_owned()))
}

/// Installs the chart's accounts and roles for a world, and gives kubeconfigs of engine and worker.
fn accounts(world: &KubeWorld) -> Result<[PathBuf; 2]> {
    let values = root()?.join("deploy/helm/lagan/ci/default.yaml");
    let name = format!("fullnameOverride={}", world.namespace);
    let sets =
        ["--set", &name, "--set", "crds.install=false", "--set", "crds.appBinding=false", "--set", "stashCompat=true"];
    let yaml = rendered(&values, &world.namespace, &sets)?;
    world.apply(&yaml)?;
    let config = |part: &str| {
        let token = world.plane.token(&world.namespace, &format!("{}-{part}", world.namespace))?;
        world.plane.write_kubeconfig(&format!("{}-{part}.kubeconfig", world.namespace), world.plane.port(), &token)
    };
    Ok([config("engine")?, config("worker")?])
}

#[test]
fn the_parts_run_under_exactly_the_rights_of_the_chart() -> Result<()> {
    let mut world = KubeWorld::new("rights")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let [engine_config, worker_config] = accounts(&world)?;
    world.kubeconfig = engine_config;
    let engine = world.engine(&["--stash-compat"])?;
    world.kubeconfig = worker_config;
    let worker = world.worker(&[])?;
    world.apply(&configuration("shop", "*/1 * * * *", ""))?;
    ready(&world, "shop")?;
    world.apply(&backup_session(LAGAN, "first", "shop"))?;
    assert_eq!(phase(&world.ended("backupsessions.lagan.dev", "first")?), "Succeeded");
    world.until("a session of the schedule", &["backupsessions.lagan.dev"], |list| {
        let scheduled = |item: &Value| item["metadata"]["name"] != "first" && phase(item) == "Succeeded";
        list["items"].as_array().is_some_and(|items| items.iter().any(scheduled))
    })?;
    world.apply(&restore_session("back", "copy", ""))?;
    let done = world.ended("restoresessions.lagan.dev", "back")?;
    assert_eq!(phase(&done), "Succeeded", "{done:#}");
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);
    let events = world.events()?;
    assert!(events.iter().any(|event| event.starts_with("RestoreSucceeded")), "{events:?}");
    for log in [engine.log_text(), worker.log_text()] {
        assert!(!log.to_ascii_lowercase().contains("forbidden"), "{log}");
    }
    Ok(())
}

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const RESOURCES: [(&str, &str); 28] = [
    ("lagan.dev", "repositories"),
    ("lagan.dev", "repositories/status"),
    ("lagan.dev", "backupconfigurations"),
    ("lagan.dev", "backupconfigurations/status"),
    ("lagan.dev", "backupsessions"),
    ("lagan.dev", "backupsessions/status"),
    ("lagan.dev", "restoresessions"),
    ("lagan.dev", "restoresessions/status"),
    ("lagan.dev", "backupblueprints"),
    ("lagan.dev", "backupblueprints/status"),
    ("lagan.dev", "tasks"),
    ("lagan.dev", "functions"),
    ("stash.appscode.com", "backupconfigurations"),
    ("stash.appscode.com", "backupsessions"),
    ("stash.appscode.com", "restoresessions"),
    ("appcatalog.appscode.com", "appbindings"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "namespaces"),
    ("", "services"),
    ("", "pods"),
    ("", "pods/exec"),
    ("", "nodes"),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("events.k8s.io", "events"),
    ("discovery.k8s.io", "endpointslices"),
    ("rbac.authorization.k8s.io", "clusterroles"),
];

#[test]
fn what_each_part_may_do_is_what_the_golden_file_says() -> Result<()> {
    let world = KubeWorld::new("golden")?;
    accounts(&world)?;
    let mut text = String::from(
        "# What the chart lets each part do (`kubectl auth can-i`); UPDATE_GOLDEN=1 rewrites this file.\n",
    );
    for part in ["engine", "worker"] {
        let user = format!("system:serviceaccount:{0}:{0}-{part}", world.namespace);
        for ((group, resource), verbs) in RESOURCES.iter().zip(allowed(&world, &user)?) {
            let name = if group.is_empty() { (*resource).to_owned() } else { format!("{group} {resource}") };
            let verbs: Vec<&str> = verbs.into_iter().collect();
            writeln!(text, "{part:7} {name:47} {}", if verbs.is_empty() { "-".to_owned() } else { verbs.join(" ") })?;
        }
    }
    let path = root()?.join("tests/golden/rights.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, &text)?;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "rights changed; with UPDATE_GOLDEN=1 this becomes the golden file:\n{text}");
    Ok(())
}

/// Verbs that a user has on each of the resources, asked in one request to the API server.
fn allowed(world: &KubeWorld, user: &str) -> Result<Vec<BTreeSet<&'static str>>> {
    let mut reviews = Vec::new();
    for (group, resource) in RESOURCES {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in VERBS {
            let attributes = json!({
                "namespace": world.namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
            });
            reviews.push(json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": attributes},
            }));
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": reviews}).to_string();
    let file = tempfile(&list)?;
    let answers = world.plane.kubectl(&["create", "-o", "json", "-f", &file.1])?;
    // One document after the other.
    let items: Vec<Value> = serde_json::Deserializer::from_str(&answers).into_iter().collect::<Result<_, _>>()?;
    ensure!(items.len() == RESOURCES.len() * VERBS.len(), "an answer for each question");
    let row = |answers: &[Value]| {
        let yes = answers.iter().zip(VERBS).filter(|(answer, _)| answer["status"]["allowed"] == true);
        yes.map(|(_, verb)| verb).collect()
    };
    Ok(items.chunks(VERBS.len()).map(row).collect())
}
