//! The kinds of statements that a stream has for a database, told by the privileges that they need.

use serde::{Deserialize, Serialize};

use super::class::{ObjectKind, StatementKind};
use super::statement::Statement;
use super::token::{Token, TokenKind};

/// A kind of statement that a server takes only from an account with certain privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PrivilegedAction {
    CreateDatabase,
    DropDatabase,
    AlterDatabase,
    CreateTable,
    DropTable,
    /// Such as `DISABLE KEYS`, which a dump has around the rows of each table.
    AlterTable,
    LockTables,
    InsertRows,
    ReplaceRows,
    /// A table that refers to another by a foreign key.
    ReferTable,
    CreateView,
    /// A view that reads tables or views.
    ReadTables,
    /// A table or view that takes numbers from a sequence.
    UseSequence,
    SetSequence,
    Trigger,
    CreateRoutine,
    DropRoutine,
    Event,
    Index,
}

/// The action that the beginning of a statement tells, and the one that `OR REPLACE` adds.
pub(super) fn actions(statement: &Statement<'_>) -> impl Iterator<Item = PrivilegedAction> {
    let is_word = |at: usize, word: &str| statement.head.get(at).is_some_and(|token| token.is(word));
    let (first, second) = match statement.class.kind {
        StatementKind::CreateDatabase => {
            (Some(PrivilegedAction::CreateDatabase), is_word(1, "OR").then_some(PrivilegedAction::DropDatabase))
        }
        StatementKind::DropDatabase => (Some(PrivilegedAction::DropDatabase), None),
        StatementKind::AlterDatabase => (Some(PrivilegedAction::AlterDatabase), None),
        StatementKind::Create(kind) => (Some(create(kind)), is_word(1, "OR").then(|| drop(kind))),
        StatementKind::Placeholder if is_word(1, "VIEW") => (Some(PrivilegedAction::CreateView), None),
        StatementKind::Placeholder => (Some(PrivilegedAction::CreateTable), None),
        StatementKind::Drop(kind) => (Some(drop(kind)), None),
        StatementKind::Alter(ObjectKind::Sequence) if !is_word(0, "ALTER") => {
            (Some(PrivilegedAction::SetSequence), None)
        }
        StatementKind::Alter(kind) => (Some(alter(kind)), None),
        StatementKind::Insert if is_word(0, "REPLACE") => {
            (Some(PrivilegedAction::InsertRows), Some(PrivilegedAction::ReplaceRows))
        }
        StatementKind::Insert => (Some(PrivilegedAction::InsertRows), None),
        StatementKind::Lock => (Some(PrivilegedAction::LockTables), None),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

/// The action that a token in a definition tells.
pub(super) fn action_in(token: &Token<'_>, kind: StatementKind) -> Option<PrivilegedAction> {
    if token.kind != TokenKind::Word {
        return None;
    }
    let is = |words: &[&str]| words.iter().any(|word| token.is(word));
    match kind {
        StatementKind::Create(ObjectKind::Table) if is(&["REFERENCES"]) => Some(PrivilegedAction::ReferTable),
        StatementKind::Create(ObjectKind::View) if is(&["FROM"]) => Some(PrivilegedAction::ReadTables),
        StatementKind::Create(ObjectKind::Table | ObjectKind::View) if is(&["NEXTVAL", "LASTVAL", "SETVAL"]) => {
            Some(PrivilegedAction::UseSequence)
        }
        _ => None,
    }
}

fn create(kind: ObjectKind) -> PrivilegedAction {
    match kind {
        ObjectKind::Table | ObjectKind::Sequence => PrivilegedAction::CreateTable,
        ObjectKind::View => PrivilegedAction::CreateView,
        ObjectKind::Trigger => PrivilegedAction::Trigger,
        ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Package | ObjectKind::PackageBody => {
            PrivilegedAction::CreateRoutine
        }
        ObjectKind::Event => PrivilegedAction::Event,
        ObjectKind::Index => PrivilegedAction::Index,
    }
}

fn drop(kind: ObjectKind) -> PrivilegedAction {
    match kind {
        ObjectKind::Table | ObjectKind::Sequence | ObjectKind::View => PrivilegedAction::DropTable,
        kind => alter(kind),
    }
}

fn alter(kind: ObjectKind) -> PrivilegedAction {
    match kind {
        ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Package | ObjectKind::PackageBody => {
            PrivilegedAction::DropRoutine
        }
        ObjectKind::Table | ObjectKind::Sequence | ObjectKind::View => PrivilegedAction::AlterTable,
        kind => create(kind),
    }
}
