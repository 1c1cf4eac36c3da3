//! Objects that the target of a restore has already: those that stay, those that are in its way, and the statements that
//! drop them all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{
    client::{QueryError, SqlClient, identifier, literal},
    dump::{DatabaseRecord, Few, Listed, NameCase, PrivilegedAction, Record, RecordedKind},
    inventory::is_system,
    kinds::{folded, is_relation, kind as kind_of, word},
    scope::{RestoreScope, TargetDatabase},
};

/// Number of the error of a database that does not exist.
const UNKNOWN_DATABASE: u32 = 1049;

/// Objects of the target that a restore over them meets, as in `view shop.v`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Those that the dump does not have: they stay.
    pub stays: Vec<String>,
    /// Tables that the dump only has rows of: these are added.
    pub filled: Vec<String>,
    /// Those at which the dump breaks off: it creates an object of their name and does not drop them before.
    pub clashes: Vec<String>,
    /// Databases that the dump itself drops, so that nothing in them stays.
    pub dropped: Vec<String>,
    /// Databases that hold more than can be compared, because the record does not list all that the dump brings.
    pub uncompared: Vec<String>,
}

/// The fate of an object of the target in a restore over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Filled,
    Clashes,
    /// The dump drops it, with or without a successor.
    Dropped,
}

/// Compares the databases of a restore with what its dump brings.
pub async fn met(client: &SqlClient, scope: &RestoreScope, record: &Record, case: NameCase) -> Result<Met, QueryError> {
    let databases: Vec<(&TargetDatabase, Brings)> = scope
        .databases
        .iter()
        .filter(|database| !is_system(&database.name))
        .filter_map(|database| Some((database, Brings::of(record.database(database.source.as_deref())?, case))))
        .collect();
    if databases.is_empty() {
        return Ok(Met::default());
    }
    let names: Vec<&str> = databases.iter().map(|(database, _)| database.name.as_str()).collect();
    let mut met = Met::default();
    for row in client.query(&question(&names)).await? {
        let [database, kind, name, table] = <[String; 4]>::try_from(row).map_err(|_| QueryError::Answer)?;
        let found = databases.iter().find(|(found, _)| case.same(&found.name, &database));
        let Some((destination, brings)) = found else { continue };
        let kind = kind_of(&kind);
        let shown = format!("{} {database}.{name}", word(kind));
        let database = destination.name.clone();
        match brings.fate(kind, &name, &table) {
            _ if brings.drops_database => add(&mut met.dropped, database),
            Fate::Stays if !brings.is_whole => add(&mut met.uncompared, database),
            Fate::Stays => met.stays.push(shown),
            Fate::Filled => met.filled.push(shown),
            Fate::Clashes => met.clashes.push(shown),
            Fate::Dropped => {}
        }
    }
    Ok(met)
}

fn add(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// Asks for all objects, in the order in which they are shown, and for the tables of triggers.
fn question(databases: &[&str]) -> String {
    let list = databases.iter().map(|name| literal(name)).collect::<Vec<_>>().join(",");
    let of = |schema: &str, kind: &str, name: &str, of: &str, table: &str| {
        format!("SELECT {schema}, {kind}, {name}, {of} FROM information_schema.{table} WHERE {schema} IN ({list})")
    };
    let objects = [
        of("table_schema", "table_type", "table_name", "''", "tables"),
        of("trigger_schema", "'TRIGGER'", "trigger_name", "event_object_table", "triggers"),
        of("routine_schema", "routine_type", "routine_name", "''", "routines"),
        of("event_schema", "'EVENT'", "event_name", "''", "events"),
    ];
    format!("{} ORDER BY 1, 2, 3", objects.join(" UNION ALL "))
}

/// Whether an object is created where one of its name may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Creation {
    AfterDrop,
    WithoutDrop,
}

/// Objects that a dump brings to one database.
struct Brings {
    case: NameCase,
    /// By kind and folded name.
    created: BTreeMap<(Option<RecordedKind>, String), Creation>,
    /// Folded names of tables that the dump only has rows of.
    filled: Vec<String>,
    /// The dump drops the whole database, as with `--add-drop-database`.
    drops_database: bool,
    /// The record lists all of it.
    is_whole: bool,
}

impl Brings {
    fn of(found: &DatabaseRecord, case: NameCase) -> Self {
        let mut brings = Self {
            case,
            created: BTreeMap::new(),
            filled: found.required_tables.listed.iter().map(|table| case.fold(&table.name)).collect(),
            drops_database: found.actions.contains(&PrivilegedAction::DropDatabase),
            is_whole: !found.required_tables.more
                && found.tables.is_whole()
                && found.objects.values().all(Listed::is_whole),
        };
        let tables = found.tables.listed.iter().map(|table| table.name.as_str());
        brings.add(None, (tables, found.tables.count), Some(&found.tables_not_dropped));
        for (kind, listed) in &found.objects {
            let names = listed.listed.iter().map(String::as_str);
            brings.add(Some(*kind), (names, listed.count), found.objects_not_dropped.get(kind));
        }
        brings
    }

    fn add<'a>(
        &mut self,
        kind: Option<RecordedKind>,
        (names, count): (impl Iterator<Item = &'a str>, u64),
        not_dropped: Option<&Few<String>>,
    ) {
        let not_dropped = not_dropped.filter(|not_dropped| not_dropped.count > 0);
        for name in names {
            let is_kept =
                not_dropped.is_some_and(|few| few.count >= count || few.first.iter().any(|kept| kept == name));
            let creation = if is_kept { Creation::WithoutDrop } else { Creation::AfterDrop };
            self.created.insert((kind, folded(kind, name, self.case)), creation);
        }
    }

    fn creation(&self, kind: Option<RecordedKind>, name: &str) -> Option<Creation> {
        self.created.get(&(kind, folded(kind, name, self.case))).copied()
    }

    /// `table` is that of a trigger.
    fn fate(&self, kind: Option<RecordedKind>, name: &str, table: &str) -> Fate {
        // A trigger goes with its table. Its name is one of the whole database.
        if kind == Some(RecordedKind::Trigger) && self.fate(None, table, "") == Fate::Dropped {
            return Fate::Dropped;
        }
        match self.creation(kind, name) {
            Some(Creation::AfterDrop) => Fate::Dropped,
            Some(Creation::WithoutDrop) => Fate::Clashes,
            None if is_relation(kind) => self.fate_of_relation(kind, name),
            None => Fate::Stays,
        }
    }

    /// The fate of a table, view or sequence of which the dump has none of the same kind.
    fn fate_of_relation(&self, kind: Option<RecordedKind>, name: &str) -> Fate {
        let creation = |kind| self.creation(kind, name);
        // `DROP TABLE` drops sequences too, and mariadb-dump has one before each table and each view.
        let dropped_by = match kind {
            None | Some(RecordedKind::Sequence) => [None, Some(RecordedKind::View)].as_slice(),
            Some(_) => &[],
        };
        let relations = [None, Some(RecordedKind::View), Some(RecordedKind::Sequence)];
        if dropped_by.iter().any(|kind| creation(*kind) == Some(Creation::AfterDrop)) {
            Fate::Dropped
        } else if relations.into_iter().any(|kind| creation(kind).is_some()) {
            Fate::Clashes
        } else if self.filled.contains(&self.case.fold(name)) {
            Fate::Filled
        } else {
            Fate::Stays
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
