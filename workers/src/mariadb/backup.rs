//! The preflight of a backup. It checks that the server answers, that the account sees everything, and that the dump
//! could be restored. Its answer is the final argv and the objects that the stream must contain.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lagan_schemas::error::Class;

use super::{
    client::{HANDSHAKE, LIMITS, QueryError, Rows, SqlClient, identifier},
    connection::needs_encryption,
    dump_args::{DumpArgs, Scope},
    failure::ClientFailure,
    finding::Finding,
    grants::{Grants, MissingGrant},
    inventory::{Column, ExpectedObjects, Inventory, InventoryKind, TableEntry},
    loadable::{self, leave_out_unencoded, qualified, unencoded_databases},
    options::Switch,
    order::{Order, order, sequence_databases},
    text::{self, TextForm},
};

/// Engines whose tables a single transaction shows as they were at its start; others change during a dump.
const TRANSACTIONAL: [&str; 3] = ["InnoDB", "ROCKSDB", "TokuDB"];

/// A dump that passed the preflight.
#[derive(Debug)]
pub struct Prepared {
    /// Everything after the defaults-file.
    pub argv: Vec<String>,
    /// The form of text in the stream, for its scanner.
    pub text: TextForm,
    pub expected: ExpectedObjects,
    pub findings: Vec<Finding>,
    pub server: ServerFacts,
}

/// Facts about the server that is dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    pub version: String,
    pub max_allowed_packet_bytes: u64,
    pub lower_case_table_names: u8,
    /// The character set that the server gave to a client that asked for `binary`.
    handshake: String,
    /// Variables that make a SELECT return less than everything, with their values.
    limits: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("no such database, or none that the account may see: {}", quoted(.0))]
    UnknownDatabases(Vec<String>),
    #[error("nothing to dump: the arguments select no database that the account may see")]
    NothingSelected,
    #[error("the dump would have holes: the account lacks {}", list(.0))]
    MissingGrants(Vec<MissingGrant>),
    #[error("broken views cannot be dumped: {}; repair or drop them, or leave them out with --ignore-table=DATABASE.VIEW", views(.0))]
    BrokenViews(Vec<(String, ClientFailure)>),
    #[error("mariadb-dump never ends on events whose body contains `;;`: {}; change them, or leave events out with --skip-events", quoted(.0))]
    EventBodies(Vec<String>),
    #[error("databases whose tables take defaults from each other's sequences cannot be restored from one dump: {}; back them up one by one, or move the sequences", quoted(.0))]
    SequenceCycle(Vec<String>),
    #[error(
        "the server ignores the character set that its clients ask for and uses `{0}`, so names and text could not be dumped unchanged: remove skip-character-set-client-handshake, or set character-set-server to utf8mb4"
    )]
    CharacterSet(String),
    #[error(
        "the session limits what a SELECT returns ({0}), so rows would be left out of the dump: set the variable back to its default"
    )]
    LimitedSelects(String),
    #[error(
        "databases whose names are not encoded cannot be created again: {}; rename them with ALTER DATABASE `#mysql50#NAME` UPGRADE DATA DIRECTORY NAME", quoted(.0)
    )]
    UnencodedDatabases(Vec<String>),
    #[error("not everything could be loaded again, and --require-loadable is set: {}", conditions(.0))]
    NotLoadable(Vec<Finding>),
    #[error("names with control characters cannot be dumped: {}", quoted(.0))]
    Names(Vec<String>),
}

impl PreflightError {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Query(error) => error.class(),
            _ => Class::Permanent,
        }
    }
}

fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(10).map(|name| format!("`{}`", crate::process::escape(name))).collect();
    let more = if names.len() > 10 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn conditions(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.notice().message).collect::<Vec<_>>().join("; ")
}

