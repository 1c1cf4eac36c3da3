//! Chooses the snapshot of a restore, once.

use std::sync::Arc;

use lagan_schemas::error::Failure;
use lagan_schemas::origin::Clusters;
use lagan_schemas::plan::SnapshotSelector;

use super::Restore;
use crate::failures::{of_choice, of_repository};
use crate::opened::blocking;
use crate::repository::{Snapshot, WantedSnapshot, by_id, latest};
use crate::retention::{self, Asking, SnapshotProof};

impl Restore<'_, '_> {
    pub(super) async fn choose(&self) -> Result<Snapshot, Failure> {
        let source = &self.work.source;
        let repository = Arc::clone(self.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let cluster = self.execution.worker.intent.identity().await?;
        let clusters = source.from_cluster.as_deref().map_or(Clusters::Own(&cluster), Clusters::Named);
        let chosen = match &source.snapshot {
            SnapshotSelector::Id(id) => by_id(&listed.snapshots, id, clusters),
            SnapshotSelector::Latest => {
                let session = self.execution.session.key.uid;
                let configuration = source.configuration.as_ref();
                let stop = &self.execution.life.token();
                let asking = Asking { session, cluster: &cluster, configuration, stop };
                let host = source.host.as_deref();
                let is_candidate = |snapshot: &&Snapshot| {
                    snapshot.path() == source.path && host.is_none_or(|host| snapshot.host == host)
                };
                let candidates = listed.snapshots.iter().filter(is_candidate).collect();
                let proof = retention::proof(self.execution.worker, candidates, asking, source.not_after).await;
                let SnapshotProof { unproven, times } = proof.map_err(|failure| self.execution.stopped_or(failure))?;
                let wanted = WantedSnapshot {
                    clusters,
                    configuration,
                    host,
                    path: Some(&source.path),
                    not_after: source.not_after,
                    times: &times,
                };
                // A snapshot that its session has not named is never the latest.
                latest(&listed.snapshots, wanted, &unproven)
            }
        };
        chosen.cloned().map_err(|error| of_choice(&error))
    }
}
