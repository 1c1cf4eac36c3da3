//! The errors that end an engine, or make it start its parts anew.

use lagan_bus::consumers::ConsumerError;
use lagan_bus::kv::KvError;
use lagan_bus::streams::StreamError;
use lagan_sources::SourceError;
use lagan_sources::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(
        "data directory `{data_dir}` is not the one this cluster's memory is in (ledger {other}); start every process of a folder with the same --data-dir, or delete key `ledger` of bucket LOCKS if that directory is lost"
    )]
    OtherLedger { data_dir: std::path::PathBuf, other: String },
    #[error(
        "a Stash operator was installed in this cluster and owns the objects of stash.appscode.com: start the engine again, and it leaves them to the operator"
    )]
    StashOperator,
    #[error(
        "the Stash operator of this cluster is gone: start the engine again, and it runs the objects of stash.appscode.com"
    )]
    StashOperatorGone,
    #[error("stream `{0}` was replaced")]
    StoreReplaced(&'static str),
    #[error("alarm clock failed")]
    Alarm(#[from] tokio_cron_scheduler::JobSchedulerError),
    #[error("folder of manifests can't be watched")]
    Watch(#[from] notify::Error),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("a part of the engine panicked; this is a defect of Lagan")]
    Panicked(#[source] tokio::task::JoinError),
}

impl EngineError {
    /// Returns whether NATS was away, so that the same may succeed later.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Stream(StreamError::Ensure { source, .. } | StreamError::State { source, .. })
            | Self::Consumer(ConsumerError::Ensure { source, .. } | ConsumerError::State { source, .. }) => {
                source.is_transient()
            }
            Self::Kv(error) => error.is_outage(),
            _ => false,
        }
    }
}
