//! The tutorial of Stash's MariaDB addon with its own manifests: 12 steps of a backup, 7 of a restore. Each step names what
//! Stash does, and checks the visible result here.

use anyhow::Result;
use lagan_tests::kube_world::{KubeWorld, condition, is_true, phase};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::pushgateway::Pushgateway;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, secret};

use super::STASH;

/// A schedule of every minute; that of the tutorial would take five.
const SCHEDULE: &str = "*/1 * * * *";

#[test]
fn the_tutorial_of_stash_walks_through_all_its_steps() -> Result<()> {
    let mut world = KubeWorld::new("walk")?;
    world.db.load_sample("shop", Sample { megabytes: 3, seed: 7 })?;
    let copy = world.second_database("copy")?;
    let gateway = Pushgateway::start()?;
    let _engine = world.engine(&["--stash-compat", "--pushgateway", &gateway.url()])?;
    let _worker = world.worker(&[])?;
    let mut step = Steps(0);

    armed(&world, &mut step)?;
    backed_up(&world, &mut step)?;
    let backup = [("invoker_kind", "BackupConfiguration"), ("invoker_name", "sample-mariadb-backup")];
    pushed(&gateway, "stash_appscode_com_backupsession_success", &backup)?;
    pushed(&gateway, "stash_appscode_com_repository_snapshot_count", &[("repository", "gcs-repo")])?;
    restored(&world, &copy, &mut step)?;
    let restore = [("invoker_kind", "RestoreSession"), ("invoker_name", "sample-mariadb-restore")];
    pushed(&gateway, "stash_appscode_com_restoresession_success", &restore)?;
    assert_eq!(step.0, 19);

    let events = world.events()?;
    for wanted in ["BackupSucceeded BackupSession/", "RestoreSucceeded RestoreSession/sample-mariadb-restore"] {
        assert!(events.iter().any(|event| event.starts_with(wanted)), "{wanted} in {events:#?}");
    }
    Ok(())
}

/// Waits until the Pushgateway has a metric with this name and these labels, as after Stash's last steps.
fn pushed(gateway: &Pushgateway, name: &str, labels: &[(&str, &str)]) -> Result<()> {
    eventually(&format!("{name} to be pushed"), PATIENCE, || {
        let metrics = gateway.metrics().ok()?;
        let label = |(key, value): &(&str, &str)| format!("{key}=\"{value}\"");
        let has = |line: &str| line.starts_with(name) && labels.iter().all(|pair| line.contains(&label(pair)));
        metrics.lines().any(|line| has(line) && line.ends_with(" 1")).then_some(())
    })
}

/// Steps 1 to 5 of a backup: the user's objects, and their statuses.
fn armed(world: &KubeWorld, step: &mut Steps) -> Result<()> {
    let namespace = &world.namespace;
    step.next("1. the user creates a Secret with the credentials of the backend");
    world.apply(&secret("gcs-secret", &[("RESTIC_PASSWORD", &world.password)]))?;

    step.next("2. the user creates a Repository with the backend and the Secret");
    world.apply(&format!(
        "apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {{name: gcs-repo}}
spec:
  backend:
    local: {{mountPath: {}, hostPath: {{path: /data/stash}}}}
    storageSecretName: gcs-secret
  usagePolicy: {{allowedNamespaces: {{from: Same}}}}
",
        world.repository_dir("stash").display()
    ))?;

    step.next("3. the user creates a BackupConfiguration that targets the AppBinding of the database");
    world.apply(&format!(
        "apiVersion: {STASH}
kind: BackupConfiguration
metadata: {{name: sample-mariadb-backup, namespace: {namespace}}}
spec:
  schedule: \"{SCHEDULE}\"
  driver: Restic
  task:
    name: mariadb-backup-10.6.23
    params:
    - name: args
      value: --databases shop
  repository: {{name: gcs-repo, namespace: {namespace}}}
  target:
    ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}
  runtimeSettings: {{container: {{resources: {{limits: {{memory: 256Mi}}}}}}}}
  backupHistoryLimit: 3
  retentionPolicy: {{name: keep-last-5, keepLast: 5, prune: true}}
"
    ))?;

    let kind = "backupconfigurations.stash.appscode.com";
    step.next("4. the operator watches for BackupConfigurations");
    let seen =
        world.until("the configuration to be Ready", &[kind, "sample-mariadb-backup"], |o| phase(o) == "Ready")?;
    for found in ["RepositoryFound", "BackendSecretFound", "BackupTargetFound", "ValidationPassed"] {
        assert!(is_true(&seen, found), "{found}: {seen:#}");
    }

    step.next("5. the operator creates a CronJob: here the schedule is armed, and its condition says so");
    let (status, reason, message) = condition(&seen, "CronJobCreated").unwrap();
    assert_eq!((status, reason), ("True", "CronJobCreationSucceeded"));
    assert!(message.contains("armed"), "{message}");
    assert!(seen["status"]["nextSlotTime"].is_string());
    Ok(())
}

