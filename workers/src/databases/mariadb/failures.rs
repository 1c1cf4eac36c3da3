//! Errors of module `mariadb` as failures of a session.

use lagan_schemas::error::{Code, Failure, chain};

use crate::mariadb::dump::Fault;
use crate::mariadb::{ArgumentError, ClientFailure, Incomplete, PreflightError, QueryError, ScopeError};
use crate::process::CaptureError;

pub(super) fn of_arguments(function: &str, error: &ArgumentError) -> Failure {
    Failure::new(Code::ArgumentForbidden, format!("Function `{function}`: {}", chain(error)))
}

pub(super) fn of_query(error: &QueryError) -> Failure {
    let told = error.failure().and_then(ClientFailure::code);
    let code = match error {
        // A connection that broke before any answer was none.
        QueryError::NotReady { .. } => {
            told.filter(|code| *code != Code::ConnectionLost).unwrap_or(Code::DatabaseUnreachable)
        }
        // A server without TLS has none however often it is asked.
        QueryError::Connection(_) | QueryError::NotEncrypted { .. } => Code::InvalidSpec,
        QueryError::Run(CaptureError::TimedOut { .. } | CaptureError::Silent { .. }) => Code::DatabaseUnreachable,
        _ => told.unwrap_or(Code::DumpFailed),
    };
    Failure::new(code, chain(error))
}

pub(super) fn of_preflight(error: &PreflightError) -> Failure {
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

/// A question to the target of a restore that it did not answer.
pub(super) fn of_target(error: &QueryError) -> Failure {
    let failure = of_query(error);
    let code = if failure.code == Code::DumpFailed { Code::RestoreFailed } else { failure.code };
    Failure::new(code, failure.message)
}

pub(super) fn of_scope(error: &ScopeError) -> Failure {
    Failure::new(Code::ScopeRefused, chain(error))
}

pub(super) fn of_incomplete(error: &Incomplete) -> Failure {
    let code = match error {
        Incomplete::Fault(Fault::Empty) => Code::DumpEmpty,
        Incomplete::NotADump { .. } | Incomplete::Misread | Incomplete::Fault(_) => Code::DumpTruncated,
        Incomplete::Holes(_) => Code::MissingPrivileges,
    };
    Failure::new(code, chain(error))
}
