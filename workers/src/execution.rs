//! The one loop of every session: read the hooks, work, run the post hook, conclude. The work itself is in `backup`,
//! `restore` and `wipe`. A repository is opened here only, under a lease that is watched and always released.

use std::sync::Arc;

use futures::future::maybe_done;
use lagan_bus::lease::{Lease, LeaseMode};
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Notice, TargetResult};
use lagan_schemas::plan::{BackupWork, Database, Plan, PlanRepository, RestoreWork, Step, WipeWork, Work};
use lagan_schemas::session::Session;
use tokio_util::task::AbortOnDropHandle;

use crate::agreement;
use crate::backup::{self, Backup, beside};
use crate::consent;
use crate::databases::Access;
use crate::failures::of_stop;
use crate::hooks::Hooks;
use crate::opened::{Missing, Opened, lease, reachable};
use crate::place::{RepositoryAccess, place};
use crate::progress::{ProgressContext, ProgressReporter};
use crate::repository::Repository;
use crate::restore::Restore;
use crate::session::held::Held;
use crate::session::life::{Life, StopCause};
use crate::session::{Broken, Failed, SessionOutcome};
use crate::wipe;
use crate::worker::Worker;

/// Workers that may be lost under a session; after one more it is not run again (P8).
pub(crate) const LOST_WORKERS: u32 = 3;
/// The same for a backup, which then does not even look for a snapshot of its own any more.
const LOST_LOOKING: u32 = 2 * LOST_WORKERS;

/// One attempt at a session.
pub(crate) struct Execution<'a> {
    pub worker: &'a Worker,
    pub held: &'a Arc<Held>,
    pub life: &'a Arc<Life>,
    pub plan: &'a Plan,
    /// The session when the attempt began.
    pub session: Session,
    /// Snapshots that this attempt verified, one for each repository that it has finished.
    pub verified: Vec<TargetResult>,
    /// Snapshots of this session that failed their read-back.
    pub rejected: Vec<String>,
    pub conditions: Vec<Notice>,
    pub hooks: Hooks<'a>,
}

pub(crate) async fn run(worker: &Worker, held: &Arc<Held>, life: &Arc<Life>, plan: &Plan) -> SessionOutcome {
    let session = held.session().await;
    if let Some(cancel) = &session.cancel {
        return StopCause::Cancelled(cancel.clone()).failure().into();
    }
    // A backup first looks for a snapshot that a lost worker finished (P10), unless the look itself loses workers.
    let limit = if matches!(plan.work, Work::Backup(_)) { LOST_LOOKING } else { LOST_WORKERS };
    if let Some(failure) = too_many_lost(&session, limit) {
        return failure.into();
    }
    if let Err(failure) = consent::confirm(worker, plan).await {
        return failure.into();
    }
    if let Err(failure) = agreement::confirm(worker, plan).await {
        return failure.into();
    }
    let hooks = match Hooks::new(worker, held, life, plan).recall(&session).read().await {
        Ok(hooks) => hooks,
        Err(failed) => return SessionOutcome::Failed(Box::new(failed)),
    };
    let (verified, rejected) = (Vec::new(), Vec::new());
    let conditions = if plan.target().is_some() { worker.notices() } else { Vec::new() };
    let mut execution = Execution { worker, held, life, plan, session, verified, rejected, conditions, hooks };
    let worked = execution.work().await;
    execution.conclude(worked).await
}

/// The failure of a session under which too many workers were lost: it may be what kills them.
pub(crate) fn too_many_lost(session: &Session, limit: u32) -> Option<Failure> {
    let lost = session.lost_workers;
    (lost > limit).then(|| Failure::new(Code::WorkerLost, format!("{lost} workers died under this session")))
}

/// The lease of a repository. A worker that loses it stops, and is waited for: nothing of it may go on in the background.
pub(crate) struct Leased {
    pub lease: Lease,
    _watch: AbortOnDropHandle<()>,
}

impl Leased {
    /// Releases the lease after the work, whatever its result is.
    async fn after<T>(self, result: T) -> T {
        self.release().await;
        result
    }

    pub async fn release(self) {
        self.lease.release().await;
    }
}

