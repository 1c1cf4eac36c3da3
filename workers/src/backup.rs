//! A backup: adopts the snapshot of an earlier attempt, else dumps through the commit gate, reads back, decides retention.
//! Nothing is removed before `succeeded` names the snapshot that stays (P11).

mod adopt;
mod forget;
mod gate;
mod preflight;
mod result;
mod write;

pub(crate) use forget::forget;
pub(crate) use gate::RECORD;
pub(crate) use preflight::{beside, preflight};

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::MaybeDone;
use lagan_bus::lease::Tenure;
use lagan_schemas::error::Failure;
use lagan_schemas::fact::{Notice, NoticeStatus, RecordTotals, TargetResult};
use lagan_schemas::origin::ClusterIdentity;
use lagan_schemas::plan::{BackupWork, PlanRepository};
use tokio::time::timeout;

use self::preflight::Ready;
use crate::execution::Execution;
use crate::repository::{ReadBack, Repository};
use crate::session::Broken;

/// How long the answers of a database are relied on.
const FRESH: Duration = Duration::from_secs(10);

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

/// A backup into one repository.
pub(crate) struct Backup<'r, 'a> {
    pub execution: &'r mut Execution<'a>,
    pub work: &'r BackupWork,
    pub planned: &'r PlanRepository,
    pub repository: &'r Arc<Repository>,
    pub lease: &'r Tenure,
    /// The identity under which snapshots are written and found.
    pub cluster: &'r ClusterIdentity,
}

impl Backup<'_, '_> {
    /// `asked` is the preflight, which began while the repository opened.
    pub async fn run(
        mut self,
        mut asked: Pin<Box<MaybeDone<impl Future<Output = Result<Ready, Failure>>>>>,
    ) -> Result<TargetResult, Broken> {
        let began = Instant::now();
        // Confirmed under the lease: deleting the data needs it exclusively.
        self.execution.worker.intent.confirm_repository(&self.planned.reference).await?;
        let sound = match beside(self.adopt(), asked.as_mut()).await? {
            // An adopted snapshot needs no database.
            Some(sound) => {
                self.execution.conditions.extend(findings(asked.as_mut()).await);
                sound
            }
            None => {
                asked.as_mut().await;
                let ready = asked.as_mut().take_output().expect("it has ended, and its output was not taken")?;
                let ready = self.fresh(ready).await?;
                self.write(ready).await?
            }
        };
        let mut result = self.verified(sound, began);
        if let Err(broken) = self.account(&mut result).await {
            // The snapshot is verified, whatever failed after that.
            self.execution.verified.push(result);
            return Err(broken);
        }
        Ok(result)
    }

    /// Asks again if the answers are old, because the repository had to be waited for.
    async fn fresh(&self, ready: Ready) -> Result<Ready, Failure> {
        if ready.asked.elapsed() <= FRESH {
            return Ok(ready);
        }
        preflight(self.execution.worker, self.execution.life, self.work).await
    }
}

/// The findings about the database of an adopted snapshot, which its own attempt could not tell any more.
async fn findings(mut asked: Pin<&mut MaybeDone<impl Future<Output = Result<Ready, Failure>>>>) -> Vec<Notice> {
    let why = match timeout(FRESH, asked.as_mut()).await {
        Ok(()) => match asked.take_output() {
            Some(Ok(ready)) => return ready.dump.notices,
            Some(Err(failure)) => failure.message,
            None => return Vec::new(),
        },
        Err(_) => format!("it did not answer within {} s", FRESH.as_secs()),
    };
    let message = format!(
        "the snapshot of an earlier attempt is used, and it is not known what its dump may lack, because the database can't be asked: {why}; the next backup tells"
    );
    tracing::warn!(message);
    vec![Notice {
        kind: "FindingsUnknown".to_owned(),
        status: NoticeStatus::True,
        reason: "DatabaseNotAsked".to_owned(),
        message,
    }]
}
