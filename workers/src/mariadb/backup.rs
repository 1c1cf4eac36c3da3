//! The preflight of a backup: is the server there, does the account see everything, can what it would dump be
//! restored. Its answer is the final argv and what the stream must contain.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    client::{Client, QueryError, Rows, identifier},
    dump_args::{DumpArgs, Scope},
    failure::{Class, Failure},
    grants::{Grants, MissingGrant},
    inventory::{Expected, Inventory, Kind, Table},
    options::Switch,
    order::{Order, order, sequence_databases},
};

/// Engines whose tables a single transaction shows as they were at its start.
const TRANSACTIONAL: [&str; 3] = ["InnoDB", "ROCKSDB", "TokuDB"];

/// A dump that may start.
#[derive(Debug)]
pub struct Prepared {
    /// Everything after the defaults-file.
    pub argv: Vec<String>,
    pub expected: Expected,
    pub findings: Vec<Finding>,
    pub server: Server,
}

/// Whom we talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    pub hostname: String,
    pub server_id: String,
    /// How long the server waits for a reader that does not read; the default of 60 s is short for a backup.
    pub net_write_timeout_s: u64,
    pub max_allowed_packet_bytes: u64,
}

/// What a person should know although the backup goes on. Names are `database.table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Rows changed during the dump may be in it in part.
    NonTransactionalTables(Vec<String>),
    /// Only current rows are dumped: a table versioned by transaction ids keeps `--dump-history` from all.
    HistoryLeftOut(Vec<String>),
    /// Their defaults use sequences of databases that this dump does not contain.
    ForeignSequences(Vec<String>),
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
    BrokenViews(Vec<(String, Failure)>),
    #[error("mariadb-dump never ends on events whose body contains `;;`: {}; change them, or leave events out with --skip-events", quoted(.0))]
    EventBodies(Vec<String>),
    #[error("databases whose tables take defaults from each other's sequences cannot be restored from one dump: {}; back them up one by one, or move the sequences", quoted(.0))]
    SequenceCycle(Vec<String>),
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

