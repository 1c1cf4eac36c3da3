//! Tables that a stream uses and does not create, as one made with `--no-create-info` does: whether they will be there.

use std::collections::BTreeSet;

use super::{
    client::{QueryError, SqlClient, literal},
    dump::{DatabaseRecord, NameCase, PrivilegedAction, Record, RecordedKind},
    inventory::is_system,
    obstacles::Obstacle,
    scope::RestoreScope,
};

/// Whether the databases of a restore are dropped before its first statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    Yes,
    No,
}

/// Finds the tables without which the stream breaks off.
pub async fn missing_tables(
    client: &SqlClient,
    record: &Record,
    scope: &RestoreScope,
    (case, emptied): (NameCase, Emptied),
) -> Result<Vec<Obstacle>, QueryError> {
    let required: Vec<(&str, &DatabaseRecord, Vec<&str>)> = scope
        .databases
        .iter()
        .filter_map(|destination| Some((destination, record.database(destination.source.as_deref())?)))
        .map(|(destination, database)| (destination.name.as_str(), database, required(database, case)))
        .filter(|(_, _, tables)| !tables.is_empty())
        .collect();
    if required.is_empty() {
        return Ok(Vec::new());
    }
    let list = required.iter().map(|(name, ..)| literal(name)).collect::<Vec<_>>().join(",");
    let question =
        format!("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ({list})");
    let rows = client.query(&question).await?.into_iter();
    let rows = rows.map(|row| <[String; 2]>::try_from(row).map_err(|_| QueryError::Answer));
    let held = rows.collect::<Result<Vec<_>, _>>()?;
    let held: BTreeSet<[String; 2]> = held.into_iter().map(|names| names.map(|name| case.fold(&name))).collect();
    let (mut absent, mut dropped) = (Vec::new(), Vec::new());
    for (name, database, tables) in required {
        let emptied = emptied == Emptied::Yes && !is_system(name);
        let goes = emptied || database.actions.contains(&PrivilegedAction::DropDatabase);
        for table in tables {
            if goes {
                dropped.push(format!("{name}.{table}"));
            } else if !held.contains(&[case.fold(name), case.fold(table)]) {
                absent.push(format!("{name}.{table}"));
            }
        }
    }
    let found = [Obstacle::NoTables(absent), Obstacle::DropsTables(dropped)];
    let is_found =
        |obstacle: &Obstacle| !matches!(obstacle, Obstacle::NoTables(of) | Obstacle::DropsTables(of) if of.is_empty());
    Ok(found.into_iter().filter(is_found).collect())
}

/// The required tables that the server will not take for one that the stream creates.
fn required(database: &DatabaseRecord, case: NameCase) -> Vec<&str> {
    let of = |kind| database.objects.get(&kind).into_iter().flat_map(|listed| &listed.listed);
    let tables = database.tables.listed.iter().map(|table| &table.name);
    let created = tables.chain(of(RecordedKind::View)).chain(of(RecordedKind::Sequence));
    let created: BTreeSet<String> = created.map(|name| case.fold(name)).collect();
    let listed = database.required_tables.listed.iter().map(|table| table.name.as_str());
    listed.filter(|name| !created.contains(&case.fold(name))).collect()
}
