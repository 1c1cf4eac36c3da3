//! Rewrites a dump while it passes, so that every client and every server loads it right.
//!
//! The settings at the start of every dump are completed:
//! - `ALLOW_INVALID_DATES`, without which a date such as 2023-02-31, stored under that mode, comes back as zeros.
//! - no strict mode of InnoDB and no checks of constraints, which may be younger than the tables and rows they refuse.
//! - explicit defaults of timestamps, as `SHOW CREATE TABLE` shows them.
//!
//! Two things are wrong in what mariadb-dump writes over a connection of the character set `binary`:
//! - it says `SET NAMES binary`, which turns the defaults, ENUMs and partitions of definitions into bytes of utf8.
//! - it writes INET4, INET6 and UUID as hexadecimal text, which the server takes for 4 or 16 raw bytes and refuses,
//!   or outside of strict mode replaces with NULL. The types come from the table definitions in the stream.

mod parse;

use memchr::{memchr, memchr2, memchr3};

use self::parse::{Type, address, columns, is_insert, listed, quoted};
use super::text::TextForm;

const NAMES: &[u8] = b"/*!40101 SET NAMES binary */;";
const NAMES_REWRITTEN: &[u8] = b"/*!40101 SET NAMES utf8mb4 */;";

/// The beginning of the line that sets the mode of the session, up to the first mode.
const MODE: &[u8] = b"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='";
const MORE_MODES: &[u8] = b"ALLOW_INVALID_DATES,";
const MORE_SETTINGS: &[u8] = b"
/*M!100500 SET SESSION check_constraint_checks=0, innodb_strict_mode=0 */;
/*M!100804 SET SESSION explicit_defaults_for_timestamp=1 */;";

/// No line that is of interest before its end, and no address in hexadecimal, is longer; more is passed as it is.
const HELD_BYTES: usize = 1024 * 1024;

/// Rewrites the blocks of one dump. Between blocks it holds back the beginning of what it must see whole.
#[derive(Debug)]
pub(super) struct Rewriter {
    text: TextForm,
    names: Header,
    mode: Header,
    misread: bool,
    held: Vec<u8>,
    place: Place,
    /// Text up to the next line break is of no interest.
    within_line: bool,
    in_body: bool,
    definition: Vec<u8>,
    columns: Vec<(Vec<u8>, Type)>,
    /// Whether each value of a row is an address, in the order of the statement.
    row: Vec<Type>,
    at: usize,
}

/// Whether a line of the settings is still expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Expected,
    Passed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Lines,
    /// Within `CREATE TABLE`, of which a copy is kept.
    Definition(Quote),
    /// After `VALUES`, outside of rows.
    BetweenRows,
    ValueStart,
    Value,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Open(u8),
    Escaped(u8),
}

/// The result of one step: how many bytes it read and wrote, or that it needs more of the stream.
enum Step {
    Keep(usize),
    Replace(usize, Vec<u8>),
    More,
}

impl Rewriter {
    pub(super) fn new(text: TextForm) -> Self {
        Self {
            text,
            names: if text == TextForm::Hex { Header::Expected } else { Header::Passed },
            mode: Header::Expected,
            misread: false,
            held: Vec::new(),
            place: Place::Lines,
            within_line: false,
            in_body: false,
            definition: Vec::new(),
            columns: Vec::new(),
            row: Vec::new(),
            at: 0,
        }
    }

    /// Whether the stream is not written as it was expected: the line that names the character set has not come, or rows
    /// with addresses could not be read.
    pub(super) fn is_misread(&self) -> bool {
        self.names == Header::Expected || self.misread
    }

    pub(super) fn block(&mut self, block: &mut Vec<u8>) {
        if self.text == TextForm::Utf8 && self.mode == Header::Passed && self.held.is_empty() {
            return;
        }
        if !self.held.is_empty() {
            block.splice(..0, std::mem::take(&mut self.held));
        }
        let (mut read, mut written) = (0, 0);
        while read < block.len() {
            match self.step(&block[read..]) {
                Step::Keep(count) => {
                    block.copy_within(read..read + count, written);
                    read += count;
                    written += count;
                }
                Step::Replace(count, text) => {
                    read += count;
                    let lacking = (written + text.len()).saturating_sub(read);
                    block.splice(read..read, std::iter::repeat_n(0, lacking));
                    read += lacking;
                    block[written..written + text.len()].copy_from_slice(&text);
                    written += text.len();
                }
                Step::More if block.len() - read > HELD_BYTES => {
                    self.within_line = self.place == Place::Lines;
                    block.copy_within(read..=read, written);
                    read += 1;
                    written += 1;
                }
                Step::More => {
                    self.held = block[read..].to_vec();
                    break;
                }
            }
        }
        block.truncate(written);
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        match self.place {
            Place::Lines => self.line(rest),
            Place::Definition(quote) => self.define(rest, quote),
            Place::BetweenRows => self.between(rest),
            Place::ValueStart => self.value_start(rest),
            Place::Value => self.value(rest),
            Place::Text => self.text(rest),
        }
    }