fn list(grants: &[MissingGrant]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn views(broken: &[(String, ClientFailure)]) -> String {
    broken.iter().take(10).map(|(view, failure)| format!("`{view}`: {}", failure.line)).collect::<Vec<_>>().join("; ")
}

/// Waits for the server at most `wait`, then checks everything about which a dump itself would be silent.
pub async fn prepare(client: &SqlClient, mut args: DumpArgs, wait: Duration) -> Result<Prepared, PreflightError> {
    // Nothing is asked over a connection that is less private than was asked for.
    if needs_encryption(client.connection.tls.mode) {
        client.wait_ready(wait).await?;
    }
    let questions = Inventory::questions(&args);
    let server = format!("SELECT VERSION(), @@max_allowed_packet, @@lower_case_table_names, {HANDSHAKE}, {LIMITS}");
    let [databases, tables, columns, views, triggers, routines, events] = questions;
    let questions = [server, "SHOW GRANTS".to_owned(), databases, tables, columns, views, triggers, routines, events];
    let [server, grants, inventory @ ..] = client.ask_when_ready(questions, wait).await?;
    let server = ServerFacts::read(server)?;
    if !["binary", "utf8mb4"].contains(&server.handshake.as_str()) {
        return Err(PreflightError::CharacterSet(server.handshake));
    }
    if !server.limits.is_empty() {
        return Err(PreflightError::LimitedSelects(server.limits));
    }
    let grants = Grants::parse(grants.iter().filter_map(|row| row.first()).map(String::as_str));
    let mut inventory = Inventory::read(&args, inventory)?;
    let mut findings = Vec::from_iter(leave_out_unencoded(&mut args, &mut inventory));
    check_names(&args, &inventory)?;
    check_grants(client, &args, &inventory, &grants).await?;
    check_views(client, &inventory).await?;
    if !inventory.doubled_semicolons.is_empty() {
        return Err(PreflightError::EventBodies(dotted(&inventory.doubled_semicolons)));
    }
    arrange(&mut args, &inventory, &mut findings)?;
    keep_history(client, &mut args, &inventory, &mut findings);
    note_engines(&args, &inventory, &mut findings);
    findings.extend(loadable::findings(&args, &inventory));
    note_values(client, &mut args, &inventory, &server, &mut findings).await?;
    if args.requires_loadable() && findings.iter().any(Finding::hinders_loading) {
        findings.retain(Finding::hinders_loading);
        return Err(PreflightError::NotLoadable(findings));
    }
    Ok(Prepared { argv: args.argv(), text: args.text, expected: inventory.expected, findings, server })
}

impl ServerFacts {
    fn read(rows: Rows) -> Result<Self, QueryError> {
        let row = rows.into_iter().next().ok_or(QueryError::Answer)?;
        let [version, packet, case, handshake, limits] =
            <[String; 5]>::try_from(row).map_err(|_| QueryError::Answer)?;
        Ok(Self {
            version,
            max_allowed_packet_bytes: packet.parse().map_err(|_| QueryError::Answer)?,
            lower_case_table_names: case.parse().map_err(|_| QueryError::Answer)?,
            handshake,
            limits,
        })
    }
}

fn check_names(args: &DumpArgs, inventory: &Inventory) -> Result<(), PreflightError> {
    if inventory.databases.is_empty() {
        return Err(PreflightError::NothingSelected);
    }
    let odd = |name: &&String| name.chars().any(char::is_control);
    let names: Vec<String> = inventory.databases.iter().filter(odd).cloned().collect();
    if !names.is_empty() {
        return Err(PreflightError::Names(names));
    }
    if matches!(args.scope, Scope::AllDatabases { .. }) {
        return Ok(());
    }
    // Exactly: where the server ignores case, the objects would be looked for under another name.
    let unencoded = unencoded_databases(inventory);
    if !unencoded.is_empty() {
        return Err(PreflightError::UnencodedDatabases(unencoded));
    }
    let unknown = |name: &&String| !inventory.known.contains(*name);
    let unknown: Vec<String> = inventory.databases.iter().filter(unknown).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(PreflightError::UnknownDatabases(unknown)) }
}

