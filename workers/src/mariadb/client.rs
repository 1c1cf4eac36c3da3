//! Asks a server questions through the `mariadb` client, with the same secret files as a dump.
//! Only questions: every statement here is a `SELECT` or a `SHOW`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::{Connection, ConnectionError, TlsMode},
    failure::{Class, Failure},
    version::ClientVersion,
};
use crate::process::{Capture, CaptureError, Captured, Exit, Input, Program, Spawner, capture};

/// What one statement answers: rows of fields.
pub type Rows = Vec<Vec<String>>;

const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// A server as seen through the client program.
#[derive(Debug, Clone)]
pub struct Client {
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
    #[error("the server refused: {}; {}", failure.line, failure.kind.hint())]
    Refused { failure: Failure },
    #[error("the client ended with {exit:?}: {stderr}")]
    Client { exit: Exit, stderr: String },
    #[error("the server was not ready within {} s: {}; {}", waited.as_secs(), last.line, last.kind.hint())]
    NotReady { waited: Duration, last: Failure },
    #[error("the connection is not encrypted, but TLS mode is `{mode:?}`")]
    NotEncrypted { mode: TlsMode },
    #[error("the server's answer cannot be read")]
    Answer,
}

impl QueryError {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { failure } | Self::NotReady { last: failure, .. } => failure.kind.class(),
            Self::Run(CaptureError::TimedOut { .. } | CaptureError::Silent { .. } | CaptureError::Cancelled { .. }) => {
                Class::Transient
            }
            _ => Class::Permanent,
        }
    }

    /// The error as the server told it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure } | Self::NotReady { last: failure, .. } => Some(failure),
            _ => None,
        }
    }
}

impl Client {
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
            return answers(&String::from_utf8_lossy(&captured.stdout), &end).ok_or(QueryError::Answer);
        }
        match Failure::read(&captured.stderr.lines) {
            Some(failure) => Err(QueryError::Refused { failure }),
            None => Err(QueryError::Client { exit: captured.exit, stderr: captured.stderr.text }),
        }
    }

    /// Asks each question, whatever the others answer, and returns those that the server refused.
    pub(super) async fn refused(&self, questions: &[String]) -> Result<Vec<(usize, Failure)>, QueryError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let script = questions.iter().fold(String::new(), |script, question| script + question + ";\n");
        // `--force` is right here and nowhere else: every statement is a question of its own.
        let captured = self.run(script, Some("--force"), 1).await?;
        let mut refused = Vec::new();
        for line in &captured.stderr.lines {
            let at = line.split_once(" at line ").and_then(|(_, rest)| rest.split(':').next()?.parse::<usize>().ok());
            if let (Some(at), Some(failure)) = (at, Failure::read(std::slice::from_ref(line))) {
                refused.push((at.saturating_sub(1), failure));
            }
        }
        match Failure::read(&captured.stderr.lines) {
            // It did not even get as far as the first question.
            Some(failure) if refused.is_empty() => Err(QueryError::Refused { failure }),
            _ => Ok(refused),
        }
    }

    /// Each question has its time, and a server that answers none is not waited for as if there were many; the answers
    /// share their room.
    async fn run(&self, script: String, extra: Option<&str>, questions: usize) -> Result<Captured, QueryError> {
        let args = [
            "--batch",
            // Each answer is heard when it is there.
            "--unbuffered",
            "--skip-column-names",
            "--skip-reconnect",
            "--sandbox",
            "--local-infile=0",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G",
            "--loose-skip-print-query-on-error",
        ];
        let mut program = Program {
            args: args.into_iter().chain(extra).map(ToOwned::to_owned).collect(),
            input: Input::Bytes(script.into_bytes()),
            ..Program::new(&self.mariadb)
        };
        self.connection.attach(&mut program, &self.version)?;
        let limits = Capture::default();
        let times = u32::try_from(questions).unwrap_or(u32::MAX);
        let limits =
            Capture { timeout: limits.timeout * times, max_bytes: limits.max_bytes * questions.min(2), ..limits };
        Ok(capture(&self.spawner, program, limits, &self.cancel).await?)
    }

    /// Waits until the server answers, and checks that the connection is as private as was asked for.
    /// An error that waiting cannot cure is returned at once.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), QueryError> {
        let [rows] = self.ask_when_ready(["SHOW SESSION STATUS LIKE 'Ssl_cipher'".to_owned()], limit).await?;
        let mode = self.connection.tls.mode;
        let encrypted = rows.iter().any(|row| row.get(1).is_some_and(|cipher| !cipher.is_empty()));
        if mode.needs_encryption() && !encrypted { Err(QueryError::NotEncrypted { mode }) } else { Ok(()) }
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
                Err(QueryError::Refused { failure }) if failure.kind.class() == Class::Transient => {
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
fn answers<const N: usize>(output: &str, end: &str) -> Option<[Rows; N]> {
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
    let answers = (0..N).map(|_| answer()).collect::<Option<Vec<_>>>()?;
    answers.try_into().ok()
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
            answers::<3>(output, "END"),
            Some([vec![vec!["a".into(), "b".into()], vec!["c".into()]], vec![], vec![vec!["d".into()]]])
        );
        assert_eq!(answers::<4>(output, "END"), None);
        assert_eq!(answers::<2>("a\nEND\nb\n", "END"), None);
    }

    #[test]
    fn literals_and_identifiers_cannot_be_left() {
        assert_eq!(literal("a'"), "_utf8mb4 X'6127'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
