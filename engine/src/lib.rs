//! Decides: watch, schedule, plan, report. Each part reads views of the streams, makes a pure decision and
//! appends what came of it. It must not run a backup or touch a repository; workers do.

// The status of a whole session, written out with `json!`, goes deeper than the default.
#![cfg_attr(test, recursion_limit = "256")]

#[macro_use]
mod mutants;

mod blueprint;
mod cancel;
mod clock;
mod consumers;
mod context;
mod ended_objects;
mod error;
#[cfg(test)]
mod fixtures;
mod log_usage;
mod metrics;
mod operator;
mod outside;
mod plan;
mod planner;
mod report;
mod reporter;
mod run;
mod scheduler;
mod sessions;
#[cfg(test)]
mod simulation;
mod stores;
mod sweep;
mod timekeeper;
mod view;
mod wait_board;
mod waiting;
mod watcher;

pub use context::{EngineOptions, Timing};
pub use error::EngineError;
pub use metrics::EngineMetrics;
pub use run::run;
pub use waiting::Limits;