/// Refuses a dump that would leave out what the account cannot see or read.
async fn check_grants(
    client: &SqlClient,
    args: &DumpArgs,
    inventory: &Inventory,
    grants: &Grants,
) -> Result<(), PreflightError> {
    let mut missing = Vec::new();
    if matches!(args.scope, Scope::AllDatabases { .. }) && !grants.sees_databases() {
        missing.push(lacks("SHOW DATABASES", "*.*".into(), "databases would be left out"));
    }
    let unreadable = unreadable(client, inventory, grants).await?;
    for database in &inventory.databases {
        let on = || format!("{}.*", identifier(database));
        let tables: Vec<&TableEntry> = inventory.tables.iter().filter(|table| table.database == *database).collect();
        let named = matches!(&args.scope, Scope::One { tables, .. } if !tables.is_empty());
        let seen = named || grants.sees_tables(database);
        if !seen || tables.iter().any(|table| unreadable.contains(table)) {
            missing.push(lacks("SELECT", on(), "tables would be left out"));
        }
        let on_each = |privilege, kind| {
            let held = |table: &&TableEntry| grants.on_table(privilege, database, &table.name);
            grants.on_database(privilege, database)
                || (seen && tables.iter().filter(|table| table.kind == kind).all(held))
        };
        if args.is_on("triggers", Switch::On) && !on_each("TRIGGER", InventoryKind::Table) {
            missing.push(lacks("TRIGGER", on(), "triggers would be left out"));
        }
        if seen && !on_each("SHOW VIEW", InventoryKind::View) {
            missing.push(lacks("SHOW VIEW", on(), "views cannot be dumped"));
        }
        if args.is_on("events", Switch::Off) && !grants.on_database("EVENT", database) {
            missing.push(lacks("EVENT", on(), "events cannot be dumped"));
        }
        let read = grants.sees_routines(database) && !inventory.hidden_routines.contains(database);
        if args.is_on("routines", Switch::Off) && !read {
            missing.push(lacks("SELECT", "mysql.proc".into(), "routines would be left out"));
        }
    }
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingGrants(missing)) }
}

fn lacks(privilege: &'static str, on: String, consequence: &'static str) -> MissingGrant {
    MissingGrant { privilege, on, consequence }
}

/// The tables that the account sees but cannot read. Without a grant on the whole table it may hold one on each of
/// its columns, so the server is asked.
async fn unreadable<'i>(
    client: &SqlClient,
    inventory: &'i Inventory,
    grants: &Grants,
) -> Result<Vec<&'i TableEntry>, QueryError> {
    let doubtful: Vec<&TableEntry> =
        inventory.tables.iter().filter(|table| !grants.on_table("SELECT", &table.database, &table.name)).collect();
    let (odd, asked): (Vec<&TableEntry>, Vec<&TableEntry>) =
        doubtful.into_iter().partition(|table| table.name.contains('\n'));
    let name = |table: &&TableEntry| format!("{}.{}", identifier(&table.database), identifier(&table.name));
    let questions: Vec<String> = asked.iter().map(|table| format!("SELECT * FROM {} LIMIT 0", name(table))).collect();
    let answers = client.each(&questions).await?;
    let refused = asked.into_iter().zip(answers).filter(|(_, answer)| answer.is_err()).map(|(table, _)| table);
    Ok(odd.into_iter().chain(refused).collect())
}

