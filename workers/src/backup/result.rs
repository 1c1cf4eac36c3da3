//! The result of a session for a sound snapshot, and what retention will remove once it has been told.

use std::sync::Arc;
use std::time::Instant;

use jiff::Zoned;
use lagan_schemas::fact::{RepositoryStatistics, TargetResult};
use lagan_schemas::origin::{ConfigurationKey, SnapshotOwner};

use super::{Backup, Sound};
use crate::failures::of_repository;
use crate::opened::blocking;
use crate::repository::Error;
use crate::retention::{self, Asking, shared_name};
use crate::session::Broken;

impl Backup<'_, '_> {
    pub(super) fn verified(&self, sound: Sound, began: Instant) -> TargetResult {
        TargetResult {
            target: self.work.target.name.clone(),
            host: self.work.host.clone(),
            repository: self.planned.reference.clone(),
            path: self.work.path.clone(),
            snapshot: sound.snapshot,
            size_bytes: sound.bytes,
            added_bytes: sound.added_bytes,
            sha256: sound.sha256,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            adopted: sound.adopted,
            packs_read: sound.read_back.packs_read as u64,
            packs: sound.read_back.packs_total as u64,
            record: sound.record,
            retention: None,
            statistics: None,
        }
    }

    /// Adds what retention will remove and what the repository holds.
    pub(super) async fn account(&mut self, result: &mut TargetResult) -> Result<(), Broken> {
        let (listed, statistics) = {
            let repository = Arc::clone(self.repository);
            blocking(move || Ok::<_, Error>((repository.snapshots()?, repository.statistics()?))).await?
        }
        .map_err(|error| of_repository(&error))?;
        let named = std::slice::from_ref(&result.snapshot);
        let (worker, plan) = (self.execution.worker, self.execution.plan);
        let own = ConfigurationKey::of(&plan.invoker);
        let session = self.execution.session.key.uid;
        let stop = &self.execution.life.token();
        let asking = Asking { session, cluster: self.cluster, configuration: Some(&own), stop };
        let unnamed = retention::unnamed(worker, &listed.snapshots, asking, named).await?;
        let shared = shared_name(&listed.snapshots, self.cluster, worker.cluster.as_str());
        self.execution.conditions.extend(shared);
        let policy = &self.work.retention;
        let owner = SnapshotOwner { cluster: self.cluster, configuration: &own };
        let decisions = retention::decide(&listed.snapshots, owner, policy, &Zoned::now(), &unnamed)?;
        let (retention, removed) = retention::summary(&decisions, &unnamed, policy);
        result.retention = Some(retention);
        result.statistics = Some(RepositoryStatistics {
            snapshots: statistics.snapshots.saturating_sub(removed),
            size_bytes: statistics.stored_bytes,
        });
        Ok(())
    }
}
