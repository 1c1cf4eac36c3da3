//! Asks a server questions through the `mariadb` client, with the same secret files as a dump.
//! Only questions: every statement here is a `SELECT` or a `SHOW`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use lagan_schemas::{error::Class, plan::TlsMode};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::{ConnectionError, attach, needs_encryption},
    engine,
    failure::ClientFailure,
    version::ClientVersion,
};
use crate::connection::Connection;
use crate::process::{Capture, CaptureError, Captured, ChildExit, Input, Program, Spawner, capture};

/// The answer to one statement: rows of fields.
pub type Rows = Vec<Vec<String>>;

const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Begins every script. The client asks for the character set `binary`, as a dump of hexadecimal text does; a server
/// that ignores such wishes gives another, and `HANDSHAKE` tells which.
///
/// Two variables make a SELECT return less than everything, and mariadb-dump does not set them back.
const PROLOGUE: &str = "SET @lagan_handshake=@@character_set_client, \
    @lagan_limits=CONCAT(IF(@@sql_select_limit=18446744073709551615,'',CONCAT('sql_select_limit=',@@sql_select_limit)), \
    IF(@@system_versioning_asof='DEFAULT','',CONCAT(' system_versioning_asof=',@@system_versioning_asof))); \
    SET NAMES utf8mb4; SET sql_select_limit=18446744073709551615; ";

/// Variables that limit what a SELECT returns, as an expression; empty if none does.
pub(super) const LIMITS: &str = "@lagan_limits";

/// The character set of the connection before the prologue, as an expression.
pub(super) const HANDSHAKE: &str = "@lagan_handshake";

/// A server as seen through the client program.
#[derive(Debug, Clone)]
pub struct SqlClient {
    pub spawner: Spawner,
    /// The `mariadb` program.
    pub mariadb: PathBuf,
    pub version: ClientVersion,
    pub connection: Connection,
    pub cancel: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Run(#[from] CaptureError),
    #[error("the server refused: {}; {}", failure.line, failure.hint())]
    Refused { failure: ClientFailure },
    #[error("the client ended with {exit:?}: {stderr}")]
    Client { exit: ChildExit, stderr: String },
    #[error("the server was not ready within {} s: {}; {}", waited.as_secs(), last.line, last.hint())]
    NotReady { waited: Duration, last: ClientFailure },
    #[error("the connection is not encrypted, but TLS mode is `{mode:?}`")]
    NotEncrypted { mode: TlsMode },
    #[error("the server's answer cannot be read")]
    Answer,
}

impl QueryError {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { failure } | Self::NotReady { last: failure, .. } => failure.class(),
            Self::Run(CaptureError::TimedOut { .. } | CaptureError::Silent { .. } | CaptureError::Cancelled { .. }) => {
                Class::Transient
            }
            _ => Class::Permanent,
        }
    }

    /// The error as the server told it.
    #[must_use]
    pub fn failure(&self) -> Option<&ClientFailure> {
        match self {
            Self::Refused { failure } | Self::NotReady { last: failure, .. } => Some(failure),
            _ => None,
        }
    }
}

impl SqlClient {
    /// The rows that one statement answers.
    pub async fn query(&self, sql: &str) -> Result<Rows, QueryError> {
        Ok(self.ask([sql.to_owned()]).await?.concat())
    }

    /// The rows that each statement answers, over one connection. The first that the server refuses ends it.
    pub async fn ask<const N: usize>(&self, questions: [String; N]) -> Result<[Rows; N], QueryError> {
        // No server can know it, so no row of an answer is taken for the end of one.
        let end = Uuid::new_v4().to_string();
        let script = questions.iter().map(|sql| format!("{sql};\nSELECT '{end}';\n")).collect();
        let captured = self.run(script, None, N).await?;
        if captured.exit.success() {
            let answers = answers(&String::from_utf8_lossy(&captured.stdout), &end, N).ok_or(QueryError::Answer)?;
            return answers.try_into().map_err(|_| QueryError::Answer);
        }
        match ClientFailure::read(&captured.stderr.lines) {
            Some(failure) => Err(QueryError::Refused { failure }),
            None => Err(QueryError::Client { exit: captured.exit, stderr: captured.stderr.text }),
        }
    }

