//! The seam between the general code and database engines: the questions that an engine answers, and the list of the
//! engines that need code. Everything else about an engine is data of the catalogue. No other part of the general code
//! names an engine.

mod access;
mod destination;
mod login;
mod mariadb;
mod options;
mod postgres;
mod questions;
mod ran;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lagan_schemas::engine::Engine;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Notice, NoticeStatus, RecordTotals};

use crate::process::{DumpOutcome, FeedReport, Program, Scanner, escape};

pub(crate) use access::{Access, AllowedPrograms, ca_pem};
pub(crate) use ran::{FirstChange, FirstEffect, Ran, ran};

/// The questions that the general code asks a database engine.
pub(crate) trait DatabaseEngine: Send + Sync {
    /// The data of the engine.
    fn document(&self) -> &'static Engine;

    /// Checks the arguments of a dump, the server and the rights of the account. Answers the program to run and how its
    /// stream is judged.
    fn prepare<'a>(&'a self, access: &'a Access) -> BoxFuture<'a, Result<Dump, Failure>>;

    /// Returns whether this version understands the record that a backup stored beside its stream.
    fn reads_record(&self, record: &[u8]) -> bool;

    /// Starts a record of a stream that is read. `stored` is the record that its backup made, if there is one.
    fn survey(&self, stored: Option<&[u8]>) -> Box<dyn Survey>;

    /// Checks the arguments of a restore and looks at the target. From the record of the stream it decides which
    /// databases are written to. It changes nothing.
    fn inspect<'a>(&'a self, access: &'a Access, stream: RestoreStream<'a>) -> BoxFuture<'a, Result<Load, Failure>>;

    /// The depths to which this engine can compare a target.
    fn depths(&self) -> &'static [Depth];

    /// Compares the target with the record of the stream, after the last statement. What is missing is a failure, what
    /// is there beyond the record is a notice.
    fn compare<'a>(
        &'a self,
        access: &'a Access,
        stream: RestoreStream<'a>,
        depth: Depth,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>>;

    /// Asks the server what it does for the connections of this login that come from one of these ports.
    fn activity<'a>(
        &'a self,
        access: &'a Access,
        database: &'a str,
        ports: &'a [u16],
    ) -> BoxFuture<'a, Result<ServerActivity, Failure>> {
        Box::pin(questions::activity(access, self.document(), database, ports))
    }

    /// Time after which the server closes the connection of a restore that sends no statement; `None` if it is not known.
    fn idle_limit(&self) -> Option<Duration> {
        None
    }

    /// Starts to look for the first statement that changes something, in what a client is fed.
    fn first_change(&self) -> Box<dyn FirstChange>;

    /// The text before the number of the line that a client names when a statement fails.
    fn at_line(&self) -> &str {
        &self.document().at_line
    }

    /// Explains the standard error of a program.
    fn explain(&self, stderr: &[String]) -> Option<Explanation> {
        questions::explain(self.document(), stderr)
    }

    /// Checks that the last bytes of a stream end it.
    fn check_end(&self, tail: &[u8]) -> Result<(), String>;
}

/// The activity of a server for the connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerActivity {
    /// It works on a statement of it.
    Working,
    /// The statement waits for somebody else; the server's words.
    Waiting(String),
    /// It has no statement that runs.
    Idle,
    /// It does not show the connection.
    Unseen,
}

impl ServerActivity {
    /// Reads what each connection does: `works`, `waits` or `idles`, with the server's words.
    fn of(connections: &[(String, String)]) -> Self {
        let find = |does: &str| connections.iter().find(|(known, _)| known == does);
        match (find("works"), find("waits"), connections) {
            (Some(_), ..) => Self::Working,
            (None, Some((_, words)), _) => Self::Waiting(words.clone()),
            (None, None, []) => Self::Unseen,
            (None, None, _) => Self::Idle,
        }
    }
}

/// A dump that may start.
pub(crate) struct Dump {
    pub program: Program,
    pub scanner: Scanner,
    pub stream: Box<dyn DumpedStream>,
    pub notices: Vec<Notice>,
}

/// The stream of a dump, after it has ended.
pub(crate) trait DumpedStream: Send + Sync {
    /// Checks that the stream is complete and holds everything that was expected.
    fn check(&self, outcome: &DumpOutcome) -> Result<(), Failure>;

    /// The record of the stream, for the snapshot.
    fn record(&self) -> Option<Vec<u8>>;

    /// Totals of the record, for the session's result.
    fn totals(&self) -> Option<RecordTotals>;

    /// Findings that only the whole stream shows.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }
}

/// Makes the record of a stream from its blocks.
pub(crate) trait Survey: Send {
    fn block(&mut self, block: &[u8]);

    fn finish(self: Box<Self>) -> Vec<u8>;
}

/// A stream that is to be restored: its record, and the part of it that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestoreStream<'a> {
    pub record: &'a [u8],
    pub wanted: Wanted<'a>,
    pub clearing: Clearing,
}

