//! Ends the engine when a Stash operator is installed while it runs Stash's objects: two would run each of them. The
//! engine that is started in its place leaves them to the operator, and ends when the operator is gone: nobody would run them.

use std::time::Duration;

use lagan_schemas::error::chain;
use lagan_sources::source::OperatorChange;

use crate::context::Context;
use crate::error::EngineError;

const LOOKS: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: Context) -> Result<(), EngineError> {
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOKS) => {}
        }
        match context.source().stash_operator_change().await {
            Ok(Some(OperatorChange::Installed)) => return Err(EngineError::StashOperator),
            Ok(Some(OperatorChange::Removed)) => return Err(EngineError::StashOperatorGone),
            Ok(None) => {}
            Err(error) => tracing::debug!(error = chain(&error), "whether a Stash operator runs is not known now"),
        }
    }
}
