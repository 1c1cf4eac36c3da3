//! Two namespaces of two owners: who may edit objects in `dev` gets at nothing of `prod` before `prod` consents.

use anyhow::{Context as _, Result, ensure};
use lagan_tests::kube_world::{KubeWorld, backup_session, condition, is_true, phase};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::sample::Sample;
use lagan_tests::webhook::{self, ResponseBody};
use lagan_tests::world::{PATIENCE, secret};
use serde_json::Value;

use super::{FOREVER, LAGAN, STASH};

/// A world whose own namespace is `prod`, with database and Repository, and a second namespace.
struct Tenants {
    world: KubeWorld,
    dev: String,
}

impl Tenants {
    fn new(what: &str) -> Result<Self> {
        let world = KubeWorld::new(what)?;
        world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
        let dev = world.plane.namespace(&format!("{what}-dev"))?;
        let tenants = Self { world, dev };
        tenants.in_dev(&tenants.world.storage("theirs"))?;
        let stash = tenants.world.storage("stashed").replace("lagan.dev/v1alpha1", "stash.appscode.com/v1alpha1");
        tenants.in_dev(&stash)?;
        Ok(tenants)
    }

    fn start(&self, engine: &[&str], worker: &[&str]) -> Result<[lagan_tests::process::Process; 2]> {
        let both = ["--namespaces", self.dev.as_str()];
        let engine = self.world.engine(&[&both[..], &["--stash-compat"], engine].concat())?;
        Ok([engine, self.world.worker(&[&both[..], worker].concat())?])
    }

    fn in_dev(&self, yaml: &str) -> Result<()> {
        self.world.plane.apply(&self.dev, yaml).map(drop)
    }

    /// A BackupConfiguration in `dev` of the database in `prod`, in a group.
    fn configure(&self, group: &str, name: &str) -> Result<()> {
        self.configure_for(group, name, &self.world.namespace, "")
    }

    /// The same of the database `shop` in any namespace. `more` are lines of its spec.
    fn configure_for(&self, group: &str, name: &str, namespace: &str, more: &str) -> Result<()> {
        let repository = if group == LAGAN { "theirs" } else { "stashed" };
        let lines: String = more.lines().map(|line| format!("  {line}\n")).collect();
        self.in_dev(&format!(
            "apiVersion: {group}
kind: BackupConfiguration
metadata: {{name: {name}}}
spec:
  schedule: \"{FOREVER}\"
  task: {{name: mariadb-backup, params: [{{name: args, value: --databases shop}}]}}
  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop, namespace: {namespace}}}}}
  repository: {{name: {repository}}}
  retentionPolicy: {{name: keep, keepLast: 5}}
  backupHistoryLimit: 20
{lines}"
        ))
    }

    /// Runs a BackupSession of a configuration in `dev` to its end.
    fn back_up(&self, group: &str, session: &str, configuration: &str) -> Result<Value> {
        self.in_dev(&backup_session(group, session, configuration))?;
        self.ended(&format!("backupsessions.{}", name_of(group)), session)
    }

    /// Runs a RestoreSession in `dev` to its end. `lines` are its spec.
    fn restore(&self, group: &str, session: &str, lines: &str) -> Result<Value> {
        let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
        self.in_dev(&format!(
            "apiVersion: {group}\nkind: RestoreSession\nmetadata: {{name: {session}}}\nspec:\n{lines}"
        ))?;
        self.ended(&format!("restoresessions.{}", name_of(group)), session)
    }

    fn ended(&self, kind: &str, name: &str) -> Result<Value> {
        let over = |object: &Value| matches!(phase(object), "Succeeded" | "Failed" | "Skipped");
        self.world.plane.until(&format!("{kind}/{name} to end"), PATIENCE, &["-n", &self.dev, kind, name], over)
    }

    /// Waits until a configuration in `dev` shows whether everything that it names consents.
    fn usage_allowed(&self, name: &str, status: &str) -> Result<String> {
        let object = ["-n", self.dev.as_str(), "backupconfigurations.lagan.dev", name];
        let shows = |object: &Value| condition(object, "UsageAllowed").is_some_and(|(is, ..)| is == status);
        let found = self.world.plane.until(&format!("UsageAllowed={status}"), PATIENCE, &object, shows)?;
        Ok(condition(&found, "UsageAllowed").context("the condition")?.2.to_owned())
    }

    fn annotate(&self, object: &[&str], use_: &str) -> Result<()> {
        let annotation = format!("lagan.dev/{use_}-usage-policy=Namespaces={}", self.dev);
        self.world.kubectl(&[&["annotate", "--overwrite"], object, &[annotation.as_str()]].concat()).map(drop)
    }
}

