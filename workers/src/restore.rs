//! A restore: chooses the snapshot once, learns which databases its stream writes to and what they hold, then feeds the
//! client. Past `restoring` it is never run again by itself (P12). A dry run ends before it.

mod choose;
mod dry_run;
mod feed;
mod stall;
mod survey;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;
use lagan_schemas::fact::{Fact, Notice, NoticeStatus, Restoring, TargetResult};
use lagan_schemas::plan::{Existing, RestoreMode, RestoreWork, Verify};
use tokio_util::sync::CancellationToken;

use self::feed::{Fed, Feed, Pauses, feed};
use self::stall::stalled;
use crate::consent;
use crate::databases::{Access, Clearing, CodedEngine, Depth, Load, Ran, RestoreStream, Wanted, check_fed, ran};
use crate::execution::{Execution, Leased};
use crate::failures::{of_repository, of_spawn};
use crate::intent::unanswered;
use crate::opened::blocking;
use crate::process::{Feeder, Program};
use crate::repository::{Repository, Snapshot, SnapshotReader};
use crate::session::Broken;
use crate::session::held::HeldError;

pub(crate) struct Restore<'r, 'a> {
    pub execution: &'r mut Execution<'a>,
    pub work: &'r RestoreWork,
    pub repository: &'r Arc<Repository>,
    /// The lease of the repository, until it is not read any more.
    pub leased: Option<Leased>,
}

impl Restore<'_, '_> {
    pub async fn run(mut self) -> Result<TargetResult, Broken> {
        let result = self.restore().await;
        self.release().await;
        result
    }

    async fn release(&mut self) {
        if let Some(leased) = self.leased.take() {
            leased.release().await;
        }
    }

    async fn restore(&mut self) -> Result<TargetResult, Broken> {
        let began = Instant::now();
        let snapshot = self.choose().await?;
        let (worker, plan) = (self.execution.worker, self.execution.plan);
        let foreign = consent::of_snapshot(worker, plan, self.work, &snapshot).await?;
        self.execution.conditions.extend(foreign);
        let database = &self.work.target.database;
        let engine = self.execution.worker.engines.find(&database.engine)?;
        if let Some(depth) = self.depth().filter(|depth| !engine.depths().contains(depth)) {
            let message = format!(
                "verify: `{depth:?}` is not possible for {}: Lagan does not count its rows after a restore; use `Objects` or `None`",
                database.engine
            );
            return Err(Failure::new(Code::InvalidSpec, message).into());
        }
        let access = self.execution.access(database, &self.work.step).await;
        let access = access.map_err(|failure| self.execution.stopped_or(failure))?;
        let inspected = self.inspect(&engine, &access, &snapshot).await;
        let (record, mut load) = inspected.map_err(|failure| self.execution.stopped_or(failure))?;
        let overwrites = self.admit(&load)?;
        self.execution.conditions.append(&mut load.notices);
        if self.work.mode == RestoreMode::DryRun {
            let (size_bytes, _) = self.open(&snapshot).await?;
            let found = self.finding(&load, overwrites.as_deref(), (&snapshot, size_bytes));
            // The first of the list is the last that a fact which grows too long would lose.
            self.execution.conditions.insert(0, found);
            return Ok(self.result(snapshot, size_bytes, began));
        }
        tracing::info!(databases = load.databases.join(", "), snapshot = snapshot.id, "restore is about to write");
        self.execution.held.begin_work();
        self.execution.hooks.pre(&self.work.target).await?;
        self.execution.conditions.extend(overwrites.map(overwritten));
        let size_bytes = self.load((&engine, &access), load, &snapshot).await?;
        self.release().await;
        if let Some(depth) = self.depth() {
            // Nothing can be tried again now, so a server that restarts is waited for as long as its user wants.
            let access = Access { wait: Duration::from_secs(database.wait_seconds.into()), ..access };
            let differences = engine.compare(&access, self.stream(&record), depth).await;
            let differences = differences.map_err(|failure| self.not_compared(failure))?;
            self.execution.conditions.extend(differences);
        }
        Ok(self.result(snapshot, size_bytes, began))
    }

    /// The failure of a comparison, after all statements ran. A stop tells no more than that it did not end.
    fn not_compared(&self, failure: Failure) -> Failure {
        let Some(cause) = self.execution.life.stopped() else { return failure };
        let message = format!("every statement ran, but the target was not compared: {}", cause.failure().message);
        Failure::new(Code::TargetNotVerified, message)
    }

    fn result(&self, snapshot: Snapshot, size_bytes: u64, began: Instant) -> TargetResult {
        TargetResult {
            target: self.work.target.name.clone(),
            host: snapshot.host.clone(),
            repository: self.work.repository.reference.clone(),
            path: snapshot.path(),
            snapshot: snapshot.id,
            size_bytes,
            added_bytes: 0,
            sha256: String::new(),
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            adopted: false,
            packs_read: 0,
            packs: 0,
            retention: None,
            statistics: None,
            record: None,
        }
    }

