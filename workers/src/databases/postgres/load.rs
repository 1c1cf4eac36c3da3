//! A restore: the database that it writes to, what could stop it, and what it has brought.

use std::collections::BTreeMap;

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::fact::Notice;
use memchr::memmem::find;
use uuid::Uuid;

use super::record::{PostgresRecord, TABLE};
use super::{State, engine, lacking};
use crate::databases::options::CheckedArguments;
use crate::databases::{Access, Clearing, Load, RestoreStream, StreamFilter, Wanted, questions, shown};
use crate::process::{Program, escape};

pub(super) async fn load(access: &Access, stream: RestoreStream<'_>) -> Result<Load, Failure> {
    let record = read(stream.record)?;
    let (database, others) = target(access, &record, &stream.wanted)?;
    let server: State = questions::state(access, engine(), &database).await?;
    let clears = stream.clearing == Clearing::Empty;
    let common: Vec<&String> = server.tables.iter().filter(|table| record.tables.contains_key(*table)).collect();
    let stays: Vec<&String> = server.tables.iter().filter(|table| !record.tables.contains_key(*table)).collect();
    // Only this process knows the key, so nothing in the stream makes psql run a program or connect elsewhere.
    let guard = format!("\\restrict {}\n", Uuid::new_v4().simple());
    Ok(Load {
        program: Program { args: others, ..access.program(&access.executable, engine(), &database)? },
        existing: words(&server.objects).map(|objects| format!("{objects} in database `{database}`")),
        databases: vec![database],
        obstacles: obstacles(&record, &server),
        stays: (!stays.is_empty()).then(|| shown(&stays)),
        clashes: (!common.is_empty() && !clears).then(|| shown(&common)),
        prelude: [guard.as_str(), if clears { &server.clear } else { "" }].concat().into_bytes(),
        filter: Some(guarded()),
    })
}

/// Compares the target with the record: what is not there fails the session, although every statement ran.
pub(super) async fn compare(access: &Access, stream: RestoreStream<'_>) -> Result<Vec<Notice>, Failure> {
    let record = read(stream.record)?;
    let (database, _) = target(access, &record, &stream.wanted)?;
    let server: State = questions::state(access, engine(), &database).await?;
    let tables: Vec<&String> = record.tables.keys().filter(|table| !server.tables.contains(*table)).collect();
    let asked = record.objects.iter().filter(|(of, _)| server.objects.contains_key(*of));
    let mut missing = lacking(asked, &server.objects);
    missing.extend((!tables.is_empty()).then(|| format!("tables {}", shown(&tables))));
    let message = format!("every statement ran, but the target lacks {}", missing.join(", "));
    if missing.is_empty() { Ok(Vec::new()) } else { Err(Failure::new(Code::TargetIncomplete, message)) }
}

fn read(record: &[u8]) -> Result<PostgresRecord, Failure> {
    let refuse = |why| Failure::new(Code::SnapshotIncomplete, why);
    let record = PostgresRecord::parse(record).ok_or_else(|| refuse("it is no dump of PostgreSQL"))?;
    if record.complete { Ok(record) } else { Err(refuse("the stream has no end of a dump of one database")) }
}

/// The database to write to: the new name that is asked for, the one in the arguments, or the one that was dumped. With it
/// come the arguments of psql.
fn target(access: &Access, record: &PostgresRecord, wanted: &Wanted<'_>) -> Result<(String, Vec<String>), Failure> {
    let mut given = CheckedArguments::of(access, engine())?;
    let named = given.take("dbname").or_else(|| given.names.pop());
    let name = destination(record.database.as_deref(), wanted, named.as_deref());
    Ok((name.map_err(|message| Failure::new(Code::ScopeRefused, message))?.to_owned(), given.argv()))
}

