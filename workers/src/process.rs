//! Runs one program of a step: argv without a shell, its own process group, a death signal, secrets through
//! memory files, a bounded tail of its stderr, and blocking ends for its stdout (a dump) or stdin (a restore).
//!
//! This module knows no sessions, plans or databases. It reports how a program ended and never decides whether the
//! result is good; the commit gate does.

mod capture;
mod control;
mod dump;
mod feed;
pub mod guard;
mod memory;
mod program;
mod queue;
mod redact;
mod sandbox;
mod socket;
mod spawner;
mod stderr;
#[cfg(test)]
mod tests;

pub use capture::{Capture, CaptureError, Captured, capture};
pub use control::{ChildExit, Side, Stop, Stragglers};
pub use dump::{DumpHandle, DumpOutcome, DumpReader, DumpSettings, Scanner};
pub use feed::{FeedError, FeedReport, Feeder, Pulse, Waiting};
pub use program::{BASE_ENV, Input, Program, ProgramError, secret_path};
pub use redact::escape;
pub use sandbox::{Sandbox, is_available as is_sandbox_available};
pub use socket::ClientSocket;
pub use spawner::{Guard, SpawnError, Spawner};
pub use stderr::StderrTail;
