//! What a session waits for, in words for people.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::limited::Limited;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WaitCause {
    /// It was not looked at yet.
    New,
    /// The time of its next attempt.
    Retry,
    /// Objects that it names, or that the engine has yet to read.
    Objects(Vec<String>),
    /// Its turn: others use what it needs.
    Turn(Limited),
    /// A server or a place that does not answer; another session tries it.
    Answer(Limited),
    /// Another session, by its name.
    Session(String),
    /// The session log is nearly full.
    LogFull,
    /// The source of intent or NATS does not answer.
    Source(String),
}

impl WaitCause {
    /// Whether it waits for the answer of this one.
    pub fn is_answer_of(&self, out: &Limited) -> bool {
        matches!(self, Self::Answer(of) if of == out)
    }

    /// The reason in CamelCase.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::New => "NotPlannedYet",
            Self::Retry => "RetryLater",
            Self::Objects(_) => "ReferenceNotFound",
            Self::Turn(limited) => limited.reason(),
            Self::Answer(Limited::Server(_)) => "DatabaseUnreachable",
            Self::Answer(_) => "StorageUnreachable",
            Self::Session(_) => "SessionInTheWay",
            Self::LogFull => "SessionLogFull",
            Self::Source(_) => "SourceUnreachable",
        }
    }
}

impl fmt::Display for WaitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("a planner"),
            Self::Retry => f.write_str("the time of its next attempt"),
            Self::Objects(names) => f.write_str(&names.join(", ")),
            Self::Turn(limited) => write!(f, "{limited}"),
            Self::Answer(limited) => write!(f, "{limited}, which does not answer"),
            Self::Session(name) => write!(f, "session `{name}`"),
            Self::LogFull => f.write_str("space in the session log"),
            Self::Source(error) => f.write_str(error),
        }
    }
}

/// What ends a wait. Facts that concern the session end it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    After(Duration),
    /// The same, and everything that was reserved for the session stays so: it may hold the lock of its target.
    AfterWithLock(Duration),
    /// A change of the objects, but not before `pause`, and at the latest after `latest`.
    Objects {
        pause: Duration,
        latest: Duration,
    },
    /// The end of a session, or its next retry; at the latest after this time.
    SessionEnds(Uuid, Duration),
}
