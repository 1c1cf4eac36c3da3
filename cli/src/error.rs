//! Exit codes and the error type of the command line. It must not print; `output` does.

use lagan_schemas::error::{Class, Code, Failure, chain};
use serde_json::{Value, json};

/// The exit code of a command. Scripts depend on the numbers; 10, 11, 12 and 130 are those of restic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    /// The session that was waited for did not succeed.
    EndedFailed = 3,
    NotFound = 5,
    RepositoryAbsent = 10,
    RepositoryLocked = 11,
    WrongPassword = 12,
    Unreachable = 20,
    TimedOut = 124,
    Interrupted = 130,
}

/// Shown by `lagan --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    ok
  1    failed
  2    usage error
  3    the session that was waited for failed, was cancelled or was skipped
  5    not found
  10   the repository does not exist
  11   the repository is locked
  12   the repository's password is wrong
  20   NATS or the API server can't be reached
  124  the wait timed out; the session goes on
  130  interrupted

Environment: LAGAN_DATA_DIR, LAGAN_NATS_URL, LAGAN_NATS_CREDS, LAGAN_NATS_SERVER, LAGAN_LOG (a log filter, such as
`debug`), LAGAN_ASCII, NO_COLOR, CLICOLOR, CLICOLOR_FORCE, OTEL_EXPORTER_OTLP_ENDPOINT.";

impl Exit {
    /// Whether the same command may succeed later by itself.
    const fn class(self) -> Class {
        match self {
            Self::Unreachable | Self::TimedOut | Self::RepositoryLocked => Class::Transient,
            Self::Interrupted => Class::Interrupted,
            _ => Class::Permanent,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The reason why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub exit: Exit,
    pub code: Option<Code>,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), help: None }
    }

    /// A problem with the chain of the error's sources, each printed once.
    #[must_use]
    pub fn from_error(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self::new(exit, chain(error))
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The document that ends stderr if the output format is JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let class = self.code.map_or_else(|| self.exit.class(), Code::class);
        let mut error = json!({ "exitCode": self.exit as u8, "class": class, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = code.as_str().into();
            error["docs"] = format!("lagan explain {code}").into();
        }
        if let Some(help) = &self.help {
            error["help"] = help.as_str().into();
        }
        json!({ "error": error })
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let exit = match failure.code {
            Code::RepositoryAbsent => Exit::RepositoryAbsent,
            Code::RepositoryLocked => Exit::RepositoryLocked,
            Code::WrongPassword => Exit::WrongPassword,
            Code::SnapshotNotFound | Code::ReferenceNotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Self { exit, code: Some(failure.code), message: failure.message, help: Some(failure.code.help().to_owned()) }
    }
}

impl From<lagan_bus::ApiError> for Problem {
    fn from(error: lagan_bus::ApiError) -> Self {
        let exit = if error.is_transient() { Exit::Unreachable } else { Exit::Failed };
        Self::from_error(exit, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        use Exit::{
            EndedFailed, Failed, Interrupted, NotFound, Ok, RepositoryAbsent, RepositoryLocked, TimedOut, Unreachable,
            Usage, WrongPassword,
        };
        let all = [
            Ok,
            Failed,
            Usage,
            EndedFailed,
            NotFound,
            RepositoryAbsent,
            RepositoryLocked,
            WrongPassword,
            Unreachable,
            TimedOut,
            Interrupted,
        ];
        for exit in all {
            assert!(EXIT_CODES.contains(&format!("\n  {:<5}", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn a_failure_ends_with_an_error_object() {
        let problem = Problem::from(Failure::new(Code::WrongPassword, "repository `default/main` does not open"));
        assert_eq!(problem.exit, Exit::WrongPassword);
        assert_eq!(
            problem.to_json(),
            json!({"error": {
                "code": "E0303", "class": "permanent", "exitCode": 12,
                "message": "repository `default/main` does not open",
                "help": "RESTIC_PASSWORD in the storage Secret does not open the repository",
                "docs": "lagan explain E0303",
            }})
        );
    }
}
