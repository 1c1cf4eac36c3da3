//! A backup: adopt what an earlier attempt wrote, else dump through the commit gate, read back, decide retention.
//! Nothing is removed before `succeeded` names the snapshot that stays (P11).

mod forget;
mod gate;
mod preflight;
mod result;

pub(crate) use forget::forget;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::maybe_done;
use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;
use lagan_schemas::fact::{Notice, RecordTotals, TargetResult};
use lagan_schemas::origin::{ClusterIdentity, ConfigurationKey};
use lagan_schemas::plan::{BackupWork, Plan, PlanRepository};
use lagan_schemas::session::Session;

use self::gate::CommitGate;
use self::preflight::{Ready, beside, notices, preflight};
use crate::failures::{of_dump, of_repository, of_spawn};
use crate::hooks::Hooks;
use crate::mariadb::dump::Taken;
use crate::mariadb::{Prepared, large_rows, scanner};
use crate::opened::{Missing, Opened, blocking};
use crate::place::place;
use crate::process::{DumpHandle, DumpReader, DumpSettings, Program};
use crate::progress::{Teller, Told};
use crate::repository::tags::Tag;
use crate::repository::{Backup, Error, Expected, ReadBack, Repository, Written};
use crate::session::held::Held;
use crate::session::life::{Life, StopCause};
use crate::session::{Broken, Failed, Outcome};
use crate::target::Target;
use crate::worker::Worker;

/// A session that killed this many workers is not given a fourth (P8).
const LOST_WORKERS: u32 = 3;
const BLOCKS: usize = 8;
/// What is known of a database counts for so long.
const FRESH: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    worker: &Worker,
    held: &Arc<Held>,
    life: &Arc<Life>,
    (plan, work): (&Plan, &BackupWork),
) -> Outcome {
    let session = held.session().await;
    let hooks = match Hooks::new(worker, held, life, plan).recall(&session).read().await {
        Ok(hooks) => hooks,
        Err(failed) => return Outcome::Failed(Box::new(failed)),
    };
    let cluster = match worker.intent.identity().await {
        Ok(cluster) => cluster,
        Err(failure) => return failure.into(),
    };
    let (rejected, conditions) = (Vec::new(), worker.notices());
    let mut run = Run { worker, held, life, plan, work, session, cluster, rejected, conditions, hooks };
    let worked = match run.all().await {
        Ok(results) => Ok(results),
        Err(Broken::Fenced) => return Outcome::Fenced,
        Err(Broken::Failed(failure)) => Err(life.stopped().map_or(failure, |cause| cause.failure())),
    };
    match run.hooks.post(&work.target, worked).await {
        Ok(results) => Outcome::Succeeded { results, conditions: run.conditions() },
        Err(failure) => {
            let (rejected_snapshots, conditions) = (std::mem::take(&mut run.rejected), run.conditions());
            Outcome::Failed(Box::new(Failed { failure, rejected_snapshots, conditions }))
        }
    }
}

struct Run<'a> {
    worker: &'a Worker,
    held: &'a Arc<Held>,
    life: &'a Arc<Life>,
    plan: &'a Plan,
    work: &'a BackupWork,
    session: Session,
    cluster: ClusterIdentity,
    /// Snapshots of this session that failed their read-back.
    rejected: Vec<String>,
    conditions: Vec<Notice>,
    hooks: Hooks<'a>,
}

/// A snapshot that passed its read-back.
struct Sound {
    snapshot: String,
    bytes: u64,
    added_bytes: u64,
    sha256: String,
    record: Option<RecordTotals>,
    adopted: bool,
    read_back: ReadBack,
}

impl<'a> Run<'a> {
    fn conditions(self) -> Vec<Notice> {
        self.conditions.into_iter().chain(self.hooks.into_notices()).collect()
    }

    async fn all(&mut self) -> Result<Vec<TargetResult>, Broken> {
        let mut results = Vec::new();
        for repository in self.work.repositories.iter() {
            results.push(Box::pin(self.one(repository)).await?);
        }
        Ok(results)
    }

    async fn one(&mut self, planned: &PlanRepository) -> Result<TargetResult, Broken> {
        let began = Instant::now();
        let mut preflight = pin!(maybe_done(preflight(self.worker, self.life, self.work)));
        let opened = beside(self.open(planned), preflight.as_mut()).await?;
        // Without its lease a writer stops, and is waited for: nothing of it may go on in the background.
        let watch =
            self.life.stop_when(opened.lease.lost(), StopCause::LeaseLost(opened.repository.location().to_owned()));
        let work = async {
            let sound = match beside(self.adopt(&opened.repository), preflight.as_mut()).await? {
                // It needs no database.
                Some(sound) => sound,
                None => {
                    preflight.as_mut().await;
                    let ready = preflight.as_mut().take_output().expect("it has ended, and nobody took it")?;
                    let ready = self.fresh(ready).await?;
                    self.write(&opened.repository, planned, ready).await?
                }
            };
            self.result(&opened.repository, planned, sound, began).await
        };
        let result = work.await;
        drop(watch);
        opened.lease.release().await;
        result
    }

