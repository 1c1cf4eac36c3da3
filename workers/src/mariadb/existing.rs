//! Objects that the target of a restore has already: those that stay, those that are in its way, and the statements that
//! drop them all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{
    client::{QueryError, SqlClient, identifier, literal},
    dump::{DatabaseRecord, NameCase, Record, RecordedKind},
    inventory::is_system,
    scope::{RestoreScope, TargetDatabase},
};

/// Number of the error of a database that does not exist.
const UNKNOWN_DATABASE: u32 = 1049;

/// Objects of the target that a restore over them meets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Those that the dump does not have, as in `view shop.v`: they stay.
    pub stays: Vec<String>,
    /// Those in whose place the dump has an object of another kind, which it does not drop.
    pub clashes: Vec<String>,
}

/// Compares the databases of a restore with what its dump brings.
pub async fn met(client: &SqlClient, scope: &RestoreScope, record: &Record, case: NameCase) -> Result<Met, QueryError> {
    let names = scope.databases.iter().filter(|database| !is_system(&database.name)).map(|d| literal(&d.name));
    let list = names.collect::<Vec<_>>().join(",");
    if list.is_empty() {
        return Ok(Met::default());
    }
    let rows = client
        .query(&format!(
            "SELECT table_schema, CASE table_type WHEN 'VIEW' THEN 'view' WHEN 'SEQUENCE' THEN 'sequence' ELSE 'table' END, \
             table_name FROM information_schema.tables WHERE table_schema IN ({list}) \
             UNION ALL SELECT routine_schema, LOWER(routine_type), routine_name FROM information_schema.routines \
             WHERE routine_schema IN ({list}) \
             UNION ALL SELECT event_schema, 'event', event_name FROM information_schema.events \
             WHERE event_schema IN ({list}) ORDER BY 1, 2, 3"
        ))
        .await?;
    let mut met = Met::default();
    for row in rows {
        let [database, kind, name] = <[String; 3]>::try_from(row).map_err(|_| QueryError::Answer)?;
        let Some(destination) = scope.databases.iter().find(|found| case.same(&found.name, &database)) else {
            continue;
        };
        let Some(brings) = Brings::of(destination, record, case) else { continue };
        let shown = format!("{kind} {database}.{name}");
        match brings.kind_of(&kind, &name) {
            Place::Same => {}
            Place::Free => met.stays.push(shown),
            Place::Other => met.clashes.push(shown),
        }
    }
    Ok(met)
}

/// Objects that a dump brings to one database. Tables, views and sequences share their names.
struct Brings {
    case: NameCase,
    objects: BTreeSet<(String, String)>,
}

enum Place {
    /// The dump has an object of this kind and name.
    Same,
    /// The dump has nothing of this name.
    Free,
    /// The dump has another kind of object there.
    Other,
}

impl Brings {
    /// Nothing if the record does not list them all.
    fn of(destination: &TargetDatabase, record: &Record, case: NameCase) -> Option<Self> {
        let found: &DatabaseRecord = record.database(destination.source.as_deref())?;
        if !found.tables.is_whole() || !found.objects.values().all(super::dump::Listed::is_whole) {
            return None;
        }
        let fold = |name: &str| case.fold(name);
        let tables = found.tables.listed.iter().map(|table| ("table".to_owned(), fold(&table.name)));
        let others = found.objects.iter().flat_map(|(kind, listed)| {
            // Names of programs and events ignore case on every server.
            listed.listed.iter().map(move |name| match kind {
                RecordedKind::View => ("view".to_owned(), fold(name)),
                RecordedKind::Sequence => ("sequence".to_owned(), fold(name)),
                RecordedKind::Procedure => ("procedure".to_owned(), name.to_lowercase()),
                RecordedKind::Function => ("function".to_owned(), name.to_lowercase()),
                RecordedKind::Package => ("package".to_owned(), name.to_lowercase()),
                RecordedKind::PackageBody => ("package body".to_owned(), name.to_lowercase()),
                RecordedKind::Event => ("event".to_owned(), name.to_lowercase()),
                RecordedKind::Trigger => ("trigger".to_owned(), name.clone()),
            })
        });
        Some(Self { case, objects: tables.chain(others).collect() })
    }

    fn kind_of(&self, kind: &str, name: &str) -> Place {
        const STORED: [&str; 3] = ["table", "view", "sequence"];
        let is_stored = STORED.contains(&kind);
        let folded = if is_stored { self.case.fold(name) } else { name.to_lowercase() };
        let has = |kind: &str| self.objects.contains(&(kind.to_owned(), folded.clone()));
        if has(kind) {
            Place::Same
        } else if is_stored && STORED.iter().any(|other| has(other)) {
            // mariadb-dump drops a table in the place of a view, and nothing else of another kind.
            if kind == "table" && has("view") { Place::Same } else { Place::Other }
        } else {
            Place::Free
        }
    }
}

/// Asks how the databases were made that the stream does not create, and returns the statements that empty all of them.
/// They are fed before the stream, so that nothing is dropped before the log knows that the restore writes.
pub async fn clearing(client: &SqlClient, scope: &RestoreScope) -> Result<String, QueryError> {
    let mut statements = String::new();
    for destination in scope.databases.iter().filter(|destination| !is_system(&destination.name)) {
        let name = identifier(&destination.name);
        let definition = match client.query(&format!("SHOW CREATE DATABASE {name}")).await {
            Ok(rows) => rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).ok_or(QueryError::Answer)?,
            Err(error) if error.failure().is_some_and(|failure| failure.number == Some(UNKNOWN_DATABASE)) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        // Tables of other databases may refer to those that go and come back.
        let _ = write!(statements, "SET FOREIGN_KEY_CHECKS=0;\nDROP DATABASE {name};\nSET FOREIGN_KEY_CHECKS=1;\n");
        if !destination.created {
            let _ = writeln!(statements, "{definition};");
        }
    }
    if let Some(selected) = scope.selects.as_ref().filter(|_| !statements.is_empty()) {
        let _ = writeln!(statements, "USE {};", identifier(selected));
    }
    Ok(statements)
}