    fn line(&mut self, rest: &[u8]) -> Step {
        let end = memchr(b'\n', rest);
        let whole = end.map_or(rest.len(), |end| end + 1);
        if self.within_line || !matches!(rest[0], b'C' | b'D' | b'I' | b'R' | b'/') {
            self.within_line = end.is_none();
            return Step::Keep(whole);
        }
        let Some(end) = end else {
            // A row can be as long as a packet; it is found as soon as the head of its statement is whole.
            return if is_insert(rest) { self.insert(rest).unwrap_or(Step::More) } else { Step::More };
        };
        let line = &rest[..end];
        if line.starts_with(b"DELIMITER ") {
            self.in_body = line != b"DELIMITER ;";
        } else if self.names == Header::Expected && line == NAMES {
            self.names = Header::Passed;
            return Step::Replace(end, NAMES_REWRITTEN.to_vec());
        } else if self.mode == Header::Expected && line.starts_with(MODE) {
            self.mode = Header::Passed;
            return Step::Replace(end, [MODE, MORE_MODES, &line[MODE.len()..], MORE_SETTINGS].concat());
        } else if self.text == TextForm::Hex && !self.in_body && line.starts_with(b"CREATE TABLE ") {
            self.definition.clear();
            self.place = Place::Definition(Quote::None);
            return Step::Keep(0);
        } else if is_insert(line) {
            return self.insert(rest).unwrap_or_else(|| {
                self.misread = true;
                Step::Keep(whole)
            });
        }
        Step::Keep(whole)
    }

    /// Copies a definition up to the semicolon that ends it.
    fn define(&mut self, rest: &[u8], mut quote: Quote) -> Step {
        for (at, byte) in rest.iter().enumerate() {
            quote = match (quote, byte) {
                (Quote::None, b'`' | b'\'' | b'"') => Quote::Open(*byte),
                (Quote::None, b';') => {
                    self.definition.extend_from_slice(&rest[..at]);
                    self.columns = columns(&self.definition);
                    self.place = Place::Lines;
                    self.within_line = true;
                    return Step::Keep(at + 1);
                }
                (Quote::Open(open), _) if *byte == open => Quote::None,
                (Quote::Open(open), b'\\') if open != b'`' => Quote::Escaped(open),
                (Quote::Escaped(open), _) => Quote::Open(open),
                (quote, _) => quote,
            };
        }
        self.definition.extend_from_slice(rest);
        self.place = Place::Definition(quote);
        Step::Keep(rest.len())
    }

