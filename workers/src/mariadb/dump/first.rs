//! Finds the first statement of a stream that changes something on the server, and the line at which the client would name
//! it. It stops to read when it has found it.

use super::class::StatementKind;
use super::lexer::{Comment, StatementEnd};
use super::reader::{Reader, Visitor};
use super::settings::{Reach, assignments};
use super::statement::Statement;

/// The first statement that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstWrite {
    /// Bytes of the stream behind its delimiter: a client that was fed less has not run it.
    pub after_bytes: u64,
    /// Nothing was changed if the client reports an error at this line or before.
    pub line: u64,
}

/// Sees every block of a stream once and in order.
#[derive(Debug, Default)]
pub struct FirstWriteFinder {
    reader: Reader<Finder>,
    bytes: u64,
    /// Offsets of line breaks behind which the reader may still find something, and the number of those before.
    breaks: Vec<u64>,
    breaks_before: u64,
    /// Offset and line of the last statement that began, which is the change if there is one.
    begun: (u64, u64),
    found: Option<FirstWrite>,
}

#[derive(Debug, Default)]
struct Finder {
    /// Offset of the last statement that began.
    begun: u64,
    change: Option<Found>,
    /// Offset of whatever follows the change.
    next: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    /// Offset behind its delimiter.
    after: u64,
    leaves: Leaves,
}

/// The trace that a statement leaves when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    /// Rows of an engine without transactions, or some of several objects.
    Perhaps,
}

impl FirstWriteFinder {
    pub fn feed(&mut self, block: &[u8]) {
        if self.found.is_some() {
            return;
        }
        let base = self.bytes;
        self.breaks.extend(memchr::memchr_iter(b'\n', block).map(|at| base + at as u64));
        self.bytes += block.len() as u64;
        self.reader.feed(block);
        let finder = self.reader.visitor();
        if self.begun.0 != finder.begun || self.begun.1 == 0 {
            self.begun = (finder.begun, self.line_of(finder.begun));
        }
        if let (Some(change), Some(next)) = (finder.change, finder.next) {
            let first = self.begun.1;
            // The client names only lines, so a failure on the line of two statements tells nothing about the first.
            let is_told = self.line_of(next) > first && change.leaves == Leaves::Nothing;
            self.found = Some(FirstWrite { after_bytes: change.after, line: first - u64::from(!is_told) });
        }
        let position = self.reader.position();
        let passed = self.breaks.partition_point(|at| *at < position);
        self.breaks.drain(..passed);
        self.breaks_before += passed as u64;
    }

    /// The first change; nothing if the client can't have run one.
    #[must_use]
    pub fn found(&self) -> Option<FirstWrite> {
        let open = || self.reader.visitor().change;
        self.found.or_else(|| Some(FirstWrite { after_bytes: open()?.after, line: self.begun.1 - 1 }))
    }

    fn line_of(&self, offset: u64) -> u64 {
        self.breaks_before + self.breaks.partition_point(|at| *at < offset) as u64 + 1
    }
}

impl Visitor for Finder {
    fn begin(&mut self, start: u64) {
        self.follows(start);
        if self.change.is_none() {
            self.begun = start;
        }
    }

    fn end(&mut self, end: &StatementEnd, statement: &Statement<'_>) {
        if let (None, Some(leaves)) = (self.change, changes(statement)) {
            self.change = Some(Found { after: end.next, leaves });
        }
    }

    fn comment(&mut self, comment: &Comment<'_>) {
        self.follows(comment.start);
    }

    fn delimiter(&mut self, start: u64, _: Option<&[u8]>) {
        self.follows(start);
    }
}

impl Finder {
    fn follows(&mut self, start: u64) {
        if self.change.is_some() {
            self.next.get_or_insert(start);
        }
    }
}

/// The trace that a statement may leave when it fails; nothing if it changes nothing in any case.
fn changes(statement: &Statement<'_>) -> Option<Leaves> {
    match statement.class.kind {
        StatementKind::Empty
        | StatementKind::Use
        | StatementKind::Lock
        | StatementKind::Unlock
        | StatementKind::Transaction => None,
        StatementKind::Set => {
            let global = assignments(statement.head).iter().any(|assignment| assignment.reach == Reach::Global);
            global.then_some(Leaves::Perhaps)
        }
        StatementKind::Drop(_) if statement.head.has_symbol(b',') => Some(Leaves::Perhaps),
        StatementKind::CreateDatabase
        | StatementKind::AlterDatabase
        | StatementKind::Create(_)
        | StatementKind::Placeholder
        | StatementKind::Drop(_)
        | StatementKind::Alter(_) => Some(Leaves::Nothing),
        StatementKind::DropDatabase
        | StatementKind::Insert
        | StatementKind::Account
        | StatementKind::Replication
        | StatementKind::LoadData
        | StatementKind::Upkeep
        | StatementKind::Other => Some(Leaves::Perhaps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, block: usize) -> Option<(u64, usize)> {
        let mut first = FirstWriteFinder::default();
        text.as_bytes().chunks(block).for_each(|part| first.feed(part));
        first.found().map(|change| (change.line, change.after_bytes.try_into().expect("it is short")))
    }

    #[test]
    fn the_first_change_is_found_with_its_line_however_the_stream_is_cut() {
        let long = "-- x\n".repeat(100);
        // The line, and the end of the statement.
        let cases = [
            ("-- c\nSET NAMES utf8mb4;\nUSE `a`;\n\nDROP TABLE\n IF EXISTS t;\n-- next\n", Some((5, "IF EXISTS t;"))),
            ("/*!40101 SET a=1 */;\nCREATE TABLE t (a int); CREATE TABLE u (a int);\n-- x\n", Some((1, "t (a int);"))),
            ("LOCK TABLES t WRITE;\nINSERT INTO t VALUES (1);\n-- next\n", Some((1, "(1);"))),
            ("SET @@GLOBAL.gtid_purged='x';\n-- next\n", Some((0, "'x';"))),
            ("DROP TABLE a, b;\n-- next\n", Some((0, "b;"))),
            ("DELIMITER ;;\nCREATE PROCEDURE p()\nBEGIN SELECT 1; END ;;\nDELIMITER ;\n", Some((2, "END ;;"))),
            ("CREATE TABLE t (a int)", None),
            ("SET a=1;\nSTART TRANSACTION;\nCOMMIT;\n", None),
        ];
        for (text, expected) in cases {
            for block in [1, 2, 3, 7, 1000] {
                for (before, lines) in [("", 0), (long.as_str(), 100)] {
                    let stream = format!("{before}{text}");
                    let after = |end| stream.find(end).map(|at| at + str::len(end));
                    let expected = expected.and_then(|(line, end)| Some((line + lines, after(end)?)));
                    assert_eq!(found(&stream, block), expected, "{stream} in blocks of {block}");
                }
            }
        }
    }
}
