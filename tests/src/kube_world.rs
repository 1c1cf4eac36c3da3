//! A cluster for tests: control plane, nats-server, MariaDB, and `lagan engine` and `lagan worker`. Databases run outside
//! the cluster, so engine and worker get their addresses by `--resolve`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::canary_secret;
use crate::control_plane::ControlPlane;
use crate::lagan::Lagan;
use crate::mariadb::MariaDbServer;
use crate::nats::NatsServer;
use crate::process::Process;
use crate::restic::Restic;
use crate::world::{PATIENCE, secret};

pub struct KubeWorld {
    pub lagan: Lagan,
    pub nats: NatsServer,
    pub db: MariaDbServer,
    pub plane: Arc<ControlPlane>,
    pub namespace: String,
    /// Password of the repository.
    pub password: String,
    /// Kubeconfig of Lagan's processes; the admin's by default.
    pub kubeconfig: PathBuf,
    resolve: Vec<String>,
}

impl KubeWorld {
    /// A world in its own namespace, with Secret and Repository `local` and AppBinding `shop` of a MariaDB.
    pub fn new(what: &str) -> Result<Self> {
        Self::on(ControlPlane::shared()?, what)
    }

    pub fn on(plane: Arc<ControlPlane>, what: &str) -> Result<Self> {
        Self::with_nats(plane, what, NatsServer::start()?)
    }

    pub fn with_nats(plane: Arc<ControlPlane>, what: &str, nats: NatsServer) -> Result<Self> {
        let namespace = plane.namespace(what)?;
        let mut world = Self {
            lagan: Lagan::new()?,
            nats,
            db: MariaDbServer::start()?,
            kubeconfig: plane.kubeconfig(),
            plane,
            namespace,
            password: canary_secret("repository"),
            resolve: Vec::new(),
        };
        world.apply(&world.storage("local"))?;
        let binding = world.database("shop", world.db.host(), world.db.port());
        let auth = secret("shop-db", &[("username", world.db.user()), ("password", world.db.password())]);
        world.apply(&format!("{auth}---\n{binding}"))?;
        Ok(world)
    }

    /// Manifests of a Secret and a Repository of this name, with a folder of its own.
    #[must_use]
    pub fn storage(&self, name: &str) -> String {
        format!(
            "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: {name}}}
spec:
  backend:
    storageSecretName: {name}
    local: {{mountPath: {}}}
",
            secret(name, &[("RESTIC_PASSWORD", &self.password)]),
            self.repository_dir(name).display()
        )
    }

    #[must_use]
    pub fn repository_dir(&self, name: &str) -> PathBuf {
        self.lagan.path(&format!("repository-{name}"))
    }

    /// The manifest of an AppBinding whose Service is resolved to this address.
    pub fn database(&mut self, name: &str, host: &str, port: u16) -> String {
        let (namespace, answers) = (&self.namespace, format!("{host}:{port}"));
        self.resolve.push(format!("{name}.{namespace}.svc:3306={answers}"));
        format!(
            "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: {name}, labels: {{app.kubernetes.io/instance: {name}, app.kubernetes.io/name: mariadbs.kubedb.com, app.kubernetes.io/managed-by: kubedb.com}}}}
spec:
  type: kubedb.com/mariadb
  clientConfig: {{service: {{name: {name}, port: 3306, scheme: mysql}}}}
  secret: {{name: {name}-db}}
"
        )
    }

    /// Starts another database server and applies its AppBinding `name`.
    pub fn second_database(&mut self, name: &str) -> Result<MariaDbServer> {
        let db = MariaDbServer::start()?;
        let binding = self.database(name, db.host(), db.port());
        let auth = secret(&format!("{name}-db"), &[("username", db.user()), ("password", db.password())]);
        self.apply(&format!("{auth}---\n{binding}"))?;
        Ok(db)
    }

    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.plane.apply(&self.namespace, yaml)
    }

    /// Starts an engine or a worker, whose log is `logs/NAME.log`.
    pub fn part(&self, part: &str, name: &str, more: &[&str]) -> Result<Process> {
        let mut process = self.launch(part, name, more)?;
        process.wait_for_log("ready", PATIENCE)?;
        Ok(process)
    }

    /// Starts an engine or a worker that may not get ready.
    pub fn launch(&self, part: &str, name: &str, more: &[&str]) -> Result<Process> {
        let (kubeconfig, url) = (self.kubeconfig.to_string_lossy(), self.nats.url());
        let mut args = vec![part, "--kube", "--kubeconfig", &kubeconfig, "--nats-url", &url];
        args.extend(["--namespaces", &self.namespace, "--failover", "5s"]);
        for resolve in &self.resolve {
            args.extend(["--resolve", resolve]);
        }
        args.extend(more);
        self.lagan.start(name, &args)
    }

    pub fn engine(&self, more: &[&str]) -> Result<Process> {
        self.part("engine", "engine", more)
    }

    pub fn worker(&self, more: &[&str]) -> Result<Process> {
        self.part("worker", "worker", more)
    }

    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.plane.kubectl(&self.here(args))
    }

    pub fn kubectl_json(&self, args: &[&str]) -> Result<Value> {
        self.plane.kubectl_json(&self.here(args))
    }

    fn here<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        all
    }

    /// Waits until an object (`kind`, `name`) meets the condition, and returns it.
    #[track_caller]
    pub fn until(&self, what: &str, object: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until_within(what, PATIENCE, object, wanted)
    }

    #[track_caller]
    pub fn until_within(
        &self,
        what: &str,
        patience: Duration,
        object: &[&str],
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(object);
        self.plane.until(what, patience, &all, wanted)
    }

    /// Waits until a session has ended, and returns it.
    #[track_caller]
    pub fn ended(&self, kind: &str, name: &str) -> Result<Value> {
        let over = |object: &Value| matches!(phase(object), "Succeeded" | "Failed" | "Skipped");
        self.until(&format!("{kind}/{name} to end"), &[kind, name], over)
    }

    pub fn restic(&self, repository: &str) -> Result<Restic> {
        Restic::folder(&self.repository_dir(repository), &self.password)
    }

    /// Lists the Events of the namespace as `reason object`.
    pub fn events(&self) -> Result<Vec<String>> {
        let list = self.kubectl_json(&["get", "events"])?;
        let items = list["items"].as_array().context("a list of events")?;
        let line = |event: &Value| {
            let object = &event["involvedObject"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}/{}", text(&event["reason"]), text(&object["kind"]), text(&object["name"]))
        };
        Ok(items.iter().map(line).collect())
    }
}

#[must_use]
pub fn phase(object: &Value) -> &str {
    object["status"]["phase"].as_str().unwrap_or_default()
}

/// Status, reason and message of a condition.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let list = object["status"]["conditions"].as_array()?;
    let found = list.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?, found["reason"].as_str()?, found["message"].as_str()?))
}

#[must_use]
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|(status, ..)| status == "True")
}

/// The manifest of a BackupSession of a configuration, in either group.
#[must_use]
pub fn backup_session(api_version: &str, name: &str, configuration: &str) -> String {
    let group = api_version.split('/').next().unwrap_or_default();
    format!(
        "apiVersion: {api_version}
kind: BackupSession
metadata: {{name: {name}}}
spec:
  invoker: {{apiGroup: {group}, kind: BackupConfiguration, name: {configuration}}}
"
    )
}
