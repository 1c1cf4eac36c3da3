//! Looks at a dump as it passes, counts what it creates, and judges whether it is complete.
//!
//! It reads the beginnings of lines only. mariadb-dump starts every statement on a line of its own and escapes
//! line breaks in data; the bodies of routines, triggers and events, which may hold anything, stand between
//! `DELIMITER` lines. So text that merely looks like a statement can make it count too much, never too little.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use memchr::memchr_iter;

use super::{
    inventory::{Expected, Kind, MissingObjects},
    rewrite::Rewriter,
    text::TextForm,
};
use crate::process::{DumpOutcome, Scanner, escape};

/// Enough for a statement's first words and two names of 64 characters with every one of them quoted.
const LINE_BYTES: usize = 2048;
const HEAD_BYTES: usize = 256;

/// The content of a dump, as far as it is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamSummary {
    pub head: Vec<u8>,
    /// Tables, views and sequences by name; per database, or under "" if the dump names none.
    names: BTreeMap<(String, Kind), BTreeSet<String>>,
    /// Triggers, events and routines are counted: their names are not always where one could read them.
    counts: BTreeMap<(String, Kind), u64>,
    /// A restore needs a larger max_allowed_packet than this.
    pub longest_statement_bytes: u64,
    /// Set until the line has passed that names the character set, if that is to be rewritten.
    names_missing: bool,
}

/// Filled while the stream passes, read after its end.
pub type Summary = Arc<Mutex<StreamSummary>>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    #[error("the dump is empty")]
    Empty,
    #[error("the stream is not a dump; it starts with `{start}`")]
    NotADump { start: String },
    #[error(
        "the dump does not name its character set as mariadb-dump does; this version of the program is not supported"
    )]
    NoCharacterSet,
    #[error("the dump is cut off: its last line is missing; it ends with `{end}`")]
    NoTrailer { end: String },
    #[error("the dump has holes, so rights of the account or the schema changed while it ran; missing: {}", list(.0))]
    Holes(Vec<MissingObjects>),
}

fn list(missing: &[MissingObjects]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether a clean end of `mariadb-dump` left a complete dump. The exit status is the gate's own business.
pub fn check_dump(outcome: &DumpOutcome, summary: &StreamSummary, expected: &Expected) -> Result<(), Incomplete> {
    if outcome.bytes == 0 {
        return Err(Incomplete::Empty);
    }
    let shown = |bytes: &[u8]| escape(String::from_utf8_lossy(bytes).trim());
    if !starts_as_dump(&summary.head) {
        return Err(Incomplete::NotADump { start: shown(&summary.head[..summary.head.len().min(80)]) });
    }
    if !ends_as_dump(&outcome.tail) {
        let end = outcome.tail.len().saturating_sub(80);
        return Err(Incomplete::NoTrailer { end: shown(&outcome.tail[end..]) });
    }
    if summary.names_missing {
        return Err(Incomplete::NoCharacterSet);
    }
    let holes = expected.missing_in(summary);
    if holes.is_empty() { Ok(()) } else { Err(Incomplete::Holes(holes)) }
}

/// The first bytes that mariadb-dump and its relatives write.
#[must_use]
pub fn starts_as_dump(head: &[u8]) -> bool {
    let heads: [&[u8]; 5] = [
        b"/*M!999999\\- enable the sandbox mode */",
        b"/*!999999\\- enable the sandbox mode */",
        b"-- MariaDB dump",
        b"-- MySQL dump",
        b"/*M!100616 ",
    ];
    heads.iter().any(|known| head.starts_with(known))
}

/// The last line that they write when nothing went wrong.
#[must_use]
pub fn ends_as_dump(tail: &[u8]) -> bool {
    let Some(text) = tail.strip_suffix(b"\n") else { return false };
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    // The line must be whole: a tail that starts within it proves nothing.
    line.len() < text.len() && (line == b"-- Dump completed" || line.starts_with(b"-- Dump completed on "))
}

/// A scanner for the process step, and the summary that it fills. It rewrites the stream as `rewrite` tells.
#[must_use]
pub fn scanner(text: TextForm) -> (Scanner, Summary) {
    let summary = Summary::default();
    let shared = Arc::clone(&summary);
    let mut lines = Lines::default();
    let mut rewriter = Rewriter::new(text);
    let scan = Box::new(move |block: &mut Vec<u8>| {
        let mut summary = shared.lock().unwrap_or_else(PoisonError::into_inner);
        rewriter.block(block);
        summary.names_missing = rewriter.expects_names();
        lines.block(block, &mut summary);
    });
    (scan, summary)
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Statements,
    /// The line after `DELIMITER ;;`.
    BodyStart,
    Body,
}

#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line that started in an earlier block.
    begun: Vec<u8>,
    /// The last byte of what came before this block.
    last: u8,
    place: Place,
    database: String,
    position: u64,
    statement_start: u64,
}

impl Lines {
    fn block(&mut self, block: &[u8], summary: &mut StreamSummary) {
        let room = HEAD_BYTES.saturating_sub(summary.head.len()).min(block.len());
        summary.head.extend_from_slice(&block[..room]);
        let mut start = 0;
        for end in memchr_iter(b'\n', block) {
            if self.begun.is_empty() {
                self.line(&block[start..end], summary);
            } else {
                self.remember(&block[start..end]);
                let line = std::mem::take(&mut self.begun);
                self.line(&line, summary);
                self.begun = line;
                self.begun.clear();
            }
            let before = if end > 0 { block[end - 1] } else { self.last };
            if before == b';' {
                let next = self.position + end as u64 + 1;
                let length = next - self.statement_start;
                summary.longest_statement_bytes = summary.longest_statement_bytes.max(length);
                self.statement_start = next;
            }
            start = end + 1;
        }
        self.remember(&block[start..]);
        self.position += block.len() as u64;
        self.last = block.last().copied().unwrap_or(self.last);
    }

