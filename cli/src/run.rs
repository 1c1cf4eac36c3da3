//! Runs the parts: `up`, `engine`, `worker`.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::args::{EngineArgs, Global, UpArgs, WorkerArgs};
use crate::error::{Exit, Problem};

pub async fn up(_args: UpArgs, _global: &Global) -> Result<Exit, Problem> {
    Err(Problem::new(Exit::Failed, "not part of this build"))
}

pub async fn engine(_args: EngineArgs, _global: &Global) -> Result<Exit, Problem> {
    Err(Problem::new(Exit::Failed, "not part of this build"))
}

pub async fn worker(_args: WorkerArgs, _global: &Global) -> Result<Exit, Problem> {
    Err(Problem::new(Exit::Failed, "not part of this build"))
}

#[must_use]
pub fn guard_exec(_args: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
