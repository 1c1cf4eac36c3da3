//! Engine and worker with exactly the rights of the chart: an answer of 403 to either of them fails the test.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::webhook::{self, ResponseBody};
use lagan_tests::world::{PATIENCE, secret};
use serde_json::Value;

use super::chart::Chart;
use super::rights::allowed;
use super::{FOREVER, LAGAN, configuration, ready, restore_session, wipe};

const SESSIONS: &str = "backupsessions.lagan.dev";
const CONFIGURATIONS: &str = "backupconfigurations.lagan.dev";
const REPOSITORIES: &str = "repositories.lagan.dev";

fn sample(world: &KubeWorld) -> Result<()> {
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })
}

fn backed_up(world: &KubeWorld, session: &str, configuration: &str) -> Result<Value> {
    world.apply(&backup_session(LAGAN, session, configuration))?;
    let done = world.ended(SESSIONS, session)?;
    ensure!(phase(&done) == "Succeeded", "{done:#}");
    Ok(done)
}

/// The manifests of a blueprint and of the Secret `auto` that its Repositories need. `more` are lines of its spec.
fn blueprint(world: &KubeWorld, name: &str, more: &str) -> Result<()> {
    world.apply(&secret("auto", &[("RESTIC_PASSWORD", &world.password)]))?;
    let yaml = format!(
        "apiVersion: {LAGAN}
kind: BackupBlueprint
metadata: {{name: {name}}}
spec:
  backend: {{storageSecretName: auto, local: {{mountPath: {}}}}}
  schedule: '{FOREVER}'
  retentionPolicy: {{name: keep, keepLast: 3}}
  {more}
",
        world.repository_dir("auto").display()
    );
    world.apply(&yaml).map(drop)
}

fn annotate(world: &KubeWorld, annotation: &str) -> Result<()> {
    world.kubectl(&["annotate", "--overwrite", "appbinding", "shop", annotation]).map(drop)
}

#[test]
fn rights_suffice_for_a_blueprint() -> Result<()> {
    let mut world = KubeWorld::new("rblueprint")?;
    sample(&world)?;
    let chart = Chart::install(&world)?;
    let (port, asked) = webhook::start(ResponseBody::Text("said so"))?;
    let parts = chart.start(&mut world, &["--allow-hook-host", "127.0.0.1"])?;
    // The object is cluster-scoped, so its name must be unique to this test.
    let name = format!("{}-nightly", world.namespace);
    blueprint(&world, &name, &format!("hooks: {{preBackup: {{httpPost: {{port: {port}, path: /200}}}}}}"))?;
    annotate(&world, &format!("lagan.dev/backup-blueprint={name}"))?;
    world.until("the configuration to be made", &[CONFIGURATIONS, "app-shop"], |o| phase(o) == "Ready")?;
    world.kubectl(&["get", REPOSITORIES, "app-shop"])?;
    // Engines of other tests count too, each in its namespace, so the number is not checked.
    let counted = format!("200 patch /apis/lagan.dev/v1alpha1/backupblueprints/{name}/status?");
    eventually("the blueprint to be counted", PATIENCE, || {
        parts.asked(&world, "engine").ok()?.into_iter().find(|request| request.starts_with(&counted))
    })?;
    backed_up(&world, "one", "app-shop")?;
    asked.recv_timeout(PATIENCE)?;
    annotate(&world, "lagan.dev/backup-blueprint-")?;
    world.until("the configuration to go", &[CONFIGURATIONS], |list| {
        list["items"].as_array().is_some_and(Vec::is_empty)
    })?;
    world.kubectl(&["get", REPOSITORIES, "app-shop"])?;
    world.kubectl(&["delete", "backupblueprints.lagan.dev", &name])?;
    parts.were_refused_nothing(&world)
}

#[test]
fn rights_suffice_to_wipe_a_repository_out() -> Result<()> {
    let mut world = KubeWorld::new("rwipe")?;
    sample(&world)?;
    let server = S3Server::start()?;
    server.create_bucket(wipe::BUCKET)?;
    let chart = Chart::install(&world)?;
    let parts = chart.start(&mut world, &[])?;
    wipe::repository(&world, &server, "goes", "demo/shop", "wipeOut: true")?;
    wipe::held(&world, "goes")?;
    ensure!(phase(&wipe::backup(&world, "one", "goes")?) == "Succeeded");
    ensure!(!wipe::files(&server, "demo/shop/")?.is_empty());
    wipe::delete(&world, "goes")?;
    wipe::gone(&world, "goes")?;
    assert_eq!(wipe::files(&server, "demo/shop/")?, Vec::<String>::new());
    let told = wipe::told(&world, "goes")?;
    ensure!(told.iter().any(|(_, reason, _)| reason == "RepositoryWiped"), "{told:?}");
    parts.were_refused_nothing(&world)
}

/// The manifest of the Service of AppBinding `shop`, with a named port for a hook.
fn service(port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec: {{ports: [{{name: mysql, port: 3306}}, {{name: notes, port: {port}}}]}}
"
    )
}

