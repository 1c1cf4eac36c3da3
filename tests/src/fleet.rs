//! Several engines and workers as processes of their own, backups that people ask for, and the audit of all that happened.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::ServerAddr;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::audit::{self, Evidence, LoggedFact, SessionEnds};
use crate::process::Process;
use crate::sample::Sample;
use crate::wait::eventually;
use crate::world::{World, app_binding, configuration};

const ANSWER: Duration = Duration::from_secs(20);

/// An engine or a worker, and the arguments with which it starts again.
pub struct FleetMember {
    part: &'static str,
    name: String,
    process: Process,
}

pub struct Fleet {
    // Dropped before the world whose folders they use.
    members: Vec<FleetMember>,
    pub world: World,
    urls: String,
    options: Vec<String>,
    runtime: Runtime,
    targets: usize,
    asked: usize,
}

impl Fleet {
    /// Loads a sample for each of the targets, and configures a backup of each; nothing runs yet.
    pub fn prepare(urls: &str, options: &[&str], targets: usize) -> Result<Self> {
        let world = World::new()?;
        for target in 0..targets {
            let name = format!("db-{target}");
            world.db.load_sample(&name, Sample { megabytes: 1, seed: u64::try_from(target)? + 1 })?;
            world.lagan.manifest(&format!("{name}-db.yaml"), &app_binding(&name, &world.db))?;
            let more = "retentionPolicy: {name: all, keepLast: 10000}\nbackupHistoryLimit: 1000\nconcurrencyPolicy: Allow\n\
                        retryConfig: {maxRetry: 10, delay: 1s}";
            let text = configuration(&name, "local", &format!("--databases {name}"), more);
            let text = text.replace("kind: AppBinding, name: shop", &format!("kind: AppBinding, name: {name}"));
            world.lagan.manifest(&format!("{name}.yaml"), &text)?;
        }
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { members: Vec::new(), world, urls: urls.to_owned(), options, runtime, targets, asked: 0 })
    }

    /// Starts this many engines and workers, and waits until each is ready.
    pub fn start(&mut self, engines: usize, workers: usize) -> Result<()> {
        let parts = std::iter::repeat_n("engine", engines).chain(std::iter::repeat_n("worker", workers));
        for (number, part) in parts.enumerate() {
            let name = format!("{part}-{number}");
            let process = self.launch(part, &name)?;
            self.members.push(FleetMember { part, name, process });
        }
        Ok(())
    }

    fn launch(&self, part: &str, name: &str) -> Result<Process> {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.world.part(part, name, &self.urls, &options)
    }

    /// The processes, engines first, for signals and log lines.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.members.iter_mut().map(|member| &mut member.process)
    }

    /// Number of engines and workers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn name(&self, member: usize) -> &str {
        &self.members[member].name
    }

    /// Kills an engine or a worker, and starts it again.
    pub fn replace(&mut self, member: usize) -> Result<()> {
        self.members[member].process.kill9()?;
        let FleetMember { part, name, .. } = &self.members[member];
        let process = self.launch(part, name)?;
        self.members[member].process = process;
        Ok(())
    }

    /// Asks for the backup of the next target, through a manifest: that works whatever is down.
    pub fn ask(&mut self) -> Result<String> {
        let (name, target) = (format!("s-{}", self.asked), format!("db-{}", self.asked % self.targets));
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

    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Reads the log of all sessions.
    pub fn facts(&self) -> Result<Vec<LoggedFact>> {
        let servers = self.urls.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>()?;
        self.runtime.block_on(async {
            let read = async {
                let client = async_nats::connect(&servers).await.context("connecting to read the log")?;
                audit::read_facts(&client).await
            };
            tokio::time::timeout(ANSWER, read).await.context("the log was not read in time")?
        })
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
        let snapshots = audit::checked_snapshots(&self.world.restic()?)?;
        let tally = Evidence { facts: self.facts()?, statuses, snapshots }.audit()?;
        ensure!(tally.sessions() == self.asked, "{} were asked for, and the log has {tally:?}", self.asked);
        Ok(tally)
    }

    fn statuses(&self) -> Result<Vec<Value>> {
        self.world.list("backupsessions", &["--nats-url", &self.urls])
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
        last.retain(|_, fact| !["succeeded", "failed", "cancelled", "skipped"].contains(&fact.name.as_str()));
        let lines = last.iter().map(|(uid, fact)| format!("{uid}: {} {}", fact.name, fact.event["data"]));
        lines.collect::<Vec<_>>().join("\n")
    }
}
