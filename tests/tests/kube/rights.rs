//! The rights of the chart: its objects are accepted, the parts run with exactly these ServiceAccounts, and a golden file
//! lists their rights.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::sample::Sample;
use serde_json::{Value, json};

use super::chart::{Chart, rendered, root, tempfile};
use super::{LAGAN, configuration, ready, restore_session};

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
        // Other tests may have created them.
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

#[test]
fn the_parts_run_under_exactly_the_rights_of_the_chart() -> Result<()> {
    let mut world = KubeWorld::new("rights")?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let chart = Chart::install(&world)?;
    let parts = chart.start(&mut world, &[])?;
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
    parts.were_refused_nothing(&world)
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
    let chart = Chart::install(&world)?;
    let mut text = String::from(
        "# What the chart lets each part do (`kubectl auth can-i`); UPDATE_GOLDEN=1 rewrites this file.\n",
    );
    for part in ["engine", "worker"] {
        for (name, verbs) in allowed(&world, &world.namespace, &chart.user(part))? {
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

/// Lists the verbs that a user has on each resource in a namespace, by one request to the API server.
pub(super) fn allowed(world: &KubeWorld, namespace: &str, user: &str) -> Result<Vec<(String, BTreeSet<&'static str>)>> {
    let mut reviews = Vec::new();
    for (group, resource) in RESOURCES {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in VERBS {
            let attributes = json!({
                "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
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
    // Documents are applied one by one.
    let items: Vec<Value> = serde_json::Deserializer::from_str(&answers).into_iter().collect::<Result<_, _>>()?;
    ensure!(items.len() == RESOURCES.len() * VERBS.len(), "an answer for each question");
    let row = |answers: &[Value]| {
        let yes = answers.iter().zip(VERBS).filter(|(answer, _)| answer["status"]["allowed"] == true);
        yes.map(|(_, verb)| verb).collect()
    };
    let name = |(group, resource): &(&str, &str)| {
        if group.is_empty() { (*resource).to_owned() } else { format!("{group} {resource}") }
    };
    Ok(RESOURCES.iter().map(name).zip(items.chunks(VERBS.len()).map(row)).collect())
}
