//! Planning, told as manifests in and a plan or a reason out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod consent;
mod hooks;
mod refusals;
mod restores;
mod wipes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use lagan_schemas::consent::CrossNamespace;
use lagan_schemas::error::Code;
use lagan_schemas::fact::{Cause, Priority, Requested};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::plan::{BackupWork, Database, Plan, RestoreWork, Retry, Step, TlsMode, WipeWork, Work};
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::{Lane, SessionKind};
use uuid::Uuid;

use super::answers::{Answers, Existence};
use super::{PlanInputs, Unresolved, plan};
use crate::context::Resolve;
use crate::view::View;

const REQUESTED: i64 = 1_800_000_000;

/// A configuration of Stash and everything it needs. Tests change lines of it.
const WORLD: &str = "\
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: shop, namespace: demo}
spec:
  schedule: '0 2 * * *'
  task: {name: mariadb-backup-10.6.23}
  repository: {name: repo}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}
  retentionPolicy: {name: few, keepLast: 5}
---
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: back, namespace: demo}
spec:
  task: {name: mariadb-restore-10.6.23}
  repository: {name: repo}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: db}
---
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: repo, namespace: demo}
spec:
  backend:
    storageSecretName: storage
    local: {mountPath: /safe/data}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: db, namespace: demo}
spec:
  type: kubedb.com/mariadb
  clientConfig:
    service: {name: mariadb, port: 3307}
  secret: {name: db-auth}
---
apiVersion: v1
kind: Secret
metadata: {name: storage, namespace: demo}
---
apiVersion: v1
kind: Secret
metadata: {name: db-auth, namespace: demo}
";

/// Objects and Secrets that exist.
struct World {
    view: View,
    secrets: HashSet<(String, String)>,
    /// Of namespace `demo`, where namespaces have any.
    labels: Option<&'static [(&'static str, &'static str)]>,
    resolve: Resolve,
    /// Annotations of the Services that exist, by namespace and name.
    services: HashMap<(String, String), BTreeMap<String, String>>,
    cross_namespace: CrossNamespace,
}

/// A plan for tests that need any.
pub(crate) fn sample(kind: SessionKind) -> Plan {
    let world = with(&[]);
    match kind {
        SessionKind::Backup => world.backup(),
        SessionKind::Restore => world.restore(),
        SessionKind::Maintenance => {
            let backup = world.backup();
            let repository = backup.repositories().next().unwrap().clone();
            Plan { work: Work::Wipe(Box::new(WipeWork { repository })), lane: Lane::Maintenance, ..backup }
        }
    }
}

/// The world, with texts replaced by others.
fn with(changes: &[(&str, &str)]) -> World {
    let mut text = WORLD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "`{from}` is in the world:\n{text}");
        text = text.replace(from, to);
    }
    made_of(&text)
}

/// The world and more objects.
fn and(more: &str) -> World {
    made_of(&format!("{WORLD}---\n{more}"))
}

fn made_of(text: &str) -> World {
    let mut world = World {
        view: View::default(),
        secrets: HashSet::new(),
        labels: None,
        resolve: Resolve::default(),
        services: HashMap::new(),
        cross_namespace: CrossNamespace::NeedsConsent,
    };
    for (uid, manifest) in (1..).zip(parse("world.yaml", text)) {
        match manifest.unwrap() {
            Manifest::Object(mut object) => {
                object.metadata.uid = Some(Uuid::from_u128(uid));
                world.view.objects.insert(object.key(), Arc::from(object));
            }
            Manifest::Secret(secret) => {
                world.secrets.insert((secret.metadata.namespace.unwrap(), secret.metadata.name));
            }
            Manifest::Foreign { kind, .. } => unreachable!("{kind}"),
        }
    }
    world
}

impl World {
    fn object(&self, kind: Kind) -> &Object {
        self.view.of_kind(kind).next().unwrap()
    }

    fn planned(&self, kind: SessionKind, request: &Requested) -> Result<Plan, Unresolved> {
        let mut answers = Answers::default();
        loop {
            let planned = self.planned_with(kind, request, &answers);
            let there =
                |key: &(String, String)| if self.secrets.contains(key) { Existence::Yes } else { Existence::No };
            let service = |key: &(String, String)| self.services.get(key).cloned();
            if !answers.find_out_from(there, self.labels, service) {
                return planned;
            }
        }
    }