    /// Asks each question, whatever the others answer. No question may hold a line break.
    pub(super) async fn each(&self, questions: &[String]) -> Result<Vec<Result<Rows, ClientFailure>>, QueryError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let end = Uuid::new_v4().to_string();
        let script = questions.iter().map(|sql| format!("{sql}; SELECT '{end}';\n")).collect();
        // `--force` is right here and nowhere else: every statement is a question of its own.
        let captured = self.run(script, Some("--force"), 1).await?;
        let mut refused = BTreeMap::new();
        for line in &captured.stderr.lines {
            let at = line.split_once(" at line ").and_then(|(_, rest)| rest.split(':').next()?.parse::<usize>().ok());
            if let (Some(at), Some(failure)) = (at, ClientFailure::read(std::slice::from_ref(line))) {
                refused.entry(at.saturating_sub(1)).or_insert(failure);
            }
        }
        let Some(answers) = answers(&String::from_utf8_lossy(&captured.stdout), &end, questions.len()) else {
            // The connection failed, or broke on the way.
            let failure = ClientFailure::read(&captured.stderr.lines).ok_or(QueryError::Answer)?;
            return Err(QueryError::Refused { failure });
        };
        let answer = |(at, rows)| refused.remove(&at).map_or(Ok(rows), Err);
        Ok(answers.into_iter().enumerate().map(answer).collect())
    }

    /// Runs a script. Each question adds to the time limit, but a server that is silent is given up after the limit of one;
    /// the bound on the size of the answers does not grow with their number.
    async fn run(&self, script: String, extra: Option<&str>, questions: usize) -> Result<Captured, QueryError> {
        let arguments = engine().queries.arguments.iter().map(String::as_str);
        let mut program = Program {
            args: arguments.chain(extra).map(ToOwned::to_owned).collect(),
            input: Input::Bytes([PROLOGUE, &script].concat().into_bytes()),
            ..Program::new(&self.mariadb)
        };
        attach(&self.connection, &mut program, &self.version)?;
        let limits = Capture::default();
        let times = u32::try_from(questions).unwrap_or(u32::MAX);
        let limits =
            Capture { timeout: limits.timeout * times, max_bytes: limits.max_bytes * questions.min(2), ..limits };
        Ok(capture(&self.spawner, program, limits, &self.cancel).await?)
    }

    /// Waits until the server answers, and checks that the connection is as private as was asked for.
    /// An error that waiting cannot cure is returned at once.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), QueryError> {
        let [rows] = self.ask_when_ready([engine().queries.ready.clone()], limit).await?;
        let mode = self.connection.tls.mode;
        let encrypted = rows.iter().any(|row| row.get(1).is_some_and(|cipher| !cipher.is_empty()));
        if needs_encryption(mode) && !encrypted { Err(QueryError::NotEncrypted { mode }) } else { Ok(()) }
    }

    /// Asks again and again until the server answers, at most for `limit`.
    pub(super) async fn ask_when_ready<const N: usize>(
        &self,
        questions: [String; N],
        limit: Duration,
    ) -> Result<[Rows; N], QueryError> {
        let since = Instant::now();
        loop {
            match self.ask(questions.clone()).await {
                Err(QueryError::Refused { failure }) if failure.class() == Class::Transient => {
                    if since.elapsed() + BETWEEN_TRIES > limit {
                        return Err(QueryError::NotReady { waited: since.elapsed(), last: failure });
                    }
                }
                other => return other,
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }
}

/// Splits the output of questions that were each followed by `end`.
fn answers(output: &str, end: &str, count: usize) -> Option<Vec<Rows>> {
    let mut lines = output.lines();
    let mut answer = || {
        let mut rows = Rows::new();
        loop {
            match lines.next()? {
                line if line == end => return Some(rows),
                line => rows.push(fields(line)),
            }
        }
    };
    (0..count).map(|_| answer()).collect()
}

/// A string literal that no SQL mode and no character set can change.
pub(super) fn literal(text: &str) -> String {
    use std::fmt::Write;
    let mut literal = String::from("_utf8mb4 X'");
    for byte in text.bytes() {
        let _ = write!(literal, "{byte:02x}");
    }
    literal.push('\'');
    literal
}

/// An identifier in backticks.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// One line of `--batch` output.
fn fields(line: &str) -> Vec<String> {
    line.split('\t').map(unescape).collect()
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('0') => text.push('\0'),
                Some(other) => text.push(other),
                None => text.push('\\'),
            },
            (other, false) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_batch_output_are_unescaped() {
        assert_eq!(fields("a\\tb\tc\\\\_d\\n\t"), ["a\tb", "c\\_d\n", ""]);
    }

    #[test]
    fn answers_are_told_apart_by_their_ends() {
        let output = "a\tb\nc\nEND\nEND\nd\nEND\n";
        assert_eq!(
            answers(output, "END", 3),
            Some(vec![vec![vec!["a".into(), "b".into()], vec!["c".into()]], vec![], vec![vec!["d".into()]]])
        );
        assert_eq!(answers(output, "END", 4), None);
        assert_eq!(answers("a\nEND\nb\n", "END", 2), None);
    }

    #[test]
    fn literals_and_identifiers_cannot_be_left() {
        assert_eq!(literal("a'"), "_utf8mb4 X'6127'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
