//! Decides: watch, schedule, plan, report. Each part reads views of the streams, makes a pure decision and
//! appends what came of it. It must not run a backup or touch a repository; workers do.

mod blueprint;
mod cancel;
mod context;
mod fill;
#[cfg(test)]
mod fixtures;
mod metrics;
mod plan;
mod planner;
mod report;
mod reporter;
mod run;
mod scheduler;
mod sessions;
mod sweep;
mod view;
mod watcher;

pub use context::{Options, Resolve, Timing};
pub use metrics::Metrics;
pub use run::{EngineError, run};
