//! Planning, told as manifests in and a plan or a reason out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backups;
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
use lagan_schemas::fact::{Cause, Requested, Urgency};
use lagan_schemas::manifest::{Manifest, parse};
use lagan_schemas::plan::{BackupWork, Database, Plan, Resolve, RestoreWork, Retry, Step, TlsMode, WipeWork, Work};
use lagan_schemas::resource::{Kind, Object};
use lagan_schemas::subject::{Lane, SessionKind};
use uuid::Uuid;

use super::answers::{Answers, Existence};
use super::{PlanInputs, Unresolved, plan};
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

/// The line of [`WORLD`] that names the Task of its backups.
const TASK: &str = "  task: {name: mariadb-backup-10.6.23}\n";

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
            Plan {
                work: Work::Wipe(Box::new(WipeWork { repository, namespaces: Vec::new() })),
                lane: Lane::Maintenance,
                ..backup
            }
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
            stall_seconds: 300,
            namespaces: &[],
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
            priority: Urgency::Normal,
        }
    }

    fn restore_request(&self) -> Requested {
        let session = self.object(Kind::RestoreSession).reference();
        Requested {
            name: "back".to_owned(),
            invoker: session.clone(),
            cause: Cause::Object { object: session },
            resources_position: crate::fixtures::position(),
            priority: Urgency::Urgent,
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