#[test]
fn rights_suffice_for_hooks_events_and_the_history() -> Result<()> {
    let mut world = KubeWorld::new("rhooks")?;
    sample(&world)?;
    let chart = Chart::install(&world)?;
    let (port, asked) = webhook::start(ResponseBody::Text("said so"))?;
    world.apply(&service(port))?;
    let parts = chart.start(&mut world, &["--allow-hook-host", "127.0.0.1"])?;
    let hooks = "hooks:\n  preBackup: {httpPost: {port: notes, path: /200/before}}\n  \
                 postBackup: {httpGet: {port: notes, path: /200/after}}";
    let yaml = configuration("shop", FOREVER, hooks).replace("backupHistoryLimit: 20", "backupHistoryLimit: 1");
    world.apply(&yaml)?;
    ready(&world, "shop")?;
    for session in ["one", "two"] {
        backed_up(&world, session, "shop")?;
        for path in ["POST /200/before", "GET /200/after"] {
            let request = asked.recv_timeout(PATIENCE).context(path)?;
            ensure!(request.starts_with(path), "{request}");
        }
    }
    eventually("the first session to leave the history", PATIENCE, || {
        let there = world.kubectl(&["get", SESSIONS, "-o", "name"]).ok()?;
        (there.trim() == "backupsession.lagan.dev/two").then_some(())
    })?;
    for session in ["one", "two"] {
        let event = format!("BackupSucceeded BackupSession/{session}");
        eventually(&event, PATIENCE, || world.events().ok()?.contains(&event).then_some(()))?;
    }
    let shown = world.kubectl(&["get", "events"])?;
    ensure!(shown.contains("BackupSucceeded") && shown.contains("backupsession/two"), "{shown}");
    parts.were_refused_nothing(&world)
}

/// Objects of every kind that an engine acts on, in a namespace that is not watched.
fn bait(world: &KubeWorld, namespace: &str) -> Result<()> {
    let storage = world.storage("local");
    let bound = format!(
        "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: shop, annotations: {{lagan.dev/backup-blueprint: {}-nightly}}}}
spec:
  type: mariadb
  clientConfig: {{service: {{name: shop, port: 3306, scheme: mysql}}}}
  secret: {{name: shop-db}}
",
        world.namespace
    );
    let wiped = format!(
        "apiVersion: {LAGAN}
kind: Repository
metadata: {{name: wiped}}
spec:
  wipeOut: true
  backend: {{storageSecretName: local, s3: {{endpoint: 'http://127.0.0.1:1', bucket: bait, region: us-east-1}}}}
"
    );
    let auth = secret("shop-db", &[("username", world.db.user()), ("password", world.db.password())]);
    let (config, session, restore) = (
        configuration("shop", "*/1 * * * *", ""),
        backup_session(LAGAN, "one", "shop"),
        restore_session("back", "shop", ""),
    );
    let all = [storage, auth, bound, wiped, config, session, restore].join("---\n");
    world.plane.apply(namespace, &all).map(drop)
}

