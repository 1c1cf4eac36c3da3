//! Errors of the parts as failures of a session, with code and message. Those of a database engine are in `databases`.

use std::error::Error;

use lagan_schemas::error::{Code, Failure, chain};

use crate::databases::DatabaseEngine;
use crate::process::{ChildExit, DumpOutcome, Side, SpawnError, Stop};
use crate::repository::{self, ChoiceError};
use crate::session::life::StopCause;

/// How much of stderr a message carries.
const STDERR_LINES: usize = 12;

pub(crate) fn internal(error: &dyn Error) -> Failure {
    Failure::new(Code::Internal, chain(error))
}

/// A failure that our own stop caused carries the cause of the stop.
pub(crate) fn of_stop(stopped: Option<StopCause>, failure: Failure) -> Failure {
    stopped.map_or(failure, |cause| cause.failure())
}

pub(crate) fn of_repository(error: &repository::Error) -> Failure {
    Failure::new(error.code(), chain(error))
}

pub(crate) fn of_spawn(error: &SpawnError) -> Failure {
    let code = match error {
        SpawnError::Program(_) => Code::ArgumentForbidden,
        SpawnError::NotExecutable { .. } => Code::ProgramNotAllowed,
        SpawnError::Prepare { .. } | SpawnError::Start { .. } => Code::Internal,
    };
    Failure::new(code, chain(error))
}

pub(crate) fn of_choice(error: &ChoiceError) -> Failure {
    Failure::new(error.code(), chain(error))
}

/// Why a dump that has ended is no dump; `None` if its end is not the cause of anything.
pub(crate) fn of_dump(program: &str, outcome: &DumpOutcome, engine: &dyn DatabaseEngine) -> Option<Failure> {
    let stderr = stderr(&outcome.stderr.lines);
    match (outcome.stop, outcome.exit) {
        (Some(Stop::Stalled(Side::Dump)), _) => Some(Failure::new(
            Code::Stalled,
            format!("`{program}` wrote nothing for too long after {} bytes{stderr}", outcome.bytes),
        )),
        (Some(Stop::Stalled(Side::Uploader)), _) => Some(Failure::new(
            Code::Stalled,
            format!("the storage took nothing for too long after {} bytes", outcome.bytes),
        )),
        // We ended it: whoever did so knows why.
        (Some(_), _) | (None, ChildExit::Code(0)) => None,
        (None, ChildExit::Signal(signal)) => {
            let message = format!("`{program}` was killed by signal {signal} after {} bytes{stderr}", outcome.bytes);
            Some(Failure::new(Code::DumpKilled, message))
        }
        (None, ChildExit::Code(exit)) => {
            let explanation = engine.explain(&outcome.stderr.lines);
            // A client whose server goes away between two tables ends without a word; what is wrong for good is told.
            let is_silent = outcome.bytes > 0 && outcome.stderr.lines.iter().all(|line| line.trim().is_empty());
            let unexplained = if is_silent { Code::ConnectionLost } else { Code::DumpFailed };
            let code = explanation.as_ref().and_then(|explanation| explanation.code).unwrap_or(unexplained);
            let hint = explanation.map(|explanation| format!("; {}", explanation.hint)).unwrap_or_default();
            Some(Failure::new(code, format!("`{program}` exited {exit} after {} bytes{stderr}{hint}", outcome.bytes)))
        }
    }
}

/// `: first line | second line`, or nothing.
pub(crate) fn stderr(lines: &[String]) -> String {
    let from = lines.len().saturating_sub(STDERR_LINES);
    let shown: Vec<&str> = lines[from..].iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    if shown.is_empty() { " and said nothing".to_owned() } else { format!(": {}", shown.join(" | ")) }
}
