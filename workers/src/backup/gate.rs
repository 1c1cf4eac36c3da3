//! The commit gate (P9): the last look before a snapshot is written. It opens only if the dump ended well and whole,
//! the session is still ours, and `committing` could be appended.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Committing, Fact, RecordTotals};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::hex;
use crate::failures::{of_dump, of_incomplete};
use crate::mariadb::dump::{DatabaseRecord, Record, Taken};
use crate::mariadb::{Expected, Recording, check_dump};
use crate::process::DumpHandle;
use crate::repository::{Companion, Gate, GateRefused};
use crate::restore::known::RECORD_PATH;
use crate::session::Broken;
use crate::session::held::{Held, HeldError};
use crate::session::life::Life;

pub(super) struct CommitGate {
    pub handle: Handle,
    pub held: Arc<Held>,
    pub life: Arc<Life>,
    pub dump: Arc<DumpHandle>,
    pub program: String,
    pub recording: Recording,
    /// The moment that the data shows, and the server's version.
    pub taken: Taken,
    pub time: Timestamp,
    pub expected: Expected,
    pub target: String,
    pub repository: String,
    pub refusal: Mutex<Option<Broken>>,
}

impl CommitGate {
    pub fn take_refusal(&self) -> Option<Broken> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn judge(&self) -> Result<(), Broken> {
        let outcome = self.dump.outcome().ok_or_else(|| Failure::new(Code::Internal, "the dump has not ended"))?;
        if let Some(cause) = self.life.stopped() {
            return Err(cause.failure().into());
        }
        if let Some(failure) = of_dump(&self.program, &outcome) {
            return Err(failure.into());
        }
        if !outcome.clean() {
            let message = format!("`{}` was stopped ({:?}) after {} bytes", self.program, outcome.stop, outcome.bytes);
            return Err(Failure::new(Code::DumpTruncated, message).into());
        }
        check_dump(&outcome, &self.recording, &self.expected).map_err(|error| of_incomplete(&error))?;
        if self.dump.delivered() != outcome.bytes {
            let message = format!("the archiver took {} of {} bytes", self.dump.delivered(), outcome.bytes);
            return Err(Failure::new(Code::DumpTruncated, message).into());
        }
        let committing =
            Committing { holder: self.held.holder, target: self.target.clone(), repository: self.repository.clone() };
        self.handle.block_on(self.held.append(Fact::Committing(committing))).map_err(|error| match error {
            HeldError::Fenced => Broken::Fenced,
            error @ HeldError::Log(_) => Broken::Failed(Failure::new(Code::Internal, chain(&error))),
        })
    }
}

impl CommitGate {
    /// The record as it is stored.
    fn record(&self) -> Record {
        Record { taken: Some(self.taken.clone()), ..Record::clone(&self.recording.record()) }
    }

    pub fn totals(&self) -> RecordTotals {
        let record = self.record();
        let sum = |count: fn(&DatabaseRecord) -> u64| record.databases.iter().map(count).sum();
        RecordTotals {
            databases: record.databases.len() as u64 + record.databases_left_out,
            tables: sum(|database| database.tables.count),
            other_objects: sum(|database| database.objects.values().map(|listed| listed.count).sum()),
            rows: record.rows(),
            sha256: hex(&Sha256::digest(record.to_json())),
        }
    }
}

impl Gate for CommitGate {
    fn companion(&self) -> Option<Companion> {
        let name = RECORD_PATH.trim_start_matches('/').to_owned();
        Some(Companion { name, content: self.record().to_json(), time: self.time })
    }

    fn open(&self) -> Result<(), GateRefused> {
        self.judge().map_err(|broken| {
            let reason = match &broken {
                Broken::Fenced => "the session was taken over".to_owned(),
                Broken::Failed(failure) => failure.to_string(),
            };
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken);
            GateRefused { reason }
        })
    }
}
