//! The preflight of a restore: which databases it writes to, and what they hold.

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::fact::{Notice, NoticeStatus};

use super::failures::{of_arguments, of_scope, of_target};
use super::stream::parse;
use super::{MariaDb, program};
use crate::databases::{
    Access, Clearing, Depth, Load, RestoreStream, StreamFilter, Wanted, compared, not_compared, remaining, shown,
};
use crate::mariadb::dump::{Filter, Record, ScopeGuard};
use crate::mariadb::{
    Asked, BeyondDatabases, CheckedRestoreArgs, Comparison, Emptied, Met, RestoreScope, Selection, TargetState,
    beyond_databases, clearing, met, missing_tables, name_case, obstacles, read_back, scope, target_state,
};

impl MariaDb {
    pub(super) async fn load(&self, access: &Access, stream: RestoreStream<'_>) -> Result<Load, Failure> {
        let args = CheckedRestoreArgs::parse(&access.arguments);
        let args = args.map_err(|error| of_arguments(&access.function, &error))?;
        let record = read(stream.record)?;
        let client = self.client(access).await?;
        let case = name_case(&client, access.wait).await.map_err(|error| of_target(&error))?;
        let asked = asked(&args, &stream.wanted)?;
        let scope = scope(&record, &asked, case).map_err(|error| of_scope(&error))?;
        let obstacles = obstacles(&client, &record, &scope, case).await.map_err(|error| of_target(&error))?;
        let state = target_state(&client, &scope.touches(), case).await.map_err(|error| of_target(&error))?;
        let mut load = Load {
            program: program(access, &client, args.argv(scope.selects.as_deref()))?,
            databases: scope.databases.iter().map(|database| database.name.clone()).collect(),
            obstacles: obstacles.iter().map(ToString::to_string).collect(),
            notices: beyond(&beyond_databases(&record, &scope, case)).into_iter().collect(),
            existing: existing(&state, &scope),
            fate: Vec::new(),
            clashes: None,
            prelude: Vec::new(),
            filter: Some(filter(&record, &scope)),
        };
        let empties = load.existing.is_some() && stream.clearing == Clearing::Empty;
        let emptied = if empties { Emptied::Yes } else { Emptied::No };
        let missing = missing_tables(&client, &record, &scope, (case, emptied)).await;
        let missing = missing.map_err(|error| of_target(&error))?;
        load.obstacles.extend(missing.iter().map(ToString::to_string));
        if load.existing.is_some() {
            match stream.clearing {
                Clearing::Empty => {
                    load.prelude = clearing(&client, &scope).await.map_err(|error| of_target(&error))?.into_bytes();
                }
                Clearing::Leave => {
                    let met = met(&client, &scope, &record, case).await.map_err(|error| of_target(&error))?;
                    (load.fate, load.clashes) = (fate(&met), some(&met.clashes));
                }
            }
        }
        Ok(load)
    }

    /// Compares the target with the record: an object that is not there fails the session, although every statement ran.
    pub(super) async fn compare(
        &self,
        access: &Access,
        stream: RestoreStream<'_>,
        depth: Depth,
    ) -> Result<Vec<Notice>, Failure> {
        let args = CheckedRestoreArgs::parse(&access.arguments).map_err(|error| not_compared(&chain(&error)))?;
        let record = read(stream.record)?;
        let client = self.client(access).await.map_err(|failure| not_compared(&failure.message))?;
        let case = name_case(&client, access.wait).await.map_err(|error| not_compared(&chain(&error)))?;
        let scope =
            scope(&record, &asked(&args, &stream.wanted)?, case).map_err(|error| not_compared(&chain(&error)))?;
        let found = read_back(&client, &record, &scope, (case, comparison(depth))).await;
        let found = found.map_err(|error| not_compared(&chain(&error)))?;
        let additional = compared(&found.missing, &found.additional)?;
        if !found.uncounted.is_empty() {
            return Err(not_compared(&format!("the rows of {} could not be counted", shown(&found.uncounted))));
        }
        let expired = (!found.expired.is_empty()).then(|| {
            let message = format!("the server did not create events whose time is over: {}", shown(&found.expired));
            notice("EventsNotCreated", "TimeIsOver", message)
        });
        Ok(expired.into_iter().chain(additional).collect())
    }
}