    fn planned_with(&self, kind: SessionKind, request: &Requested, answers: &Answers) -> Result<Plan, Unresolved> {
        let inputs = PlanInputs {
            view: &self.view,
            answers,
            resolve: &self.resolve,
            pools: &["default".to_owned(), "nfs".to_owned()],
            requested: Timestamp::from_second(REQUESTED).unwrap(),
            wipe_within: std::time::Duration::from_secs(600),
            cross_namespace: self.cross_namespace,
        };
        plan(kind, request, &inputs)
    }

    fn backup_request(&self) -> Requested {
        let slot = Timestamp::from_second(REQUESTED).unwrap();
        Requested {
            name: "shop-1800000000".to_owned(),
            invoker: self.object(Kind::BackupConfiguration).reference(),
            cause: Cause::Slot { slot, missed: 0 },
            resources_position: crate::fixtures::position(),
            priority: Priority::Normal,
        }
    }

    fn restore_request(&self) -> Requested {
        let session = self.object(Kind::RestoreSession).reference();
        Requested {
            name: "back".to_owned(),
            invoker: session.clone(),
            cause: Cause::Object { object: session },
            resources_position: crate::fixtures::position(),
            priority: Priority::Urgent,
        }
    }

    fn backup(&self) -> Plan {
        self.planned(SessionKind::Backup, &self.backup_request()).unwrap()
    }

    fn restore(&self) -> Plan {
        self.planned(SessionKind::Restore, &self.restore_request()).unwrap()
    }

    fn step(&self) -> Step {
        backup_work(self.backup()).step
    }

    fn database(&self) -> Database {
        backup_work(self.backup()).target.database
    }

    /// Code and text of a refused backup.
    fn refusal(&self) -> (Code, String) {
        refusal(self.planned(SessionKind::Backup, &self.backup_request()))
    }

    fn restore_refusal(&self) -> (Code, String) {
        refusal(self.planned(SessionKind::Restore, &self.restore_request()))
    }

    /// What a backup waits for.
    fn missing(&self) -> Vec<String> {
        match self.planned(SessionKind::Backup, &self.backup_request()) {
            Err(Unresolved::Missing(names)) => names,
            other => unreachable!("something is missing: {other:?}"),
        }
    }
}

fn backup_work(plan: Plan) -> BackupWork {
    match plan.work {
        Work::Backup(work) => *work,
        other => unreachable!("a backup: {other:?}"),
    }
}

fn restore_work(plan: Plan) -> RestoreWork {
    match plan.work {
        Work::Restore(work) => *work,
        other => unreachable!("a restore: {other:?}"),
    }
}

fn refusal(planned: Result<Plan, Unresolved>) -> (Code, String) {
    match planned {
        Err(Unresolved::Refused(failure)) => (failure.code, failure.message),
        other => unreachable!("it is refused: {other:?}"),
    }
}

const TASK: &str = "  task: {name: mariadb-backup-10.6.23}\n";

#[test]
fn a_task_of_stash_becomes_the_built_in_one() {
    let plan = with(&[]).backup();
    assert_eq!((plan.kind(), plan.lane, plan.stall_seconds), (SessionKind::Backup, Lane::Normal, 300));
    let work = backup_work(plan);
    assert_eq!((work.target.name.as_str(), work.host.as_str()), ("db", "host-0"));
    let step = work.step;
    assert_eq!((step.function.as_str(), step.program.as_str()), ("mariadb-backup", "mariadb-dump"));
    assert_eq!(work.path, "/dumpfile.sql");
    assert!(step.args.contains(&"--single-transaction".to_owned()), "{:?}", step.args);
    assert_eq!(step.user_args, ["--all-databases", "--ignore-database=mysql", "--ignore-database=sys"]);
    assert_eq!(work.target.database.wait_seconds, 300);
    assert_eq!(work.retention.keep_last, Some(5));
}

#[test]
fn stash_s_own_task_and_function_objects_lead_to_the_built_in_one_too() {
    let step = and("\
apiVersion: stash.appscode.com/v1beta1
kind: Task
metadata: {name: mariadb-backup-10.6.23}
spec: {steps: [{name: mariadb-backup-10.6.23, params: [{name: outputDir, value: /o}]}, {name: update-status}]}
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: mariadb-backup-10.6.23}
spec: {image: 'ghcr.io/stashed/stash-mariadb:10.6.23-v1', args: ['backup-mariadb', '--mariadb-args=${args:=}']}
")
    .step();
    assert_eq!((step.program.as_str(), step.user_args.len()), ("mariadb-dump", 3));
}