fn name_of(group: &str) -> &str {
    group.split('/').next().unwrap_or_default()
}

/// A session that lacks a consent, and the words that say which.
fn refused(session: &Value, words: &[&str]) -> Result<()> {
    let status = &session["status"];
    ensure!((phase(session), status["code"].as_str()) == ("Failed", Some("E0103")), "{session:#}");
    for word in words {
        ensure!(status.to_string().contains(word), "{word}: {session:#}");
    }
    Ok(())
}

fn succeeded(session: &Value) -> Result<()> {
    ensure!(phase(session) == "Succeeded", "{session:#}");
    Ok(())
}

/// A RestoreSession's spec: from a Repository of `dev` into the database of `prod`.
fn into_prod(tenants: &Tenants, group: &str) -> String {
    let repository = if group == LAGAN { "theirs" } else { "stashed" };
    format!(
        "repository: {{name: {repository}}}
overwrite: true
target:
  ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop, namespace: {}}}
",
        tenants.world.namespace
    )
}

#[test]
fn a_database_of_another_namespace_is_neither_read_nor_overwritten_before_it_consents() -> Result<()> {
    let tenants = Tenants::new("tenants")?;
    let world = &tenants.world;
    let _parts = tenants.start(&[], &[])?;
    for group in [LAGAN, STASH] {
        tenants.configure(group, "steal")?;
    }
    let says = tenants.usage_allowed("steal", "False")?;
    ensure!(says.contains("AppBinding") && says.contains("lagan.dev/backup-usage-policy"), "{says}");
    let before = world.db.checksums("shop")?;
    for group in [LAGAN, STASH] {
        refused(&tenants.back_up(group, "one", "steal")?, &["target.ref", "lagan.dev/backup-usage-policy"])?;
        refused(&tenants.restore(group, "into", &into_prod(&tenants, group))?, &["lagan.dev/restore-usage-policy"])?;
    }
    ensure!(!world.repository_dir("theirs").join("config").exists(), "a repository was written");
    tenants.annotate(&["appbinding", "shop"], "backup")?;
    tenants.usage_allowed("steal", "True")?;
    for group in [LAGAN, STASH] {
        succeeded(&tenants.back_up(group, "two", "steal")?)?;
        // The right to read it is not the right to overwrite it.
        let refusal = tenants.restore(group, "again", &into_prod(&tenants, group))?;
        refused(&refusal, &["lagan.dev/restore-usage-policy"])?;
    }
    tenants.annotate(&["appbinding", "shop"], "restore")?;
    world.db.change_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    for group in [LAGAN, STASH] {
        succeeded(&tenants.restore(group, "allowed", &into_prod(&tenants, group))?)?;
    }
    assert_eq!(world.db.checksums("shop")?, before);
    Ok(())
}

/// A database of `dev`, empty.
fn database_of_dev(tenants: &mut Tenants, name: &str) -> Result<MariaDbServer> {
    let db = MariaDbServer::start()?;
    let prod = std::mem::replace(&mut tenants.world.namespace, tenants.dev.clone());
    let binding = tenants.world.database(name, db.host(), db.port());
    tenants.world.namespace = prod;
    let auth = secret(&format!("{name}-db"), &[("username", db.user()), ("password", db.password())]);
    tenants.in_dev(&format!("{auth}---\n{binding}"))?;
    Ok(db)
}

