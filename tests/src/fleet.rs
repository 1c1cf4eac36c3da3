//! Several engines and workers as processes of their own, backups that people ask for, and the audit of all that happened.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::audit::{self, Evidence, LoggedFact, SessionEnds};
use crate::http;
use crate::ports::ReservedPort;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::restic::Restic;
use crate::s3::S3Server;
use crate::sample::Sample;
use crate::wait::eventually;
use crate::world::{World, app_binding, configuration, restore_session};

/// An engine or a worker, and everything with which it starts again.
struct Member {
    part: &'static str,
    name: String,
    urls: String,
    listen: ReservedPort,
    process: Process,
    /// Its way to NATS, if it has one of its own.
    proxy: Option<Proxy>,
}

pub struct Fleet {
    // Dropped before the world whose folders they use.
    members: Vec<Member>,
    pub world: World,
    urls: String,
    options: Vec<String>,
    targets: usize,
    asked: usize,
    /// The repository in an object store, if a target has one.
    remote: Option<Restic>,
}

impl Fleet {
    /// Loads a sample for each of the targets, and configures a backup of each; nothing runs yet.
    pub fn prepare(urls: &str, options: &[&str], targets: usize) -> Result<Self> {
        let world = World::new()?;
        for target in 0..targets {
            let name = format!("db-{target}");
            world.db.load_sample(&name, Sample { megabytes: 1, seed: u64::try_from(target)? + 1 })?;
            world.lagan.manifest(&format!("{name}-db.yaml"), &app_binding(&name, &world.db))?;
            configure(&world, &name, "local")?;
        }
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Ok(Self { members: Vec::new(), world, urls: urls.to_owned(), options, targets, asked: 0, remote: None })
    }

    /// Lets a target be backed up into a bucket, through a port of this machine such as that of a proxy.
    pub fn store_in(&mut self, target: usize, server: &S3Server, port: u16) -> Result<()> {
        server.create_bucket("fleet")?;
        self.world.s3_repository_at(server, port, "fleet", "backups")?;
        self.remote = Some(Restic::s3(server, "fleet", "backups", &self.world.password)?);
        configure(&self.world, &format!("db-{target}"), "s3")
    }

    /// Starts this many engines and workers, and waits until each is ready.
    pub fn start(&mut self, engines: usize, workers: usize) -> Result<()> {
        let urls = self.urls.clone();
        self.start_at(engines, workers, &urls)
    }

    /// Starts them with other addresses of the servers than those that the audit uses.
    pub fn start_at(&mut self, engines: usize, workers: usize, urls: &str) -> Result<()> {
        self.launch_all(engines, workers, || Ok((urls.to_owned(), None)))
    }

    /// Starts them with a connection each that can be cut. `nats` is the port of the only server.
    pub fn start_behind_proxies(&mut self, engines: usize, workers: usize, nats: u16) -> Result<()> {
        self.launch_all(engines, workers, || {
            let proxy = Proxy::start(nats)?;
            Ok((format!("nats://127.0.0.1:{}", proxy.port()), Some(proxy)))
        })
    }

    fn launch_all(
        &mut self,
        engines: usize,
        workers: usize,
        way: impl Fn() -> Result<(String, Option<Proxy>)>,
    ) -> Result<()> {
        let parts = std::iter::repeat_n("engine", engines).chain(std::iter::repeat_n("worker", workers));
        for (number, part) in parts.enumerate() {
            let (name, (urls, proxy), listen) = (format!("{part}-{number}"), way()?, ReservedPort::reserve()?);
            let process = self.launch(part, &name, &urls, &listen)?;
            self.members.push(Member { part, name, urls, listen, process, proxy });
        }
        Ok(())
    }

    fn launch(&self, part: &str, name: &str, urls: &str, listen: &ReservedPort) -> Result<Process> {
        let listen = format!("127.0.0.1:{}", listen.number());
        let mut options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        options.extend(["--listen", &listen]);
        self.world.part(part, name, urls, &options)
    }

    /// An engine or a worker, engines first, for signals and log lines.
    pub fn process(&mut self, member: usize) -> &mut Process {
        &mut self.members[member].process
    }