#[test]
fn without_a_task_the_app_binding_says_what_to_run() {
    let addon = "  secret: {name: db-auth}\n  parameters: {stash: {addon: {backupTask: {name: mariadb-backup-10.5.8, params: [{name: args, value: --databases a}]}}}}\n";
    let step = with(&[(TASK, ""), ("  secret: {name: db-auth}\n", addon)]).step();
    assert_eq!(
        (step.program.as_str(), step.user_args),
        ("mariadb-dump", vec!["--databases".to_owned(), "a".to_owned()])
    );
    for kind in ["kubedb.com/mariadb", "mariadb", "MySQL"] {
        assert_eq!(with(&[(TASK, ""), ("kubedb.com/mariadb", kind)]).step().program, "mariadb-dump", "{kind}");
    }
}

#[test]
fn parameters_of_the_configuration_win_over_those_of_the_app_binding() {
    let addon = "  secret: {name: db-auth}\n  parameters: {stash: {addon: {backupTask: {name: x, params: [{name: args, value: --databases a}, {name: waitTimeout, value: '7'}]}}}}\n";
    let own = "  task: {name: mariadb-backup-10.6.23, params: [{name: args, value: --databases b}]}\n";
    let world = with(&[("  secret: {name: db-auth}\n", addon), (TASK, own)]);
    assert_eq!(world.step().user_args, ["--databases", "b"]);
    assert_eq!(world.database().wait_seconds, 7);
}

#[test]
fn args_replace_the_default_and_keep_the_safe_options() {
    let own = "  task: {name: mariadb-backup, params: [{name: args, value: '  --databases   shop '}]}\n";
    let step = with(&[(TASK, own)]).step();
    assert_eq!(step.user_args, ["--databases", "shop"]);
    assert_eq!(step.args, with(&[]).step().args);
    let empty = "  task: {name: mariadb-backup, params: [{name: args, value: ''}]}\n";
    assert_eq!(with(&[(TASK, empty)]).step().user_args, [""; 0]);
}

const OWN_FUNCTION: &str = "\
apiVersion: lagan.dev/v1alpha1
kind: Task
metadata: {name: own}
spec: {steps: [{name: own, params: [{name: label, value: from the Task}, {name: TARGET_NAME, value: no}]}]}
---
apiVersion: lagan.dev/v1alpha1
kind: Function
metadata: {name: own}
spec:
  database: MariaDB
  command: [mariadb-dump]
  args: ['--label=${label}', '${NAMESPACE}/${TARGET_NAME}', '--keep=${RETENTION_KEEP_LAST:=9}', '--daily=${RETENTION_KEEP_DAILY:=9}', '$(x)']
  stream: {stdout: own.sql}
";

fn own(params: &str) -> World {
    let task = format!("  task: {{name: own, params: [{params}]}}\n");
    made_of(&format!("{}---\n{OWN_FUNCTION}", WORLD.replace(TASK, &task)))
}

#[test]
fn a_function_of_the_user_s_own_is_filled_in() {
    let BackupWork { step, path, .. } = backup_work(own("").backup());
    assert_eq!(step.args, ["--label=from the Task", "demo/db", "--keep=5", "--daily=9", "$(x)"]);
    assert_eq!(path, "/own.sql");
    // Parameters win over the built-in variables, which win over those of the Task.
    assert_eq!(own("{name: TARGET_NAME, value: other}").step().args[1], "demo/other");
}