/// Decides the database to write to; `dumped` and `named` are those of the record and of the arguments.
pub(super) fn destination<'a>(
    dumped: Option<&'a str>,
    wanted: &Wanted<'a>,
    named: Option<&'a str>,
) -> Result<&'a str, String> {
    let into = wanted.renamed.or(named);
    if let (Some(renamed), Some(named)) = (wanted.renamed, named.filter(|named| wanted.renamed != Some(named))) {
        return Err(format!("`as` asks for `{renamed}`, and the arguments for `{named}`; name one of them"));
    }
    match (dumped, wanted.databases) {
        (Some(dumped), asked) => match asked.iter().find(|asked| *asked != dumped) {
            Some(other) => {
                Err(format!("the snapshot holds database `{dumped}`, and `databases` asks for `{}`", escape(other)))
            }
            None => Ok(into.unwrap_or(dumped)),
        },
        (None, []) => into.ok_or_else(|| {
            "the snapshot does not say of which database it is; say where it goes (`--dbname=NAME` in `args`, \
             `databases: [NAME]`, or `lagan restore --database NAME`)"
                .to_owned()
        }),
        (None, [only]) => match named.filter(|named| wanted.renamed.is_none() && *named != only.as_str()) {
            Some(named) => Err(format!(
                "`databases` asks for `{}`, and the arguments for `{named}`; name one of them",
                escape(only)
            )),
            None => Ok(into.unwrap_or(only)),
        },
        (None, several) => Err(format!(
            "databases: the snapshot is of one database and names none, so exactly one name can be given, not {}",
            shown(several)
        )),
    }
}

/// Lists the reasons for which the stream would stop on its way, in words.
pub(super) fn obstacles(record: &PostgresRecord, server: &State) -> Vec<String> {
    let major = |version: &str| version.split(['.', ' ']).next().and_then(|major| major.parse::<u32>().ok());
    let (dumped, here) = (shown(&[&record.server_version]), &server.server_version);
    let roles: Vec<&String> = record.roles.difference(&server.roles).collect();
    let extensions: Vec<&String> = record.extensions.difference(&server.extensions).collect();
    let grant = "the account may not create objects; grant CREATE on the database and on schema public".to_owned();
    let cases = [
        (server.read_only, "the server is read-only, perhaps a standby; restore into the primary".to_owned()),
        (!server.read_only && !server.creates, grant),
        (
            major(&record.server_version) > major(here),
            format!("the dump is of version {dumped}, and the server of the older version {here}"),
        ),
        (
            server.encoding != record.encoding && server.encoding != "UTF8",
            format!("the database has encoding {}, and the dump {}", server.encoding, shown(&[&record.encoding])),
        ),
        (!roles.is_empty(), format!("roles do not exist, or the account is no member of them: {}", shown(&roles))),
        (!extensions.is_empty(), format!("extensions are not installed on the server: {}", shown(&extensions))),
    ];
    cases.into_iter().filter_map(|(is_met, words)| is_met.then_some(words)).collect()
}

fn words(objects: &BTreeMap<String, u64>) -> Option<String> {
    let tables = objects.get(TABLE).copied().unwrap_or_default();
    let others = objects.values().sum::<u64>() - tables;
    (tables + others > 0).then(|| format!("{tables} tables and {others} other objects"))
}

/// Leaves out the lines by which a dump forbids all commands of psql: the restore forbids them with a key of its own,
/// which no stream can know.
#[derive(Default)]
struct Guarded {
    /// Bytes that are not passed on yet.
    held: Vec<u8>,
    /// The line that would allow commands again; empty if there is none. Unknown until the head has been read.
    allows: Option<Vec<u8>>,
}

/// The head of a dump is shorter.
const HEAD_BYTES: usize = 4096;

pub(super) fn guarded() -> Box<dyn StreamFilter> {
    Box::new(Guarded::default())
}

impl Guarded {
    /// Takes the key out of the head. Only there is such a line one for psql: a row may look like it.
    fn read_head(&mut self) -> Vec<u8> {
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
