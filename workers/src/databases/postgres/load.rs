//! A restore: the database that it writes to, what could stop it, and what it has brought.

use std::collections::BTreeMap;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::Notice;
use memchr::memmem::find;
use uuid::Uuid;

use super::record::{NAMED, PostgresRecord};
use super::{State, engine, lacking};
use crate::databases::destination::destination;
use crate::databases::options::CheckedArguments;
use crate::databases::{
    Access, Clearing, Depth, Load, RestoreStream, StreamFilter, Wanted, compared, not_compared, questions, remaining,
    shown,
};
use crate::process::Program;

pub(super) async fn load(access: &Access, stream: RestoreStream<'_>) -> Result<Load, Failure> {
    let record = read(stream.record)?;
    let (database, others) = target(access, &record, &stream.wanted)?;
    let server: State = questions::state(access, engine(), &database).await?;
    let clashes: Vec<&String> = record.names.intersection(&server.taken).collect();
    let stays: Vec<&String> = server.names.difference(&record.names).collect();
    // Only this process knows the key, so nothing in the stream makes psql run a program or connect elsewhere.
    let guard = format!("\\restrict {}\n", Uuid::new_v4().simple());
    let room = match stream.clearing {
        Clearing::Leave => "",
        Clearing::Empty => &server.clear,
    };
    Ok(Load {
        program: Program { args: others, ..access.program(&access.executable, engine(), &database)? },
        existing: server.existing.as_ref().map(|objects| format!("{objects} in database `{database}`")),
        databases: vec![database],
        obstacles: obstacles(&record, &server, stream.clearing),
        notices: Vec::new(),
        fate: remaining(&stays).into_iter().collect(),
        clashes: if are_listed(&record, &server) {
            (!clashes.is_empty()).then(|| shown(&clashes))
        } else {
            Some("objects, which are too many to be compared".to_owned())
        },
        prelude: [&guard, room].concat().into_bytes(),
        filter: Some(Box::new(Guarded { creates_public: record.creates_public, ..Guarded::default() })),
    })
}

/// Compares the target with the record: what is not there fails the session, although every statement ran.
pub(super) async fn compare(access: &Access, stream: RestoreStream<'_>, depth: Depth) -> Result<Vec<Notice>, Failure> {
    let record = read(stream.record)?;
    let (database, _) = target(access, &record, &stream.wanted)?;
    let unknown = |failure: Failure| not_compared(&failure.message);
    let server: State = questions::state(access, engine(), &database).await.map_err(unknown)?;
    let rows = match depth {
        Depth::Objects => BTreeMap::new(),
        Depth::Rows if record.uncounted => return Err(not_compared("rows of the snapshot are in INSERT statements")),
        Depth::Rows => questions::rows(access, engine(), &database).await.map_err(unknown)?,
    };
    let (missing, more) = differences(&record, &server, &rows);
    compared(&missing, &more)
}

/// Compares the target with the record: objects that it lacks, and those beyond the record. `rows` are those of its tables,
/// if they were counted.
pub(super) fn differences(
    record: &PostgresRecord,
    server: &State,
    rows: &BTreeMap<String, u64>,
) -> (Vec<String>, Vec<String>) {
    let asked = record.objects.iter().filter(|(of, _)| server.objects.contains_key(*of));
    let mut missing = lacking(asked, &server.objects);
    let mut more = Vec::new();
    if are_listed(record, server) {
        let absent = record.names.difference(&server.names).filter(|name| name.starts_with("TABLE "));
        missing.extend(absent.cloned());
        more.extend(server.names.difference(&record.names).cloned());
    }
    for (table, here) in rows {
        let dumped = record.tables.get(table).unwrap_or(here);
        let (list, count) = if here < dumped { (&mut missing, dumped - here) } else { (&mut more, here - dumped) };
        list.extend((count > 0).then(|| format!("{count} of {} rows of table {table}", here.max(dumped))));
    }
    (missing, more)
}

/// Whether the names of both sides are whole. Queries and records have the same limit.
fn are_listed(record: &PostgresRecord, server: &State) -> bool {
    record.names.len().max(server.names.len()) < NAMED
}

fn read(record: &[u8]) -> Result<PostgresRecord, Failure> {
    let record = PostgresRecord::parse(record).filter(|record| record.complete);
    record.ok_or_else(|| Failure::new(Code::SnapshotIncomplete, "the stream has no end of a dump of one database"))
}

