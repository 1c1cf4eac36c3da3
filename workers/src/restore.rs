//! A restore: confirm that it is wanted, choose the snapshot once, look at the target, then feed the client. Past
//! `restoring` it is never run again by itself (P12).

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;
use lagan_schemas::fact::{Fact, Notice, NoticeStatus, Restoring, TargetResult};
use lagan_schemas::origin::Clusters;
use lagan_schemas::plan::{Existing, Plan, RestoreWork, SnapshotSelector};
use lagan_schemas::session::Session;

use crate::failures::{of_arguments, of_choice, of_repository, of_restore, of_spawn, of_target};
use crate::hooks::Hooks;
use crate::mariadb::{RestoreArgs, RestoreIncomplete, Target as Inspected, TargetState, Touches, check_fed, inspect};
use crate::opened::{Missing, Opened, blocking};
use crate::place::place;
use crate::process::{FeedReport, Feeder, Program, Pulse};
use crate::progress::{Teller, Told};
use crate::repository::{Snapshot, SnapshotReader, Wanted, by_id, latest};
use crate::retention::{self, Asking};
use crate::session::held::{Held, HeldError};
use crate::session::life::Life;
use crate::session::{Broken, Failed, Outcome};
use crate::target::Target;
use crate::worker::Worker;

const BLOCK_BYTES: usize = 1024 * 1024;

pub(crate) async fn run(
    worker: &Worker,
    held: &Arc<Held>,
    life: &Arc<Life>,
    (plan, work): (&Plan, &RestoreWork),
) -> Outcome {
    let session = held.session().await;
    let hooks = match Hooks::new(worker, held, life, plan).recall(&session).read().await {
        Ok(hooks) => hooks,
        Err(failed) => return Outcome::Failed(Box::new(failed)),
    };
    let mut run = Run { worker, held, life, plan, work, session, conditions: Vec::new(), hooks };
    let worked = match run.one().await {
        Ok(result) => Ok(vec![result]),
        Err(Broken::Fenced) => return Outcome::Fenced,
        Err(Broken::Failed(failure)) => Err(failure),
    };
    match run.hooks.post(&work.target, worked).await {
        Ok(results) => Outcome::Succeeded { results, conditions: run.conditions() },
        Err(failure) => {
            let failed = Failed { failure, rejected_snapshots: Vec::new(), conditions: run.conditions() };
            Outcome::Failed(Box::new(failed))
        }
    }
}

struct Run<'a> {
    worker: &'a Worker,
    held: &'a Arc<Held>,
    life: &'a Arc<Life>,
    plan: &'a Plan,
    work: &'a RestoreWork,
    session: Session,
    conditions: Vec<Notice>,
    hooks: Hooks<'a>,
}

