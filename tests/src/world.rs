//! The setting of end-to-end tests on a folder: one database, one repository, and one `lagan` with manifests for them.
//! Stock restic checks the repository at the end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::audit::{self, Evidence, SessionEnds};
use crate::canary_secret;
use crate::lagan::Lagan;
use crate::mariadb::MariaDbServer;
use crate::process::{Output, Process};
use crate::restic::Restic;
use crate::s3::S3Server;
use crate::wait::eventually;

/// Limit for conditions, long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Limit for statuses to follow the facts of sessions that have ended.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

pub struct World {
    pub lagan: Lagan,
    pub db: MariaDbServer,
    /// Password of the repository.
    pub password: String,
}

impl World {
    /// Starts MariaDB and writes manifests of Secret, Repository `local` and AppBinding `shop`.
    pub fn new() -> Result<Self> {
        let world = Self { lagan: Lagan::new()?, db: MariaDbServer::start()?, password: canary_secret("repository") };
        world.lagan.manifest("repository.yaml", &world.repository())?;
        world.lagan.manifest("shop-db.yaml", &app_binding("shop", &world.db))?;
        Ok(world)
    }

    #[must_use]
    pub fn repository_dir(&self) -> PathBuf {
        self.lagan.path("repository")
    }

    fn repository(&self) -> String {
        format!(
            "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: local}}
spec:
  backend:
    storageSecretName: repository
    local: {{mountPath: {}}}
",
            secret("repository", &[("RESTIC_PASSWORD", &self.password)]),
            self.repository_dir().display()
        )
    }

    /// Writes the manifests of Repository `s3` in a bucket of a running server.
    pub fn s3_repository(&self, server: &S3Server, bucket: &str, prefix: &str) -> Result<()> {
        self.s3_repository_at(server, server.port(), bucket, prefix)
    }