impl Execution<'_> {
    async fn work(&mut self) -> Result<(), Broken> {
        let plan = self.plan;
        for repository in plan.repositories() {
            let result = match &plan.work {
                Work::Backup(work) => self.back_up(work, repository).await,
                Work::Restore(work) => self.restore(work).await,
                Work::Wipe(work) => self.wipe(work).await,
            };
            self.verified.extend(result?);
        }
        Ok(())
    }

    async fn back_up(
        &mut self,
        work: &BackupWork,
        repository: &PlanRepository,
    ) -> Result<Option<TargetResult>, Broken> {
        let cluster = self.worker.intent.identity().await?;
        // The database is asked while the repository opens.
        let mut preflight = Box::pin(maybe_done(backup::preflight(self.worker, self.life, work)));
        let opened = beside(self.open(repository, Missing::Init), preflight.as_mut()).await;
        let (opened, leased) = opened.map_err(|failure| self.stopped_or(failure))?;
        let (planned, repository, lease, cluster) = (repository, &opened, leased.lease.tenure(), &cluster);
        let backup = Backup { execution: self, work, planned, repository, lease, cluster };
        let result = Box::pin(backup.run(preflight)).await;
        match leased.after(result).await {
            Err(Broken::Failed(failure)) => Err(self.stopped_or(failure).into()),
            result => result.map(Some),
        }
    }

    async fn restore(&mut self, work: &RestoreWork) -> Result<Option<TargetResult>, Broken> {
        let intent = &self.worker.intent;
        intent.confirm(&work.object).await?;
        intent.confirm_first_run(&work.object).await?;
        let (opened, leased) = self.open(&work.repository, Missing::Fail).await?;
        let restore = Restore { execution: self, work, repository: &opened, leased: Some(leased) };
        match Box::pin(restore.run()).await {
            // A request to the storage that was broken off does not know why.
            Err(Broken::Failed(failure)) if failure.code == Code::Interrupted => Err(self.stopped_or(failure).into()),
            result => result.map(Some),
        }
    }

    async fn wipe(&mut self, work: &WipeWork) -> Result<Option<TargetResult>, Broken> {
        let life = self.life;
        let (place, leased) = wipe::until_stopped(life, self.take_place(work)).await?;
        let result = wipe::run(self, work, &place, &leased.lease).await;
        leased.after(result).await.map(|()| None)
    }

    /// Opens a repository under a lease that writers and readers share.
    async fn open(&self, planned: &PlanRepository, missing: Missing) -> Result<(Arc<Repository>, Leased), Failure> {
        let secret = self.worker.intent.storage_secret(planned).await?;
        let place = place(planned, &secret, self.worker.intent.volumes())?;
        let stop = self.life.token();
        let Opened { repository, lease } = Opened::open(self.worker, &place, &self.owner(), missing, &stop).await?;
        let leased = self.watch(lease, place.storage.place().to_string());
        Ok((repository, leased))
    }

    /// Takes the place of a repository for this worker alone, without opening it.
    async fn take_place(&self, work: &WipeWork) -> Result<(RepositoryAccess, Leased), Failure> {
        let intent = &self.worker.intent;
        intent.confirm_wipe(&work.repository).await?;
        let secret = intent.storage_secret(&work.repository).await?;
        let place = place(&work.repository, &secret, intent.volumes())?;
        reachable(self.worker, &place.storage, &self.life.token()).await?;
        let lease =
            lease(self.worker, &place.storage, (&self.owner(), LeaseMode::Exclusive), &self.life.token()).await?;
        let leased = self.watch(lease, place.storage.place().to_string());
        Ok((place, leased))
    }

    fn watch(&self, lease: Lease, location: String) -> Leased {
        let watch = self.life.stop_when(lease.tenure().lost(), StopCause::LeaseLost(location));
        Leased { lease, _watch: watch }
    }

    fn owner(&self) -> String {
        format!("{}-{}", self.session.key.uid, self.held.holder.worker)
    }

    pub async fn access(&self, database: &Database, step: &Step) -> Result<Access, Failure> {
        let worker = self.worker;
        let parts = (&worker.spawner, &worker.programs, &worker.intent);
        Access::resolve(parts, database, step, &self.life.token()).await
    }

    /// Reports progress until the result is dropped.
    pub fn progress(&self, context: impl FnOnce(&mut ProgressContext)) -> ProgressReporter {
        let mut told = ProgressContext::new(&self.session.key, self.plan);
        context(&mut told);
        ProgressReporter::start(self.worker.bus.clone(), told)
    }

    /// A failure that our own stop caused carries the cause of the stop.
    pub fn stopped_or(&self, failure: Failure) -> Failure {
        of_stop(self.life.stopped(), failure)
    }

    async fn conclude(mut self, worked: Result<(), Broken>) -> SessionOutcome {
        let worked = match worked {
            Ok(()) => Ok(self.verified.clone()),
            Err(Broken::Fenced) => return SessionOutcome::Fenced,
            Err(Broken::Failed(failure)) => Err(failure),
        };
        if worked.is_err() && self.life.stopped() == Some(StopCause::Fenced) {
            return SessionOutcome::Fenced;
        }
        let worked = match self.plan.target() {
            Some(target) => self.hooks.post(target, worked).await,
            None => worked,
        };
        let conditions = self.conditions.into_iter().chain(self.hooks.into_notices()).collect();
        match worked {
            Ok(results) => SessionOutcome::Succeeded { results, conditions },
            Err(failure) => {
                // A verified snapshot stays valid, whatever failed after it. A restore has none.
                let is_backup = matches!(self.plan.work, Work::Backup(_));
                let results = if is_backup { self.verified } else { Vec::new() };
                SessionOutcome::Failed(Box::new(Failed {
                    failure,
                    results,
                    rejected_snapshots: self.rejected,
                    conditions,
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lagan_schemas::subject::SessionKind;

    use super::*;
    use crate::fixtures;

    #[test]
    fn the_number_of_lost_workers_is_bounded_for_a_look_at_snapshots_too() {
        let mut session = fixtures::session(SessionKind::Backup);
        for (lost, expected) in [(3, [true, true]), (4, [false, true]), (6, [false, true]), (7, [false, false])] {
            session.lost_workers = lost;
            let goes_on = [LOST_WORKERS, LOST_LOOKING].map(|limit| too_many_lost(&session, limit).is_none());
            assert_eq!(goes_on, expected, "{lost}");
        }
    }
}
