//! Stable error codes: the kind of failure, whether a retry can help, and what a person should do next.
//! It must not format messages of particular failures; those come from where the failure happened.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether the same work can succeed later without a change by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Permanent,
    Transient,
    /// The worker was stopped although nothing was wrong. This never counts as an attempt.
    Interrupted,
}

macro_rules! codes {
    ($($variant:ident = $number:literal, $reason:literal, $class:ident, $help:literal;)*) => {
        /// The kind of a failure, for programs. Numbers are never reused: 01xx intent, 02xx dump, 03xx repository,
        /// 04xx restore, 05xx engine and bus.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Code {
            $(#[serde(rename = $number)] $variant,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number, such as `E0201`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $number,)* }
            }

            /// The reason in conditions and Kubernetes Events, in CamelCase.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)* }
            }

            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// The next step for a person, in one sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

codes! {
    InvalidSpec = "E0101", "InvalidSpec", Permanent, "correct the manifest; the message names the field";
    ReferenceNotFound = "E0102", "ReferenceNotFound", Permanent, "create the objects that the message names, or correct the reference";
    UsageNotAllowed = "E0103", "UsageNotAllowed", Permanent, "ask the owners of the object that the message names for their consent; it says what to add where";
    SubstitutionFailed = "E0104", "SubstitutionFailed", Permanent, "set the parameter in `task.params`, or give it a default in the Function";
    FunctionNotSupported = "E0105", "FunctionNotSupported", Permanent, "use a built-in Task (`lagan get tasks`), or a Function of group lagan.dev";
    NeedsConfirmation = "E0106", "NeedsConfirmation", Permanent, "if the restore is still wanted, create a new RestoreSession";
    IntentNotConfirmed = "E0107", "IntentNotConfirmed", Permanent, "the object was deleted or replaced before its session ran; no data was changed";
    SecretInvalid = "E0108", "SecretInvalid", Permanent, "add the key that the message names to the Secret";
    SourceUnreachable = "E0109", "SourceUnreachable", Transient, "check the Kubernetes API server and the rights of Lagan's ServiceAccounts; Lagan retries by itself";
    HookFailed = "E0110", "HookFailed", Permanent, "the message quotes the hook's answer; correct the hook, or remove it from `hooks`";
    SourceRefused = "E0111", "SourceRefused", Permanent, "give Lagan's ServiceAccounts the right that the message names (the chart has all of them), then start the session again";
    PlanDiffers = "E0112", "PlanDiffers", Transient, "an object was changed after the session was planned; Lagan plans it again by itself. If it comes again, engine and workers have different sources or --resolve, or somebody else writes plans: look who can publish to NATS";
    DumpFailed = "E0201", "DumpFailed", Permanent, "read the end of stderr in the message; there the dump program says why";
    DumpTruncated = "E0202", "DumpTruncated", Transient, "the dump ended without its trailer although it exited 0; look at the database server's log";
    DumpEmpty = "E0203", "DumpEmpty", Permanent, "the dump program wrote nothing; check the databases named in `args`";
    MissingPrivileges = "E0204", "MissingPrivileges", Permanent, "grant the account the privileges that the message lists";
    DatabaseUnreachable = "E0205", "DatabaseUnreachable", Transient, "check that the database runs and that the AppBinding's address is right";
    AccessDenied = "E0206", "AccessDenied", Permanent, "check user and password in the AppBinding's Secret";
    ConnectionLost = "E0207", "ConnectionLost", Transient, "look at the database server's log; raise net_write_timeout if the storage is slow";
    SchemaChanged = "E0208", "SchemaChangedDuringDump", Transient, "keep DDL out of the backup window; Lagan retries the session by itself";
    BrokenObject = "E0209", "BrokenObject", Permanent, "repair or drop the object that the message names";
    Stalled = "E0210", "Stalled", Transient, "no data moved during the stall time; check the load of the database and the storage";
    ProgramNotAllowed = "E0211", "ProgramNotAllowed", Permanent, "install the program, or add it to the worker's allow-list";
    ArgumentForbidden = "E0212", "ArgumentForbidden", Permanent, "remove the option that the message names from `args`";
    NotRestorable = "E0213", "NotRestorable", Permanent, "the dump could not be restored; change the object that the message names";
    DumpKilled = "E0214", "DumpKilled", Transient, "look for out-of-memory kills on the worker; Lagan retries the session by itself";
    RepositoryAbsent = "E0301", "RepositoryAbsent", Permanent, "no backup has been written to this place yet; check bucket and prefix";
    RepositoryLocked = "E0302", "RepositoryLocked", Transient, "another process uses the repository; wait until it ends";
    WrongPassword = "E0303", "WrongPassword", Permanent, "RESTIC_PASSWORD in the storage Secret does not open the repository";
    StorageUnreachable = "E0304", "StorageUnreachable", Transient, "check endpoint and network of the storage";
    StorageDenied = "E0305", "StorageDenied", Permanent, "check the storage credentials and the bucket's policy";
    StorageFull = "E0306", "StorageFull", Transient, "free space on the storage";
    RepositoryDamaged = "E0307", "RepositoryDamaged", Permanent, "run `restic check --read-data` on the repository";
    ReadBackFailed = "E0308", "ReadBackFailed", Transient, "the snapshot that was written could not be read back; the storage loses or changes data";
    NotARepository = "E0309", "NotARepository", Permanent, "the place holds other data; choose an empty prefix or directory";
    SnapshotNotFound = "E0310", "SnapshotNotFound", Permanent, "`lagan snapshots` lists what can be restored";
    SnapshotAmbiguous = "E0311", "SnapshotAmbiguous", Permanent, "name a snapshot id, or the configuration to choose from";
    RepositoryBeingDeleted = "E0312", "RepositoryBeingDeleted", Permanent, "name another Repository, or create this one again after its deletion";
    LocationShared = "E0313", "LocationShared", Permanent, "if the data is not needed elsewhere, delete it by hand; `wipeOut` deletes only data that a single Repository names";
    SnapshotOfOtherCluster = "E0314", "SnapshotOfOtherCluster", Permanent, "if you mean the snapshot of that cluster, name the cluster in `fromCluster` of the RestoreSession";
    SnapshotIncomplete = "E0315", "SnapshotIncomplete", Permanent, "choose another snapshot; `lagan snapshots` lists them";
    StorageCredentialsExpired = "E0316", "StorageCredentialsExpired", Transient, "renew the credentials in the storage Secret; the next attempt reads them again";
    TargetNotEmpty = "E0401", "TargetNotEmpty", Permanent, "restore into an empty target, or say with `existing: Replace` that the data there is dropped, or with `existing: Merge` (`overwrite: true`) that it stays where the snapshot has nothing";
    TargetPartiallyRestored = "E0402", "TargetPartiallyRestored", Permanent, "the target may hold part of the data; correct what the message says, then restore again with `existing: Replace`";
    RestoreFailed = "E0403", "RestoreFailed", Permanent, "read the end of stderr in the message; the client says which statement failed";
    ScopeRefused = "E0404", "ScopeRefused", Permanent, "name the databases as the message says";
    RestoreObstructed = "E0405", "RestoreObstructed", Permanent, "nothing was written; remove each obstacle as the message says, then create a new RestoreSession";
    TargetIncomplete = "E0406", "TargetIncomplete", Permanent, "every statement ran, and the target lacks what the message names; find out what removed it, or restore again with `existing: Replace`";
    TargetNotVerified = "E0407", "TargetNotVerified", Permanent, "every statement ran, but the target could not be compared with the snapshot; remove the cause that the message names and compare it by hand, or restore with `verify: None`";
    WorkerLost = "E0501", "WorkerLost", Permanent, "workers died while they ran this session; check their logs, and look for out-of-memory kills";
    DeadlineExceeded = "E0502", "DeadlineExceeded", Permanent, "raise `timeOut`, or find out why the session takes so long";
    Cancelled = "E0503", "Cancelled", Permanent, "the message says who cancelled the session; start a new one if it is still needed";
    Interrupted = "E0504", "Interrupted", Interrupted, "the worker was stopped; another one continues";
    Expired = "E0505", "Expired", Permanent, "the session did not end within the retention of its log; start it again";
    WorkersTooOld = "E0506", "WorkersTooOld", Permanent, "upgrade the workers of the pool that the message names (workers are upgraded before the engine), then start the session again";
    TimedOutWaiting = "E0507", "TimedOutWaiting", Permanent, "the message names what the session waited for; free it, raise a limit or `timeOut`, or add workers";
    QuotaExceeded = "E0508", "QuotaExceeded", Permanent, "wait until sessions of the namespace have ended, or raise the engine's --max-open-sessions";
    Internal = "E0599", "Internal", Transient, "this is a defect of Lagan; please report it with the message";
}

impl Code {
    /// Returns whether somebody whom the work needs does not answer, holds what it needs, or has not planned it anew yet. Only
    /// waiting helps, and nobody has to occupy a worker for that.
    #[must_use]
    pub const fn is_unavailability(self) -> bool {
        matches!(
            self,
            Self::SourceUnreachable
                | Self::PlanDiffers
                | Self::DatabaseUnreachable
                | Self::RepositoryLocked
                | Self::StorageUnreachable
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|c| c.as_str() == text).ok_or(())
    }
}

/// Length limit of messages in events and statuses, in bytes.
const MESSAGE_LIMIT: usize = 4096;

/// A failure in facts, statuses and the CLI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub code: Code,
    pub reason: String,
    pub message: String,
}

impl Failure {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > MESSAGE_LIMIT {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT - 3));
            message.push('…');
        }
        Self { code, reason: code.reason().to_owned(), message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// Formats an error and its sources as one line. Several libraries print their source in `Display` and also return it
/// from `source()`, so texts that the line already contains are left out.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_unique() {
        for (i, a) in Code::ALL.iter().enumerate() {
            assert_eq!(a.as_str().parse(), Ok(*a));
            for b in &Code::ALL[i + 1..] {
                assert!(a.as_str() != b.as_str() && a.reason() != b.reason(), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure = Failure::new(Code::DumpFailed, "ü".repeat(5000));
        assert!(failure.message.len() <= 4096 && failure.message.ends_with('…'));
    }
}