async fn check_views(client: &SqlClient, inventory: &Inventory) -> Result<(), PreflightError> {
    // A line break in a name would shift the line numbers by which errors are told apart.
    let views: Vec<&TableEntry> = inventory
        .tables
        .iter()
        .filter(|table| table.kind == InventoryKind::View && !table.name.contains('\n'))
        .collect();
    // mariadb-dump asks the same question.
    let questions: Vec<String> = views
        .iter()
        .map(|view| format!("SHOW FIELDS FROM {}.{}", identifier(&view.database), identifier(&view.name)))
        .collect();
    let answers = client.each(&questions).await?;
    let broken: Vec<(String, ClientFailure)> = views
        .iter()
        .zip(answers)
        .filter_map(|(view, answer)| Some((format!("{}.{}", view.database, view.name), answer.err()?)))
        // A view that was dropped meanwhile is no broken one.
        .filter(|(_, failure)| failure.number != Some(1146))
        .collect();
    if broken.is_empty() { Ok(()) } else { Err(PreflightError::BrokenViews(broken)) }
}

fn arrange(args: &mut DumpArgs, inventory: &Inventory, findings: &mut Vec<Finding>) -> Result<(), PreflightError> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut foreign = Vec::new();
    for (database, table, default) in &inventory.sequence_defaults {
        if qualified(default).iter().any(|sequence| inventory.unselected.contains(sequence)) {
            foreign.push(format!("{database}.{table}"));
        }
        for owner in sequence_databases(default) {
            if !inventory.databases.contains(&owner) {
                foreign.push(format!("{database}.{table}"));
            } else if owner != *database {
                needs.entry(database.clone()).or_default().insert(owner);
            }
        }
    }
    foreign.dedup();
    if !foreign.is_empty() {
        findings.push(Finding::ForeignSequences(foreign));
    }
    match order(&inventory.databases, &needs) {
        Order::AsGiven => Ok(()),
        Order::Changed(databases) => {
            args.name_databases(databases);
            Ok(())
        }
        Order::Impossible(databases) => Err(PreflightError::SequenceCycle(databases)),
    }
}

fn keep_history(client: &SqlClient, args: &mut DumpArgs, inventory: &Inventory, findings: &mut Vec<Finding>) {
    let versioned: Vec<(String, String)> = inventory
        .tables
        .iter()
        .filter(|table| table.versioned)
        .map(|table| (table.database.clone(), table.name.clone()))
        .collect();
    if versioned.is_empty() || !args.is_on("dump-history", Switch::On) {
        return;
    }
    if inventory.transaction_precise.is_empty() && client.version.at_least(10, 11, 0) {
        args.switch_on("dump-history");
    } else {
        findings.push(Finding::HistoryLeftOut(dotted(&versioned)));
    }
}

fn note_engines(args: &DumpArgs, inventory: &Inventory, findings: &mut Vec<Finding>) {
    let plain = |table: &&TableEntry| {
        table.kind == InventoryKind::Table
            && table.database != "mysql"
            && !TRANSACTIONAL.iter().any(|engine| table.engine.eq_ignore_ascii_case(engine))
    };
    let found: Vec<String> =
        inventory.tables.iter().filter(plain).map(|table| format!("{}.{}", table.database, table.name)).collect();
    if !found.is_empty() && !args.is_on("no-data", Switch::Off) {
        findings.push(Finding::NonTransactionalTables(found));
    }
}

async fn note_values(
    client: &SqlClient,
    args: &mut DumpArgs,
    inventory: &Inventory,
    server: &ServerFacts,
    findings: &mut Vec<Finding>,
) -> Result<(), QueryError> {
    if !inventory.question_marks.is_empty() && !args.is_on("no-create-info", Switch::Off) {
        findings.push(Finding::LossyDefinitions(inventory.question_marks.iter().map(Column::dotted).collect()));
    }
    if args.is_on("no-data", Switch::Off) {
        return Ok(());
    }
    findings.extend(text::choose(args, inventory, &server.handshake));
    let floats = text::inexact_floats(client, inventory).await?;
    if !floats.is_empty() {
        findings.push(Finding::InexactFloats(floats));
    }
    Ok(())
}

fn dotted(names: &[(String, String)]) -> Vec<String> {
    names.iter().map(|(database, name)| format!("{database}.{name}")).collect()
}