#[test]
fn a_snapshot_of_another_namespace_is_restored_only_with_the_consent_of_repository_and_writer() -> Result<()> {
    let mut tenants = Tenants::new("shared")?;
    let copy = database_of_dev(&mut tenants, "copy")?;
    let world = &tenants.world;
    let policy = |policy: &str| {
        let patch = format!("{{\"spec\":{{\"usagePolicy\":{policy}}}}}");
        world.kubectl(&["patch", "repositories.lagan.dev", "local", "--type=merge", "-p", &patch])
    };
    policy("{\"allowedNamespaces\":{\"from\":\"All\"}}")?;
    let _parts = tenants.start(&[], &[])?;
    world.apply(&super::configuration("shop", FOREVER, ""))?;
    super::ready(world, "shop")?;
    let back_up = |session: &str| -> Result<String> {
        world.apply(&backup_session(LAGAN, session, "shop"))?;
        succeeded(&world.ended("backupsessions.lagan.dev", session)?)?;
        let snapshots = world.restic("local")?.snapshots()?;
        let newest = snapshots.iter().max_by_key(|snapshot| snapshot["time"].to_string()).context("a snapshot")?;
        Ok(newest["id"].as_str().context("an id")?.to_owned())
    };
    let first = back_up("first")?;
    let restore = |session: &str, more: &str| {
        let prod = &world.namespace;
        let lines = format!(
            "repository: {{name: local, namespace: {prod}}}\n{more}\ntarget:\n  ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: copy}}"
        );
        tenants.restore(LAGAN, session, &lines)
    };
    let by_id = |id: &str| format!("rules: [{{snapshots: [{id}]}}]");
    let by_name = format!("configuration: {{name: shop, namespace: {}}}", world.namespace);
    refused(&restore("id", &by_id(&first))?, &["spec.usagePolicy.crossNamespaceRestore"])?;
    refused(&restore("name", &by_name)?, &["spec.usagePolicy.crossNamespaceRestore"])?;
    policy("{\"allowedNamespaces\":{\"from\":\"All\"},\"crossNamespaceRestore\":{\"from\":\"All\"}}")?;
    refused(&restore("id-again", &by_id(&first))?, &["lagan.dev/snapshot-usage-policy"])?;
    refused(&restore("name-again", &by_name)?, &["lagan.dev/snapshot-usage-policy"])?;
    ensure!(copy.query("SHOW DATABASES LIKE 'shop'")?.is_empty(), "something was restored");

    tenants.annotate(&["backupconfigurations.lagan.dev", "shop"], "snapshot")?;
    let second = back_up("second")?;
    refused(&restore("old", &by_id(&first))?, &["lagan.dev/snapshot-usage-policy"])?;
    succeeded(&restore("new", &by_name)?)?;
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);
    copy.query("DROP DATABASE shop")?;
    succeeded(&restore("new-id", &by_id(&second))?)?;
    Ok(())
}

#[test]
fn a_hook_reaches_a_service_of_another_namespace_only_with_its_consent() -> Result<()> {
    let mut tenants = Tenants::new("hooked")?;
    let (port, asked) = webhook::start(ResponseBody::Text("said so"))?;
    let prod = tenants.world.namespace.clone();
    tenants.world.apply("apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {ports: [{port: 3306}]}\n")?;
    // The AppBinding is of `dev`; only its Service is of `prod`.
    let auth = secret("shop-db", &[("username", tenants.world.db.user()), ("password", tenants.world.db.password())]);
    let service = format!("service: {{name: shop, namespace: {prod}, port: 3306, scheme: mysql}}");
    let (host, number) = (tenants.world.db.host().to_owned(), tenants.world.db.port());
    let binding = tenants.world.database("shop", &host, number);
    let binding = binding.replace("service: {name: shop, port: 3306, scheme: mysql}", &service);
    ensure!(binding.contains(&service), "{binding}");
    tenants.in_dev(&format!("{auth}---\n{binding}"))?;
    let _parts = tenants.start(&[], &["--allow-hook-host", "127.0.0.1"])?;
    let hook = format!("hooks: {{preBackup: {{httpPost: {{port: {port}, path: /200}}}}}}");
    let own = |group: &str, name: &str, hooks: &str| tenants.configure_for(group, name, &tenants.dev, hooks);
    for group in [LAGAN, STASH] {
        own(group, "calls", &hook)?;
        own(group, "runs", "hooks: {preBackup: {exec: {command: [sync]}}}")?;
        for name in ["calls", "runs"] {
            refused(
                &tenants.back_up(group, &format!("{name}-one"), name)?,
                &["Service", "lagan.dev/hook-usage-policy"],
            )?;
        }
    }
    ensure!(asked.try_recv().is_err(), "a hook was sent");
    tenants.annotate(&["service", "shop"], "hook")?;
    for group in [LAGAN, STASH] {
        succeeded(&tenants.back_up(group, "calls-two", "calls")?)?;
        asked.recv_timeout(PATIENCE)?;
        // It gets as far as looking for a pod, of which there is none.
        let done = tenants.back_up(group, "runs-two", "runs")?;
        ensure!(done["status"]["code"] == "E0110", "{done:#}");
    }
    Ok(())
}