    /// Reads the head of an INSERT: `INTO`, the name of the table, its columns where they are listed, `VALUES`.
    /// `None` if the head is not whole or not understood.
    fn insert(&mut self, rest: &[u8]) -> Option<Step> {
        if self.in_body || self.columns.iter().all(|(_, kind)| *kind == Type::Other) {
            self.within_line = memchr(b'\n', rest).is_none();
            return Some(Step::Keep(memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)));
        }
        let start = memchr(b'`', rest)?;
        let (_, mut at) = quoted(rest, start)?;
        self.row = self.columns.iter().map(|(_, kind)| *kind).collect();
        if rest.get(at..at + 2)? == b" (" {
            let (names, end) = listed(rest, at + 2)?;
            let kind = |name| self.columns.iter().find(|(column, _)| *column == name).map(|(_, kind)| *kind);
            self.row = names.into_iter().map(|name| kind(name).unwrap_or(Type::Other)).collect();
            at = end;
        }
        at += rest.get(at..at + 7).filter(|word| *word == b" VALUES")?.len();
        self.place = Place::BetweenRows;
        Some(Step::Keep(at))
    }

    fn between(&mut self, rest: &[u8]) -> Step {
        match memchr2(b'(', b';', rest) {
            None => Step::Keep(rest.len()),
            Some(at) if rest[at] == b';' => {
                self.place = Place::Lines;
                self.within_line = true;
                Step::Keep(at + 1)
            }
            Some(at) => {
                self.at = 0;
                self.place = Place::ValueStart;
                Step::Keep(at + 1)
            }
        }
    }

    fn value_start(&mut self, rest: &[u8]) -> Step {
        self.place = Place::Value;
        if self.row.get(self.at) != Some(&Type::Address) || rest[0] != b'0' {
            return Step::Keep(0);
        }
        match memchr2(b',', b')', rest) {
            Some(end) => match address(&rest[..end]) {
                Some(text) => Step::Replace(end, text),
                None => Step::Keep(end),
            },
            None => {
                self.place = Place::ValueStart;
                Step::More
            }
        }
    }

    fn value(&mut self, rest: &[u8]) -> Step {
        let Some(at) = memchr3(b',', b')', b'\'', rest) else { return Step::Keep(rest.len()) };
        self.place = match rest[at] {
            b'\'' => Place::Text,
            b',' => Place::ValueStart,
            _ => Place::BetweenRows,
        };
        self.at += 1;
        if self.place == Place::Text {
            self.at -= 1;
        }
        Step::Keep(at + 1)
    }

    fn text(&mut self, rest: &[u8]) -> Step {
        match memchr2(b'\'', b'\\', rest) {
            None => Step::Keep(rest.len()),
            // A doubled quote closes the text and opens it again.
            Some(at) if rest[at] == b'\'' => {
                self.place = Place::Value;
                Step::Keep(at + 1)
            }
            Some(at) if at + 1 < rest.len() => Step::Keep(at + 2),
            Some(0) => Step::More,
            Some(at) => Step::Keep(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "-- MariaDB dump\n/*!40101 SET NAMES binary */;\n\
        /*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n\
        CREATE TABLE `p``x` (\n  `a` int(11),\n  `b`` (\n  `` `` inet6` uuid DEFAULT ';\\'',\n  `c` inet6 COMMENT ');\n  `d` inet4,'\n);\n\
        INSERT INTO `p``x` VALUES\n(1,0x6162,0x3A3A31),\n('a\\'),(2,0x3A',NULL,0x3A3A),\n(0,'',0x00);\n\
        INSERT INTO `p``x` (`c`, `a`, row_end) VALUES (0x3A3A,0x3A3A,'1'),('it''s',0x31,NULL);\n\
        DELIMITER ;;\nCREATE PROCEDURE `x`()\nINSERT INTO `p``x` VALUES (1,0x6162);;\nDELIMITER ;\n\
        CREATE TABLE `q` (\n  `a` int(11)\n);\nINSERT INTO `q` VALUES\n(0x3A);\n-- Dump completed\n";

    fn rewritten(size: usize) -> String {
        let mut rewriter = Rewriter::new(TextForm::Hex);
        let mut whole = Vec::new();
        for part in DUMP.as_bytes().chunks(size) {
            let mut block = part.to_vec();
            rewriter.block(&mut block);
            whole.extend(block);
        }
        assert!(!rewriter.is_misread() && rewriter.held.is_empty());
        String::from_utf8_lossy(&whole).into_owned()
    }

    #[test]
    fn only_addresses_and_the_character_set_are_rewritten_wherever_the_blocks_are_cut() {
        let expected = DUMP
            .replace("NAMES binary */", "NAMES utf8mb4 */")
            .replace(
                "SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;",
                &format!(
                    "SQL_MODE='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO' */;{}",
                    String::from_utf8_lossy(MORE_SETTINGS)
                ),
            )
            .replace("(1,0x6162,0x3A3A31)", "(1,'ab','::1')")
            .replace("NULL,0x3A3A)", "NULL,'::')")
            .replace("VALUES (0x3A3A,0x3A3A,", "VALUES ('::',0x3A3A,");
        for size in (1..DUMP.len()).chain([DUMP.len()]) {
            assert_eq!(rewritten(size), expected, "blocks of {size}");
        }
    }

    #[test]
    fn rows_that_cannot_be_read_are_not_passed_in_silence() {
        let mut rewriter = Rewriter::new(TextForm::Hex);
        let text = b"/*!40101 SET NAMES binary */;\nCREATE TABLE `t` (\n  `a` inet6\n);\nINSERT INTO `t` SELECT 1;\n";
        rewriter.block(&mut text.to_vec());
        assert!(rewriter.is_misread());
    }

    #[test]
    fn a_long_line_is_not_held_back() {
        let mut rewriter = Rewriter::new(TextForm::Utf8);
        let mut block = b"DROP".repeat(HELD_BYTES);
        rewriter.block(&mut block);
        assert!(rewriter.held.is_empty() && block.len() == 4 * HELD_BYTES);
    }
}