/// Lists objects, as `kind/name`, that a client other than kubectl has written.
fn touched(world: &KubeWorld, namespace: &str) -> Result<Vec<String>> {
    let kinds = format!("{REPOSITORIES},{CONFIGURATIONS},{SESSIONS},restoresessions.lagan.dev,appbindings,events");
    let list = world.plane.kubectl_json(&["get", &kinds, "-n", namespace, "--show-managed-fields"])?;
    let items = list["items"].as_array().context("a list")?;
    ensure!(items.len() >= 6, "the bait is there: {list:#}");
    let by_kubectl = |item: &&Value| {
        let managers = item["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kubectl = |m: &Value| m["manager"].as_str().is_some_and(|manager| manager.starts_with("kubectl"));
        !managers.is_empty() && managers.iter().all(kubectl)
    };
    let others = items.iter().filter(|item| !by_kubectl(item));
    Ok(others.map(|item| format!("{}/{}", item["kind"], item["metadata"]["name"])).collect())
}

#[test]
fn roles_in_watched_namespaces_suffice_and_nothing_else_is_touched() -> Result<()> {
    let mut world = KubeWorld::new("watched")?;
    sample(&world)?;
    let other = world.plane.namespace("unwatched")?;
    let name = format!("{}-nightly", world.namespace);
    // The blueprint's Repository would be in a namespace that is not watched, so it must not be created.
    blueprint(&world, &name, &format!("repoNamespace: {other}"))?;
    annotate(&world, &format!("lagan.dev/backup-blueprint={name}"))?;
    bait(&world, &other)?;
    let chart = Chart::install_watching(&world)?;
    for part in ["engine", "worker"] {
        let rights = allowed(&world, &other, &chart.user(part))?;
        let some: BTreeSet<&str> =
            rights.iter().filter(|(_, verbs)| !verbs.is_empty()).map(|(name, _)| name.as_str()).collect();
        // Cluster-scoped kinds.
        let cluster = ["backupblueprints", "backupblueprints/status", "functions", "tasks"];
        let cluster = cluster.map(|kind| format!("lagan.dev {kind}"));
        // A worker asks a blueprint whether an AppBinding consents to its namespace, a Function for its program, and whether a namespace
        // exists.
        let expected: BTreeSet<&str> = match part {
            "engine" => cluster.iter().map(String::as_str).collect(),
            _ => BTreeSet::from([cluster[0].as_str(), cluster[2].as_str(), "namespaces"]),
        };
        assert_eq!(some, expected, "{part}");
    }
    let parts = chart.start(&mut world, &[])?;
    // The last two names of a public host could be those of a Service, in a namespace that is not watched.
    let hook = format!(
        "hooks: {{postBackup: {{executionPolicy: OnFailure, httpGet: {{host: hooks.chat.{other}, port: 443}}}}}}"
    );
    world.apply(&configuration("shop", FOREVER, &hook))?;
    ready(&world, "shop")?;
    backed_up(&world, "two", "shop")?;
    world.apply(&restore_session("back", "shop", "overwrite: true"))?;
    assert_eq!(phase(&world.ended("restoresessions.lagan.dev", "back")?), "Succeeded");
    assert_eq!(touched(&world, &other)?, Vec::<String>::new());
    let of_host = format!("403 get /api/v1/namespaces/{other}/services/chat");
    let (asked, refused): (Vec<String>, Vec<String>) =
        parts.refused(&world, "worker")?.into_iter().partition(|request| *request == of_host);
    ensure!(!asked.is_empty() && refused.is_empty(), "{asked:#?} {refused:#?}");
    // The one other denied request was repeated when objects changed, and logged once.
    let refused = eventually("another try", PATIENCE, || {
        let mut refused = parts.refused(&world, "engine").ok()?;
        refused.retain(|request| *request != of_host);
        (refused.len() > 1).then_some(refused)
    })?;
    let expected = format!("403 get /apis/lagan.dev/v1alpha1/namespaces/{other}/repositories/app-shop");
    ensure!(refused.iter().all(|request| request.starts_with(&expected)), "{refused:#?}");
    let log = parts.engine.log_text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("is forbidden")).collect();
    ensure!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("app-shop"), "{told:#?}");
    world.kubectl(&["delete", "backupblueprints.lagan.dev", &name])?;
    Ok(())
}

/// Changes the namespace of the configuration that wrote the only snapshot, and returns the id that it has then.
fn moved_to(world: &KubeWorld, namespace: &str) -> Result<String> {
    let restic = world.restic("local")?;
    let only = || -> Result<Value> {
        let snapshots = restic.snapshots()?;
        ensure!(snapshots.len() == 1, "{snapshots:#?}");
        snapshots.into_iter().next().context("one snapshot")
    };
    let tags = only()?["tags"].clone();
    let mut tags = tags.as_array().context("tags")?.iter().filter_map(Value::as_str);
    let old = tags.find(|tag| tag.starts_with("lagan-configuration=")).context("the tag of the configuration")?;
    restic.run(&["tag", "--remove", old])?.success()?;
    restic.run(&["tag", "--add", &format!("lagan-configuration=lagan.dev/{namespace}/shop")])?.success()?;
    Ok(only()?["id"].as_str().context("an id")?.to_owned())
}

#[test]
fn a_namespace_that_is_gone_withholds_no_consent_although_it_is_not_watched() -> Result<()> {
    let mut world = KubeWorld::new("orphan")?;
    sample(&world)?;
    let other = world.plane.namespace("unwatched")?;
    let chart = Chart::install_watching(&world)?;
    let parts = chart.start(&mut world, &[])?;
    world.apply(&configuration("shop", FOREVER, ""))?;
    ready(&world, "shop")?;
    backed_up(&world, "one", "shop")?;
    let policy = r#"{"spec":{"usagePolicy":{"crossNamespaceRestore":{"from":"All"}}}}"#;
    world.kubectl(&["patch", REPOSITORIES, "local", "--type=merge", "-p", policy])?;
    let restored = |session: &str, snapshot: &str| {
        let chosen = format!("overwrite: true\nrules: [{{snapshots: [{snapshot}]}}]");
        world.apply(&restore_session(session, "shop", &chosen))?;
        world.ended("restoresessions.lagan.dev", session)
    };
    let there = restored("there", &moved_to(&world, &other)?)?;
    ensure!(there["status"]["code"] == "E0103" && there.to_string().contains(&other), "{there:#}");
    let before = world.db.checksums("shop")?;
    world.db.query("DROP DATABASE shop")?;
    let gone = restored("gone", &moved_to(&world, &format!("{other}-gone"))?)?;
    ensure!(phase(&gone) == "Succeeded", "{gone:#}");
    assert_eq!(world.db.checksums("shop")?, before);
    parts.were_refused_nothing(&world)
}