    fn remember(&mut self, part: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.begun.len()).min(part.len());
        self.begun.extend_from_slice(&part[..room]);
    }

    fn line(&mut self, line: &[u8], summary: &mut StreamSummary) {
        match line.first() {
            Some(b'D') if line.starts_with(b"DELIMITER ") => {
                self.place = if line == b"DELIMITER ;" { Place::Statements } else { Place::BodyStart };
                return;
            }
            Some(b'C' | b'U' | b'/') => {}
            _ => {
                self.leave_start();
                return;
            }
        }
        let line = &line[..line.len().min(LINE_BYTES)];
        match self.place {
            Place::Statements => self.statement(line, summary),
            Place::BodyStart | Place::Body => {
                if line.starts_with(b"/*!50106 CREATE*/") {
                    self.count(Kind::Event, summary);
                } else if self.place == Place::BodyStart && line.starts_with(b"/*!50003 CREATE*/") {
                    self.count(Kind::Trigger, summary);
                } else if self.place == Place::BodyStart && line.starts_with(b"CREATE ") {
                    self.count(Kind::Routine, summary);
                }
                self.leave_start();
            }
        }
    }

    fn leave_start(&mut self) {
        if self.place == Place::BodyStart {
            self.place = Place::Body;
        }
    }

    fn statement(&mut self, line: &[u8], summary: &mut StreamSummary) {
        let starts: [(&[u8], Option<Kind>); 5] = [
            (b"CREATE TABLE IF NOT EXISTS ", Some(Kind::Table)),
            (b"CREATE TABLE ", Some(Kind::Table)),
            (b"CREATE SEQUENCE ", Some(Kind::Sequence)),
            (b"/*!50001 VIEW ", Some(Kind::View)),
            (b"USE ", None),
        ];
        let found = starts.iter().find_map(|(start, kind)| {
            let name = quoted(line.strip_prefix(*start)?)?;
            Some((*kind, name))
        });
        match found {
            Some((None, database)) => self.database = database,
            Some((Some(kind), name)) => {
                summary.names.entry((self.database.clone(), kind)).or_default().insert(name);
            }
            None => {}
        }
    }

    fn count(&self, kind: Kind, summary: &mut StreamSummary) {
        *summary.counts.entry((self.database.clone(), kind)).or_default() += 1;
    }
}

/// The name in backticks that the text starts with.
fn quoted(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(b"`")?;
    let mut name = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'`' {
            name.push(byte);
        } else if bytes.next_if_eq(&b'`').is_some() {
            name.push(b'`');
        } else {
            return String::from_utf8(name).ok();
        }
    }
    None
}

impl StreamSummary {
    pub(super) fn names(&self, database: &str, kind: Kind) -> Option<&BTreeSet<String>> {
        self.names.get(&(database.to_owned(), kind))
    }

    pub(super) fn count(&self, database: &str, kind: Kind) -> u64 {
        self.counts.get(&(database.to_owned(), kind)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n\
        CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a``b`;\nUSE `a``b`;\nCREATE SEQUENCE `s` start with 1;\n\
        CREATE TABLE `t` (\n  `x` int(11)\n);\nINSERT INTO `t` VALUES\n(1,'a\\nCREATE TABLE `no` ('),\n(2,';');\n\
        DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 trigger x begin\nCREATE TABLE `no` (\nend */;;\nDELIMITER ;\n\
        DELIMITER ;;\n/*!50003 SET character_set_client  = utf8mb4 */ ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`h`*/ /*!50106 EVENT `e` */ ;;\nDELIMITER ;\n\
        DELIMITER ;;\nCREATE DEFINER=`r`@`h` PROCEDURE `p`()\nbegin\nCREATE DEFINER=`r`@`h` PROCEDURE `q`()\nend ;;\nDELIMITER ;\n\
        USE `a``b`;\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50001 VIEW `v` AS select 1 */;\n\n-- Dump completed\n";

    fn scan(size: usize) -> StreamSummary {
        let (mut scan, summary) = scanner(TextForm::Utf8);
        DUMP.as_bytes().chunks(size).for_each(|part| scan(&mut part.to_vec()));
        let seen = summary.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    #[test]
    fn objects_are_counted_wherever_the_blocks_are_cut() {
        let whole = scan(DUMP.len());
        assert_eq!(whole.names("a`b", Kind::Table), Some(&BTreeSet::from(["t".to_owned()])));
        assert_eq!(whole.names("a`b", Kind::View), Some(&BTreeSet::from(["v".to_owned()])));
        assert_eq!(whole.names("a`b", Kind::Sequence), Some(&BTreeSet::from(["s".to_owned()])));
        for kind in [Kind::Trigger, Kind::Event, Kind::Routine] {
            assert_eq!(whole.count("a`b", kind), 1, "{kind:?}");
        }
        for size in 1..64 {
            assert_eq!(scan(size), whole, "blocks of {size}");
        }
    }

    #[test]
    fn only_a_whole_last_line_ends_a_dump() {
        assert!(ends_as_dump(b"x\n-- Dump completed\n"));
        assert!(ends_as_dump(b"\n-- Dump completed on 2026-11-22 23:00:00\n"));
        for tail in
            ["x-- Dump completed\n", "-- Dump completed\n", "\n-- Dump completed", "\n-- Dump complete\n", "", "\n"]
        {
            assert!(!ends_as_dump(tail.as_bytes()), "{tail:?}");
        }
    }
}
