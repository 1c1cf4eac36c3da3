//! One statement of a stream, as those who read the stream see it.

use super::class::StatementClass;
use super::head::Head;

/// A statement of which it is known what it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub class: StatementClass,
    pub head: &'a Head,
    /// The database that was selected before it.
    pub selected: Option<&'a [u8]>,
    pub insert: Insert,
}

/// How far an `INSERT` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insert {
    /// In its list of columns, at this depth of parentheses.
    Columns(u32),
    Rows,
    /// Behind its rows.
    Behind,
    /// `INSERT … SELECT` and `INSERT … SET`: nobody knows the rows from the text.
    Uncounted,
}
