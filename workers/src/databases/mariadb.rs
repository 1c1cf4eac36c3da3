//! MariaDB as an engine of the seam: its answers are those of module `mariadb`, with the codes and words of sessions.

mod failures;
mod load;
mod stream;

use std::time::Duration;

use futures::future::BoxFuture;
use lagan_schemas::engine::Engine;
use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::Notice;

use self::failures::{of_arguments, of_preflight};
use self::stream::{RecordedStream, StreamSurvey, notices};
use super::questions::{explanation, of_ports};
use super::{
    Access, DatabaseEngine, Depth, Dump, DumpedStream, Explanation, FirstChange, FirstEffect, Load, RestoreStream,
    ServerActivity, Survey,
};
use crate::mariadb::{ClientFailure, DumpArgs, SqlClient, Versions, attach, check_end, dump, engine, prepare};
use crate::process::Program;

/// `wait_timeout` that a restore sets for its connection. A client sends a statement only whole, so the server's limits for
/// packets that are under way do not matter to a pause.
const IDLE_LIMIT: Duration = Duration::from_secs(86_400);

#[derive(Default)]
pub(crate) struct MariaDb {
    versions: Versions,
}

impl DatabaseEngine for MariaDb {
    fn document(&self) -> &'static Engine {
        engine()
    }

    fn prepare<'a>(&'a self, access: &'a Access) -> BoxFuture<'a, Result<Dump, Failure>> {
        Box::pin(self.dump(access))
    }

    fn reads_record(&self, record: &[u8]) -> bool {
        stream::parse(record).is_some()
    }

    fn survey(&self, stored: Option<&[u8]>) -> Box<dyn Survey> {
        Box::new(StreamSurvey::new(stored))
    }

    fn inspect<'a>(&'a self, access: &'a Access, stream: RestoreStream<'a>) -> BoxFuture<'a, Result<Load, Failure>> {
        Box::pin(self.load(access, stream))
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
        Box::pin(self.compare(access, stream, depth))
    }

    fn activity<'a>(
        &'a self,
        access: &'a Access,
        _database: &'a str,
        ports: &'a [u16],
    ) -> BoxFuture<'a, Result<ServerActivity, Failure>> {
        Box::pin(async {
            let client = self.client(access).await?;
            let rows = client.query(&of_ports(&engine().queries.activity, ports)).await;
            let rows = rows.map_err(|error| Failure::new(Code::DatabaseUnreachable, chain(&error)))?;
            let connections: Option<Vec<(String, String)>> =
                rows.into_iter().map(|row| <[String; 2]>::try_from(row).ok().map(Into::into)).collect();
            let unread = || Failure::new(Code::Internal, "the server's list of connections has another form");
            connections.as_deref().map(ServerActivity::of).ok_or_else(unread)
        })
    }

    fn idle_limit(&self) -> Option<Duration> {
        Some(IDLE_LIMIT)
    }

    fn first_change(&self) -> Box<dyn FirstChange> {
        Box::new(dump::FirstWriteFinder::default())
    }

    fn explain(&self, stderr: &[String]) -> Option<Explanation> {
        let failure = ClientFailure::read(stderr)?;
        Some(explanation(failure.rule, &failure.line))
    }

    fn check_end(&self, tail: &[u8]) -> Result<(), String> {
        check_end(tail).map_err(|fault| fault.to_string())
    }
}

impl MariaDb {
    async fn client(&self, access: &Access) -> Result<SqlClient, Failure> {
        let mariadb = access.programs.find(&engine().programs.client)?;
        let version = self.versions.of(&access.spawner, mariadb.clone(), &access.cancel).await;
        let version = version.map_err(|error| Failure::new(Code::ProgramNotAllowed, chain(&error)))?;
        let connection = access.connection.clone();
        Ok(SqlClient { spawner: access.spawner.clone(), mariadb, version, connection, cancel: access.cancel.clone() })
    }

    async fn dump(&self, access: &Access) -> Result<Dump, Failure> {
        let client = self.client(access).await?;
        let args = DumpArgs::parse(&access.arguments);
        let args = args.map_err(|error| of_arguments(&access.function, &error))?;
        let prepared = prepare(&client, args, access.wait).await.map_err(|error| of_preflight(&error))?;
        let program = program(access, &client, prepared.argv)?;
        let notices = notices(&prepared.findings);
        let (scanner, stream) = RecordedStream::new(prepared.expected, prepared.server, prepared.text);
        Ok(Dump { program, scanner, stream: Box::new(stream) as Box<dyn DumpedStream>, notices })
    }
}

/// The step's program with its login attached.
fn program(access: &Access, client: &SqlClient, args: Vec<String>) -> Result<Program, Failure> {
    let mut program = Program { args, ..Program::new(&access.executable) };
    let attached = attach(&client.connection, &mut program, &client.version);
    attached.map_err(|error| Failure::new(Code::InvalidSpec, chain(&error)))?;
    Ok(program)
}

impl FirstChange for dump::FirstWriteFinder {
    fn feed(&mut self, block: &[u8]) {
        Self::feed(self, block);
    }

    fn found(&self) -> Option<FirstEffect> {
        let dump::FirstWrite { after_bytes, line } = Self::found(self)?;
        Some(FirstEffect { after_bytes, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mariadb::CheckedRestoreArgs;

    #[test]
    fn the_limit_for_idle_connections_is_the_one_that_a_restore_sets() {
        let argv = CheckedRestoreArgs::parse(&[]).expect("no arguments are good arguments").argv(None);
        let set = format!("wait_timeout={}", IDLE_LIMIT.as_secs());
        assert!(argv.iter().any(|arg| format!("{arg:?}").contains(&set)), "{argv:?}");
    }
}
