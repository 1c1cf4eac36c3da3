//! The state of a restore's target, and the judgement of its end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    client::{QueryError, SqlClient, identifier, literal},
    dump::NameCase,
    engine,
    failure::ClientFailure,
    inventory::is_system,
};
use crate::process::{ChildExit, FeedReport, escape};

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

/// Why a restore whose client may even have exited 0 did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreIncomplete {
    #[error("the client failed ({exit:?}): {}", failure.as_ref().map_or("it says nothing", |failure| failure.line.as_str()))]
    Failed { exit: Option<ChildExit>, failure: Option<ClientFailure> },
    #[error("{fed_bytes} of {expected_bytes} bytes were fed")]
    Short { fed_bytes: u64, expected_bytes: u64 },
    #[error("what was fed is no complete dump; it ends with `{end}`")]
    NoTrailer { end: String },
}

/// How the server compares names of databases and tables.
pub async fn name_case(client: &SqlClient, wait: Duration) -> Result<NameCase, QueryError> {
    client.wait_ready(wait).await?;
    let rows = client.query("SELECT @@lower_case_table_names").await?;
    let answer = rows.first().and_then(|row| row.first()).ok_or(QueryError::Answer)?;
    Ok(if answer == "0" { NameCase::Sensitive } else { NameCase::Insensitive })
}

/// Counts what the databases of a restore hold already. A database that does not exist holds nothing.
pub async fn target_state(client: &SqlClient, touches: &Touches, case: NameCase) -> Result<TargetState, QueryError> {
    let looked_at: Vec<String> = match touches {
        Touches::Database(name) => vec![name.clone()],
        Touches::Databases(names) => names.clone(),
        Touches::Unknown => {
            let rows = client.query("SHOW DATABASES").await?;
            rows.into_iter().filter_map(|row| row.into_iter().next()).filter(|name| !is_system(name)).collect()
        }
    };
    if looked_at.is_empty() {
        return Ok(TargetState::Empty);
    }
    let list = looked_at.iter().map(|name| literal(name)).collect::<Vec<_>>().join(",");
    let of = |schema: &str, table: &str| {
        format!(
            "SELECT {schema}, COUNT(*) FROM information_schema.{table} WHERE {schema} IN ({list}) GROUP BY BINARY {schema}"
        )
    };
    let questions = [of("table_schema", "tables"), of("routine_schema", "routines"), of("event_schema", "events")];
    let (mut databases, mut tables, mut programs) = (BTreeSet::new(), 0, 0);
    for (at, rows) in client.ask(questions).await?.into_iter().enumerate() {
        for row in rows {
            let [database, count] = <[String; 2]>::try_from(row).map_err(|_| QueryError::Answer)?;
            let count = count.parse::<u64>().map_err(|_| QueryError::Answer)?;
            // These tables compare names without case and accents, whatever the server does.
            if looked_at.iter().any(|name| case.same(name, &database)) {
                databases.insert(database);
                *(if at == 0 { &mut tables } else { &mut programs }) += count;
            }
        }
    }
    if databases.is_empty() {
        Ok(TargetState::Empty)
    } else {
        Ok(TargetState::NotEmpty { databases: databases.into_iter().collect(), tables, programs })
    }
}

/// Asks for a database that a list does not show: the account may still be allowed to use it.
pub(super) async fn exists(client: &SqlClient, database: &str) -> Result<bool, QueryError> {
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
        let failure = ClientFailure::read(&report.stderr.lines);
        return Err(RestoreIncomplete::Failed { exit: report.exit, failure });
    }
    if report.bytes != expected_bytes {
        return Err(RestoreIncomplete::Short { fed_bytes: report.bytes, expected_bytes });
    }
    if !engine().last_line.ends(&report.tail) {
        let end = &report.tail[report.tail.len().saturating_sub(80)..];
        return Err(RestoreIncomplete::NoTrailer { end: escape(String::from_utf8_lossy(end).trim()) });
    }
    Ok(())
}
