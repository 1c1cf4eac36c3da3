//! A Stash operator that is installed while this engine runs Stash's objects: two would run each of them. The engine ends,
//! and the one that is started in its place leaves them to the operator.

use std::time::Duration;

use lagan_schemas::error::chain;
use lagan_sources::Source;
use lagan_sources::kubernetes::StashCompat;

use crate::context::Context;
use crate::run::EngineError;

const LOOKS: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: Context) -> Result<(), EngineError> {
    let api = match context.source() {
        Source::Kubernetes(api) if api.stash == StashCompat::On => api,
        _ => {
            context.stop.cancelled().await;
            return Ok(());
        }
    };
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOKS) => {}
        }
        match api.stash_operator_runs().await {
            Ok(true) => return Err(EngineError::StashOperator),
            Ok(false) => {}
            Err(error) => tracing::debug!(error = chain(&error), "whether a Stash operator runs is not known now"),
        }
    }
}
