//! Finds the first statement of a plain dump that changes something, and the line at which psql would name it: the one that
//! ends it. Each statement of PostgreSQL leaves nothing when it fails. Text in quotes may look like that end. Then a
//! failure of this one statement counts as one after it, never the other way round.

use memchr::memchr;

use crate::databases::{FirstChange, FirstEffect};

/// Beginnings of lines that change nothing.
const HARMLESS: [&[u8]; 4] = [b"--", b"SET ", b"SELECT pg_catalog.set_config(", b"\\"];

/// Reads a stream line by line, until it has found the end of the first change.
#[derive(Debug, Default)]
pub(super) struct Finder {
    line: Vec<u8>,
    lines: u64,
    bytes: u64,
    is_open: bool,
    found: Option<FirstEffect>,
}

impl FirstChange for Finder {
    fn feed(&mut self, block: &[u8]) {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            if self.found.is_some() {
                return;
            }
            self.line.extend_from_slice(piece);
            self.bytes += piece.len() as u64;
            if piece.ends_with(b"\n") {
                self.lines += 1;
                let line = std::mem::take(&mut self.line);
                self.read(line.trim_ascii());
            }
        }
    }

    fn found(&self) -> Option<FirstEffect> {
        self.found
    }
}

impl Finder {
    fn read(&mut self, line: &[u8]) {
        let is_harmless = line.is_empty() || HARMLESS.iter().any(|start| line.starts_with(start));
        if !self.is_open && is_harmless {
            return;
        }
        self.is_open = true;
        if let Some(at) = memchr(b';', line) {
            // psql names only lines, so a failure on the line of two statements tells nothing about the first.
            let line = if at + 1 == line.len() { self.lines } else { self.lines - 1 };
            self.found = Some(FirstEffect { after_bytes: self.bytes, line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_of_a_plain_dump_is_found_with_the_line_that_ends_it() {
        let head = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\n\n";
        let cases = [
            ("CREATE SCHEMA a;\nCREATE SCHEMA b;\n", Some((10, 17))),
            ("CREATE TABLE t (\n    a integer\n);\nALTER TABLE t OWNER TO x;\n", Some((12, 34))),
            // The end of the body is not known, so a failure of this statement is not told from one after it.
            (
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $_$\n SELECT $1; \n$_$;\nCREATE SCHEMA a;\n",
                Some((11, 65)),
            ),
            ("CREATE SCHEMA a; CREATE SCHEMA b;\n", Some((9, 34))),
            ("CREATE SCHEMA a; CREATE\nSCHEMA b;\n", Some((9, 24))),
            ("CREATE TABLE t (\n", None),
            ("SET a = 1;\n--\n", None),
        ];
        for (text, expected) in cases {
            let stream = format!("{head}{text}");
            for block in [1, 3, 1000] {
                let mut finder = Finder::default();
                stream.as_bytes().chunks(block).for_each(|part| finder.feed(part));
                let found = finder.found().map(|change| (change.line, change.after_bytes - head.len() as u64));
                assert_eq!(found, expected, "{text} in blocks of {block}");
            }
        }
    }
}