    /// Writes them with another port of this machine, such as that of a proxy before the server.
    pub fn s3_repository_at(&self, server: &S3Server, port: u16, bucket: &str, prefix: &str) -> Result<()> {
        let keys = [
            ("RESTIC_PASSWORD", self.password.as_str()),
            ("AWS_ACCESS_KEY_ID", server.access_key()),
            ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
        ];
        let yaml = format!(
            "{}---
apiVersion: lagan.dev/v1alpha1
kind: Repository
metadata: {{name: s3}}
spec:
  backend:
    storageSecretName: s3
    s3: {{endpoint: \"http://127.0.0.1:{port}\", bucket: {bucket}, prefix: {prefix}, region: us-east-1}}
",
            secret("s3", &keys)
        );
        self.lagan.manifest("s3.yaml", &yaml).map(drop)
    }

    /// Writes a BackupConfiguration whose schedule does not come up in tests. `more` are lines of its spec.
    pub fn configure(&self, name: &str, repository: &str, args: &str, more: &str) -> Result<()> {
        self.lagan.manifest(&format!("{name}.yaml"), &configuration(name, repository, args, more)).map(drop)
    }

    /// Starts another database server and writes its AppBinding `name`.
    pub fn second_database(&self, name: &str) -> Result<MariaDbServer> {
        let db = MariaDbServer::start()?;
        self.lagan.manifest(&format!("{name}-db.yaml"), &app_binding(name, &db))?;
        Ok(db)
    }

    /// Starts `lagan up` and waits until it is ready.
    pub fn up(&self, more: &[&str]) -> Result<Process> {
        let mut up = self.lagan.up(more)?;
        up.wait_for_log("ready: NATS", PATIENCE)?;
        Ok(up)
    }

    /// Starts `lagan engine` or `lagan worker` with an external NATS server.
    pub fn part(&self, part: &str, name: &str, nats_url: &str, more: &[&str]) -> Result<Process> {
        let (manifests, data) = (self.lagan.manifests_dir(), self.lagan.data_dir());
        let (manifests, data) = (manifests.to_string_lossy(), data.to_string_lossy());
        let mut args = vec![part, "--manifests", &manifests, "--data-dir", &data, "--nats-url", nats_url];
        args.extend(more);
        let mut process = self.lagan.start(name, &args)?;
        process.wait_for_log("ready", PATIENCE)?;
        Ok(process)
    }

    pub fn backup(&self, name: &str, more: &[&str]) -> Result<Output> {
        let mut args = vec!["backup", name, "--wait", "--timeout", "90s"];
        args.extend(more);
        self.lagan.run(&args)
    }

    /// Makes a backup that must succeed, and returns the first result of its `succeeded` fact.
    pub fn good_backup(&self, name: &str) -> Result<Value> {
        self.backup(name, &[])?.success()?;
        self.result("@latest", &[])
    }

    /// The first result of a session that succeeded.
    pub fn result(&self, session: &str, more: &[&str]) -> Result<Value> {
        let last = self.facts(session, more)?.pop().context("a session without facts")?;
        ensure!(last["type"].as_str().is_some_and(|kind| kind.contains("succeeded")), "not succeeded: {last}");
        Ok(last["data"]["results"][0].clone())
    }

    /// Lists the events of a session, in order.
    pub fn facts(&self, session: &str, more: &[&str]) -> Result<Vec<Value>> {
        let mut args = vec!["events", "--session", session, "-o", "jsonl"];
        args.extend(more);
        let text = self.lagan.ok(&args)?;
        text.lines().map(|line| serde_json::from_str(line).context("an event is JSON")).collect()
    }

    /// Lists objects of a kind as `get -o json` does.
    pub fn list(&self, kind: &str, more: &[&str]) -> Result<Vec<Value>> {
        let mut args = vec!["get", kind, "-o", "json"];
        args.extend(more);
        let document = self.lagan.json(&args)?;
        let items = document.get("items").cloned().unwrap_or(document);
        Ok(items.as_array().cloned().unwrap_or_default())
    }

    /// Waits until the session of this name has ended, and returns it.
    pub fn ended(&self, kind: &str, name: &str, more: &[&str]) -> Result<Value> {
        eventually(&format!("{kind}/{name} to end"), PATIENCE, || {
            let found = self.list(kind, more).ok()?.into_iter().find(|item| item["metadata"]["name"] == name)?;
            ["Succeeded", "Failed", "Skipped"].contains(&found["status"]["phase"].as_str()?).then_some(found)
        })
    }

    pub fn restic(&self) -> Result<Restic> {
        Restic::folder(&self.repository_dir(), &self.password)
    }

    pub fn snapshots(&self) -> Result<usize> {
        Ok(self.restic()?.snapshots()?.len())
    }

    /// Checks that the log, the snapshots of `local` and the statuses of all sessions agree, and that all have ended. The
    /// server is that of the `lagan up` that runs, unless its address is given.
    pub fn audit(&self, nats: Option<&str>) -> Result<SessionEnds> {
        let client = nats.map(|url| ["--nats-url", url]);
        let client = client.as_ref().map_or(&[][..], |client| &client[..]);
        let (url, token) = match nats {
            Some(url) => (url.to_owned(), None),
            None => self.endpoint()?,
        };
        let snapshots = audit::checked_snapshots(&self.restic()?)?;
        let look = || {
            let mut statuses = self.list("backupsessions", client)?;
            statuses.extend(self.list("restoresessions", client)?);
            let facts = audit::read_log(&url, token.clone())?;
            Evidence { facts, statuses, snapshots: snapshots.clone() }.audit()
        };
        // A status follows its fact after a moment.
        let mut last = None;
        let agreed = eventually("log, snapshots and statuses to agree", SHOWN_WITHIN, || {
            look().map_err(|error| last = Some(error)).ok()
        });
        agreed.map_err(|error| last.unwrap_or(error))
    }

    /// Address and token of the NATS server of `lagan up`, from the file in which other commands find it.
    fn endpoint(&self) -> Result<(String, Option<String>)> {
        let text = std::fs::read_to_string(self.lagan.data_dir().join("endpoint.json"))?;
        let endpoint: Value = serde_json::from_str(&text)?;
        let field = |name: &str| endpoint[name].as_str().map(str::to_owned);
        Ok((field("natsUrl").context("an address in endpoint.json")?, field("token")))
    }

    /// Lets stock restic read the whole repository.
    pub fn judge(&self) -> Result<()> {
        self.restic()?.check()
    }

    /// Puts a script in front of the real program of this name. `$REAL` is the real program.
    pub fn stub(&mut self, name: &str, script: &str) -> Result<()> {
        self.lagan.stub(name, script)
    }
}

#[must_use]
pub fn secret(name: &str, keys: &[(&str, &str)]) -> String {
    // JSON strings are YAML, also those with line breaks.
    let lines: String = keys.iter().map(|(key, value)| format!("  {key}: {}\n", serde_json::json!(value))).collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n{lines}")
}

/// The manifests of an AppBinding and its Secret.
#[must_use]
pub fn app_binding(name: &str, db: &MariaDbServer) -> String {
    format!(
        "{}---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: {name}}}
spec:
  type: mariadb
  clientConfig: {{url: \"mysql://{}:{}/\"}}
  secret: {{name: {name}-db}}
",
        secret(&format!("{name}-db"), &[("username", db.user()), ("password", db.password())]),
        db.host(),
        db.port()
    )
}

#[must_use]
pub fn configuration(name: &str, repository: &str, args: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("  {line}\n")).collect();
    let defaults: String = [
        ("schedule", "  schedule: \"0 3 1 1 *\"\n"),
        ("retentionPolicy", "  retentionPolicy: {name: keep, keepLast: 10}\n"),
        ("backupHistoryLimit", "  backupHistoryLimit: 20\n"),
        ("retryConfig", "  retryConfig: {maxRetry: 0}\n"),
    ]
    .iter()
    .filter(|(field, _)| !more.contains(field))
    .map(|(_, line)| *line)
    .collect();
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: BackupConfiguration
metadata: {{name: {name}}}
spec:
  task: {{params: [{{name: args, value: \"{args}\"}}]}}
  target: {{ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: shop}}}}
  repository: {{name: {repository}}}
{defaults}{lines}"
    )
}

/// The manifest of a RestoreSession of the newest snapshot. `more` are lines of its spec.
#[must_use]
pub fn restore_session(name: &str, repository: &str, target: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: lagan.dev/v1alpha1
kind: RestoreSession
metadata: {{name: {name}}}
spec:
  repository: {{name: {repository}}}
  target:
    ref: {{apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: {target}}}
{lines}"
    )
}
