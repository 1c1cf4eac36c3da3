//! The state of a restore's target, and the judgement of its stream's end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    client::{QueryError, SqlClient, identifier, literal},
    dump::NameCase,
    engine,
};
use crate::process::escape;

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

/// Why what was fed is not all of a dump, although the client may be content with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream that was fed is no complete dump; it ends with `{end}`")]
pub struct NoTrailer {
    pub end: String,
}

/// Bytes of a stream's end that a message shows.
const SHOWN_BYTES: usize = 80;

/// How the server compares names of databases and tables.
pub async fn name_case(client: &SqlClient, wait: Duration) -> Result<NameCase, QueryError> {
    client.wait_ready(wait).await?;
    let rows = client.query("SELECT @@lower_case_table_names").await?;
    let answer = rows.first().and_then(|row| row.first()).ok_or(QueryError::Answer)?;
    Ok(if answer == "0" { NameCase::Sensitive } else { NameCase::Insensitive })
}

/// Counts what the databases of a restore hold already. A database that does not exist holds nothing.
pub async fn target_state(client: &SqlClient, looked_at: &[String], case: NameCase) -> Result<TargetState, QueryError> {
    if looked_at.is_empty() {
        return Ok(TargetState::Empty);
    }
    let list = looked_at.iter().map(|name| literal(name)).collect::<Vec<_>>().join(",");
    let queries = &engine().queries;
    let questions = [&queries.tables, &queries.routines, &queries.events].map(|sql| sql.replace("${databases}", &list));
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

/// Checks the last bytes that were fed. The client is content with a stream that was cut between two statements.
pub fn check_end(tail: &[u8]) -> Result<(), NoTrailer> {
    if engine().last_line.ends(tail) {
        return Ok(());
    }
    let end = &tail[tail.len().saturating_sub(SHOWN_BYTES)..];
    Err(NoTrailer { end: escape(String::from_utf8_lossy(end).trim()) })
}