impl Run<'_> {
    fn conditions(self) -> Vec<Notice> {
        self.conditions.into_iter().chain(self.hooks.into_notices()).collect()
    }

    async fn one(&mut self) -> Result<TargetResult, Broken> {
        let began = Instant::now();
        let (work, planned) = (self.work, &self.work.repository);
        self.worker.intent.confirm(&work.object).await?;
        let secret = self.worker.intent.storage_secret(planned).await?;
        let place = place(planned, &secret, self.worker.intent.volumes())?;
        let owner = format!("{}-{}", self.session.key.uid, self.worker.instance);
        let opened = Opened::open(self.worker, &place, &owner, Missing::Fail).await?;
        let snapshot = self.choose(&opened).await?;
        let resolved = Target::resolve(self.worker, &work.target.database, &work.step, &self.life.token())
            .await
            .map_err(|failure| self.stopped_or(failure))?;
        let args =
            RestoreArgs::parse(&resolved.arguments()).map_err(|error| of_arguments(&resolved.step.function, &error))?;
        let touches = args.database.clone().map_or(Touches::Unknown, Touches::Database);
        let inspected = inspect(&resolved.client, &touches, None, resolved.wait)
            .await
            .map_err(|error| self.stopped_or(of_target(&error)))?;
        self.check_target(&inspected)?;
        self.hooks.pre(&work.target).await?;
        let (size, reader) = {
            let (repository, id) = (Arc::clone(&opened.repository), snapshot.id.clone());
            let path = work.source.path.clone();
            blocking(move || repository.read(&id, &path)).await?.map_err(|error| of_repository(&error))?
        };
        let feeder = self.start(&resolved, args).await?;
        self.say_restoring(&snapshot, size).await?;
        let bytes = Arc::new(AtomicU64::new(0));
        let teller = Teller::start(
            self.worker.bus.clone(),
            Told {
                key: self.session.key.clone(),
                pool: self.plan.pool.clone(),
                session_name: self.plan.session_name.clone(),
                target: work.target.name.clone(),
                activity: Activity::Restoring,
                bytes: Arc::clone(&bytes),
                total_bytes: Some(size),
            },
        );
        let fed = blocking(move || feed(feeder, reader, &bytes)).await?;
        drop(teller);
        opened.lease.release().await;
        self.judge(fed, &snapshot, size)?;
        Ok(TargetResult {
            target: work.target.name.clone(),
            host: snapshot.host.clone(),
            repository: planned.reference.clone(),
            path: snapshot.path(),
            snapshot: snapshot.id,
            size_bytes: size,
            added_bytes: 0,
            sha256: String::new(),
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            adopted: false,
            packs_read: 0,
            packs: 0,
            retention: None,
            statistics: None,
        })
    }

    /// A failure that came from our own stop carries the stop's reason.
    fn stopped_or(&self, failure: Failure) -> Failure {
        self.life.stopped().map_or(failure, |cause| cause.failure())
    }

    async fn choose(&self, opened: &Opened) -> Result<Snapshot, Failure> {
        let source = &self.work.source;
        let repository = Arc::clone(&opened.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let cluster = self.worker.intent.identity().await?;
        let clusters = source.from_cluster.as_deref().map_or(Clusters::Own(&cluster), Clusters::Named);
        let chosen = match &source.snapshot {
            SnapshotSelector::Id(id) => by_id(&listed.snapshots, id, clusters),
            SnapshotSelector::Latest => {
                let wanted = Wanted {
                    clusters,
                    configuration: source.configuration.as_ref(),
                    host: source.host.as_deref(),
                    path: Some(&source.path),
                    not_after: source.not_after,
                };
                // A snapshot that its session did not name is never the latest.
                let asking = Asking { session: self.session.key.uid, cluster: &cluster };
                let unnamed = retention::unnamed(self.worker, &listed.snapshots, asking, &[]).await;
                latest(&listed.snapshots, wanted, &unnamed)
            }
        };
        chosen.cloned().map_err(|error| of_choice(&error))
    }

    fn check_target(&mut self, inspected: &Inspected) -> Result<(), Failure> {
        let TargetState::NotEmpty { databases, tables, programs } = &inspected.state else { return Ok(()) };
        let what = format!(
            "AppBinding {} already holds {tables} tables and {programs} routines and events in {}",
            self.work.target.reference.path(),
            databases.join(", ")
        );
        match self.work.existing {
            Existing::Refuse => Err(Failure::new(Code::TargetNotEmpty, what)),
            Existing::Merge => {
                tracing::warn!(what, "restoring over what is there");
                self.conditions.push(Notice {
                    kind: "TargetOverwritten".to_owned(),
                    status: NoticeStatus::True,
                    reason: "TargetNotEmpty".to_owned(),
                    message: format!("{what}; the restore replaced what it brought"),
                });
                Ok(())
            }
        }
    }

    async fn start(&self, resolved: &Target<'_>, args: RestoreArgs) -> Result<Feeder, Failure> {
        let mut program = Program { args: args.argv(), ..Program::new(&resolved.executable) };
        let attached = resolved.client.connection.attach(&mut program, &resolved.client.version);
        attached.map_err(|error| Failure::new(Code::InvalidSpec, chain(&error)))?;
        let life = Arc::clone(self.life);
        let alive = move || if life.may_still_write() { Pulse::Alive } else { Pulse::Lost };
        let started = self.worker.spawner.feed(program, alive, &self.life.token()).await;
        started.map_err(|error| of_spawn(&error))
    }

    /// Before the first byte, the log must know that there will be one.
    async fn say_restoring(&self, snapshot: &Snapshot, size_bytes: u64) -> Result<(), Broken> {
        if let Some(cause) = self.life.stopped() {
            return Err(cause.failure().into());
        }
        let restoring = Restoring {
            holder: self.held.holder,
            target: self.work.target.name.clone(),
            repository: self.work.repository.reference.path(),
            snapshot: snapshot.id.clone(),
            size_bytes,
        };
        match self.held.append(Fact::Restoring(restoring)).await {
            Ok(()) => {
                self.life.pass_first_byte();
                Ok(())
            }
            Err(HeldError::Fenced) => Err(Broken::Fenced),
            Err(error) => Err(Failure::new(Code::Internal, chain(&error)).into()),
        }
    }

    fn judge(&self, fed: Result<FeedReport, Stopped>, snapshot: &Snapshot, size: u64) -> Result<(), Failure> {
        let (fed_bytes, why) = match fed {
            Ok(report) => match check_fed(&report, size) {
                Ok(()) => return Ok(()),
                Err(why) => (report.bytes, why),
            },
            Err(Stopped { report, why }) => {
                if let Some(cause) = self.life.stopped() {
                    let short = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                    let message = format!(
                        "restore of snapshot {short} stopped after {} bytes: {}",
                        report.bytes,
                        cause.failure().message
                    );
                    return Err(Failure::new(Code::TargetPartiallyRestored, message));
                }
                let incomplete = check_fed(&report, size).err();
                let client = incomplete.filter(|i| matches!(i, RestoreIncomplete::Failed { failure: Some(_), .. }));
                match client {
                    Some(incomplete) => (report.bytes, incomplete),
                    None => {
                        let short = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                        let message =
                            format!("restore of snapshot {short} stopped after {} bytes: {why}", report.bytes);
                        return Err(Failure::new(Code::TargetPartiallyRestored, message));
                    }
                }
            }
        };
        Err(of_restore(&snapshot.id, fed_bytes, &why))
    }
}

/// The feed ended before its input did; the client is dead.
struct Stopped {
    report: Box<FeedReport>,
    why: String,
}

fn feed(mut feeder: Feeder, mut reader: SnapshotReader, bytes: &AtomicU64) -> Result<FeedReport, Stopped> {
    let stopped =
        |error: crate::process::FeedError| Stopped { why: chain(&error), report: Box::new(error.report().clone()) };
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let count = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => {
                // The client is killed before its input ends, or it would take the half for the whole (F17).
                let report = Box::new(feeder.abort());
                return Err(Stopped { report, why: format!("the repository can't be read: {}", chain(&error)) });
            }
        };
        feeder.feed(&block[..count]).map_err(stopped)?;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
    feeder.finish().map_err(stopped)
}
