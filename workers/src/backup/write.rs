//! Dumps into a new snapshot through the commit gate, and reads it back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;
use lagan_schemas::fact::RecordTotals;
use lagan_schemas::origin::ConfigurationKey;
use lagan_schemas::tag::Tag;
use tokio::runtime::Handle;

use super::adopt::finding;
use super::gate::CommitGate;
use super::preflight::Ready;
use super::{Backup, Sound};
use crate::databases::hex;
use crate::failures::{of_dump, of_repository, of_spawn};
use crate::opened::blocking;
use crate::process::{DumpHandle, DumpReader, DumpSettings};
use crate::repository::{self, Error, WrittenSnapshot};
use crate::session::Broken;

const BLOCKS: usize = 8;
/// Longest wait for a dump to end after its reader has stopped.
const END_OF_DUMP: Duration = Duration::from_secs(30);

impl Backup<'_, '_> {
    pub(super) async fn write(&mut self, ready: Ready) -> Result<Sound, Broken> {
        self.execution.conditions.extend(ready.dump.notices.iter().cloned());
        self.execution.held.begin_work();
        self.execution.hooks.pre(&self.work.target).await?;
        let (reader, gate) = self.start(ready).await?;
        let progress = self.execution.progress(|context| {
            context.activity = Activity::Dumping;
            context.bytes = gate.dump.bytes();
        });
        let described = self.describe()?;
        let written = {
            let (repository, gate) = (Arc::clone(self.repository), Arc::clone(&gate));
            blocking(move || repository.backup(&described, Box::new(reader), gate.as_ref())).await?
        };
        drop(progress);
        let written = match written {
            Ok(written) => written,
            Err(error) => return Err(self.cause(&gate, &error).await),
        };
        self.execution.conditions.extend(gate.stream.notices());
        let sha256 = gate.dump.outcome().map(|outcome| hex(&outcome.sha256)).unwrap_or_default();
        self.confirm(written, sha256, gate.stream.totals()).await
    }

    async fn start(&self, ready: Ready) -> Result<(DumpReader, Arc<CommitGate>), Failure> {
        let execution = &self.execution;
        let stall = Duration::from_secs(execution.plan.stall_seconds.into());
        let settings = DumpSettings { stall, blocks: BLOCKS };
        let (program, scanner) = (ready.dump.program, ready.dump.scanner);
        let spawner = &execution.worker.spawner;
        let started = spawner.dump(program, settings, Some(scanner), &execution.life.token()).await;
        let (reader, dump): (DumpReader, DumpHandle) = started.map_err(|error| of_spawn(&error))?;
        let gate = Arc::new(CommitGate {
            handle: Handle::current(),
            held: Arc::clone(execution.held),
            life: Arc::clone(execution.life),
            lease: self.lease.clone(),
            deadline: execution.plan.deadline,
            engine: ready.engine,
            dump: Arc::new(dump),
            program: self.work.step.program.clone(),
            stream: ready.dump.stream,
            target: self.work.target.name.clone(),
            repository: self.planned.reference.path(),
            refusal: std::sync::Mutex::default(),
        });
        Ok((reader, gate))
    }

    fn describe(&self) -> Result<repository::NewSnapshot, Failure> {
        let invalid = |error| Failure::new(Code::InvalidSpec, chain(&error));
        let tag = |tag: Tag, value: &str| tag.format(value).map_err(invalid);
        let execution = &self.execution;
        let invoker = &execution.plan.invoker;
        let consent = self.work.consent.as_ref().map(|policy| tag(Tag::Consent, &policy.to_string())).transpose()?;
        let tags = [
            tag(Tag::Session, &execution.session.key.uid.to_string())?,
            tag(Tag::Configuration, &ConfigurationKey::of(invoker).to_string())?,
            tag(Tag::ConfigurationUid, &invoker.uid.unwrap_or_default().to_string())?,
            tag(Tag::Cluster, execution.worker.cluster.as_str())?,
            tag(Tag::Identity, &self.cluster.uid.to_string())?,
            tag(Tag::Target, &self.work.target.name)?,
            tag(Tag::Attempt, &execution.held.holder.attempt.to_string())?,
        ];
        Ok(repository::NewSnapshot {
            host: self.work.host.clone(),
            path: self.work.path.clone(),
            tags: tags.into_iter().chain(consent).collect(),
            time: Timestamp::now(),
        })
    }

    /// The cause of a backup that broke off: the first of gate, stop, dump and storage that has one.
    async fn cause(&self, gate: &CommitGate, error: &Error) -> Broken {
        if let Some(refusal) = gate.take_refusal() {
            return refusal;
        }
        // Its reader has stopped, so the dump ends by itself or is killed.
        let outcome = tokio::time::timeout(END_OF_DUMP, gate.dump.wait()).await.ok();
        let failed = outcome.and_then(|outcome| of_dump(&gate.program, &outcome, &*gate.engine));
        failed.unwrap_or_else(|| of_repository(error)).into()
    }

    /// Reads the snapshot file back. Everything that it names was read back before it was written.
    async fn confirm(
        &mut self,
        written: WrittenSnapshot,
        sha256: String,
        record: Option<RecordTotals>,
    ) -> Result<Sound, Broken> {
        let id = written.snapshot_id;
        let (repository, named) = (Arc::clone(self.repository), id.clone());
        match finding(blocking(move || repository.verify_file(&named)).await?)? {
            Ok(()) => Ok(Sound {
                snapshot: id,
                bytes: written.bytes,
                added_bytes: written.added_bytes,
                sha256,
                record,
                adopted: false,
                read_back: written.read_back,
            }),
            Err(error) => {
                self.execution.rejected.push(id);
                Err(Failure::new(Code::ReadBackFailed, chain(&error)).into())
            }
        }
    }
}