    /// Looks at the target with the record of the stream. A snapshot without a record is read whole for that, and so is
    /// one that may go over existing data: that proves that all of it can be read before the first statement.
    async fn inspect(
        &mut self,
        engine: &CodedEngine,
        access: &Access,
        snapshot: &Snapshot,
    ) -> Result<(Vec<u8>, Load), Failure> {
        let stored = self.record(&snapshot.id).await?.filter(|record| engine.reads_record(record));
        let record = match (stored, self.work.existing) {
            (Some(stored), Existing::Refuse) => stored,
            (stored, _) => self.survey(engine, snapshot, stored.as_deref()).await?,
        };
        let load = engine.inspect(access, self.stream(&record)).await.map_err(|failure| match failure.code {
            Code::SnapshotIncomplete | Code::ScopeRefused => {
                let short = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                let message = format!("snapshot {short} is not restored, and nothing was changed: {}", failure.message);
                Failure::new(failure.code, message)
            }
            _ => failure,
        })?;
        Ok((record, load))
    }

    /// Whether the target allows the restore; what happens to existing data, in words. All that stands in the way is told at
    /// once.
    fn admit(&self, load: &Load) -> Result<Option<String>, Failure> {
        match (obstacles(load), self.judge_existing(load)) {
            (None, existing) => existing,
            (Some(obstacles), Ok(_)) => Err(obstacles),
            (Some(obstacles), Err(existing)) => {
                Err(Failure::new(obstacles.code, format!("{}; and {}", obstacles.message, existing.message)))
            }
        }
    }

    /// Whether existing data allows the restore; what happens to it, in words.
    fn judge_existing(&self, load: &Load) -> Result<Option<String>, Failure> {
        let Some(existing) = &load.existing else { return Ok(None) };
        let what = format!("AppBinding {} already holds {existing}", self.work.target.reference.path());
        match (self.work.existing, &load.clashes) {
            (Existing::Refuse, _) => Err(Failure::new(Code::TargetNotEmpty, what)),
            (Existing::Merge, Some(clashes)) => {
                let message =
                    format!("the snapshot can't take the place of {clashes}; drop them, or use `existing: Replace`");
                Err(Failure::new(Code::TargetNotEmpty, message))
            }
            (Existing::Merge, None) => {
                let brings = "the restore replaces what it brings".to_owned();
                let sentences: Vec<String> = [what, brings].into_iter().chain(load.fate.iter().cloned()).collect();
                Ok(Some(sentences.join("; ")))
            }
            (Existing::Replace, _) => Ok(Some(format!("{what}; they are dropped, and the snapshot takes their place"))),
        }
    }

    /// The depth of the comparison after the last statement; `None` if nothing is compared.
    fn depth(&self) -> Option<Depth> {
        match self.work.verify {
            Verify::None => None,
            Verify::Objects => Some(Depth::Objects),
            Verify::Rows => Some(Depth::Rows),
        }
    }

    fn stream<'s>(&'s self, record: &'s [u8]) -> RestoreStream<'s> {
        let clearing = match self.work.existing {
            Existing::Refuse | Existing::Merge => Clearing::Leave,
            Existing::Replace => Clearing::Empty,
        };
        let wanted = Wanted { databases: &self.work.databases, renamed: self.work.renamed.as_deref() };
        RestoreStream { record, wanted, clearing }
    }

    /// The length of the stream, and its reader.
    async fn open(&self, snapshot: &Snapshot) -> Result<(u64, SnapshotReader), Failure> {
        let (repository, id) = (Arc::clone(self.repository), snapshot.id.clone());
        let path = self.work.source.path.clone();
        blocking(move || repository.read(&id, &path)).await?.map_err(|error| of_repository(&error))
    }

    /// Feeds the snapshot to the client; gives the length of the stream.
    async fn load(
        &self,
        (engine, access): (&CodedEngine, &Access),
        load: Load,
        snapshot: &Snapshot,
    ) -> Result<u64, Broken> {
        let (size, reader) = self.open(snapshot).await?;
        let stop = self.execution.life.token().child_token();
        let feeder = self.start(engine, load.program, &stop).await?;
        let database = load.databases.first().cloned().unwrap_or_default();
        self.append_restoring(snapshot, size, load.databases).await?;
        let limit = Duration::from_secs(self.execution.plan.stall_seconds.into());
        let stalled = stalled(engine, (access, &database), feeder.waiting(), limit);
        let fed = {
            let bytes = Arc::default();
            let _progress = self.execution.progress(|context| {
                context.activity = Activity::Restoring;
                context.bytes = Arc::clone(&bytes);
                context.total_bytes = Some(size);
            });
            let (prelude, filter, first) = (load.prelude, load.filter, engine.first_change());
            let feeding = blocking(move || feed(feeder, Feed { reader, prelude, filter, first, bytes }));
            tokio::pin!(feeding);
            tokio::select! {
                fed = &mut feeding => fed?,
                why = stalled => {
                    stop.cancel();
                    let why = format!("the client got no further for {} s: {why}", limit.as_secs());
                    Fed { stalled: Some(Failure::new(Code::Stalled, why)), ..feeding.await? }
                }
            }
        };
        self.judge(engine, fed, snapshot)?;
        Ok(size)
    }