fn list(grants: &[MissingGrant]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn views(broken: &[(String, Failure)]) -> String {
    broken.iter().take(10).map(|(view, failure)| format!("`{view}`: {}", failure.line)).collect::<Vec<_>>().join("; ")
}

/// Waits for the server at most `wait`, then checks everything that a dump would not tell.
pub async fn prepare(client: &Client, mut args: DumpArgs, wait: Duration) -> Result<Prepared, PreflightError> {
    // Nothing is asked over a connection that is less private than was asked for.
    if client.connection.tls.mode.needs_encryption() {
        client.wait_ready(wait).await?;
    }
    let [databases, tables, columns, triggers, routines, events] = Inventory::questions(&args);
    let server = "SELECT VERSION(), @@hostname, @@server_id, @@net_write_timeout, @@max_allowed_packet".to_owned();
    let questions = [server, "SHOW GRANTS".to_owned(), databases, tables, columns, triggers, routines, events];
    let [server, grants, inventory @ ..] = client.ask_when_ready(questions, wait).await?;
    let server = Server::read(server)?;
    let grants = Grants::parse(grants.iter().filter_map(|row| row.first()).map(String::as_str));
    let inventory = Inventory::read(&args, inventory)?;
    check_names(&args, &inventory)?;
    check_grants(&args, &inventory, &grants)?;
    check_views(client, &inventory).await?;
    if !inventory.doubled_semicolons.is_empty() {
        return Err(PreflightError::EventBodies(dotted(&inventory.doubled_semicolons)));
    }
    let mut findings = Vec::new();
    arrange(&mut args, &inventory, &mut findings)?;
    keep_history(client, &mut args, &inventory, &mut findings);
    note_engines(&args, &inventory, &mut findings);
    Ok(Prepared { argv: args.argv(), expected: inventory.expected, findings, server })
}

impl Server {
    fn read(rows: Rows) -> Result<Self, QueryError> {
        let row = rows.into_iter().next().ok_or(QueryError::Answer)?;
        let [version, hostname, server_id, timeout, packet] =
            <[String; 5]>::try_from(row).map_err(|_| QueryError::Answer)?;
        Ok(Self {
            version,
            hostname,
            server_id,
            net_write_timeout_s: timeout.parse().map_err(|_| QueryError::Answer)?,
            max_allowed_packet_bytes: packet.parse().map_err(|_| QueryError::Answer)?,
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
    let unknown = |name: &&String| !inventory.known.contains(*name);
    let unknown: Vec<String> = inventory.databases.iter().filter(unknown).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(PreflightError::UnknownDatabases(unknown)) }
}

fn check_grants(args: &DumpArgs, inventory: &Inventory, grants: &Grants) -> Result<(), PreflightError> {
    let mut missing = Vec::new();
    let mut need = |held: bool, privilege, on: String, consequence| {
        if !held {
            missing.push(MissingGrant { privilege, on, consequence });
        }
    };
    if matches!(args.scope, Scope::AllDatabases { .. }) {
        let sees = grants.globally("SELECT") || grants.globally("SHOW DATABASES");
        need(sees, "SHOW DATABASES", "*.*".into(), "databases would be left out");
    }
    for database in &inventory.databases {
        let on = || format!("{}.*", identifier(database));
        let of_tables = |privilege| match &args.scope {
            Scope::One { tables, .. } if !tables.is_empty() => {
                tables.iter().all(|table| grants.on_table(privilege, database, table))
            }
            _ => grants.on_database(privilege, database),
        };
        need(of_tables("SELECT"), "SELECT", on(), "tables would be left out");
        if args.is_on("triggers", Switch::On) {
            need(of_tables("TRIGGER"), "TRIGGER", on(), "triggers would be left out");
        }
        let has_views = inventory.tables.iter().any(|table| table.kind == Kind::View && table.database == *database);
        if has_views {
            need(of_tables("SHOW VIEW"), "SHOW VIEW", on(), "views cannot be dumped");
        }
        if args.is_on("events", Switch::Off) {
            need(grants.on_database("EVENT", database), "EVENT", on(), "events cannot be dumped");
        }
        if args.is_on("routines", Switch::Off) {
            need(grants.sees_routines(database), "SELECT", "mysql.proc".into(), "routines would be left out");
        }
    }
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingGrants(missing)) }
}

async fn check_views(client: &Client, inventory: &Inventory) -> Result<(), PreflightError> {
    // A line break in a name would shift the line numbers by which errors are told apart.
    let views: Vec<&Table> =
        inventory.tables.iter().filter(|table| table.kind == Kind::View && !table.name.contains('\n')).collect();
    // The question that mariadb-dump asks, too.
    let questions: Vec<String> = views
        .iter()
        .map(|view| format!("SHOW FIELDS FROM {}.{}", identifier(&view.database), identifier(&view.name)))
        .collect();
    let mut refused = client.refused(&questions).await?;
    // A view that was dropped meanwhile is no broken one.
    refused.retain(|(_, failure)| failure.number != Some(1146));
    let broken: Vec<(String, Failure)> = refused
        .into_iter()
        .filter_map(|(at, failure)| Some((format!("{}.{}", views.get(at)?.database, views.get(at)?.name), failure)))
        .collect();
    if broken.is_empty() { Ok(()) } else { Err(PreflightError::BrokenViews(broken)) }
}

fn arrange(args: &mut DumpArgs, inventory: &Inventory, findings: &mut Vec<Finding>) -> Result<(), PreflightError> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut foreign = Vec::new();
    for (database, table, default) in &inventory.sequence_defaults {
        for owner in sequence_databases(default) {
            if !inventory.databases.contains(&owner) {
                foreign.push(format!("{database}.{table}"));
            } else if owner != *database {
                needs.entry(database.clone()).or_default().insert(owner);
            }
        }
    }
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

fn keep_history(client: &Client, args: &mut DumpArgs, inventory: &Inventory, findings: &mut Vec<Finding>) {
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
    let plain = |table: &&Table| {
        table.kind == Kind::Table
            && table.database != "mysql"
            && !TRANSACTIONAL.iter().any(|engine| table.engine.eq_ignore_ascii_case(engine))
    };
    let found: Vec<String> =
        inventory.tables.iter().filter(plain).map(|table| format!("{}.{}", table.database, table.name)).collect();
    if !found.is_empty() && !args.is_on("no-data", Switch::Off) {
        findings.push(Finding::NonTransactionalTables(found));
    }
}

fn dotted(names: &[(String, String)]) -> Vec<String> {
    names.iter().map(|(database, name)| format!("{database}.{name}")).collect()
}
