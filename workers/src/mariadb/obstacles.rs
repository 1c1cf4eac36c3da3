//! Asks a server, before the first statement of a restore, whether it can take all of the stream. Each obstacle names
//! the object and what to do.

use std::collections::BTreeSet;

use super::{
    beyond,
    client::{QueryError, Rows, SqlClient},
    dump::{DatabaseRecord, NameCase, Needs, Record, RecordedKind},
    failure::ClientFailure,
    grants::{Grants, MissingGrant},
    restore::exists,
    rights::missing,
    scope::{RestoreScope, TargetDatabase},
};

/// A reason why a restore would break off, or bring back something else than the dump holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("the account lacks {0}")]
    MissingGrant(MissingGrant),
    #[error(
        "the account may not create objects for other definers ({}): grant it SET USER, or restore as that account", list(.0)
    )]
    Definers(Vec<String>),
    #[error(
        "the server has a binary log and takes triggers and functions from accounts with SUPER only: grant SUPER, or set log_bin_trust_function_creators to 1 for the restore"
    )]
    BinaryLog,
    #[error(
        "the server has a binary log and refuses functions that are declared neither DETERMINISTIC, NO SQL nor READS SQL DATA ({}): set log_bin_trust_function_creators to 1 for the restore", list(.0)
    )]
    UndeclaredFunctions(Vec<String>),
    #[error("the server is read-only, perhaps a replica: restore into the primary")]
    ReadOnly,
    #[error(
        "the dump has a statement of {needed_bytes} bytes, the server takes {allowed_bytes} (max_allowed_packet): raise it"
    )]
    PacketTooSmall { needed_bytes: u64, allowed_bytes: u64 },
    #[error("database `{0}` does not exist, and the dump does not create it: create it first")]
    NoDatabase(String),
    #[error(
        "the dump uses tables that it does not create, and the server does not have them ({}): create them first, or restore a backup that was made without `--no-create-info`", list(.0)
    )]
    NoTables(Vec<String>),
    #[error(
        "the dump uses tables that it does not create, and they would be dropped first ({}): add the rows to tables that are there (`existing: Merge`), or restore a backup that was made without `--no-create-info`", list(.0)
    )]
    DropsTables(Vec<String>),
    #[error("the server lacks the storage engines {}: install their plugins", list(.0))]
    Engines(Vec<String>),
    #[error("the server makes every table {0} (enforce_storage_engine), and the dump holds others: unset the variable")]
    EnforcedEngine(String),
    #[error("the server, {version}, does not know {what} {}; restore into one as new as {made_by}", list(.names))]
    Unknown { what: What, names: Vec<String>, version: String, made_by: String },
}

/// A kind of name that servers know more of with every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Collations,
    CharacterSets,
    Variables,
    SqlModes,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Collations => "the collations",
            Self::CharacterSets => "the character sets",
            Self::Variables => "the variables",
            Self::SqlModes => "the SQL modes",
        })
    }
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(10).map(|name| format!("`{}`", crate::process::escape(name))).collect();
    let more = if names.len() > 10 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The settings of a server that decide whether it takes a dump.
#[derive(Debug)]
struct Settings {
    version: String,
    packet_bytes: u64,
    read_only: bool,
    guarded_binary_log: bool,
    enforced_engine: String,
    account: String,
}

