//! Tells, after a restore has failed, which statements ran: nothing that changes anything, or those before a line, or an
//! unknown number.

use super::{CodedEngine, Explanation};
use crate::process::FeedReport;

/// The first statement of a client's input that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstEffect {
    /// A client that was fed fewer bytes has not run it.
    pub after_bytes: u64,
    /// A client that failed at this line of its input, or before, has changed nothing.
    pub line: u64,
}

/// Looks for the first change in the bytes that a client is fed.
pub(crate) trait FirstChange: Send {
    fn feed(&mut self, block: &[u8]);

    /// Nothing if the bytes so far change nothing.
    fn found(&self) -> Option<FirstEffect>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// No statement that changes anything.
    Nothing,
    /// Every statement before the one at this line of the client's input.
    Before(u64),
    Unknown,
}

/// `said` is the meaning of what a client that failed by itself wrote to standard error.
pub(crate) fn ran(
    engine: &CodedEngine,
    first: Option<FirstEffect>,
    report: &FeedReport,
    said: Option<&Explanation>,
) -> Ran {
    let Some(first) = first.filter(|first| report.bytes >= first.after_bytes) else { return Ran::Nothing };
    let Some(said) = said else { return Ran::Unknown };
    match failed_at(engine.at_line(), &said.line, &report.stderr.lines) {
        // A client names the line of every statement that fails, so this one failed before the first.
        None => Ran::Nothing,
        Some(line) if line <= first.line => Ran::Nothing,
        Some(line) => Ran::Before(line),
    }
}

fn failed_at(mark: &str, line: &str, all: &[String]) -> Option<u64> {
    let number = |line: &str| {
        let (_, rest) = line.split_once(mark)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    };
    number(line).or_else(|| all.iter().rev().find_map(|line| number(line)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::Engines;
    use super::*;
    use crate::process::{ChildExit, StderrTail, Stragglers};

    const FIRST: Option<FirstEffect> = Some(FirstEffect { after_bytes: 100, line: 7 });

    fn judged(engine: &str, bytes: u64, stderr: &str) -> Ran {
        let engine = Engines::default().find(engine).unwrap();
        let lines: Vec<String> = stderr.lines().map(str::to_owned).collect();
        let said = engine.explain(&lines);
        let report = FeedReport {
            bytes,
            tail: Vec::new(),
            paused: std::time::Duration::ZERO,
            exit: Some(ChildExit::Code(1)),
            stop: None,
            stragglers: Stragglers::None,
            stderr: StderrTail { lines, ..StderrTail::default() },
        };
        ran(&engine, FIRST, &report, said.as_ref())
    }

    #[test]
    fn the_line_that_a_client_names_tells_what_ran() {
        let cases = [
            ("MariaDB", "ERROR 1064 (42000) at line 7: near 'x' at line 2", Ran::Nothing),
            ("MariaDB", "ERROR 1064 (42000) at line 8: near 'x' at line 2", Ran::Before(8)),
            // A limit of the account may be met on the way, and before the first statement.
            (
                "MariaDB",
                "ERROR 1226 (42000) at line 90: User 'x' has exceeded the 'max_questions' resource",
                Ran::Before(90),
            ),
            (
                "MariaDB",
                "ERROR 1226 (42000): User 'x' has exceeded the 'max_connections_per_hour' resource",
                Ran::Nothing,
            ),
            ("MariaDB", "ERROR 1049 (42000): Unknown database 'x'", Ran::Nothing),
            ("MariaDB", "mariadb: unknown option '--x'", Ran::Nothing),
            ("MariaDB", "", Ran::Unknown),
            ("PostgreSQL", "psql:<stdin>:7: ERROR:  42501: permission denied for schema x", Ran::Nothing),
            (
                "PostgreSQL",
                "psql:<stdin>:3: NOTICE:  00000: x\npsql:<stdin>:8: ERROR:  42P07: exists\nLOCATION:  x, y.c:1",
                Ran::Before(8),
            ),
            (
                "PostgreSQL",
                "psql:<stdin>:9: server closed the connection unexpectedly\npsql:<stdin>:9: error: connection to server was lost",
                Ran::Before(9),
            ),
            (
                "PostgreSQL",
                "psql: error: connection to server at \"h\" failed: FATAL:  password authentication failed",
                Ran::Nothing,
            ),
        ];
        for (engine, stderr, expected) in cases {
            assert_eq!(judged(engine, 1000, stderr), expected, "{stderr}");
            assert_eq!(judged(engine, 99, stderr), Ran::Nothing, "{stderr}");
        }
    }
}
