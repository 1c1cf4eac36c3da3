//! Conditions that a backup reports although it succeeds. It decides nothing: `backup` collects them.

use lagan_schemas::fact::{Notice, NoticeStatus};

use crate::process::escape;

/// A fact about the source that limits what a restore of this dump can bring back. Names are `database.table` or
/// `database.table.column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Tables outside the transaction of the dump: rows that change meanwhile may be in it in part.
    NonTransactionalTables(Vec<String>),
    /// System-versioned tables whose history is left out: one table that is versioned by transaction ids keeps
    /// `--dump-history` from all of them.
    HistoryLeftOut(Vec<String>),
    /// Tables whose defaults use sequences that this dump does not contain.
    ForeignSequences(Vec<String>),
    /// FLOAT columns with values that have more than the six digits that the server prints.
    InexactFloats(Vec<String>),
    /// Text columns whose bytes cannot all be dumped, because the server or the arguments rule out the exact form.
    InexactText(Vec<String>),
    /// Columns whose ENUM, SET or default holds characters that `SHOW CREATE TABLE` replaces with `?`.
    LossyDefinitions(Vec<String>),
    /// Databases and tables that are left out, because no server creates one of such a name.
    UnencodedNames(Vec<String>),
    /// Tables whose engine or options need a plugin, a key or a path that a default server does not have.
    ServerFeatures(Vec<String>),
    /// Views that use databases or tables which this dump does not contain.
    ForeignViews(Vec<String>),
    /// Events whose time is over: the server skips them when they are loaded.
    ExpiredEvents(Vec<String>),
    /// Events whose definition ends too early when it is loaded, because mariadb-dump puts it into a comment.
    ClosingEvents(Vec<String>),
    /// A row is longer than the packet that this server, or a default one, takes.
    LargeRows { statement_bytes: u64, server_packet_bytes: u64 },
}

impl Finding {
    /// Whether it can make a restore fail or bring back less.
    #[must_use]
    pub fn hinders_loading(&self) -> bool {
        !matches!(self, Self::NonTransactionalTables(_) | Self::HistoryLeftOut(_) | Self::InexactFloats(_))
    }

    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::NonTransactionalTables(names)
            | Self::HistoryLeftOut(names)
            | Self::ForeignSequences(names)
            | Self::InexactFloats(names)
            | Self::InexactText(names)
            | Self::LossyDefinitions(names)
            | Self::UnencodedNames(names)
            | Self::ServerFeatures(names)
            | Self::ForeignViews(names)
            | Self::ClosingEvents(names)
            | Self::ExpiredEvents(names) => names,
            Self::LargeRows { .. } => &[],
        }
    }

    /// The finding as a condition of its session.
    #[must_use]
    pub fn notice(&self) -> Notice {
        let (kind, reason, text) = self.words();
        let message = match self {
            Self::LargeRows { statement_bytes, server_packet_bytes } => format!(
                "a row of the dump needs a statement of {statement_bytes} bytes; a server takes 16777216 by default \
                 and this one {server_packet_bytes}: raise max_allowed_packet where the dump is restored"
            ),
            other => format!("{text}: {}", some(other.names())),
        };
        Notice { kind: kind.to_owned(), status: NoticeStatus::True, reason: reason.to_owned(), message }
    }

    fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NonTransactionalTables(_) => (
                "NonTransactionalTables",
                "TablesNotInSnapshot",
                "rows of these tables that changed during the dump may be in it in part",
            ),
            Self::HistoryLeftOut(_) => (
                "HistoryLeftOut",
                "VersionedByTransaction",
                "only the current rows of these system-versioned tables are in the dump",
            ),
            Self::ForeignSequences(_) => (
                "ForeignSequences",
                "SequenceNotInDump",
                "defaults of these tables need sequences that the dump does not hold",
            ),
            Self::InexactFloats(_) => (
                "InexactFloats",
                "SixDigits",
                "the server prints FLOAT with six digits, and values of these columns have more: they come back \
                 rounded; change the columns to DOUBLE to keep every digit",
            ),
            Self::InexactText(_) => (
                "InexactText",
                "BytesWithoutUnicode",
                "bytes of these columns that have no Unicode character come back as `?`, because the server ignores \
                 the character set of its clients (skip-character-set-client-handshake) or the arguments leave table \
                 definitions out; convert the columns to utf8mb4, or remove that setting",
            ),
            Self::LossyDefinitions(_) => (
                "LossyDefinitions",
                "CharactersBeyondUtf8mb3",
                "SHOW CREATE TABLE shows `?` in an ENUM, a SET or a default of these columns; if that stands for a \
                 character of four bytes, as an emoji, the column comes back with `?` and its values are lost; use \
                 other characters there",
            ),
            Self::UnencodedNames(_) => (
                "UnencodedNames",
                "CannotBeCreated",
                "databases and tables of these names cannot be created again and are left out; rename them with ALTER \
                 DATABASE ... UPGRADE DATA DIRECTORY NAME or RENAME TABLE",
            ),
            Self::ServerFeatures(_) => (
                "ServerFeatures",
                "NotOnDefaultServers",
                "the engine or the options of these tables need a plugin, an encryption key or a path that the server \
                 of a restore must have, too",
            ),
            Self::ForeignViews(_) => (
                "ForeignViews",
                "TablesNotInDump",
                "these views use databases or tables that the dump does not hold, and can only be created where those exist",
            ),
            Self::ExpiredEvents(_) => (
                "ExpiredEvents",
                "TimeIsOver",
                "the time of these events is over, so a server does not create them again; drop them, or declare them \
                 ON COMPLETION PRESERVE",
            ),
            Self::ClosingEvents(_) => (
                "ClosingEvents",
                "CommentEndsEarly",
                "mariadb-dump writes events as a comment, which a `*/` in a string of these ends before its time, so that \
                 the dump does not load; change the string, or take the comments out of the body",
            ),
            Self::LargeRows { .. } => ("LargeRows", "LongerThanDefaultPacket", ""),
        }
    }
}

fn some(names: &[String]) -> String {
    let more = if names.len() > 10 { ", …" } else { "" };
    let shown: Vec<String> = names.iter().take(10).map(|name| escape(name)).collect();
    format!("{}{more}", shown.join(", "))
}
