//! The commit gate (P9), the last decision before a snapshot is written. It opens only if the dump ended well and whole,
//! `committing` could be appended, and then session, lease and deadline still allow it. The dump is judged before what was
//! stored of it is read back.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lagan_bus::lease::Tenure;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Committing, Fact};
use tokio::runtime::Handle;

use crate::databases::{CodedEngine, DumpedStream};
use crate::failures::{of_dump, of_stop};
use crate::process::DumpHandle;
use crate::repository::{Companion, Gate, GateRefused};
use crate::session::Broken;
use crate::session::held::{Held, HeldError};
use crate::session::life::{Life, StopCause};

/// The record of a stream, beside the stream in every snapshot of this program.
pub(crate) const RECORD: &str = "lagan-record.json";

pub(super) struct CommitGate {
    pub handle: Handle,
    pub held: Arc<Held>,
    pub life: Arc<Life>,
    /// The lease of the repository.
    pub lease: Tenure,
    pub deadline: Option<Timestamp>,
    pub engine: CodedEngine,
    pub dump: Arc<DumpHandle>,
    pub program: String,
    pub stream: Box<dyn DumpedStream>,
    pub target: String,
    pub repository: String,
    pub refusal: Mutex<Option<Broken>>,
}

impl CommitGate {
    pub fn take_refusal(&self) -> Option<Broken> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn may_open(&self) -> Result<(), Broken> {
        self.judge_dump()?;
        let committing =
            Committing { holder: self.held.holder, target: self.target.clone(), repository: self.repository.clone() };
        self.handle.block_on(self.commit(Fact::Committing(committing)))?;
        // Both may have waited for NATS, while the lease went to somebody else or the time ran out.
        match self.may_commit(Timestamp::now()) {
            Some(cause) => Err(cause.failure().into()),
            None => Ok(()),
        }
    }

    /// Appends `committing` and has the lease confirmed. An outage of NATS is waited for, until the session is stopped.
    async fn commit(&self, committing: Fact) -> Result<(), Broken> {
        let stop = self.life.token();
        self.held.append_until(committing, &stop).await.map_err(|error| match error {
            HeldError::Fenced => Broken::Fenced,
            error @ HeldError::Log(_) => {
                of_stop(self.life.stopped(), Failure::new(Code::Internal, chain(&error))).into()
            }
        })?;
        tokio::select! {
            () = stop.cancelled() => {}
            // `may_commit` sees a loss.
            _ = self.lease.confirmed() => {}
        }
        Ok(())
    }

    fn judge_dump(&self) -> Result<(), Broken> {
        let outcome = self.dump.outcome().ok_or_else(|| Failure::new(Code::Internal, "the dump has not ended"))?;
        if let Some(cause) = self.life.stopped() {
            return Err(cause.failure().into());
        }
        if let Some(failure) = of_dump(&self.program, &outcome, &*self.engine) {
            return Err(failure.into());
        }
        if !outcome.clean() {
            let message = format!("`{}` was stopped ({:?}) after {} bytes", self.program, outcome.stop, outcome.bytes);
            return Err(Failure::new(Code::DumpTruncated, message).into());
        }
        self.stream.check(&outcome)?;
        if self.dump.delivered() != outcome.bytes {
            let message = format!("the archiver took {} of {} bytes", self.dump.delivered(), outcome.bytes);
            return Err(Failure::new(Code::DumpTruncated, message).into());
        }
        Ok(())
    }

    fn refuse(&self, broken: Broken) -> GateRefused {
        let reason = match &broken {
            Broken::Fenced => "the session was taken over".to_owned(),
            Broken::Failed(failure) => failure.to_string(),
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken);
        GateRefused { reason }
    }

    /// The reason why a snapshot must not be written any more, if there is one.
    fn may_commit(&self, now: Timestamp) -> Option<StopCause> {
        let lost = (!self.lease.is_held()).then(|| StopCause::LeaseLost(self.repository.clone()));
        barred(self.life.stopped().or(lost), self.deadline, now)
    }
}

fn barred(stopped: Option<StopCause>, deadline: Option<Timestamp>, now: Timestamp) -> Option<StopCause> {
    stopped.or_else(|| deadline.is_some_and(|deadline| now > deadline).then_some(StopCause::Deadline))
}

impl Gate for CommitGate {
    fn companion(&self) -> Option<Companion> {
        let content = self.stream.record()?;
        Some(Companion { name: RECORD.to_owned(), content, time: Timestamp::now() })
    }

    fn judge(&self) -> Result<(), GateRefused> {
        self.judge_dump().map_err(|broken| self.refuse(broken))
    }

    fn open(&self) -> Result<(), GateRefused> {
        self.may_open().map_err(|broken| self.refuse(broken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_barred_by_a_stop_and_by_a_deadline_that_passed_meanwhile() {
        let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        assert_eq!(barred(None, None, now), None);
        assert_eq!(barred(None, Some(later), now), None);
        assert_eq!(barred(None, Some(now), now), None);
        assert_eq!(barred(None, Some(now), later), Some(StopCause::Deadline));
        let lost = StopCause::LeaseLost("s3".to_owned());
        assert_eq!(barred(Some(lost.clone()), Some(now), later), Some(lost));
    }
}
