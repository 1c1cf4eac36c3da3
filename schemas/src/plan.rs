//! The plan of a session: everything a worker needs, with no choice left to it and no secret in it.
//! It must not resolve anything; the planner fills it.

mod hooks;
mod one_or_more;
mod size;
mod target;
mod work;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::notice::Notice;
use crate::resource::ObjectRef;
use crate::subject::{Lane, SessionKind};

pub use hooks::{Application, PlanHooks};
pub use one_or_more::{Empty, OneOrMore};
pub use size::{LIMIT, Oversize};
pub use target::{Credentials, Database, PlanTarget, Resolve, Tls, TlsMode};
pub use work::{
    BackupWork, Existing, PlanRepository, RestoreMode, RestoreWork, SnapshotSelector, SnapshotSource, Step, Verify,
    WipeWork, Work,
};

/// Version of the plan's shape. A worker leaves a plan of a later version to a worker that knows it.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub version: u32,
    /// Name of the session for people.
    pub session_name: String,
    pub invoker: ObjectRef,
    /// Pool of workers that reach the repository.
    pub pool: String,
    pub lane: Lane,
    pub retry: Retry,
    /// The session fails if it has not ended by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
    /// A step that moves no byte for this long is killed.
    pub stall_seconds: u32,
    /// What the planner left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    pub work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Tries after the first one.
    pub max: u32,
    pub delay_seconds: u64,
}

impl Plan {
    /// The kind of session that such work belongs to.
    #[must_use]
    pub const fn kind(&self) -> SessionKind {
        match self.work {
            Work::Backup(_) => SessionKind::Backup,
            Work::Restore(_) => SessionKind::Restore,
            Work::Wipe(_) => SessionKind::Maintenance,
        }
    }

    /// The database that is worked on, if the work needs one.
    #[must_use]
    pub fn target(&self) -> Option<&PlanTarget> {
        match &self.work {
            Work::Backup(work) => Some(&work.target),
            Work::Restore(work) => Some(&work.target),
            Work::Wipe(_) => None,
        }
    }

    /// The repositories that are worked on, the first one first.
    pub fn repositories(&self) -> impl Iterator<Item = &PlanRepository> {
        let repositories = match &self.work {
            Work::Backup(work) => &work.repositories[..],
            Work::Restore(work) => std::slice::from_ref(&work.repository),
            Work::Wipe(work) => std::slice::from_ref(&work.repository),
        };
        repositories.iter()
    }

    /// restic host of the snapshot that is written, or that was asked for.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.work {
            Work::Backup(work) => Some(&work.host),
            Work::Restore(work) => work.source.host.as_deref(),
            Work::Wipe(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