/// Steps 6 to 12 of a backup: a slot of the schedule.
fn backed_up(world: &KubeWorld, step: &mut Steps) -> Result<()> {
    step.next("6. at the next slot a BackupSession is created");
    let list = world.until("a BackupSession", &["backupsessions.stash.appscode.com"], |list| {
        list["items"].as_array().is_some_and(|items| !items.is_empty())
    })?;
    let session = list["items"][0].clone();
    let name = session["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("sample-mariadb-backup-"), "{name}");
    assert_eq!(session["metadata"]["ownerReferences"][0]["name"], "sample-mariadb-backup");
    assert_eq!(session["metadata"]["labels"]["stash.appscode.com/invoker-name"], "sample-mariadb-backup");
    assert_eq!(session["spec"]["invoker"]["kind"], "BackupConfiguration");

    step.next("7. the operator watches for BackupSessions");
    let kind = "backupsessions.stash.appscode.com";
    world.until("the session to have a phase", &[kind, &name], |o| !phase(o).is_empty())?;

    step.next("8. Task and Function are resolved: the session knows its target");
    world.until("the session to have a target", &[kind, &name], |o| {
        o["status"]["targets"][0]["ref"]["name"] == "shop" && o["status"]["targets"][0]["totalHosts"] == 1
    })?;

    step.next("9. the backup runs: in a worker, not in a Job");
    let done = world.ended(kind, &name)?;
    assert_eq!(phase(&done), "Succeeded", "{done:#}");
    assert!(done["status"]["worker"].is_string());

    step.next("10. the worker read the AppBinding, the Repository and the Secret");
    assert!(is_true(&done, "BackendRepositoryInitialized"));

    step.next("11. the dump was piped into the repository, under Stash's names, and restic can read it");
    let target = &done["status"]["targets"][0];
    let stats = &target["stats"][0];
    assert_eq!((stats["hostname"].as_str(), stats["phase"].as_str()), (Some("host-0"), Some("Succeeded")));
    let snapshot = &stats["snapshots"][0];
    assert_eq!(snapshot["path"], "/dumpfile.sql");
    assert!(snapshot["totalSize"].as_str().unwrap().ends_with(" MiB"), "{snapshot}");
    let restic = world.restic("stash")?;
    restic.check()?;
    assert!(restic.dump("latest", "/dumpfile.sql")?.ends_with(b"\n"));

    step.next("12. statuses of session and Repository say what was done");
    assert!(is_true(&done, "RetentionPolicyApplied") && is_true(&done, "RepositoryIntegrityVerified"));
    assert!(done["status"]["sessionDuration"].as_str().unwrap().ends_with('s'));
    let repository = world.until("the Repository's status", &["repositories.stash.appscode.com", "gcs-repo"], |o| {
        o["status"]["snapshotCount"].as_i64() >= Some(1)
    })?;
    assert_eq!(repository["status"]["integrity"], true);
    assert!(repository["status"]["lastBackupTime"].is_string());
    assert!(repository["status"]["totalSize"].as_str().unwrap().contains("iB"));
    // Its owner is deleted. Without a garbage collector only the scheduler must notice that.
    world.kubectl(&[
        "patch",
        "backupconfigurations.stash.appscode.com",
        "sample-mariadb-backup",
        "--type=merge",
        "-p",
        "{\"spec\":{\"paused\":true}}",
    ])?;
    Ok(())
}

/// The 7 steps of a restore.
fn restored(world: &KubeWorld, copy: &MariaDbServer, step: &mut Steps) -> Result<()> {
    let namespace = &world.namespace;
    step.next("1. the user creates a RestoreSession that targets the AppBinding to restore into");
    world.apply(&format!(
        "apiVersion: {STASH}
kind: RestoreSession
metadata: {{name: sample-mariadb-restore, namespace: {namespace}}}
spec:
  task: {{name: mariadb-restore-10.6.23}}
  repository: {{name: gcs-repo}}
  target:
    ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: copy}}
    rules:
    - snapshots: [latest]
"
    ))?;
    let kind = "restoresessions.stash.appscode.com";
    let restore = "sample-mariadb-restore";

    step.next("2. the operator watches for RestoreSessions");
    world.until("the restore to have a phase", &[kind, restore], |o| !phase(o).is_empty())?;

    step.next("3. Task and Functions are resolved");
    world.until("the restore to have its hosts", &[kind, restore], |o| o["status"]["totalHosts"] == 1)?;

    step.next("4. the restore runs: in a worker, and only after it was recorded that it may");
    let done = world.ended(kind, restore)?;
    assert!(done["status"]["recordedTime"].is_string(), "{done:#}");

    step.next("5. the worker read the AppBinding, the Repository and the Secret");
    assert_eq!(phase(&done), "Succeeded", "{done:#}");

    step.next("6. the snapshot was piped into the database: every table is the same");
    assert_eq!(copy.checksums("shop")?, world.db.checksums("shop")?);

    step.next("7. the status says that the restore is complete, where KubeDB looks for it");
    assert_eq!(condition(&done, "RestoreCompleted").unwrap().0, "True");
    assert_eq!(done["status"]["stats"][0]["phase"], "Succeeded");
    let labels = world.until("the labels that KubeDB selects by", &[kind, restore], |o| {
        o["metadata"]["labels"]["app.kubernetes.io/instance"] == "copy"
    })?;
    assert_eq!(labels["metadata"]["labels"]["app.kubernetes.io/managed-by"], "kubedb.com");
    Ok(())
}

/// Counts the steps, and prints the current one.
struct Steps(usize);

impl Steps {
    fn next(&mut self, what: &str) {
        self.0 += 1;
        eprintln!("step {}: {what}", self.0);
    }
}
