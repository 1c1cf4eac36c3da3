//! A backup and a restore as a session would run them, without the session.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use lagan_schemas::{
    catalogue,
    resource::{Kind, Spec},
};
use lagan_workers::{
    mariadb::dump::{Record, ScopeGuard},
    mariadb::{
        CheckedRestoreArgs, ClientFailure, DumpArgs, Incomplete, NoTrailer, PreflightError, Prepared, SqlClient,
        attach, check_dump, check_end, prepare, scanner,
    },
    process::{ChildExit, DumpOutcome, DumpSettings, FeedError, FeedReport, Program, Pulse},
};
use tokio_util::sync::CancellationToken;

use crate::server::{DUMP, MARIADB};

pub const WAIT: Duration = Duration::from_secs(10);

pub struct Dumped {
    pub bytes: Vec<u8>,
    pub outcome: Arc<DumpOutcome>,
    pub record: Arc<Record>,
    pub prepared: Prepared,
    pub checked: Result<(), Incomplete>,
}

pub fn dump_args(user: &[&str]) -> DumpArgs {
    let function = catalogue::find(Kind::Function, "mariadb-backup").map(|function| &function.spec);
    let Some(Spec::Function(function)) = function else { unreachable!("it is built in") };
    let user = user.iter().map(ToString::to_string);
    let args: Vec<String> = function.args.iter().cloned().chain(user).collect();
    DumpArgs::parse(&args).unwrap()
}

pub async fn preflight(client: &SqlClient, user: &[&str]) -> Result<Prepared, PreflightError> {
    prepare(client, dump_args(user), WAIT).await
}

pub fn dump_program(client: &SqlClient, argv: Vec<String>) -> Program {
    let mut program = Program { args: argv, ..Program::new(DUMP) };
    attach(&client.connection, &mut program, &client.version).unwrap();
    program
}

pub async fn dump(client: &SqlClient, user: &[&str]) -> Dumped {
    let prepared = preflight(client, user).await.unwrap();
    let program = dump_program(client, prepared.argv.clone());
    let (scan, recording) = scanner(prepared.text);
    let cancel = CancellationToken::new();
    let (mut reader, handle) =
        client.spawner.dump(program, DumpSettings::default(), Some(scan), &cancel).await.unwrap();
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        bytes
    })
    .await
    .unwrap();
    let outcome = handle.wait().await;
    let checked = check_dump(&outcome, &recording, &prepared.expected);
    let record = recording.record();
    if checked.is_ok() {
        passes(&record, &bytes);
    }
    Dumped { bytes, outcome, record, prepared, checked }
}

/// A restore takes whatever mariadb-dump wrote.
pub fn passes(record: &Record, bytes: &[u8]) {
    let unclear: Vec<_> = record.oddities.first.iter().filter(|oddity| oddity.kind.is_unclear()).collect();
    assert!(unclear.is_empty(), "{unclear:?}");
    let (mut guard, mut out) = (ScopeGuard::new(record), Vec::new());
    bytes.chunks(4093).for_each(|block| guard.feed(block, &mut out).unwrap());
    guard.finish(&mut out).unwrap();
    assert!(out == bytes, "the guard changed the stream");
}

pub async fn feed(client: &SqlClient, user: &[&str], bytes: &[u8]) -> Result<FeedReport, FeedError> {
    let args = CheckedRestoreArgs::parse(&user.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let mut program = Program { args: args.argv(args.database.as_deref()), ..Program::new(MARIADB) };
    attach(&client.connection, &mut program, &client.version).unwrap();
    let cancel = CancellationToken::new();
    let mut feeder = client.spawner.feed(program, || Pulse::Alive, &cancel).await.unwrap();
    let bytes = bytes.to_vec();
    tokio::task::spawn_blocking(move || {
        feeder.feed(&bytes)?;
        feeder.flush().unwrap();
        feeder.finish()
    })
    .await
    .unwrap()
}

/// Why a restore of these tests did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub enum NotLoaded {
    Client { exit: Option<ChildExit>, failure: Option<ClientFailure> },
    Cut(NoTrailer),
}

pub async fn restore(client: &SqlClient, user: &[&str], bytes: &[u8]) -> Result<(), NotLoaded> {
    let report = feed(client, user, bytes).await.unwrap_or_else(|error| error.report().clone());
    if !report.clean() {
        let failure = ClientFailure::read(&report.stderr.lines);
        return Err(NotLoaded::Client { exit: report.exit, failure });
    }
    assert_eq!(report.bytes, bytes.len() as u64);
    check_end(&report.tail).map_err(NotLoaded::Cut)
}
