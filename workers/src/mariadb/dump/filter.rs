//! Takes some databases out of a dump of several, and gives one another name if nothing in it names the old one.
//!
//! It keeps everything that the session needs: settings, transactions, `DELIMITER` commands and the last line. The result is
//! a complete dump itself. Statements about other databases, accounts and replication are left out.

mod chooser;

use self::chooser::{Chooser, Edit};
use super::reader::Reader;
use super::record::Naming;

/// Bytes that may wait for the decision about one statement.
const HELD_BYTES: u64 = 256 * 1024;

/// How the server that is restored into compares names of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCase {
    /// `lower_case_table_names` is 0.
    Sensitive,
    Insensitive,
}

impl NameCase {
    /// The form of a name that is equal for equal names.
    #[must_use]
    pub fn fold(self, name: &str) -> String {
        match self {
            Self::Sensitive => name.to_owned(),
            Self::Insensitive => name.to_lowercase(),
        }
    }

    #[must_use]
    pub fn same(self, a: &str, b: &str) -> bool {
        self.fold(a) == self.fold(b)
    }
}

/// The databases that are taken out of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDatabases {
    pub databases: Vec<WantedDatabase>,
    pub case: NameCase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDatabase {
    /// Its name in the dump.
    pub name: String,
    /// The name that it gets.
    pub renamed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("the dump holds no database `{database}`")]
    NotFound { database: String },
    #[error(
        "`{database}` cannot get another name, because the dump names it in a {}{}: `{}`; restore it under its own name",
        naming.kind,
        naming.object.as_ref().map(|object| format!(" `{object}`")).unwrap_or_default(),
        naming.statement
    )]
    NamesItself { database: String, naming: Box<Naming> },
    #[error("the dump has a statement that may be about any database: `{statement}`; restore all of the dump")]
    Unclear { statement: String },
    #[error(
        "the record of the snapshot does not tell of a statement in its stream, so it may be that of another stream: `{statement}`; restore with `existing: Replace` or `Merge`, which read the stream itself, if it is to be trusted"
    )]
    NotInRecord { statement: String },
}

/// A stream on its way through the filter.
#[derive(Debug)]
pub struct Filter {
    reader: Reader<Chooser>,
    /// Bytes of which it is not known yet whether they stay, and the offset of the first.
    held: Vec<u8>,
    held_from: u64,
    keeps: bool,
    /// The last byte that stayed.
    last: u8,
}

impl Filter {
    #[must_use]
    pub fn new(wanted: WantedDatabases) -> Self {
        Self { reader: Reader::new(Chooser::new(wanted)), held: Vec::new(), held_from: 0, keeps: true, last: b'\n' }
    }

    /// Appends to `out` what stays of the stream up to here.
    pub fn feed(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.reader.feed(block);
        let position = self.reader.position();
        self.release(block, position, out)
    }

    /// Appends the rest.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.reader.finish();
        let end = self.held_from + self.held.len() as u64;
        self.release(&[], end, out)?;
        self.reader.visitor().finished()
    }

    fn release(&mut self, block: &[u8], position: u64, out: &mut Vec<u8>) -> Result<(), FilterError> {
        let chooser = self.reader.visitor_mut();
        if chooser.undecided().is_some_and(|start| position - start > HELD_BYTES) {
            chooser.decide_now();
        }
        if let Some(error) = chooser.error.take() {
            return Err(error);
        }
        let cuts = std::mem::take(&mut chooser.cuts);
        let decided = chooser.undecided().unwrap_or(position);
        let mut bytes = Bytes { held: &self.held, from: self.held_from, block, at: self.held_from };
        for (at, cut) in &cuts {
            copy(&mut bytes, *at, self.keeps, out);
            match cut {
                Edit::Keep => {
                    let last = out.last().copied().unwrap_or(self.last);
                    // A command of the client, or a comment, may have to start a line.
                    if !self.keeps && last != b'\n' {
                        out.push(b'\n');
                    }
                    self.keeps = true;
                }
                Edit::Drop => self.keeps = false,
                Edit::Replace { end, text } => {
                    out.extend_from_slice(text);
                    bytes.at = *end;
                }
            }
        }
        copy(&mut bytes, decided, self.keeps, out);
        let rest = bytes.rest();
        self.held_from = bytes.at;
        self.held = rest;
        self.last = out.last().copied().unwrap_or(self.last);
        let mut cuts = cuts;
        cuts.clear();
        self.reader.visitor_mut().cuts = cuts;
        Ok(())
    }
}

fn copy(bytes: &mut Bytes<'_>, to: u64, keeps: bool, out: &mut Vec<u8>) {
    for part in bytes.take(to) {
        if keeps {
            out.extend_from_slice(part);
        }
    }
}

/// The held bytes and the block behind them as one.
struct Bytes<'a> {
    held: &'a [u8],
    from: u64,
    block: &'a [u8],
    at: u64,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, to: u64) -> [&'a [u8]; 2] {
        let index = |offset: u64| usize::try_from(offset - self.from).expect("offsets of bytes in memory");
        let (start, end) = (index(self.at), index(to.max(self.at)));
        self.at = to.max(self.at);
        let held = self.held.len();
        let in_block = |at: usize| at.saturating_sub(held).min(self.block.len());
        [&self.held[start.min(held)..end.min(held)], &self.block[in_block(start)..in_block(end)]]
    }

    fn rest(&self) -> Vec<u8> {
        let start = usize::try_from(self.at - self.from).expect("offsets of bytes in memory");
        let held = self.held.len();
        let mut rest = self.held[start.min(held)..].to_vec();
        rest.extend_from_slice(&self.block[start.saturating_sub(held).min(self.block.len())..]);
        rest
    }
}
