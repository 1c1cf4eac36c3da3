//! Asks the NATS server for its time again and again, and reports when the clock of this machine is wrong.

use std::time::Duration;

use crate::clock::is_fault;
use crate::context::Context;
use crate::error::EngineError;

/// Time between two questions to the server.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the clock right, and reports when this machine's is wrong.
pub(crate) async fn run(context: Context) -> Result<(), EngineError> {
    let mut was_fault = false;
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        context.clock.ask(&context.bus).await;
        let skew = context.clock.skew();
        context.options.metrics.clock_skew(skew);
        let skew_seconds = skew.as_secs_f64();
        match (was_fault, is_fault(skew)) {
            (false, true) => tracing::error!(
                skew_seconds,
                "the clock of this machine differs from the NATS server's; schedules follow the server's: set both right"
            ),
            (true, false) => tracing::info!(skew_seconds, "the clock of this machine is right again"),
            _ => {}
        }
        was_fault = is_fault(skew);
    }
}
