//! Errors of the parts as failures of a session: code, and a message that says what failed, on which object, and why.

use std::error::Error;

use lagan_schemas::error::{Code, Failure, chain};

use crate::mariadb::dump::Fault;
use crate::mariadb::{
    ArgumentError, FailureKind, Incomplete, Obstacle, PreflightError, QueryError, RestoreIncomplete, TargetError,
};
use crate::process::{DumpOutcome, Exit, Side, SpawnError, Stop};
use crate::repository::{self, ChoiceError};

/// How much of stderr a message carries.
const STDERR_LINES: usize = 12;

pub(crate) fn internal(error: &dyn Error) -> Failure {
    Failure::new(Code::Internal, chain(error))
}

pub(crate) fn of_repository(error: &repository::Error) -> Failure {
    Failure::new(error.code(), chain(error))
}

pub(crate) fn of_arguments(function: &str, error: &ArgumentError) -> Failure {
    Failure::new(Code::ArgumentForbidden, format!("Function `{function}`: {}", chain(error)))
}

pub(crate) fn of_spawn(error: &SpawnError) -> Failure {
    let code = match error {
        SpawnError::Program(_) => Code::ArgumentForbidden,
        SpawnError::NotExecutable { .. } => Code::ProgramNotAllowed,
        SpawnError::Prepare { .. } | SpawnError::Start { .. } => Code::Internal,
    };
    Failure::new(code, chain(error))
}

fn code_of(kind: FailureKind) -> Option<Code> {
    Some(match kind {
        FailureKind::AccessDenied | FailureKind::AuthPlugin => Code::AccessDenied,
        FailureKind::MissingPrivilege => Code::MissingPrivileges,
        FailureKind::UnknownHost | FailureKind::Tls | FailureKind::CannotConnect | FailureKind::TooManyConnections => {
            Code::DatabaseUnreachable
        }
        FailureKind::LostConnection | FailureKind::ServerStopping => Code::ConnectionLost,
        FailureKind::TableVanished | FailureKind::TableChanged => Code::SchemaChanged,
        FailureKind::BrokenView => Code::BrokenObject,
        _ => return None,
    })
}

pub(crate) fn of_query(error: &QueryError) -> Failure {
    let kind = error.failure().map(|failure| failure.kind);
    let code = match error {
        QueryError::NotReady { .. } => kind.and_then(code_of).unwrap_or(Code::DatabaseUnreachable),
        QueryError::Connection(_) => Code::InvalidSpec,
        QueryError::NotEncrypted { .. } => Code::DatabaseUnreachable,
        _ => kind.and_then(code_of).unwrap_or(Code::DumpFailed),
    };
    Failure::new(code, chain(error))
}

pub(crate) fn of_preflight(error: &PreflightError) -> Failure {
    let code = match error {
        PreflightError::Query(query) => return of_query(query),
        PreflightError::UnknownDatabases(_) | PreflightError::NothingSelected => Code::DumpEmpty,
        PreflightError::MissingGrants(_) => Code::MissingPrivileges,
        PreflightError::BrokenViews(_) => Code::BrokenObject,
        PreflightError::EventBodies(_)
        | PreflightError::SequenceCycle(_)
        | PreflightError::CharacterSet(_)
        | PreflightError::LimitedSelects(_)
        | PreflightError::UnencodedDatabases(_)
        | PreflightError::NotLoadable(_)
        | PreflightError::Names(_) => Code::NotRestorable,
    };
    Failure::new(code, chain(error))
}

pub(crate) fn of_target(error: &TargetError) -> Failure {
    match error {
        TargetError::Query(query) => {
            let failure = of_query(query);
            let code = if failure.code == Code::DumpFailed { Code::RestoreFailed } else { failure.code };
            Failure::new(code, failure.message)
        }
        other => Failure::new(Code::RestoreFailed, chain(other)),
    }
}

/// A restore that did not begin.
pub(crate) fn of_obstacles(obstacles: &[Obstacle]) -> Failure {
    let of_account =
        |one: &Obstacle| matches!(one, Obstacle::MissingGrant(_) | Obstacle::Definers(_) | Obstacle::BinaryLog);
    let code = if obstacles.iter().all(of_account) { Code::MissingPrivileges } else { Code::NotRestorable };
    let list: Vec<String> = obstacles.iter().take(10).map(ToString::to_string).collect();
    Failure::new(code, format!("nothing was restored: {}", list.join("; ")))
}

pub(crate) fn of_choice(error: &ChoiceError) -> Failure {
    Failure::new(error.code(), chain(error))
}

/// Why a dump that has ended is no dump; `None` if its end is not the cause of anything.
pub(crate) fn of_dump(program: &str, outcome: &DumpOutcome) -> Option<Failure> {
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
        (Some(_), _) | (None, Exit::Code(0)) => None,
        (None, Exit::Signal(signal)) => {
            let message = format!("`{program}` was killed by signal {signal} after {} bytes{stderr}", outcome.bytes);
            Some(Failure::new(Code::DumpKilled, message))
        }
        (None, Exit::Code(exit)) => {
            let found = crate::mariadb::Failure::read(&outcome.stderr.lines);
            let code = found.as_ref().and_then(|failure| code_of(failure.kind)).unwrap_or(Code::DumpFailed);
            let hint = found.map(|failure| format!("; {}", failure.kind.hint())).unwrap_or_default();
            Some(Failure::new(code, format!("`{program}` exited {exit} after {} bytes{stderr}{hint}", outcome.bytes)))
        }
    }
}

pub(crate) fn of_incomplete(error: &Incomplete) -> Failure {
    let code = match error {
        Incomplete::Fault(Fault::Empty) => Code::DumpEmpty,
        Incomplete::NotADump { .. } | Incomplete::Misread | Incomplete::Fault(_) => Code::DumpTruncated,
        Incomplete::Holes(_) => Code::MissingPrivileges,
    };
    Failure::new(code, chain(error))
}

pub(crate) fn of_restore(snapshot: &str, fed_bytes: u64, why: &RestoreIncomplete) -> Failure {
    let snapshot = snapshot.get(..8).unwrap_or(snapshot);
    let code = if fed_bytes == 0 { Code::RestoreFailed } else { Code::TargetPartiallyRestored };
    Failure::new(code, format!("restore of snapshot {snapshot} stopped after {fed_bytes} bytes: {why}"))
}

/// `: first line | second line`, or nothing.
pub(crate) fn stderr(lines: &[String]) -> String {
    let from = lines.len().saturating_sub(STDERR_LINES);
    let shown: Vec<&str> = lines[from..].iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    if shown.is_empty() { " and said nothing".to_owned() } else { format!(": {}", shown.join(" | ")) }
}