/// The part of a stream that a person asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// The only databases to restore; none means all.
    pub databases: &'a [String],
    /// The name that a single one gets.
    pub renamed: Option<&'a str>,
}

/// How closely a target is compared with its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The names of all objects.
    Objects,
    /// The number of rows of every table, too.
    Rows,
}

/// Whether the databases of a restore are emptied before its first statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clearing {
    Leave,
    Empty,
}

/// A restore that may start.
pub(crate) struct Load {
    pub program: Program,
    /// Names of the databases that are written to.
    pub databases: Vec<String>,
    /// Reasons why the restore would break off, or bring back something else. It does not start with any.
    pub obstacles: Vec<String>,
    /// Conditions of the session, also of one that writes nothing.
    pub notices: Vec<Notice>,
    /// Their present content, in words; `None` if they hold nothing.
    pub existing: Option<String>,
    /// The fate of this content if it is not emptied before, one sentence for each part.
    pub fate: Vec<String>,
    /// Objects whose place an object of the stream can't take, in words.
    pub clashes: Option<String>,
    /// Statements that are fed before the stream.
    pub prelude: Vec<u8>,
    pub filter: Option<Box<dyn StreamFilter>>,
}

/// Leaves a part of a stream.
pub(crate) trait StreamFilter: Send {
    /// Appends to `out` what stays of the stream up to here.
    fn block(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), String>;

    /// Appends the rest.
    fn finish(self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String>;
}

/// The meaning of what a program wrote to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// `None` if the failure has no code of its own.
    pub code: Option<Code>,
    /// The line that tells the failure.
    pub line: String,
    pub hint: String,
}

macro_rules! engines {
    ($($arm:ident($engine:ty) = $name:literal;)*) => {
        /// An engine that needs code.
        #[derive(Clone)]
        pub(crate) enum CodedEngine {
            $($arm(Arc<$engine>),)*
        }

        impl CodedEngine {
            fn all() -> Vec<(&'static str, Self)> {
                vec![$(($name, Self::$arm(Arc::default())),)*]
            }
        }

        impl Deref for CodedEngine {
            type Target = dyn DatabaseEngine;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$arm(engine) => engine.as_ref(),)*
                }
            }
        }
    };
}

engines! {
    MariaDb(mariadb::MariaDb) = "MariaDB";
    Postgres(postgres::Postgres) = "PostgreSQL";
}

/// The engines of a worker, with what they learn about its programs.
pub(crate) struct Engines(Vec<(&'static str, CodedEngine)>);

impl Default for Engines {
    fn default() -> Self {
        Self(CodedEngine::all())
    }
}

impl Engines {
    pub fn find(&self, name: &str) -> Result<CodedEngine, Failure> {
        let found = self.0.iter().find(|(known, _)| *known == name).map(|(_, engine)| engine.clone());
        found.ok_or_else(|| {
            let message = format!("this worker knows no database engine `{name}`");
            Failure::new(Code::FunctionNotSupported, message)
        })
    }
}

/// Names that a message shows.
const SHOWN: usize = 10;

/// The first names of a list, for a message.
pub(crate) fn shown(names: &[impl AsRef<str>]) -> String {
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| escape(name.as_ref())).collect();
    format!("{}{more}", first.join(", "))
}

/// The sentence on objects that stay beside the restored ones.
fn remaining(names: &[impl AsRef<str>]) -> Option<String> {
    (!names.is_empty()).then(|| format!("what it did not bring stays: {}", shown(names)))
}

/// Judges how a target differs from its record: by what it lacks, and by what it has beyond it.
fn compared(missing: &[String], more: &[String]) -> Result<Vec<Notice>, Failure> {
    if !missing.is_empty() {
        let message = format!("every statement ran, but the target lacks {}", shown(missing));
        return Err(Failure::new(Code::TargetIncomplete, message));
    }
    let (kind, reason) = ("TargetHoldsMore".to_owned(), "NotInSnapshot".to_owned());
    let message = format!("the target holds more than the snapshot: {}", shown(more));
    let notice = Notice { kind, status: NoticeStatus::True, reason, message };
    Ok(if more.is_empty() { Vec::new() } else { vec![notice] })
}

fn not_compared(why: &str) -> Failure {
    let message = format!("every statement ran, but the target could not be compared: {why}");
    Failure::new(Code::TargetNotVerified, message)
}

/// SHA-256 sums and the like in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Checks that all of a stream was fed, to its end.
pub(crate) fn check_fed(engine: &CodedEngine, report: &FeedReport, expected_bytes: u64) -> Result<(), String> {
    if report.bytes != expected_bytes {
        return Err(format!("{} of {expected_bytes} bytes were fed", report.bytes));
    }
    engine.check_end(&report.tail)
}

#[cfg(test)]
mod tests;