/// The database to write to, and the arguments of psql.
fn target(access: &Access, record: &PostgresRecord, wanted: &Wanted<'_>) -> Result<(String, Vec<String>), Failure> {
    let mut given = CheckedArguments::of(access, engine())?;
    let named = given.take("dbname").or_else(|| given.names.pop());
    let name = destination(record.database.as_deref(), wanted, named.as_deref());
    Ok((name.map_err(|message| Failure::new(Code::ScopeRefused, message))?.to_owned(), given.argv()))
}

/// Lists the reasons for which the stream would stop on its way, in words.
pub(super) fn obstacles(record: &PostgresRecord, server: &State, clearing: Clearing) -> Vec<String> {
    let major = |version: &str| version.split(['.', ' ']).next().and_then(|major| major.parse::<u32>().ok());
    let (dumped, here) = (shown(&[&record.server_version]), &server.server_version);
    let roles: Vec<&String> = record.roles.difference(&server.roles).collect();
    let extensions: Vec<&String> = record.extensions.difference(&server.extensions).collect();
    let cases = [
        (
            major(&record.server_version) > major(here),
            format!("the dump is of version {dumped}, and the server of the older version {here}"),
        ),
        (
            server.encoding != record.encoding && server.encoding != "UTF8",
            format!("the database has encoding {}, and the dump {}", server.encoding, shown(&[&record.encoding])),
        ),
        (!roles.is_empty(), format!("roles do not exist, or the account is no member of them: {}", shown(&roles))),
        (
            clearing == Clearing::Empty && !server.kept.is_empty(),
            format!("the account may not drop {}; restore with one that may", shown(&server.kept)),
        ),
        (!extensions.is_empty(), format!("extensions are not installed on the server: {}", shown(&extensions))),
    ];
    let met = cases.into_iter().filter_map(|(is_met, words)| is_met.then_some(words));
    server.obstacles.iter().cloned().chain(met).collect()
}

/// Leaves out the lines by which a dump forbids all commands of psql: the restore forbids them with a key of its own,
/// which no stream can know. The creation of schema `public` is left out, too: each database has it, with rights that a dump
/// does not grant.
#[derive(Default)]
pub(super) struct Guarded {
    /// Whether the head creates schema `public`.
    pub creates_public: bool,
    /// Bytes that are not passed on yet.
    held: Vec<u8>,
    /// The line that would allow commands again; empty if there is none. Unknown until the head has been read.
    allows: Option<Vec<u8>>,
}

/// The head of a dump is shorter. It creates all schemas before anything else.
const HEAD_BYTES: usize = 64 * 1024;
const CREATE_PUBLIC: &[u8] = b"\nCREATE SCHEMA public;\n";

impl Guarded {
    /// Takes the key out of the head. Only there is such a line one for psql: a row may look like it.
    fn read_head(&mut self) -> Vec<u8> {
        if let Some(at) = find(&self.held, CREATE_PUBLIC).filter(|_| self.creates_public) {
            self.held.drain(at + 1..at + CREATE_PUBLIC.len());
        }
        let head = find(&self.held, b"\nSET ").unwrap_or(self.held.len());
        let Some(at) = find(&self.held[..head], b"\n\\restrict ") else { return Vec::new() };
        let end = find(&self.held[at + 1..head], b"\n").map_or(head, |end| at + 1 + end);
        let key = self.held.splice(at..end, []).skip(b"\n\\restrict ".len()).collect::<Vec<u8>>();
        [b"\n\\unrestrict ", key.as_slice(), b"\n"].concat()
    }

    fn pass(&mut self, out: &mut Vec<u8>, keep: usize) {
        let allows = match self.allows.take() {
            Some(allows) => allows,
            None => self.read_head(),
        };
        while let Some(at) = find(&self.held, &allows).filter(|_| !allows.is_empty()) {
            out.extend(self.held.drain(..at));
            self.held.drain(..allows.len() - 1);
        }
        let keep = keep.min(allows.len()).min(self.held.len());
        out.extend(self.held.drain(..self.held.len() - keep));
        self.allows = Some(allows);
    }
}

impl StreamFilter for Guarded {
    fn block(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.held.extend_from_slice(block);
        if self.allows.is_some() || self.held.len() >= HEAD_BYTES {
            self.pass(out, usize::MAX);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String> {
        self.pass(out, 0);
        Ok(())
    }
}