/// Runs a backup of `dev` with a hook to a host and port, and returns why the hook was refused.
fn refused_hook(tenants: &Tenants, name: &str, host: &str, port: u16) -> Result<String> {
    let hook = format!("hooks: {{preBackup: {{httpGet: {{port: {port}, host: \"{host}\"}}}}}}");
    tenants.configure_for(LAGAN, name, &tenants.dev, &hook)?;
    let done = tenants.back_up(LAGAN, &format!("{name}-one"), name)?;
    ensure!(done["status"]["code"] == "E0110", "{host}:{port}: {done:#}");
    Ok(done["status"]["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_hook_reaches_nothing_inside_a_cluster_but_services_by_their_names() -> Result<()> {
    let mut tenants = Tenants::new("spelled")?;
    let db = database_of_dev(&mut tenants, "shop")?;
    db.query("CREATE DATABASE shop; CREATE TABLE shop.t (v INT)")?;
    // The exception names a host and no port, so it does not cover the servers of Lagan and of the cluster.
    let _parts = tenants.start(&[], &["--allow-hook-host", "10.0.0.9", "--allow-hook-host", "127.0.0.1"])?;
    let hosts = ["10.0.0.7", "0x0a000007", "::ffff:10.0.0.7", "fd00::7", "100.64.0.7"];
    for (index, host) in hosts.iter().enumerate() {
        let told = refused_hook(&tenants, &format!("spelled-{index}"), host, 80)?;
        ensure!(told.contains("NAME.NAMESPACE.svc") && told.contains("--allow-hook-host"), "{host}: {told}");
    }
    let nats = tenants.world.nats.port();
    let servers =
        [("nats", nats, "the NATS server"), ("kube", tenants.world.plane.port(), "the Kubernetes API server")];
    for (name, port, what) in servers {
        let told = refused_hook(&tenants, name, "127.0.0.1", port)?;
        ensure!(told.contains(&format!("127.0.0.1:{port} is {what}")), "{told}");
    }
    Ok(())
}

#[test]
fn an_administrator_can_allow_it_for_a_migration_and_sessions_say_so() -> Result<()> {
    let tenants = Tenants::new("migrates")?;
    let flag = ["--allow-cross-namespace"];
    let parts = tenants.start(&flag, &flag)?;
    for group in [LAGAN, STASH] {
        tenants.configure(group, "moves")?;
        let done = tenants.back_up(group, "one", "moves")?;
        succeeded(&done)?;
        ensure!(is_true(&done, "ConsentMissing"), "{done:#}");
        let (_, reason, message) = condition(&done, "ConsentMissing").context("a warning")?;
        ensure!(reason == "AllowedByAdministrator" && message.contains("lagan.dev/backup-usage-policy"), "{message}");
    }
    drop(parts);
    Ok(())
}

#[test]
fn a_worker_asks_again_at_the_source_whatever_a_plan_says() -> Result<()> {
    let tenants = Tenants::new("again")?;
    let _parts = tenants.start(&["--allow-cross-namespace"], &[])?;
    tenants.configure(LAGAN, "steal")?;
    let done = tenants.back_up(LAGAN, "one", "steal")?;
    refused(&done, &["lagan.dev/backup-usage-policy"])?;
    let into = tenants.restore(LAGAN, "into", &into_prod(&tenants, LAGAN))?;
    refused(&into, &["lagan.dev/restore-usage-policy"])?;
    ensure!(!tenants.world.repository_dir("theirs").join("config").exists(), "a repository was written");
    Ok(())
}
