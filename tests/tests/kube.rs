//! Tests on a real kube-apiserver: objects of Lagan and of Stash run backups and restores, and their statuses are true.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "kube/answers.rs"]
mod answers;
#[path = "kube/blueprint.rs"]
mod blueprint;
#[path = "kube/chart.rs"]
mod chart;
#[path = "kube/cli.rs"]
mod cli;
#[path = "kube/confined.rs"]
mod confined;
#[path = "kube/etcd.rs"]
mod etcd;
#[path = "kube/faults.rs"]
mod faults;
#[path = "kube/history.rs"]
mod history;
#[path = "kube/intent.rs"]
mod intent;
#[path = "kube/kills.rs"]
mod kills;
#[path = "kube/loss.rs"]
mod loss;
#[path = "kube/operator.rs"]
mod operator;
#[path = "kube/reporter.rs"]
mod reporter;
#[path = "kube/rights.rs"]
mod rights;
#[path = "kube/roles.rs"]
mod roles;
#[path = "kube/rollback.rs"]
mod rollback;
#[path = "kube/rules.rs"]
mod rules;
#[path = "kube/scope.rs"]
mod scope;
#[path = "kube/secrets.rs"]
mod secrets;
#[path = "kube/tenants.rs"]
mod tenants;
#[path = "kube/walk.rs"]
mod walk;
#[path = "kube/wipe.rs"]
mod wipe;

use lagan_tests::kube_world::KubeWorld;

const LAGAN: &str = "lagan.dev/v1alpha1";
const STASH: &str = "stash.appscode.com/v1beta1";
const FOREVER: &str = "0 3 1 1 *";

/// The manifest of a BackupConfiguration of database `shop` into Repository `local`. `more` are lines of its spec.
fn configuration(name: &str, schedule: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("  {line}\n")).collect();
    let database = "shop";
    format!(
        "apiVersion: {LAGAN}
kind: BackupConfiguration
metadata: {{name: {name}}}
spec:
  schedule: \"{schedule}\"
  task: {{name: mariadb-backup, params: [{{name: args, value: --databases {database}}}]}}
  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}}}
  repository: {{name: local}}
  retentionPolicy: {{name: keep, keepLast: 5}}
  backupHistoryLimit: 20
{lines}"
    )
}

fn restore_session(name: &str, target: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: {LAGAN}
kind: RestoreSession
metadata: {{name: {name}}}
spec:
  repository: {{name: local}}
  target:
    ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: {target}}}
{lines}"
    )
}

/// Waits until the configuration is Ready, which means that everything it names was found.
fn ready(world: &KubeWorld, name: &str) -> anyhow::Result<()> {
    world.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "backupconfigurations.lagan.dev", name]).map(drop)
}