    /// What was asked long ago, because the repository had to be waited for, is asked again.
    async fn fresh(&self, ready: Ready<'a>) -> Result<Ready<'a>, Failure> {
        if ready.asked.elapsed() <= FRESH { Ok(ready) } else { preflight(self.worker, self.life, self.work).await }
    }

    async fn open(&self, planned: &PlanRepository) -> Result<Opened, Failure> {
        let secret = self.worker.intent.storage_secret(planned).await?;
        let place = place(planned, &secret, self.worker.intent.volumes())?;
        let owner = format!("{}-{}", self.session.key.uid, self.held.holder.worker);
        let opened = Opened::open(self.worker, &place, &owner, Missing::Init, &self.life.token()).await?;
        // Asked under the lease, which whoever deletes the data needs alone.
        if let Err(failure) = self.worker.intent.confirm_repository(&planned.reference).await {
            opened.lease.release().await;
            return Err(failure);
        }
        Ok(opened)
    }

    /// A snapshot of this very session and target that reads back is the result: nothing is dumped again (P10).
    async fn adopt(&mut self, repository: &Arc<Repository>) -> Result<Option<Sound>, Failure> {
        let listed = {
            let repository = Arc::clone(repository);
            blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?
        };
        for damaged in &listed.damaged {
            tracing::warn!(snapshot = damaged.id, why = damaged.why, "snapshot can't be read");
        }
        let uid = self.session.key.uid.to_string();
        for snapshot in listed.snapshots {
            let ours = snapshot.session() == Some(&uid)
                && Tag::Target.find(&snapshot.tags) == Some(self.work.target.name.as_str());
            if !ours || self.session.rejected_snapshots.contains(&snapshot.id) {
                continue;
            }
            match self.read_back(repository, &snapshot.id, snapshot.bytes).await? {
                Ok(read_back) => {
                    tracing::info!(snapshot = snapshot.id, "snapshot of an earlier attempt adopted");
                    let bytes = read_back.bytes;
                    let sound = Sound {
                        snapshot: snapshot.id,
                        bytes,
                        added_bytes: 0,
                        sha256: String::new(),
                        record: None,
                        adopted: true,
                        read_back,
                    };
                    return Ok(Some(sound));
                }
                Err(error) => {
                    tracing::warn!(
                        snapshot = snapshot.id,
                        error = chain(&error),
                        "snapshot of an earlier attempt rejected"
                    );
                    self.rejected.push(snapshot.id);
                }
            }
        }
        if self.session.lost_workers > LOST_WORKERS {
            let message = format!("{} workers died under this session", self.session.lost_workers);
            return Err(Failure::new(Code::WorkerLost, message));
        }
        Ok(None)
    }

    /// The outer result is trouble with asking; the inner one says whether the snapshot is sound.
    async fn read_back(
        &self,
        repository: &Arc<Repository>,
        id: &str,
        bytes: Option<u64>,
    ) -> Result<Result<ReadBack, Error>, Failure> {
        let (repository, id) = (Arc::clone(repository), id.to_owned());
        match blocking(move || repository.verify(&id, Expected { bytes })).await? {
            Err(error) if !is_about_the_snapshot(&error) => Err(of_repository(&error)),
            sound => Ok(sound),
        }
    }

    async fn write(
        &mut self,
        repository: &Arc<Repository>,
        planned: &PlanRepository,
        Ready { resolved, prepared, .. }: Ready<'_>,
    ) -> Result<Sound, Broken> {
        self.conditions.extend(notices(&prepared.findings));
        self.hooks.pre(&self.work.target).await?;
        let packet_bytes = prepared.server.max_allowed_packet_bytes;
        let (reader, dump, gate) = self.start_dump(&resolved, prepared, planned).await?;
        let teller = Teller::start(
            self.worker.bus.clone(),
            Told {
                key: self.session.key.clone(),
                pool: self.plan.pool.clone(),
                session_name: self.plan.session_name.clone(),
                target: self.work.target.name.clone(),
                activity: Activity::Dumping,
                bytes: dump.bytes(),
                total_bytes: None,
            },
        );
        let backup = self.describe()?;
        let written = {
            let (repository, gate) = (Arc::clone(repository), Arc::clone(&gate));
            blocking(move || repository.backup(&backup, Box::new(reader), gate.as_ref())).await?
        };
        drop(teller);
        let written = match written {
            Ok(written) => written,
            Err(error) => return Err(self.why(&resolved.step.program, &gate, &dump, &error).await),
        };
        let longest_bytes = gate.recording.record().longest_statement_bytes;
        let large = large_rows(longest_bytes, packet_bytes);
        self.conditions.extend(notices(large.as_slice()));
        let sha256 = dump.outcome().map(|outcome| hex(&outcome.sha256)).unwrap_or_default();
        self.verify(repository, written, (sha256, gate.totals())).await
    }

    async fn start_dump(
        &self,
        resolved: &Target<'_>,
        prepared: Prepared,
        planned: &PlanRepository,
    ) -> Result<(DumpReader, Arc<DumpHandle>, Arc<CommitGate>), Failure> {
        let mut program = Program { args: prepared.argv, ..Program::new(&resolved.executable) };
        let attached = resolved.client.connection.attach(&mut program, &resolved.client.version);
        attached.map_err(|error| Failure::new(Code::InvalidSpec, chain(&error)))?;
        let (scan, recording) = scanner(prepared.text);
        let time = Timestamp::now();
        let taken = Taken {
            time: Some(time.to_string()),
            server_version: prepared.server.version,
            lower_case_table_names: prepared.server.lower_case_table_names,
        };
        let settings = DumpSettings { stall: Duration::from_secs(self.plan.stall_seconds.into()), blocks: BLOCKS };
        let started = self.worker.spawner.dump(program, settings, Some(scan), &self.life.token()).await;
        let (reader, dump) = started.map_err(|error| of_spawn(&error))?;
        let dump = Arc::new(dump);
        let gate = Arc::new(CommitGate {
            handle: tokio::runtime::Handle::current(),
            held: Arc::clone(self.held),
            life: Arc::clone(self.life),
            dump: Arc::clone(&dump),
            program: resolved.step.program.clone(),
            recording,
            taken,
            time,
            expected: prepared.expected,
            target: self.work.target.name.clone(),
            repository: planned.reference.path(),
            refusal: std::sync::Mutex::default(),
        });
        Ok((reader, dump, gate))
    }

    fn describe(&self) -> Result<Backup, Failure> {
        let tag = |tag: Tag, value: &str| tag.format(value).map_err(|error| of_repository(&error));
        let attempt = self.held.holder.attempt.to_string();
        let consent = self.work.consent.as_ref().map(|policy| tag(Tag::Consent, &policy.to_string())).transpose()?;
        let tags = [
            tag(Tag::Session, &self.session.key.uid.to_string())?,
            tag(Tag::Configuration, &ConfigurationKey::of(&self.plan.invoker).to_string())?,
            tag(Tag::ConfigurationUid, &self.plan.invoker.uid.unwrap_or_default().to_string())?,
            tag(Tag::Cluster, self.worker.cluster.as_str())?,
            tag(Tag::Identity, &self.cluster.uid.to_string())?,
            tag(Tag::Target, &self.work.target.name)?,
            tag(Tag::Attempt, &attempt)?,
        ];
        Ok(Backup {
            host: self.work.host.clone(),
            path: self.work.path.clone(),
            tags: tags.into_iter().chain(consent).collect(),
            time: Timestamp::now(),
        })
    }

    /// The cause behind a backup that broke off: the first of gate, stop, dump and storage that has one.
    async fn why(&self, program: &str, gate: &CommitGate, dump: &DumpHandle, error: &Error) -> Broken {
        if let Some(refusal) = gate.take_refusal() {
            return refusal;
        }
        // Whoever read it has stopped, so it ends by itself or is killed.
        let outcome = tokio::time::timeout(Duration::from_secs(30), dump.wait()).await.ok();
        let failed = outcome.and_then(|outcome| of_dump(program, &outcome));
        failed.unwrap_or_else(|| of_repository(error)).into()
    }

    async fn verify(
        &mut self,
        repository: &Arc<Repository>,
        written: Written,
        (sha256, record): (String, RecordTotals),
    ) -> Result<Sound, Broken> {
        let id = written.snapshot_id;
        match self.read_back(repository, &id, Some(written.bytes)).await? {
            Ok(read_back) => Ok(Sound {
                snapshot: id,
                bytes: written.bytes,
                added_bytes: written.added_bytes,
                sha256,
                record: Some(record),
                adopted: false,
                read_back,
            }),
            Err(error) => {
                self.rejected.push(id.clone());
                Err(Failure::new(Code::ReadBackFailed, chain(&error)).into())
            }
        }
    }
}

/// Whether an error of a read-back is a finding about the snapshot, rather than trouble with reaching it.
fn is_about_the_snapshot(error: &Error) -> bool {
    matches!(
        error,
        Error::ReadBack { .. }
            | Error::Damaged { .. }
            | Error::SnapshotNotFound { .. }
            | Error::PathNotFound { .. }
            | Error::Incomplete { .. }
    )
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