    async fn start(&self, engine: &CodedEngine, program: Program, stop: &CancellationToken) -> Result<Feeder, Failure> {
        let (life, span) = (Arc::clone(self.execution.life), tracing::Span::current());
        let (mut pauses, idle_limit) = (Pauses::default(), engine.idle_limit());
        let alive = move || {
            let pulse = life.pulse();
            span.in_scope(|| pauses.note(pulse, idle_limit));
            pulse
        };
        let started = self.execution.worker.spawner.feed(program, alive, stop).await;
        started.map_err(|error| of_spawn(&error))
    }

    /// Before the first byte, the log must know that there will be one.
    async fn append_restoring(
        &self,
        snapshot: &Snapshot,
        size_bytes: u64,
        databases: Vec<String>,
    ) -> Result<(), Broken> {
        if let Some(cause) = self.execution.life.stopped() {
            return Err(cause.failure().into());
        }
        let restoring = Restoring {
            holder: self.execution.held.holder,
            target: self.work.target.name.clone(),
            repository: self.work.repository.reference.path(),
            snapshot: snapshot.id.clone(),
            size_bytes,
            database_count: databases.len() as u64,
            databases,
        };
        let stop = self.execution.life.token();
        match self.execution.held.append_until(Fact::Restoring(restoring), &stop).await {
            Ok(()) => {
                self.execution.life.pass_first_byte();
                let uid = self.work.object.uid.unwrap_or_default();
                let recorded = self.execution.worker.intent.source.record_writing(uid);
                Ok(recorded.map_err(|error| unanswered(&error))?)
            }
            Err(HeldError::Fenced) => Err(Broken::Fenced),
            Err(error) => Err(self.execution.stopped_or(Failure::new(Code::Internal, chain(&error))).into()),
        }
    }

    fn judge(&self, engine: &CodedEngine, fed: Fed, snapshot: &Snapshot) -> Result<(), Failure> {
        let Fed { report, expected_bytes, first, stopped, stalled } = fed;
        let own_stop = self.execution.life.stopped().filter(|_| stopped.is_some());
        let said = engine.explain(&report.stderr.lines).filter(|_| !report.clean() && own_stop.is_none());
        let ran = ran(engine, first, &report, said.as_ref());
        let failed = |why: String| Failure::new(Code::RestoreFailed, why);
        let why = match (own_stop, said, stopped) {
            (Some(cause), ..) => failed(cause.failure().message),
            // A client that ended well between the look and its end has done all.
            _ if stalled.is_some() && !report.clean() => stalled.unwrap_or_else(|| failed(String::new())),
            (_, Some(said), _) => failed(format!("the client failed: {}; {}", said.line, said.hint)),
            (_, _, Some(why)) => why,
            _ if !report.clean() => failed(format!("the client failed ({:?}) and said nothing", report.exit)),
            _ => match check_fed(engine, &report, expected_bytes) {
                Ok(()) => return Ok(()),
                Err(why) => failed(why),
            },
        };
        let (code, ran) = match ran {
            Ran::Nothing => (why.code, ", and nothing was written".to_owned()),
            Ran::Before(line) => (
                Code::TargetPartiallyRestored,
                format!(", and the statements before line {line} of the client's input ran"),
            ),
            Ran::Unknown => (Code::TargetPartiallyRestored, ", and an unknown number of statements ran".to_owned()),
        };
        let paused = match report.paused.as_secs() {
            0 => String::new(),
            seconds => format!("; before that it was paused for {seconds} s, because NATS was away"),
        };
        let (short, bytes) = (snapshot.id.get(..8).unwrap_or(&snapshot.id), report.bytes);
        let message = format!("restore of snapshot {short} stopped after {bytes} bytes{ran}: {}{paused}", why.message);
        Err(Failure::new(code, message))
    }
}

/// The condition of a restore that goes over existing data.
fn overwritten(message: String) -> Notice {
    tracing::warn!(message, "restoring over existing data");
    Notice {
        kind: "TargetOverwritten".to_owned(),
        status: NoticeStatus::True,
        reason: "TargetNotEmpty".to_owned(),
        message,
    }
}

/// Obstacles that a message names.
const OBSTACLES_SHOWN: usize = 10;

/// Nothing starts that is known to break off.
fn obstacles(load: &Load) -> Option<Failure> {
    if load.obstacles.is_empty() {
        return None;
    }
    let shown = load.obstacles.iter().take(OBSTACLES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    let more = load.obstacles.len().saturating_sub(OBSTACLES_SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!("nothing was written to {}: {shown}{more}", load.databases.join(", "));
    Some(Failure::new(Code::RestoreObstructed, message))
}
