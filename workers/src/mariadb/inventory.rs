//! Asks the server, before a dump starts, for everything that the dump has to contain. It sees as much as the account
//! does; `grants` tells whether that is everything.

mod expected;
mod questions;

use std::collections::BTreeSet;

pub use self::expected::{ExpectedObjects, InventoryKind, MissingObjects};
use super::{
    client::{QueryError, Rows},
    dump_args::{DumpArgs, Scope},
    options::Switch,
    text::EXACT_IN_UTF8,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableEntry {
    pub database: String,
    pub name: String,
    pub kind: InventoryKind,
    pub versioned: bool,
    pub engine: String,
    /// As `information_schema` shows them.
    pub options: String,
}

impl TableEntry {
    pub(super) fn dotted(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ViewEntry {
    pub database: String,
    pub name: String,
    pub definition: String,
}

/// A column of a table that the dump selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub database: String,
    pub table: String,
    pub name: String,
}

impl Column {
    pub(super) fn dotted(&self) -> String {
        format!("{}.{}.{}", self.database, self.table, self.name)
    }
}

/// Everything that the dump selects.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// The databases that the dump selects.
    pub databases: Vec<String>,
    /// All databases that the account sees.
    pub known: BTreeSet<String>,
    pub tables: Vec<TableEntry>,
    /// (database, name) of tables, views and sequences beside them that the dump leaves out.
    pub unselected: BTreeSet<(String, String)>,
    pub views: Vec<ViewEntry>,
    /// Events whose time is over, so that the server would not create them again.
    pub expired_events: Vec<String>,
    /// Events with a comment, and with more ends of comments than beginnings.
    pub closing_events: Vec<String>,
    /// (database, name) of events whose body holds `;;`.
    pub doubled_semicolons: Vec<(String, String)>,
    /// Databases with routines whose body the account cannot read.
    pub hidden_routines: BTreeSet<String>,
    /// (database, its table, text of the default) of columns that take their default from a sequence.
    pub sequence_defaults: Vec<(String, String, String)>,
    /// Versioned by transaction ids, whose history no dump can hold.
    pub transaction_precise: Vec<(String, String)>,
    pub floats: Vec<Column>,
    /// Columns of the types INET4, INET6 and UUID.
    pub network: Vec<Column>,
    /// Text in character sets that do not survive a conversion to utf8mb4.
    pub legacy_text: Vec<Column>,
    /// Columns whose ENUM, SET or default is shown with a `?`.
    pub question_marks: Vec<Column>,
    pub expected: ExpectedObjects,
}

const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

/// Databases that no dump contains: `--all-databases` of 10.11 leaves `sys` out too.
const NEVER_DUMPED: [&str; 3] = ["information_schema", "performance_schema", "sys"];

pub(super) fn is_system(database: &str) -> bool {
    SYSTEM.iter().any(|name| database.eq_ignore_ascii_case(name))
}

impl Inventory {
    pub(super) fn read(
        args: &DumpArgs,
        [databases, tables, columns, views, triggers, routines, events]: [Rows; 7],
    ) -> Result<Self, QueryError> {
        let known: Vec<String> = databases.into_iter().filter_map(|row| row.into_iter().next()).collect();
        let selected = selected(&args.scope, known.iter().cloned());
        let mut inventory = Self { known: known.into_iter().collect(), databases: selected, ..Self::default() };
        inventory.take_tables(args, tables)?;
        inventory.take_columns(columns)?;
        inventory.take_views(args, views)?;
        inventory.take_triggers(args, triggers)?;
        inventory.take_routines(args, routines)?;
        inventory.take_events(args, events)?;
        if args.is_on("no-create-info", Switch::Off) {
            inventory.expected = ExpectedObjects::default();
        }
        Ok(inventory)
    }

    fn take_tables(&mut self, args: &DumpArgs, rows: Rows) -> Result<(), QueryError> {
        for row in rows {
            let [database, name, kind, engine, options] = columns(row)?;
            if !self.has(&database) {
                continue;
            }
            if !selects_table(args, &database, &name) {
                self.unselected.insert((database, name));
                continue;
            }
            let versioned = kind == "SYSTEM VERSIONED";
            let kind = match kind.as_str() {
                "VIEW" | "SYSTEM VIEW" => InventoryKind::View,
                "SEQUENCE" => InventoryKind::Sequence,
                _ => InventoryKind::Table,
            };
            self.expected.add(args, &database, kind, &name);
            self.tables.push(TableEntry { database, name, kind, versioned, engine, options });
        }
        Ok(())
    }

    fn take_columns(&mut self, rows: Rows) -> Result<(), QueryError> {
        let stored = |table: &&TableEntry| table.kind == InventoryKind::Table;
        let tables: BTreeSet<(&str, &str)> =
            self.tables.iter().filter(stored).map(|table| (table.database.as_str(), table.name.as_str())).collect();
        for row in rows {
            let [database, table, name, default, generated, kind, character_set] = columns(row)?;
            if !tables.contains(&(database.as_str(), table.as_str())) {
                continue;
            }
            if generated == "ROW START" && kind.starts_with("bigint") {
                self.transaction_precise.push((database.clone(), table.clone()));
            } else if generated.is_empty() && default.contains("val(") {
                self.sequence_defaults.push((database.clone(), table.clone(), default.clone()));
            }
            let column = Column { database, table, name };
            if kind.starts_with("float") && generated.is_empty() {
                self.floats.push(column.clone());
            }
            if ["inet4", "inet6", "uuid"].contains(&kind.as_str()) {
                self.network.push(column.clone());
            }
            let beyond_utf8mb3 =
                character_set == "utf8mb4" || character_set.starts_with("utf16") || character_set == "utf32";
            if beyond_utf8mb3 && (kind.contains('?') || (default.starts_with('\'') && default.contains('?'))) {
                self.question_marks.push(column.clone());
            }
            if !character_set.is_empty() && !EXACT_IN_UTF8.contains(&character_set.as_str()) && generated.is_empty() {
                self.legacy_text.push(column);
            }
        }
        Ok(())
    }

    fn take_views(&mut self, args: &DumpArgs, rows: Rows) -> Result<(), QueryError> {
        for row in rows {
            let [database, name, definition] = columns(row)?;
            if self.has(&database) && selects_table(args, &database, &name) {
                self.views.push(ViewEntry { database, name, definition });
            }
        }
        Ok(())
    }

    fn take_triggers(&mut self, args: &DumpArgs, rows: Rows) -> Result<(), QueryError> {
        for row in rows {
            let [database, table, name] = columns(row)?;
            if self.has(&database) && selects_table(args, &database, &table) {
                self.expected.add(args, &database, InventoryKind::Trigger, &name);
            }
        }
        Ok(())
    }

    fn take_routines(&mut self, args: &DumpArgs, rows: Rows) -> Result<(), QueryError> {
        for row in rows {
            let [database, name, hidden] = columns(row)?;
            if self.has(&database) {
                self.expected.add(args, &database, InventoryKind::Routine, &name);
                if hidden == "1" {
                    self.hidden_routines.insert(database);
                }
            }
        }
        Ok(())
    }

    fn take_events(&mut self, args: &DumpArgs, rows: Rows) -> Result<(), QueryError> {
        for row in rows {
            let [database, name, doubled, comments, expired] = columns(row)?;
            if self.has(&database) {
                if comments == "1" {
                    self.closing_events.push(format!("{database}.{name}"));
                }
                if expired == "1" {
                    self.expired_events.push(format!("{database}.{name}"));
                }
                self.expected.add(args, &database, InventoryKind::Event, &name);
                if doubled != "0" {
                    self.doubled_semicolons.push((database, name));
                }
            }
        }
        Ok(())
    }

    /// Drops databases (with all that they hold) and tables from what the dump has to contain.
    pub(super) fn forget(&mut self, left_out: impl Fn(&str, Option<&str>) -> bool) {
        let gone = |database: &str, name: &str| left_out(database, None) || left_out(database, Some(name));
        self.tables.retain(|table| !gone(&table.database, &table.name));
        self.views.retain(|view| !gone(&view.database, &view.name));
        for columns in [&mut self.floats, &mut self.network, &mut self.legacy_text, &mut self.question_marks] {
            columns.retain(|column| !gone(&column.database, &column.table));
        }
        self.expected.forget(left_out);
    }

    /// The server compares names without case, this exactly.
    fn has(&self, database: &str) -> bool {
        self.databases.iter().any(|name| name == database)
    }
}

fn selected(scope: &Scope, all: impl Iterator<Item = String>) -> Vec<String> {
    match scope {
        Scope::AllDatabases { except } => all
            .filter(|name| !except.contains(name) && !NEVER_DUMPED.iter().any(|never| name.eq_ignore_ascii_case(never)))
            .collect(),
        Scope::Databases(names) => names.clone(),
        Scope::One { database, .. } => vec![database.clone()],
    }
}

fn selects_table(args: &DumpArgs, database: &str, table: &str) -> bool {
    let named = match &args.scope {
        Scope::One { tables, .. } if !tables.is_empty() => tables.iter().any(|name| name == table),
        _ => true,
    };
    named
        && !args
            .ignored_tables
            .iter()
            .any(|ignored| ignored.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')) == Some(table))
}

fn columns<const N: usize>(row: Vec<String>) -> Result<[String; N], QueryError> {
    row.try_into().map_err(|_| QueryError::Answer)
}

#[cfg(test)]
mod tests {
    use super::questions::NO_ROWS;
    use super::*;
    use crate::mariadb::client::literal;

    fn args(user: &[&str]) -> DumpArgs {
        let user: Vec<String> = user.iter().map(|arg| (*arg).to_owned()).collect();
        DumpArgs::parse(&user).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[test]
    fn an_ignored_database_hides_none_whose_name_the_server_takes_for_the_same() {
        let args = args(&["--all-databases", "--ignore-database=Shop"]);
        let asked = Inventory::questions(&args).concat();
        assert!(!asked.contains(&literal("Shop")) && asked.contains(&literal("sys")), "{asked}");
        let row = |database: &str| [database, "t", "BASE TABLE", "InnoDB", ""].map(str::to_owned).to_vec();
        let known = ["Shop", "shop"].map(|name| vec![name.to_owned()]).to_vec();
        let tables = vec![row("Shop"), row("shop")];
        let inventory = Inventory::read(&args, [known, tables, vec![], vec![], vec![], vec![], vec![]]);
        let inventory = inventory.unwrap_or_else(|error| unreachable!("{error}"));
        let found: Vec<&str> = inventory.tables.iter().map(|table| table.database.as_str()).collect();
        assert_eq!(
            (inventory.databases.as_slice(), found.as_slice()),
            (["shop".to_owned()].as_slice(), ["shop"].as_slice())
        );
    }

    #[test]
    fn what_is_switched_off_is_not_asked_for() {
        let [.., events] = Inventory::questions(&args(&["--databases", "shop"]));
        assert_eq!(events, NO_ROWS);
        let [.., events] = Inventory::questions(&args(&["--databases", "shop", "--events"]));
        assert!(events.contains("information_schema.events"), "{events}");
    }
}
