//! The preflight of a restore, and the judgement of its end.

use std::time::Duration;

use super::{
    client::{Client, QueryError, identifier, literal},
    dump::NameCase,
    failure::{Class, Failure},
    grants::Grants,
    inventory::is_system,
    stream::ends_as_dump,
};
use crate::process::{Exit, FeedReport, escape};

/// Which databases a restore writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touches {
    /// The dump names no database: everything goes here, and it must exist.
    Database(String),
    /// The dump was made of these and creates them.
    Databases(Vec<String>),
    /// Nothing is known about the dump: every database of a user counts.
    Unknown,
}

/// Whether a restore would overwrite something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    Empty,
    /// Tables include views and sequences; programs are routines and events.
    NotEmpty {
        databases: Vec<String>,
        tables: u64,
        programs: u64,
    },
}

/// The server that is restored into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub state: TargetState,
    pub version: String,
    pub max_allowed_packet_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("database `{0}` does not exist; a dump of one database needs it: create it first")]
    NoDatabase(String),
    #[error("the server is read-only, perhaps a replica; restore into the primary")]
    ReadOnly,
    #[error(
        "the dump has a statement of {needed_bytes} bytes, the server takes {allowed_bytes} (max_allowed_packet): raise it"
    )]
    PacketTooSmall { needed_bytes: u64, allowed_bytes: u64 },
}

/// Why a restore whose client may even have exited 0 did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreIncomplete {
    #[error("the client failed ({exit:?}): {}", failure.as_ref().map_or("it says nothing", |failure| failure.line.as_str()))]
    Failed { exit: Option<Exit>, failure: Option<Failure> },
    #[error("{fed_bytes} of {expected_bytes} bytes were fed")]
    Short { fed_bytes: u64, expected_bytes: u64 },
    #[error("what was fed is no complete dump; it ends with `{end}`")]
    NoTrailer { end: String },
}

impl TargetError {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Query(error) => error.class(),
            _ => Class::Permanent,
        }
    }
}

/// Looks at a target before its restore; `longest_statement_bytes` as the dump's summary had it, if known.
pub async fn inspect(
    client: &Client,
    touches: &Touches,
    longest_statement_bytes: Option<u64>,
    wait: Duration,
) -> Result<Target, TargetError> {
    client.wait_ready(wait).await?;
    let sql = "SELECT VERSION(), @@max_allowed_packet, @@read_only";
    let row = client.query(sql).await?.into_iter().next().ok_or(QueryError::Answer)?;
    let [version, packet, read_only] = <[String; 3]>::try_from(row).map_err(|_| QueryError::Answer)?;
    let allowed_bytes: u64 = packet.parse().map_err(|_| QueryError::Answer)?;
    if read_only != "0" && read_only != "OFF" {
        let rows = client.query("SHOW GRANTS").await?;
        let grants = Grants::parse(rows.iter().filter_map(|row| row.first()).map(String::as_str));
        if !grants.globally("READ_ONLY ADMIN") && !grants.globally("READ ONLY ADMIN") {
            return Err(TargetError::ReadOnly);
        }
    }
    if let Some(needed_bytes) = longest_statement_bytes.filter(|needed| *needed >= allowed_bytes) {
        return Err(TargetError::PacketTooSmall { needed_bytes, allowed_bytes });
    }
    let state = state(client, touches).await?;
    Ok(Target { state, version, max_allowed_packet_bytes: allowed_bytes })
}

/// How the server compares names of databases and tables.
pub async fn name_case(client: &Client, wait: Duration) -> Result<NameCase, TargetError> {
    client.wait_ready(wait).await?;
    let rows = client.query("SELECT @@lower_case_table_names").await?;
    let answer = rows.first().and_then(|row| row.first()).ok_or(QueryError::Answer)?;
    Ok(if answer == "0" { NameCase::Sensitive } else { NameCase::Insensitive })
}

async fn state(client: &Client, touches: &Touches) -> Result<TargetState, TargetError> {
    let rows = client.query("SHOW DATABASES").await?;
    let all: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next()).collect();
    let looked_at: Vec<String> = match touches {
        Touches::Database(name) if !all.contains(name) && !exists(client, name).await? => {
            return Err(TargetError::NoDatabase(name.clone()));
        }
        Touches::Database(name) => vec![name.clone()],
        Touches::Databases(names) => names.clone(),
        Touches::Unknown => all.into_iter().filter(|name| !is_system(name)).collect(),
    };
    if looked_at.is_empty() {
        return Ok(TargetState::Empty);
    }
    let list = looked_at.iter().map(|name| literal(name)).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT s, SUM(t), SUM(p) FROM (\
         SELECT table_schema s, COUNT(*) t, 0 p FROM information_schema.tables WHERE table_schema IN ({list}) GROUP BY 1 \
         UNION ALL SELECT routine_schema, 0, COUNT(*) FROM information_schema.routines WHERE routine_schema IN ({list}) GROUP BY 1 \
         UNION ALL SELECT event_schema, 0, COUNT(*) FROM information_schema.events WHERE event_schema IN ({list}) GROUP BY 1\
         ) objects GROUP BY s"
    );
    let (mut databases, mut tables, mut programs) = (Vec::new(), 0, 0);
    for row in client.query(&sql).await? {
        let [database, of_tables, of_programs] = <[String; 3]>::try_from(row).map_err(|_| QueryError::Answer)?;
        databases.push(database);
        tables += of_tables.parse::<u64>().map_err(|_| QueryError::Answer)?;
        programs += of_programs.parse::<u64>().map_err(|_| QueryError::Answer)?;
    }
    if databases.is_empty() {
        Ok(TargetState::Empty)
    } else {
        Ok(TargetState::NotEmpty { databases, tables, programs })
    }
}

/// A database that the list does not show: the account may still be allowed to use it.
async fn exists(client: &Client, database: &str) -> Result<bool, QueryError> {
    match client.query(&format!("SHOW TABLES FROM {}", identifier(database))).await {
        Ok(_) => Ok(true),
        Err(QueryError::Refused { failure }) if failure.number == Some(1049) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A restore succeeded if everything went in, it was a whole dump, and the client was content. The client is also content
/// with a stream that was cut between two statements.
pub fn check_fed(report: &FeedReport, expected_bytes: u64) -> Result<(), RestoreIncomplete> {
    if !report.clean() {
        let failure = Failure::read(&report.stderr.lines);
        return Err(RestoreIncomplete::Failed { exit: report.exit, failure });
    }
    if report.bytes != expected_bytes {
        return Err(RestoreIncomplete::Short { fed_bytes: report.bytes, expected_bytes });
    }
    if !ends_as_dump(&report.tail) {
        let end = &report.tail[report.tail.len().saturating_sub(80)..];
        return Err(RestoreIncomplete::NoTrailer { end: escape(String::from_utf8_lossy(end).trim()) });
    }
    Ok(())
}