#[test]
fn a_value_stays_one_argument_whatever_it_holds() {
    let step = own(r#"{name: label, value: "a \"b\" 'c'\n\\ ; $(rm) ${NAMESPACE}"}"#).step();
    assert_eq!(step.args[0], "--label=a \"b\" 'c'\n\\ ; $(rm) ${NAMESPACE}");
    assert_eq!(step.args.len(), 5);
}

#[test]
fn the_database_is_where_its_app_binding_says() {
    let service = "    service: {name: mariadb, port: 3307}\n";
    for (config, host, port) in [
        (service, "mariadb.demo.svc", 3307),
        ("    service: {name: mariadb}\n", "mariadb.demo.svc", 3306),
        ("    service: {name: mariadb, namespace: other, port: 1}\n", "mariadb.other.svc", 1),
        ("    service: {name: mariadb}\n    url: mysql://not-this:1/\n", "mariadb.demo.svc", 3306),
        ("    url: mysql://db.example.org:3308/\n", "db.example.org", 3308),
        ("    url: mysql://db.example.org\n", "db.example.org", 3306),
        ("    url: root:p@ss@tcp(10.0.0.1:3309)/\n", "10.0.0.1", 3309),
    ] {
        let database = with(&[(service, config)]).database();
        assert_eq!((database.host.as_str(), database.port), (host, port), "{config}");
    }
    let mut world = with(&[]);
    world.resolve.0.insert(("mariadb.demo.svc".to_owned(), 3307), ("127.0.0.1".to_owned(), 13_307));
    world.resolve.0.insert(("mariadb.demo.svc".to_owned(), 3306), ("127.0.0.1".to_owned(), 1));
    assert_eq!((world.database().host.as_str(), world.database().port), ("127.0.0.1", 13_307));
}

#[test]
fn a_ca_bundle_means_that_the_certificate_is_verified() {
    let service = "    service: {name: mariadb, port: 3307}\n";
    let secret = "  secret: {name: db-auth}\n";
    let client = "  secret: {name: db-auth}\n  tlsSecret: {name: tls}\n";
    for (config, client, mode) in [
        ("", secret, TlsMode::Preferred),
        ("    insecureSkipTLSVerify: true\n", secret, TlsMode::Preferred),
        ("    caBundle: Y2E=\n", secret, TlsMode::VerifyCa),
        ("    caBundle: Y2E=\n    insecureSkipTLSVerify: false\n", secret, TlsMode::VerifyCa),
        ("    caBundle: Y2E=\n    serverName: db\n", secret, TlsMode::VerifyIdentity),
        ("    caBundle: Y2E=\n    serverName: db\n    insecureSkipTLSVerify: true\n", secret, TlsMode::Required),
        ("", client, TlsMode::Required),
        ("    caBundle: Y2E=\n", client, TlsMode::VerifyCa),
    ] {
        let tls = with(&[(service, &format!("{service}{config}")), (secret, client)]).database().tls;
        assert_eq!(tls.mode, mode, "{config}{client}");
        assert_eq!(tls.ca_bundle.is_some(), config.contains("caBundle"));
        assert_eq!(tls.client_secret.as_deref(), client.contains("tls}").then_some("tls"));
    }
}

#[test]
fn deadline_and_retries_are_those_of_the_configuration() {
    let plan = with(&[]).backup();
    assert_eq!((plan.deadline, plan.retry), (None, Retry { max: 3, delay_seconds: 10 }));
    let plan = with(&[(TASK, "  timeOut: 1h\n  retryConfig: {maxRetry: 5, delay: 2m}\n")]).backup();
    assert_eq!(plan.deadline, Timestamp::from_second(REQUESTED + 3600).ok());
    assert_eq!(plan.retry, Retry { max: 5, delay_seconds: 120 });
    // As in Stash, `retryConfig` alone means one more try.
    assert_eq!(with(&[(TASK, "  retryConfig: {}\n")]).backup().retry, Retry { max: 1, delay_seconds: 0 });
    assert_eq!(with(&[(TASK, "  retryConfig: {maxRetry: 0}\n")]).backup().retry.max, 0);
}

#[test]
fn an_alias_names_target_and_host() {
    let work = backup_work(with(&[("    ref: {", "    alias: main\n    ref: {")]).backup());
    assert_eq!((work.target.name.as_str(), work.host.as_str()), ("main", "main"));
}

#[test]
fn a_plan_holds_names_of_secrets_and_no_secret() {
    let url = "    url: mysql://root:CANARY@db.example.org:3308/\n";
    let plan = with(&[("    service: {name: mariadb, port: 3307}\n", url)]).backup();
    assert!(!serde_json::to_string(&plan).unwrap().contains("CANARY"));
    let work = backup_work(plan);
    assert_eq!(work.target.database.credentials.secret.as_deref(), Some("db-auth"));
    assert_eq!(work.repositories.first().secret, "storage");
}

#[test]
fn pruning_asked_for_is_left_to_maintenance_and_said_so() {
    for (retention, notices) in
        [("keepLast: 5", 0), ("keepLast: 5, prune: true", 1), ("keepLast: 5, prune: true, dryRun: true", 0)]
    {
        assert_eq!(with(&[("keepLast: 5", retention)]).backup().notices.len(), notices, "{retention}");
    }
}
