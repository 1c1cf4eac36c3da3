//! Whether a stream is one whole dump, and if not, what is wrong with it.

use serde::{Deserialize, Serialize};

use crate::mariadb::engine;

/// How a stream ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "how")]
pub enum Ending {
    /// There is nothing in it but white space.
    #[default]
    Empty,
    /// With the last line that mariadb-dump writes when nothing went wrong.
    Complete,
    /// Behind a whole statement, but without that line.
    NoTrailer { end: String },
    /// Within a statement.
    CutStatement { inside: Cut, statement: String, at: u64 },
    /// Within a comment.
    CutComment { at: u64 },
    /// A second dump starts in it.
    SecondDump {
        at: u64,
        /// Whether the first one is whole.
        first: FirstDump,
    },
    /// Something follows the last line.
    Garbage { at: u64, start: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    Statement,
    String,
    Comment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FirstDump {
    Whole,
    Cut,
}

/// Why a stream is not one whole dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the dump is empty")]
    Empty,
    #[error("the dump is cut off: its last line is missing; it ends with `{end}`")]
    NoTrailer { end: String },
    #[error("the dump is cut off within {}, at byte {at}; the statement starts with `{statement}`", inside.words())]
    CutStatement { inside: Cut, statement: String, at: u64 },
    #[error("the dump is cut off within a comment, at byte {at}")]
    CutComment { at: u64 },
    #[error("a second dump starts at byte {at}, and the first one {}", first.words())]
    SecondDump { at: u64, first: FirstDump },
    #[error("the dump is complete, but more follows its last line at byte {at}: `{start}`")]
    Garbage { at: u64, start: String },
}

impl Ending {
    pub fn check(&self) -> Result<(), Fault> {
        Err(match self.clone() {
            Self::Complete => return Ok(()),
            Self::Empty => Fault::Empty,
            Self::NoTrailer { end } => Fault::NoTrailer { end },
            Self::CutStatement { inside, statement, at } => Fault::CutStatement { inside, statement, at },
            Self::CutComment { at } => Fault::CutComment { at },
            Self::SecondDump { at, first } => Fault::SecondDump { at, first },
            Self::Garbage { at, start } => Fault::Garbage { at, start },
        })
    }
}

impl Cut {
    fn words(self) -> &'static str {
        match self {
            Self::Statement => "a statement",
            Self::String => "a string",
            Self::Comment => "a comment of a statement",
        }
    }
}

impl FirstDump {
    fn words(self) -> &'static str {
        match self {
            Self::Whole => "is whole",
            Self::Cut => "is cut off",
        }
    }
}

/// A comment line, by its meaning for the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The program that writes it.
    Writer(&'a [u8]),
    /// The server it was taken from, and the database that it is a dump of, or the first of several.
    Host {
        host: &'a [u8],
        database: &'a [u8],
    },
    ServerVersion(&'a [u8]),
    /// Where a replica would go on.
    Position,
    /// The last one.
    Trailer,
    Other,
}

/// The text of a comment to the end of its line.
pub(super) fn line(text: &[u8]) -> Line<'_> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let Some(said) = text.strip_prefix(b"-- ") else { return Line::Other };
    if said.starts_with(b"MariaDB dump ") || said.starts_with(b"MySQL dump ") {
        Line::Writer(said)
    } else if let Some(host) = said.strip_prefix(b"Host: ") {
        const DATABASE: &[u8] = b"    Database: ";
        let end = host.windows(DATABASE.len()).position(|part| part == DATABASE).unwrap_or(host.len());
        Line::Host { host: &host[..end], database: host.get(end + DATABASE.len()..).unwrap_or_default() }
    } else if let Some(version) = said.strip_prefix(b"Server version") {
        Line::ServerVersion(version.trim_ascii())
    } else if [&b"CHANGE MASTER"[..], b"CHANGE REPLICATION", b"SET GLOBAL gtid"].iter().any(|s| said.starts_with(s)) {
        Line::Position
    } else if engine().last_line.is(text) {
        Line::Trailer
    } else {
        Line::Other
    }
}