/// Finds everything that stands in the way of this restore. Databases of the dump that are not restored do not count.
pub async fn obstacles(
    client: &SqlClient,
    record: &Record,
    scope: &RestoreScope,
    case: NameCase,
) -> Result<Vec<Obstacle>, QueryError> {
    let questions = [
        "SELECT VERSION(), @@max_allowed_packet, @@read_only, \
         @@log_bin AND NOT @@log_bin_trust_function_creators, IFNULL(@@enforce_storage_engine,''), CURRENT_USER()"
            .to_owned(),
        "SHOW GRANTS".to_owned(),
        "SHOW DATABASES".to_owned(),
        "SELECT engine FROM information_schema.engines WHERE support IN ('YES','DEFAULT')".to_owned(),
    ];
    let [settings, grants, known, engines] = client.ask(questions).await?;
    let settings = Settings::read(settings)?;
    let grants = Grants::parse(grants.iter().filter_map(|row| row.first()).map(String::as_str));
    let databases: Vec<(&TargetDatabase, &DatabaseRecord)> = scope
        .databases
        .iter()
        .filter_map(|destination| Some((destination, record.database(destination.source.as_deref())?)))
        .collect();
    let mut found = Vec::new();
    let needs = needs(record, scope, &databases);
    let longest = databases.iter().map(|(_, database)| database.longest_statement_bytes).max().unwrap_or_default();
    let longest = if scope.filter.is_some() { longest } else { record.longest_statement_bytes };
    check_server(longest, &settings, &grants, &mut found);
    let absent = absent(client, &databases, (&first(known), case)).await?;
    check_databases(&databases, &absent, &grants, &mut found);
    let beyond = beyond::missing((record, scope, case), &needs, &grants);
    found.extend(beyond.into_iter().map(Obstacle::MissingGrant));
    check_programs(&databases, &needs, (&settings, &grants), &mut found);
    check_engines(&needs, &settings, &first(engines), &mut found);
    found.extend(unknown_names(client, record, &needs, &settings).await?);
    Ok(found)
}

/// The needs of this restore. The filter leaves out variables of the whole server that no wanted database sets.
fn needs(record: &Record, scope: &RestoreScope, databases: &[(&TargetDatabase, &DatabaseRecord)]) -> Needs {
    let mut needs = record.needs_of(databases.iter().map(|(_, database)| *database));
    if scope.filter.is_some() {
        let dropped = |name: &str| name.starts_with("GLOBAL ");
        let set_inside = |name: &String| databases.iter().any(|(_, of)| of.needs.variables.names.contains(name));
        needs.variables.names.retain(|name| !dropped(name) || set_inside(name));
    }
    needs
}

fn first(rows: Rows) -> BTreeSet<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

impl Settings {
    fn read(rows: Rows) -> Result<Self, QueryError> {
        let row = rows.into_iter().next().ok_or(QueryError::Answer)?;
        let [version, packet, read_only, guarded, enforced_engine, account] =
            <[String; 6]>::try_from(row).map_err(|_| QueryError::Answer)?;
        Ok(Self {
            version,
            packet_bytes: packet.parse().map_err(|_| QueryError::Answer)?,
            read_only: !matches!(read_only.as_str(), "0" | "OFF" | "NO"),
            guarded_binary_log: guarded == "1",
            enforced_engine,
            account,
        })
    }
}

fn check_server(needed_bytes: u64, settings: &Settings, grants: &Grants, found: &mut Vec<Obstacle>) {
    // Both spellings occur.
    let exempt = ["READ_ONLY ADMIN", "READ ONLY ADMIN"].iter().any(|privilege| grants.globally(privilege));
    if settings.read_only && !exempt {
        found.push(Obstacle::ReadOnly);
    }
    if needed_bytes >= settings.packet_bytes {
        found.push(Obstacle::PacketTooSmall { needed_bytes, allowed_bytes: settings.packet_bytes });
    }
}

/// Databases that the dump does not create and the server does not have. The list does not show those in which the account
/// may only create objects, so each is asked for by name.
async fn absent(
    client: &SqlClient,
    databases: &[(&TargetDatabase, &DatabaseRecord)],
    (known, case): (&BTreeSet<String>, NameCase),
) -> Result<BTreeSet<String>, QueryError> {
    let mut absent = BTreeSet::new();
    for (TargetDatabase { name, created, .. }, _) in databases {
        let is_known = *created || known.iter().any(|known| case.same(known, name));
        if !is_known && !exists(client, name).await? {
            absent.insert(name.clone());
        }
    }
    Ok(absent)
}

fn check_databases(
    databases: &[(&TargetDatabase, &DatabaseRecord)],
    absent: &BTreeSet<String>,
    grants: &Grants,
    found: &mut Vec<Obstacle>,
) {
    for (TargetDatabase { name, .. }, database) in databases {
        if absent.contains(name) {
            found.push(Obstacle::NoDatabase(name.clone()));
            continue;
        }
        found.extend(missing(database, name, grants).into_iter().map(Obstacle::MissingGrant));
    }
}

