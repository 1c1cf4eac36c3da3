//! PostgreSQL as an engine of the seam: one database of a server, by `pg_dump` in its plain form and back by `psql`.

mod first;
mod load;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use lagan_schemas::catalogue;
use lagan_schemas::engine::Engine;
use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::{Notice, RecordTotals};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use self::record::{PostgresRecord, PostgresRecorder, TABLE};
use super::options::CheckedArguments;
use super::{
    Access, DatabaseEngine, Depth, Dump, DumpedStream, FirstChange, Load, RestoreStream, Survey, hex, questions, shown,
};
use crate::process::{DumpOutcome, Program, Scanner};

/// The database that is dumped if the arguments name none.
const DATABASE: &str = "postgres";

#[derive(Default)]
pub(crate) struct Postgres;

impl DatabaseEngine for Postgres {
    fn document(&self) -> &'static Engine {
        engine()
    }

    fn prepare<'a>(&'a self, access: &'a Access) -> BoxFuture<'a, Result<Dump, Failure>> {
        dump(access).boxed()
    }

    fn reads_record(&self, record: &[u8]) -> bool {
        PostgresRecord::parse(record).is_some()
    }

    fn survey(&self, stored: Option<&[u8]>) -> Box<dyn Survey> {
        let stored = stored.and_then(PostgresRecord::parse).unwrap_or_default();
        Box::new(PostgresRecorder::of(stored.database, stored.time))
    }

    fn inspect<'a>(&'a self, access: &'a Access, stream: RestoreStream<'a>) -> BoxFuture<'a, Result<Load, Failure>> {
        load::load(access, stream).boxed()
    }

    fn depths(&self) -> &'static [Depth] {
        &[Depth::Objects, Depth::Rows]
    }

    fn compare<'a>(
        &'a self,
        access: &'a Access,
        stream: RestoreStream<'a>,
        depth: Depth,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>> {
        load::compare(access, stream, depth).boxed()
    }

    fn first_change(&self) -> Box<dyn FirstChange> {
        Box::<first::Finder>::default()
    }

    fn check_end(&self, tail: &[u8]) -> Result<(), String> {
        let found = memchr::memmem::find(tail, b"\n-- PostgreSQL database dump complete\n");
        found.map(drop).ok_or_else(|| "the stream that was fed has no end of a dump".to_owned())
    }
}

/// The answer to the query of the catalogue.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    server_version: String,
    encoding: String,
    /// Reasons in words for which no restore can write.
    obstacles: Vec<String>,
    /// The content in words, if there is any.
    existing: Option<String>,
    /// Number of objects by type; zero for a type that has none.
    objects: BTreeMap<String, u64>,
    /// Types and names of these objects, as a record has them.
    names: BTreeSet<String>,
    /// Types and names that no object of a stream can take.
    taken: BTreeSet<String>,
    /// Types and names of the objects that the account may not drop.
    kept: Vec<String>,
    /// Objects that the account may not read.
    unreadable: Vec<String>,
    /// Roles that the account may act as.
    roles: BTreeSet<String>,
    /// Extensions that are there to be created.
    extensions: BTreeSet<String>,
    /// Statements that empty the database.
    clear: String,
}

fn engine() -> &'static Engine {
    catalogue::engine("PostgreSQL").expect("the catalogue describes each engine that has code")
}

async fn dump(access: &Access) -> Result<Dump, Failure> {
    let mut given = CheckedArguments::of(access, engine())?;
    let database = given.take("dbname").or_else(|| given.names.pop()).unwrap_or_else(|| DATABASE.to_owned());
    let server: State = questions::state(access, engine(), &database).await?;
    if !given.leaves_out && !server.unreadable.is_empty() {
        let message = format!("the account may not read {}; grant SELECT on them", shown(&server.unreadable));
        return Err(Failure::new(Code::MissingPrivileges, message));
    }
    let program = Program { args: given.argv(), ..access.program(&access.executable, engine(), &database)? };
    let recorder = PostgresRecorder::of(Some(database), Some(Timestamp::now().to_string()));
    let recorder = Arc::new(Mutex::new(recorder));
    let expected = if given.leaves_out { BTreeMap::new() } else { server.objects };
    let stream = RecordedStream { recorder: Arc::clone(&recorder), expected };
    let scanner: Scanner = Box::new(move |block: &mut Vec<u8>| {
        recorder.lock().unwrap_or_else(PoisonError::into_inner).feed(block.as_slice());
    });
    Ok(Dump { program, scanner, stream: Box::new(stream), notices: Vec::new() })
}

/// A dump on its way into a snapshot.
struct RecordedStream {
    recorder: Arc<Mutex<PostgresRecorder>>,
    /// Objects that the server had when it was asked, by kind.
    expected: BTreeMap<String, u64>,
}

impl RecordedStream {
    fn recorded(&self) -> PostgresRecord {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

impl DumpedStream for RecordedStream {
    fn check(&self, outcome: &DumpOutcome) -> Result<(), Failure> {
        let record = self.recorded();
        if !record.complete {
            let code = if outcome.bytes == 0 { Code::DumpEmpty } else { Code::DumpTruncated };
            return Err(Failure::new(code, "the stream has no end of a dump of one database"));
        }
        let holes = lacking(&self.expected, &record.objects).join(", ");
        let why = "the dump has holes, so rights of the account or the schema changed while it ran; missing";
        if holes.is_empty() { Ok(()) } else { Err(Failure::new(Code::MissingPrivileges, format!("{why}: {holes}"))) }
    }

    fn record(&self) -> Option<Vec<u8>> {
        Some(self.recorded().to_json())
    }

    fn totals(&self) -> Option<RecordTotals> {
        let record = self.recorded();
        let tables = record.objects.get(TABLE).copied().unwrap_or_default();
        let all: u64 = record.objects.values().sum();
        let sha256 = hex(&Sha256::digest(record.to_json()));
        Some(RecordTotals { databases: 1, tables, other_objects: all - tables, rows: record.rows, sha256 })
    }
}

impl Survey for PostgresRecorder {
    fn block(&mut self, block: &[u8]) {
        self.feed(block);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        Self::finish(&self).to_json()
    }
}

/// Kinds of which there are fewer than there must be.
fn lacking<'a>(
    expected: impl IntoIterator<Item = (&'a String, &'a u64)>,
    found: &BTreeMap<String, u64>,
) -> Vec<String> {
    let lacks = expected.into_iter().filter_map(|(kind, count)| {
        let there = found.get(kind).copied().unwrap_or_default();
        (there < *count).then(|| format!("{} of {count} objects of kind {kind}", count - there))
    });
    lacks.collect()
}

#[cfg(test)]
mod tests;