    /// Number of engines and workers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The connections that can be cut, one for each engine and worker.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.members.iter().filter_map(|member| member.proxy.as_ref())
    }

    /// Starts an engine or a worker again, after it was killed.
    pub fn start_again(&mut self, member: usize) -> Result<()> {
        let Member { part, name, urls, listen, .. } = &self.members[member];
        let process = self.launch(part, name, urls, listen)?;
        self.members[member].process = process;
        Ok(())
    }

    /// The metrics of each engine, as text.
    pub fn metrics(&self) -> Result<Vec<String>> {
        let engines = self.members.iter().filter(|member| member.part == "engine");
        engines.map(|engine| Ok(http::request("GET", engine.listen.number(), "/metrics")?.body)).collect()
    }

    /// Asks for the backup of the next target, through a manifest: that works whatever is down.
    pub fn ask(&mut self) -> Result<String> {
        self.ask_of(self.asked % self.targets)
    }

    /// Asks for the backup of one target, and returns the name of the session.
    pub fn ask_of(&mut self, target: usize) -> Result<String> {
        let (name, target) = (format!("s-{}", self.asked), format!("db-{target}"));
        let yaml = format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: BackupSession\nmetadata: {{name: {name}}}\n\
             spec: {{invoker: {{apiGroup: lagan.dev, kind: BackupConfiguration, name: {target}}}}}\n"
        );
        self.world.lagan.manifest(&format!("{name}.yaml"), &yaml)?;
        self.asked += 1;
        Ok(name)
    }

    pub fn ask_for(&mut self, sessions: usize) -> Result<()> {
        (0..sessions).try_for_each(|_| self.ask().map(drop))
    }

    /// Asks for the restore of the newest snapshot of a target into another server, whose AppBinding is `into`.
    pub fn ask_restore(&mut self, target: usize, repository: &str, into: &str) -> Result<String> {
        let name = format!("r-{}", self.asked);
        let more = format!("overwrite: true\nconfiguration: {{name: db-{target}}}");
        self.world.lagan.manifest(&format!("{name}.yaml"), &restore_session(&name, repository, into, &more))?;
        self.asked += 1;
        Ok(name)
    }

    /// Number of sessions that were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Reads the log of all sessions.
    pub fn facts(&self) -> Result<Vec<LoggedFact>> {
        audit::read_log(&self.urls, None)
    }

    /// Number of sessions that have a fact of this name.
    pub fn count(&self, name: &str) -> Result<usize> {
        Ok(self.facts()?.iter().filter(|fact| fact.name == name).count())
    }

    #[track_caller]
    pub fn wait_for(&self, name: &str, sessions: usize, patience: Duration) -> Result<()> {
        let what = format!("{sessions} sessions with `{name}`");
        eventually(&what, patience, || (self.count(name).ok()? >= sessions).then_some(()))
    }

    /// Waits until each session that was asked for has ended and its end is shown, then checks everything.
    pub fn audit(&self, patience: Duration) -> Result<SessionEnds> {
        let over = |object: &Value| {
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            ["Succeeded", "Failed", "Skipped"].contains(&phase)
        };
        let statuses = eventually("the end of every session to be shown", patience, || {
            let statuses = self.statuses().ok()?;
            (statuses.iter().filter(|one| over(one)).count() >= self.asked).then_some(statuses)
        });
        let statuses = statuses.with_context(|| self.unended())?;
        let mut snapshots = audit::checked_snapshots(&self.world.restic()?)?;
        if let Some(remote) = &self.remote {
            snapshots.extend(audit::checked_snapshots(remote)?);
        }
        let tally = Evidence { facts: self.facts()?, statuses, snapshots }.audit()?;
        ensure!(tally.sessions() == self.asked, "{} were asked for, and the log has {tally:?}", self.asked);
        Ok(tally)
    }

    fn statuses(&self) -> Result<Vec<Value>> {
        let at = ["--nats-url", self.urls.as_str()];
        let mut all = self.world.list("backupsessions", &at)?;
        all.extend(self.world.list("restoresessions", &at)?);
        Ok(all)
    }

    /// The last fact of each session that has not ended, for the message of an error.
    fn unended(&self) -> String {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(error) => return format!("{error:#}"),
        };
        let mut last = std::collections::BTreeMap::new();
        for fact in &facts {
            last.insert(&fact.uid, fact);
        }
        last.retain(|_, fact| !fact.is_end());
        let lines = last.iter().map(|(uid, fact)| format!("{uid}: {} {}", fact.name, fact.event["data"]));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Writes the BackupConfiguration of a target. Everything is kept, and failures are tried again soon.
fn configure(world: &World, name: &str, repository: &str) -> Result<()> {
    let more = "retentionPolicy: {name: all, keepLast: 10000}\nbackupHistoryLimit: 1000\nconcurrencyPolicy: Allow\n\
                retryConfig: {maxRetry: 10, delay: 1s}";
    let text = configuration(name, repository, &format!("--databases {name}"), more);
    let text = text.replace("kind: AppBinding, name: shop", &format!("kind: AppBinding, name: {name}"));
    world.lagan.manifest(&format!("{name}.yaml"), &text).map(drop)
}
