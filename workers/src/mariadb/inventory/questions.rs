//! The questions of an inventory, as statements for the server.

use super::{Inventory, NEVER_DUMPED};
use crate::mariadb::client::literal;
use crate::mariadb::dump_args::{DumpArgs, Scope};
use crate::mariadb::options::Switch;
use crate::mariadb::text::EXACT_IN_UTF8;

/// A statement that answers nothing.
pub(super) const NO_ROWS: &str = "DO 0";

impl Inventory {
    /// The questions whose answers `read` takes.
    pub(in crate::mariadb) fn questions(args: &DumpArgs) -> [String; 7] {
        let of = |column: &str| filter(column, &args.scope);
        [
            "SHOW DATABASES".to_owned(),
            format!(
                "SELECT table_schema, table_name, table_type, IFNULL(engine,''), IFNULL(create_options,'') \
                 FROM information_schema.tables \
                 WHERE {} ORDER BY 1, 2",
                of("table_schema")
            ),
            columns_question(&of("table_schema")),
            format!(
                "SELECT table_schema, table_name, view_definition FROM information_schema.views WHERE {}",
                of("table_schema")
            ),
            when(args.is_on("triggers", Switch::On), || {
                format!(
                    "SELECT trigger_schema, event_object_table, trigger_name FROM information_schema.triggers WHERE {}",
                    of("trigger_schema")
                )
            }),
            when(args.is_on("routines", Switch::Off), || {
                format!(
                    "SELECT routine_schema, CONCAT(routine_type,' ',routine_name), routine_definition IS NULL \
                     FROM information_schema.routines WHERE {}",
                    of("routine_schema")
                )
            }),
            when(args.is_on("events", Switch::Off), || {
                format!(
                    "SELECT event_schema, event_name, LOCATE(';;', event_definition), \
                     LOCATE('/*', event_definition) AND {closed} > {opened}, on_completion = 'NOT PRESERVE' AND \
                     IFNULL(CONVERT_TZ(IFNULL(execute_at, ends), time_zone, '+00:00') <= UTC_TIMESTAMP(), FALSE) \
                     FROM information_schema.events WHERE {}",
                    of("event_schema"),
                    closed = occurrences("*/"),
                    opened = occurrences("/*"),
                )
            }),
        ]
    }
}

/// Asks for the columns that need attention; most have none.
fn columns_question(filter: &str) -> String {
    let exact = EXACT_IN_UTF8.map(|name| format!("'{name}'")).join(",");
    format!(
        "SELECT table_schema, table_name, column_name, IFNULL(column_default,''), IFNULL(generation_expression,''), \
         column_type, IFNULL(character_set_name,'') FROM information_schema.columns WHERE {filter} AND \
         (column_default LIKE '%val(%' OR generation_expression = 'ROW START' \
         OR data_type IN ('float','inet4','inet6','uuid') OR character_set_name NOT IN ({exact}) \
         OR column_default LIKE '%?%' OR column_type LIKE '%?%') ORDER BY 1, 2, ordinal_position"
    )
}

/// How often two characters stand in an event's body, as an expression.
fn occurrences(characters: &str) -> String {
    format!("(LENGTH(event_definition) - LENGTH(REPLACE(event_definition, '{characters}', '')))")
}

/// A server whose tables of events or routines are broken can still be asked for what it has.
fn when(wanted: bool, question: impl FnOnce() -> String) -> String {
    if wanted { question() } else { NO_ROWS.to_owned() }
}

/// The selection of databases as a condition in SQL. It may let too many pass, because the server compares names without
/// case; `selected` decides.
fn filter(column: &str, scope: &Scope) -> String {
    let list = |names: &mut dyn Iterator<Item = &str>| names.map(literal).collect::<Vec<_>>().join(",");
    match scope {
        // By bytes, and without the user's exceptions: of names that differ in case or accents only, each counts.
        Scope::AllDatabases { .. } => format!("BINARY {column} NOT IN ({})", list(&mut NEVER_DUMPED.into_iter())),
        // Without a name nothing is found.
        Scope::Databases(names) if names.is_empty() => "FALSE".to_owned(),
        Scope::Databases(names) => format!("{column} IN ({})", list(&mut names.iter().map(String::as_str))),
        Scope::One { database, .. } => format!("{column} IN ({})", literal(database)),
    }
}
