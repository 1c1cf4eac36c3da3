//! Asks of everything that a dump selects whether a server would create it again: this one, and one with default
//! settings. A server accepts many things to exist that it refuses to be made.
//!
//! Obstacles that the completed settings of the stream remove (`rewrite`) are not reported here.

use std::collections::BTreeSet;

use super::{
    dump_args::{DumpArgs, Scope},
    finding::Finding,
    inventory::{Inventory, InventoryKind, TableEntry, is_system},
    options::Switch,
};

/// Begins names that were written to disk before MySQL 5.1, or by something that is no server, such as the
/// `lost+found` of a volume. They can be read and dropped, but not created.
const UNENCODED: &str = "#mysql50#";

/// Engines that a default server has and that hold data.
const COMMON_ENGINES: [&str; 6] = ["InnoDB", "MyISAM", "Aria", "MEMORY", "CSV", "MRG_MyISAM"];

/// Options of tables that need a plugin or a path of their server.
const BOUND_OPTIONS: [&str; 4] = ["ENCRYPTED", "ENCRYPTION_KEY_ID", "DATA DIRECTORY", "INDEX DIRECTORY"];

/// The default of `max_allowed_packet`.
const DEFAULT_PACKET_BYTES: u64 = 16 * 1024 * 1024;

/// Takes what has an unencoded name out of the dump. Returns the names of databases and tables that hold something.
pub(super) fn leave_out_unencoded(args: &mut DumpArgs, inventory: &mut Inventory) -> Option<Finding> {
    let mut left_out = Vec::new();
    if let Scope::AllDatabases { except } = &mut args.scope {
        let unencoded: BTreeSet<String> =
            inventory.databases.iter().filter(|name| name.starts_with(UNENCODED)).cloned().collect();
        let full = |name: &&String| inventory.tables.iter().any(|table| table.database == **name);
        left_out.extend(unencoded.iter().filter(full).cloned());
        except.extend(unencoded.iter().cloned());
        inventory.forget(|database, _| unencoded.contains(database));
        inventory.databases.retain(|name| !unencoded.contains(name));
    }
    let tables: Vec<TableEntry> =
        inventory.tables.iter().filter(|table| table.name.starts_with(UNENCODED)).cloned().collect();
    for table in &tables {
        args.ignored_tables.push(table.dotted());
        left_out.push(table.dotted());
    }
    inventory.forget(|_, name| name.is_some_and(|name| name.starts_with(UNENCODED)));
    (!left_out.is_empty()).then_some(Finding::UnencodedNames(left_out))
}

/// Databases of which a dump was asked for by name, and which cannot be created again under it.
pub(super) fn unencoded_databases(inventory: &Inventory) -> Vec<String> {
    inventory.databases.iter().filter(|name| name.starts_with(UNENCODED)).cloned().collect()
}

/// Everything that may not load again, besides names.
pub(super) fn findings(args: &DumpArgs, inventory: &Inventory) -> Vec<Finding> {
    if args.is_on("no-create-info", Switch::Off) {
        return Vec::new();
    }
    let tables = |chosen: &dyn Fn(&TableEntry) -> bool| -> Vec<String> {
        let stored = |table: &&TableEntry| table.kind == InventoryKind::Table && table.database != "mysql";
        inventory.tables.iter().filter(stored).filter(|table| chosen(table)).map(TableEntry::dotted).collect()
    };
    let bound = |table: &TableEntry| {
        let options = table.options.to_ascii_uppercase();
        BOUND_OPTIONS.iter().any(|option| options.contains(option))
            || !COMMON_ENGINES.iter().any(|engine| table.engine.eq_ignore_ascii_case(engine))
    };
    let views = inventory
        .views
        .iter()
        .filter(|view| leans_elsewhere(&view.definition, inventory))
        .map(|view| format!("{}.{}", view.database, view.name));
    [
        Finding::ServerFeatures(tables(&bound)),
        Finding::ForeignViews(views.collect()),
        Finding::ExpiredEvents(inventory.expired_events.clone()),
        Finding::ClosingEvents(inventory.closing_events.clone()),
    ]
    .into_iter()
    .filter(|finding| !finding.names().is_empty())
    .collect()
}

/// Tells, once a dump has passed, whether this server or a default one would take its longest statement.
#[must_use]
pub fn large_rows(statement_bytes: u64, server_packet_bytes: u64) -> Option<Finding> {
    let allowed_bytes = server_packet_bytes.min(DEFAULT_PACKET_BYTES);
    (statement_bytes >= allowed_bytes).then_some(Finding::LargeRows { statement_bytes, server_packet_bytes })
}

/// Whether a view names something that the dump does not hold. Its definition names the database of everything.
fn leans_elsewhere(definition: &str, inventory: &Inventory) -> bool {
    let foreign = |database: &String| {
        inventory.known.contains(database) && !inventory.databases.contains(database) && !is_system(database)
    };
    qualified(definition).iter().any(|pair| foreign(&pair.0) || inventory.unselected.contains(pair))
}

/// The pairs of names in backticks with a dot between, outside of strings: database and table, or table and column.
pub(super) fn qualified(text: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut characters = text.chars().peekable();
    let mut before: Option<String> = None;
    while let Some(character) = characters.next() {
        if character == '\'' {
            while let Some(next) = characters.next() {
                match next {
                    '\\' => _ = characters.next(),
                    '\'' => break,
                    _ => {}
                }
            }
        }
        if character != '`' {
            before = None;
            continue;
        }
        let mut name = String::new();
        while let Some(next) = characters.next() {
            if next != '`' {
                name.push(next);
            } else if characters.next_if_eq(&'`').is_some() {
                name.push('`');
            } else {
                break;
            }
        }
        if let Some(before) = before {
            found.insert((before, name.clone()));
        }
        before = characters.next_if_eq(&'.').map(|_| name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_a_view_are_read_outside_of_strings() {
        let text = "select 'it\\'s `no`.`x`' AS `a`,`o``ne`.`t`.`c` from (`o``ne`.`t` join `two`.`f`(`x`))";
        let pairs = [("o`ne", "t"), ("t", "c"), ("two", "f")];
        assert_eq!(qualified(text), pairs.map(|(one, other)| (one.to_owned(), other.to_owned())).into());
    }

    #[test]
    fn a_statement_that_a_default_server_refuses_is_reported() {
        assert_eq!(large_rows(1 << 20, 64 << 20), None);
        let finding = Finding::LargeRows { statement_bytes: 20 << 20, server_packet_bytes: 64 << 20 };
        assert_eq!(large_rows(20 << 20, 64 << 20), Some(finding));
        assert!(large_rows(5 << 20, 4 << 20).is_some());
    }
}
