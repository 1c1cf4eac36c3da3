//! Asks and explains by the document of an engine alone: the answers of a server to its queries, and the meaning of what its
//! programs write to standard error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lagan_schemas::engine::{Engine, ErrorRule};
use lagan_schemas::error::{Code, Failure, chain};
use serde::de::DeserializeOwned;

use super::{Access, Explanation, ServerActivity};
use crate::failures::{of_spawn, stderr};
use crate::process::{Capture, CaptureError, Input, Program, capture};

const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// The server reads every table to count its rows, and says nothing during one.
const COUNTING: Capture =
    Capture { timeout: Duration::from_hours(24), silence: Duration::from_hours(2), max_bytes: 64 * 1024 * 1024 };

/// Asks a database the query `state`, whose answer is JSON, for as long as the server is waited for.
pub(super) async fn state<T: DeserializeOwned>(access: &Access, engine: &Engine, database: &str) -> Result<T, Failure> {
    ask(access, engine, (database, &engine.queries.state), Capture::default()).await
}

/// Asks a database the query `rows`: the number of rows by the name of their table.
pub(super) async fn rows(access: &Access, engine: &Engine, database: &str) -> Result<BTreeMap<String, u64>, Failure> {
    ask(access, engine, (database, &engine.queries.rows), COUNTING).await
}

/// Asks the query `activity`, whose answer is JSON.
pub(super) async fn activity(
    access: &Access,
    engine: &Engine,
    database: &str,
    ports: &[u16],
) -> Result<ServerActivity, Failure> {
    let query = of_ports(&engine.queries.activity, ports);
    let connections: Option<Vec<(String, String)>> =
        ask(access, engine, (database, &query), Capture::default()).await?;
    Ok(ServerActivity::of(&connections.unwrap_or_default()))
}

/// Fills the ports of a client into the query `activity`.
pub(super) fn of_ports(query: &str, ports: &[u16]) -> String {
    query.replace("${ports}", &ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
}

async fn ask<T: DeserializeOwned>(
    access: &Access,
    engine: &Engine,
    (database, query): (&str, &str),
    limits: Capture,
) -> Result<T, Failure> {
    let client = access.programs.find(&engine.programs.client)?;
    let since = Instant::now();
    loop {
        let program = Program {
            args: engine.queries.arguments.clone(),
            input: Input::Bytes(query.as_bytes().to_vec()),
            ..access.program(&client, engine, database)?
        };
        match once(access, engine, program, limits).await {
            Err(failure)
                if failure.code == Code::DatabaseUnreachable && since.elapsed() + BETWEEN_TRIES < access.wait =>
            {
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            other => return other,
        }
    }
}

async fn once<T: DeserializeOwned>(
    access: &Access,
    engine: &Engine,
    client: Program,
    limits: Capture,
) -> Result<T, Failure> {
    let captured = capture(&access.spawner, client, limits, &access.cancel).await;
    let captured = captured.map_err(|error| of_capture(&error))?;
    if captured.exit.success() {
        let answer = serde_json::from_slice(&captured.stdout);
        return answer.map_err(|error| Failure::new(Code::Internal, format!("the server's answer: {error}")));
    }
    let said = explain(engine, &captured.stderr.lines);
    let code = said.as_ref().and_then(|said| said.code).unwrap_or(Code::DatabaseUnreachable);
    let hint = said.map(|said| format!("; {}", said.hint)).unwrap_or_default();
    Err(Failure::new(code, format!("the database can't be asked{}{hint}", stderr(&captured.stderr.lines))))
}

/// A client that can't run, or answers without end, does so however often it is asked.
fn of_capture(error: &CaptureError) -> Failure {
    match error {
        CaptureError::Spawn(error) => of_spawn(error),
        CaptureError::TimedOut { .. } | CaptureError::Silent { .. } => {
            Failure::new(Code::DatabaseUnreachable, chain(error))
        }
        CaptureError::TooMuch { .. } => Failure::new(Code::NotRestorable, chain(error)),
        CaptureError::Cancelled { .. } => Failure::new(Code::Interrupted, chain(error)),
    }
}

/// The meaning of standard error by the rules of the engine; else the first line that complains.
pub(super) fn explain(engine: &Engine, stderr: &[String]) -> Option<Explanation> {
    let complains = || stderr.iter().find(|line| line.to_ascii_lowercase().contains("error:"));
    match engine.explain(stderr.iter().map(|line| (line.as_str(), None))) {
        Some((rule, line)) => Some(explanation(Some(rule), line)),
        None => complains().map(|line| explanation(None, line)),
    }
}

/// A line with its meaning by the rule that fits it.
pub(super) fn explanation(rule: Option<&ErrorRule>, line: &str) -> Explanation {
    let (code, hint) = (rule.and_then(|rule| rule.code), ErrorRule::hint_of(rule).to_owned());
    Explanation { code, line: line.to_owned(), hint }
}