const fn comparison(depth: Depth) -> Comparison {
    match depth {
        Depth::Objects => Comparison::Objects,
        Depth::Rows => Comparison::Rows,
    }
}

fn read(record: &[u8]) -> Result<Record, Failure> {
    let record =
        parse(record).ok_or_else(|| Failure::new(Code::Internal, "a record of another version was accepted"))?;
    record.ending.check().map_err(|fault| Failure::new(Code::SnapshotIncomplete, chain(&fault)))?;
    Ok(record)
}

/// The wish of the session and the one in its arguments as one.
fn asked(args: &CheckedRestoreArgs, wanted: &Wanted<'_>) -> Result<Asked, Failure> {
    let mut asked = Asked { renamed: wanted.renamed.map(str::to_owned), ..Asked::default() };
    let named = args.database.as_deref();
    match (args.selection, wanted.databases, named) {
        (Selection::OneDatabase, [], named) => asked.databases = named.map(str::to_owned).into_iter().collect(),
        (Selection::Everything, [], named) => asked.into = named.map(str::to_owned),
        (_, wanted, Some(named)) if wanted != [named] => {
            let wanted = shown(wanted);
            let named = shown(&[named]);
            let message = format!(
                "databases: it asks for {wanted}, and `task.params.args` for {named}; name databases in one of them only"
            );
            return Err(Failure::new(Code::ScopeRefused, message));
        }
        (_, wanted, _) => asked.databases = wanted.to_vec(),
    }
    Ok(asked)
}

fn notice(kind: &str, reason: &str, message: String) -> Notice {
    Notice { kind: kind.to_owned(), status: NoticeStatus::True, reason: reason.to_owned(), message }
}

/// The condition of a stream that changes more than its databases.
fn beyond(found: &BeyondDatabases) -> Option<Notice> {
    let statements = some(&found.statements)?;
    let more = if found.more { ", and perhaps more" } else { "" };
    let message = format!(
        "the snapshot has statements that reach beyond its databases, to accounts, replication or variables of the whole \
         server, and a restore runs them: {statements}{more}"
    );
    Some(notice("BeyondDatabases", "StatementsOfServer", message))
}

fn existing(state: &TargetState, scope: &RestoreScope) -> Option<String> {
    let held = match state {
        TargetState::Empty => None,
        TargetState::NotEmpty { databases, tables, programs } => {
            let list = databases.join(", ");
            Some(format!("{tables} tables and {programs} routines and events in {list}"))
        }
    };
    // They are on every server, and hold its accounts.
    let system: Vec<String> = scope.system().map(|name| format!("`{name}`")).collect();
    let system = (!system.is_empty()).then(|| format!("the server's own {}", system.join(", ")));
    let all: Vec<String> = held.into_iter().chain(system).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// The fate of the objects of the target, in sentences.
fn fate(met: &Met) -> Vec<String> {
    let say = |names: &[String], sentence: &str| Some(format!("{sentence} {}", some(names)?));
    let sentences = [
        say(&met.dropped, "the snapshot itself drops all that was there in"),
        say(&met.filled, "the snapshot has only rows of these, adds them, and breaks off at one whose key is there:"),
        remaining(&quoted(&met.stays)),
        say(&met.uncompared, "it brings too many objects for a list, so it is not known what stays in"),
    ];
    sentences.into_iter().flatten().collect()
}

fn some(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| shown(&quoted(names)))
}

fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

/// Leaves only what is wanted of the stream, or, if all of it is, stops at what its record does not tell of.
fn filter(record: &Record, scope: &RestoreScope) -> Box<dyn StreamFilter> {
    match scope.filter.clone() {
        Some(wanted) => Box::new(Filter::new(wanted)),
        None => Box::new(ScopeGuard::new(record)),
    }
}

impl StreamFilter for ScopeGuard {
    fn block(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.feed(block, out).map_err(|error| error.to_string())
    }

    fn finish(self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String> {
        Self::finish(*self, out).map_err(|error| error.to_string())
    }
}

impl StreamFilter for Filter {
    fn block(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.feed(block, out).map_err(|error| error.to_string())
    }

    fn finish(self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String> {
        Self::finish(*self, out).map_err(|error| error.to_string())
    }
}
