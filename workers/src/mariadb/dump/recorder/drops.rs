//! Objects that a stream drops, so that a restore over existing ones of these names can create them.

use std::collections::HashSet;

use super::super::class::StatementKind;
use super::super::record::RecordedKind;
use super::super::statement::Statement;

/// Names that are kept. mariadb-dump drops an object right before it creates it, so few of them wait.
const NAMES: usize = 10_000;

/// An object by the index of its database, its kind and its name in lower case; tables have no kind.
type Object = (usize, Option<RecordedKind>, String);

/// Objects that have been dropped and not been created since.
#[derive(Debug, Default)]
pub(super) struct Drops(HashSet<Object>);

impl Drops {
    pub fn add(&mut self, database: usize, kind: Option<RecordedKind>, name: &[u8]) {
        if self.0.len() >= NAMES {
            self.0.clear();
        }
        self.0.insert(object(database, kind, name));
    }

    /// Whether a statement that creates this object can run where an object of the name exists.
    pub fn allow(&mut self, database: usize, kind: Option<RecordedKind>, statement: &Statement<'_>) -> bool {
        let name = statement.class.name.map(|name| statement.head.name(name)).unwrap_or_default();
        if statement.class.kind == StatementKind::Placeholder {
            // It is a view or a table, and the view follows later, with a `DROP` of its own.
            let of_kind = |kind| self.0.contains(&object(database, kind, &name));
            return of_kind(None) || of_kind(Some(RecordedKind::View));
        }
        let was_dropped = self.0.remove(&object(database, kind, &name));
        was_dropped || replaces(statement)
    }
}

fn object(database: usize, kind: Option<RecordedKind>, name: &[u8]) -> Object {
    (database, kind, String::from_utf8_lossy(name).to_lowercase())
}

/// Whether the statement is `CREATE OR REPLACE` or `CREATE … IF NOT EXISTS`.
fn replaces(statement: &Statement<'_>) -> bool {
    let is = |at: usize, word: &str| statement.head.get(at).is_some_and(|token| token.is(word));
    let name = statement.class.qualifier.or(statement.class.name);
    is(1, "OR") || name.is_some_and(|name| name > 0 && is(name - 1, "EXISTS"))
}