fn check_programs(
    databases: &[(&TargetDatabase, &DatabaseRecord)],
    needs: &Needs,
    (settings, grants): (&Settings, &Grants),
    found: &mut Vec<Obstacle>,
) {
    let others: Vec<String> =
        needs.definers.names.iter().filter(|definer| **definer != settings.account).cloned().collect();
    if !others.is_empty() && !grants.globally("SET USER") && !grants.globally("SUPER") {
        found.push(Obstacle::Definers(others));
    }
    let guarded = |(_, database): &(&TargetDatabase, &DatabaseRecord)| {
        database.count(RecordedKind::Trigger) + database.count(RecordedKind::Function) > 0
    };
    if settings.guarded_binary_log && databases.iter().any(guarded) {
        if !grants.globally("SUPER") {
            found.push(Obstacle::BinaryLog);
        }
        let undeclared: Vec<String> = needs.undeclared_functions.names.iter().cloned().collect();
        if !undeclared.is_empty() {
            found.push(Obstacle::UndeclaredFunctions(undeclared));
        }
    }
}

fn check_engines(needs: &Needs, settings: &Settings, engines: &BTreeSet<String>, found: &mut Vec<Obstacle>) {
    let same = |one: &str, other: &str| {
        let plain =
            |name: &str| if name.eq_ignore_ascii_case("MERGE") { "MRG_MYISAM".into() } else { name.to_uppercase() };
        plain(one) == plain(other)
    };
    let wanted = &needs.engines.names;
    let missing: Vec<String> =
        wanted.iter().filter(|name| !engines.iter().any(|engine| same(engine, name))).cloned().collect();
    if !missing.is_empty() {
        found.push(Obstacle::Engines(missing));
    }
    let enforced = &settings.enforced_engine;
    if !enforced.is_empty() && wanted.iter().any(|name| !same(name, enforced)) {
        found.push(Obstacle::EnforcedEngine(enforced.clone()));
    }
}

/// Asks the server for every name that an older one may not know. It names the error by number.
async fn unknown_names(
    client: &SqlClient,
    record: &Record,
    needs: &Needs,
    settings: &Settings,
) -> Result<Vec<Obstacle>, QueryError> {
    let asked = [
        (What::Collations, &needs.collations.names, 1273),
        (What::CharacterSets, &needs.character_sets.names, 1115),
        (What::Variables, &needs.variables.names, 1193),
        (What::SqlModes, &needs.sql_modes.names, 1231),
    ];
    let mut found = Vec::new();
    let made_by = record.header.server_version.clone().unwrap_or_else(|| "the one that was dumped".to_owned());
    for (what, names, number) in asked {
        let names: Vec<&String> =
            names.iter().filter(|name| is_plain(name) && !NO_VARIABLES.contains(&name.as_str())).collect();
        let questions: Vec<String> = names.iter().map(|name| question(what, name)).collect();
        let answers = client.each(&questions).await?;
        let refused =
            |answer: &Result<Rows, ClientFailure>| answer.as_ref().is_err_and(|failure| failure.number == Some(number));
        let unknown: Vec<String> =
            names.iter().zip(&answers).filter(|(_, answer)| refused(answer)).map(|(name, _)| (*name).clone()).collect();
        if !unknown.is_empty() {
            let (version, made_by) = (settings.version.clone(), made_by.clone());
            found.push(Obstacle::Unknown { what, names: unknown, version, made_by });
        }
    }
    Ok(found)
}

/// Words that stand after `SET` and name no variable.
const NO_VARIABLES: [&str; 4] = ["names", "character", "charset", "transaction"];

/// Whether a name can stand in a question. Others are none that a server has.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ' '))
}

fn question(what: What, name: &str) -> String {
    match what {
        // The parser looks the name up before it compares character sets.
        What::Collations => format!("SELECT _utf8mb4'' COLLATE {name}"),
        What::CharacterSets => format!("SELECT CONVERT('' USING {name})"),
        What::Variables => match name.strip_prefix("GLOBAL ") {
            Some(name) => format!("SELECT @@GLOBAL.{name}"),
            None => format!("SELECT @@{name}"),
        },
        What::SqlModes => format!("SET STATEMENT sql_mode='{name}' FOR SELECT 1"),
    }
}
