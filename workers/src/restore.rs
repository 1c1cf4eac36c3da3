//! A restore: confirm that it is wanted, choose the snapshot once, look at the target, then feed the client. Past
//! `restoring` it is never run again by itself (P12).

mod feed;
pub(crate) mod known;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use lagan_schemas::error::{Code, Failure, chain};
use lagan_schemas::event::Activity;
use lagan_schemas::fact::{Fact, Notice, NoticeStatus, Restoring, TargetResult};
use lagan_schemas::origin::Clusters;
use lagan_schemas::plan::{Existing, Plan, RestoreWork, SnapshotSelector};
use lagan_schemas::session::Session;

use self::feed::{Fed, Passage, Stopped, feed};
use self::known::Proof;
use crate::consent;
use crate::failures::{
    of_arguments, of_choice, of_obstacles, of_query, of_repository, of_restore, of_spawn, of_target,
};
use crate::hooks::Hooks;
use crate::mariadb::dump::{Filter, NameCase, Record};
use crate::mariadb::{
    Asked, Met, QueryError, RestoreArgs, RestoreIncomplete, RestoreScope, Selection, Target as Inspected, TargetState,
    Verify, check_fed, clearing, inspect, met, name_case, obstacles, read_back, scope,
};
use crate::opened::{Missing, Opened, blocking};
use crate::place::place;
use crate::process::{Feeder, Program, Pulse, escape};
use crate::progress::{Teller, Told};
use crate::repository::{Snapshot, Wanted, by_id, latest};
use crate::retention::{self, Asking};
use crate::session::held::{Held, HeldError};
use crate::session::life::Life;
use crate::session::{Broken, Failed, Outcome};
use crate::target::Target;
use crate::worker::Worker;

/// Names that a message lists.
const SHOWN: usize = 10;

pub(crate) async fn run(
    worker: &Worker,
    held: &Arc<Held>,
    life: &Arc<Life>,
    (plan, work): (&Plan, &RestoreWork),
) -> Outcome {
    let session = held.session().await;
    let hooks = match Hooks::new(worker, held, life, plan).recall(&session).read().await {
        Ok(hooks) => hooks,
        Err(failed) => return Outcome::Failed(Box::new(failed)),
    };
    let mut run = Run { worker, held, life, plan, work, session, conditions: worker.notices(), hooks };
    let worked = match Box::pin(run.one()).await {
        Ok(result) => Ok(vec![result]),
        Err(Broken::Fenced) => return Outcome::Fenced,
        // A request to the storage that was broken off does not know why.
        Err(Broken::Failed(failure)) if failure.code == Code::Interrupted => {
            Err(life.stopped().map_or(failure, |cause| cause.failure()))
        }
        Err(Broken::Failed(failure)) => Err(failure),
    };
    match run.hooks.post(&work.target, worked).await {
        Ok(results) => Outcome::Succeeded { results, conditions: run.conditions() },
        Err(failure) => {
            let failed = Failed { failure, rejected_snapshots: Vec::new(), conditions: run.conditions() };
            Outcome::Failed(Box::new(failed))
        }
    }
}

struct Run<'a> {
    worker: &'a Worker,
    held: &'a Arc<Held>,
    life: &'a Arc<Life>,
    plan: &'a Plan,
    work: &'a RestoreWork,
    session: Session,
    conditions: Vec<Notice>,
    hooks: Hooks<'a>,
}

impl Run<'_> {
    fn conditions(self) -> Vec<Notice> {
        self.conditions.into_iter().chain(self.hooks.into_notices()).collect()
    }

    async fn one(&mut self) -> Result<TargetResult, Broken> {
        let began = Instant::now();
        let (work, planned) = (self.work, &self.work.repository);
        self.worker.intent.confirm(&work.object).await?;
        let secret = self.worker.intent.storage_secret(planned).await?;
        let place = place(planned, &secret, self.worker.intent.volumes())?;
        let owner = format!("{}-{}", self.session.key.uid, self.worker.instance);
        let opened = Opened::open(self.worker, &place, &owner, Missing::Fail, &self.life.token()).await?;
        let snapshot = self.choose(&opened).await?;
        match consent::of_snapshot(self.worker, self.plan, work, &snapshot).await {
            Ok(notice) => self.conditions.extend(notice),
            Err(failure) => {
                opened.lease.release().await;
                return Err(failure.into());
            }
        }
        let resolved = Target::resolve(self.worker, &work.target.database, &work.step, &self.life.token())
            .await
            .map_err(|failure| self.stopped_or(failure))?;
        let args =
            RestoreArgs::parse(&resolved.arguments()).map_err(|error| of_arguments(&resolved.step.function, &error))?;
        let record = self.record(&opened, &snapshot).await?;
        let case =
            name_case(&resolved.client, resolved.wait).await.map_err(|error| self.stopped_or(of_target(&error)))?;
        let scope = self.scope(&snapshot, &record, &args, case)?;
        let longest = Some(record.longest_statement_bytes);
        let inspected = inspect(&resolved.client, &scope.touches(), longest, resolved.wait)
            .await
            .map_err(|error| self.stopped_or(of_target(&error)))?;
        let first = self.check_target(&resolved, &inspected, (&scope, &record, case)).await?;
        self.check_obstacles(&resolved, (&scope, &record, case)).await?;
        self.hooks.pre(&work.target).await?;
        let (size, reader) = {
            let (repository, id) = (Arc::clone(&opened.repository), snapshot.id.clone());
            let path = work.source.path.clone();
            blocking(move || repository.read(&id, &path)).await?.map_err(|error| of_repository(&error))?
        };
        let feeder = self.start(&resolved, args.argv(scope.selects.as_deref())).await?;
        let passage = Passage { first, filter: scope.filter.clone().map(Filter::new) };
        self.say_restoring(&snapshot, size).await?;
        let bytes = Arc::new(AtomicU64::new(0));
        let teller = self.tell(Activity::Restoring, &bytes, Some(size));
        let fed = blocking(move || feed(feeder, reader, passage, &bytes)).await?;
        drop(teller);
        opened.lease.release().await;
        self.judge(fed, &snapshot)?;
        self.compare(&resolved, (&scope, &record, case)).await?;
        Ok(TargetResult {
            target: work.target.name.clone(),
            host: snapshot.host.clone(),
            repository: planned.reference.clone(),
            path: snapshot.path(),
            snapshot: snapshot.id,
            size_bytes: size,
            added_bytes: 0,
            sha256: String::new(),
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            adopted: false,
            packs_read: 0,
            packs: 0,
            retention: None,
            statistics: None,
            record: None,
        })
    }

    fn tell(&self, activity: Activity, bytes: &Arc<AtomicU64>, total_bytes: Option<u64>) -> Teller {
        let told = Told {
            key: self.session.key.clone(),
            pool: self.plan.pool.clone(),
            session_name: self.plan.session_name.clone(),
            target: self.work.target.name.clone(),
            activity,
            bytes: Arc::clone(bytes),
            total_bytes,
        };
        Teller::start(self.worker.bus.clone(), told)
    }

    /// A failure that came from our own stop carries the stop's reason.
    fn stopped_or(&self, failure: Failure) -> Failure {
        self.life.stopped().map_or(failure, |cause| cause.failure())
    }

    async fn choose(&self, opened: &Opened) -> Result<Snapshot, Failure> {
        let source = &self.work.source;
        let repository = Arc::clone(&opened.repository);
        let listed = blocking(move || repository.snapshots()).await?.map_err(|error| of_repository(&error))?;
        let cluster = self.worker.intent.identity().await?;
        let clusters = source.from_cluster.as_deref().map_or(Clusters::Own(&cluster), Clusters::Named);
        let chosen = match &source.snapshot {
            SnapshotSelector::Id(id) => by_id(&listed.snapshots, id, clusters),
            SnapshotSelector::Latest => {
                let wanted = Wanted {
                    clusters,
                    configuration: source.configuration.as_ref(),
                    host: source.host.as_deref(),
                    path: Some(&source.path),
                    not_after: source.not_after,
                };
                // A snapshot that its session did not name is never the latest.
                let asking = Asking { session: self.session.key.uid, cluster: &cluster };
                let unnamed = retention::unnamed(self.worker, &listed.snapshots, asking, &[]).await;
                latest(&listed.snapshots, wanted, &unnamed)
            }
        };
        chosen.cloned().map_err(|error| of_choice(&error))
    }

    /// Finds out what the snapshot holds. If data may be replaced, every byte of it is read.
    async fn record(&self, opened: &Opened, snapshot: &Snapshot) -> Result<Record, Failure> {
        let proof = match self.work.existing {
            Existing::Refuse => Proof::Record,
            Existing::Merge | Existing::Replace => Proof::EveryByte,
        };
        let bytes = Arc::new(AtomicU64::new(0));
        let teller = self.tell(Activity::Verifying, &bytes, snapshot.bytes);
        let source = (snapshot.id.as_str(), self.work.source.path.as_str());
        let record = known::record(&opened.repository, source, proof, self.life, bytes)
            .await
            .map_err(|failure| self.stopped_or(failure))?;
        drop(teller);
        match record.ending.check() {
            Ok(()) => Ok(record),
            Err(fault) => Err(Failure::new(Code::SnapshotIncomplete, format!("{}: {fault}", unchanged(snapshot)))),
        }
    }

    /// Which databases this restore writes to.
    fn scope(
        &self,
        snapshot: &Snapshot,
        record: &Record,
        args: &RestoreArgs,
        case: NameCase,
    ) -> Result<RestoreScope, Failure> {
        let mut asked = Asked { renamed: self.work.renamed.clone(), ..Asked::default() };
        match (args.selection, self.work.databases.first()) {
            (_, Some(wanted)) if args.database.as_ref().is_none_or(|named| named == wanted) => {
                asked.database = Some(wanted.clone());
            }
            (_, Some(wanted)) => {
                let named = args.database.as_deref().unwrap_or_default();
                let message =
                    format!("`databases` asks for `{wanted}`, and the arguments for `{named}`; name one of them");
                return Err(Failure::new(Code::ScopeRefused, message));
            }
            (Selection::OneDatabase, None) => asked.database.clone_from(&args.database),
            (Selection::Everything, None) => asked.into.clone_from(&args.database),
        }
        scope(record, &asked, case)
            .map_err(|error| Failure::new(Code::ScopeRefused, format!("{}: {error}", unchanged(snapshot))))
    }

    /// Decides about data that is there already; returns the statements that have to run before the stream.
    async fn check_target(
        &mut self,
        resolved: &Target<'_>,
        inspected: &Inspected,
        (scope, record, case): (&RestoreScope, &Record, NameCase),
    ) -> Result<String, Failure> {
        let TargetState::NotEmpty { databases, tables, programs } = &inspected.state else { return Ok(String::new()) };
        let what = format!(
            "AppBinding {} already holds {tables} tables and {programs} routines and events in {}",
            self.work.target.reference.path(),
            databases.join(", ")
        );
        let asking = |error: QueryError| self.stopped_or(of_query(&error));
        let (first, message) = match self.work.existing {
            Existing::Refuse => return Err(Failure::new(Code::TargetNotEmpty, what)),
            Existing::Replace => {
                let first = clearing(&resolved.client, scope).await.map_err(asking)?;
                (first, format!("{what}; they were dropped, and the snapshot took their place"))
            }
            Existing::Merge => {
                let Met { stays, clashes } = met(&resolved.client, scope, record, case).await.map_err(asking)?;
                if !clashes.is_empty() {
                    let message = format!(
                        "the snapshot has objects of another kind in the place of {}; drop them, or use `existing: Replace`",
                        few(&clashes)
                    );
                    return Err(Failure::new(Code::TargetNotEmpty, message));
                }
                let stays = if stays.is_empty() {
                    String::new()
                } else {
                    format!("; what it did not bring stays: {}", few(&stays))
                };
                (String::new(), format!("{what}; the restore replaced what it brought{stays}"))
            }
        };
        tracing::warn!(what, "restoring over what is there");
        self.conditions.push(Notice {
            kind: "TargetOverwritten".to_owned(),
            status: NoticeStatus::True,
            reason: "TargetNotEmpty".to_owned(),
            message,
        });
        Ok(first)
    }

    /// Refuses a restore that would break off, or bring back something else than the dump holds.
    async fn check_obstacles(
        &self,
        resolved: &Target<'_>,
        (scope, record, case): (&RestoreScope, &Record, NameCase),
    ) -> Result<(), Failure> {
        let found = obstacles(&resolved.client, record, scope, case).await;
        let found = found.map_err(|error| self.stopped_or(of_query(&error)))?;
        if found.is_empty() { Ok(()) } else { Err(of_obstacles(&found)) }
    }

    /// Compares the target with the record: an object that is not there fails the session, although every statement ran.
    async fn compare(
        &mut self,
        resolved: &Target<'_>,
        (scope, record, case): (&RestoreScope, &Record, NameCase),
    ) -> Result<(), Failure> {
        let found = read_back(&resolved.client, record, scope, (case, Verify::Objects)).await.map_err(|error| {
            let message = format!("every statement ran, but the target could not be compared: {}", chain(&error));
            Failure::new(Code::TargetPartiallyRestored, message)
        })?;
        if !found.missing.is_empty() {
            let message = format!("every statement ran, but the target lacks {}", first(&found.missing));
            return Err(Failure::new(Code::TargetPartiallyRestored, message));
        }
        if !found.expired.is_empty() {
            self.conditions.push(Notice {
                kind: "EventsNotCreated".to_owned(),
                status: NoticeStatus::True,
                reason: "TimeIsOver".to_owned(),
                message: format!("the server did not create events whose time is over: {}", first(&found.expired)),
            });
        }
        Ok(())
    }

    async fn start(&self, resolved: &Target<'_>, args: Vec<String>) -> Result<Feeder, Failure> {
        let mut program = Program { args, ..Program::new(&resolved.executable) };
        let attached = resolved.client.connection.attach(&mut program, &resolved.client.version);
        attached.map_err(|error| Failure::new(Code::InvalidSpec, chain(&error)))?;
        let life = Arc::clone(self.life);
        let alive = move || if life.may_still_write() { Pulse::Alive } else { Pulse::Lost };
        let started = self.worker.spawner.feed(program, alive, &self.life.token()).await;
        started.map_err(|error| of_spawn(&error))
    }

    /// Before the first byte, the log must know that there will be one.
    async fn say_restoring(&self, snapshot: &Snapshot, size_bytes: u64) -> Result<(), Broken> {
        if let Some(cause) = self.life.stopped() {
            return Err(cause.failure().into());
        }
        let restoring = Restoring {
            holder: self.held.holder,
            target: self.work.target.name.clone(),
            repository: self.work.repository.reference.path(),
            snapshot: snapshot.id.clone(),
            size_bytes,
        };
        match self.held.append(Fact::Restoring(restoring)).await {
            Ok(()) => {
                self.life.pass_first_byte();
                Ok(())
            }
            Err(HeldError::Fenced) => Err(Broken::Fenced),
            Err(error) => Err(Failure::new(Code::Internal, chain(&error)).into()),
        }
    }

    fn judge(&self, fed: Result<Fed, Stopped>, snapshot: &Snapshot) -> Result<(), Failure> {
        let (fed_bytes, why) = match fed {
            Ok(Fed { report, expected_bytes }) => match check_fed(&report, expected_bytes) {
                Ok(()) => return Ok(()),
                Err(why) => (report.bytes, why),
            },
            Err(Stopped { report, why }) => {
                if let Some(cause) = self.life.stopped() {
                    let short = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                    let message = format!(
                        "restore of snapshot {short} stopped after {} bytes: {}",
                        report.bytes,
                        cause.failure().message
                    );
                    return Err(Failure::new(Code::TargetPartiallyRestored, message));
                }
                let incomplete = check_fed(&report, report.bytes).err();
                let client = incomplete.filter(|i| matches!(i, RestoreIncomplete::Failed { failure: Some(_), .. }));
                match client {
                    Some(incomplete) => (report.bytes, incomplete),
                    None => {
                        let short = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                        let message =
                            format!("restore of snapshot {short} stopped after {} bytes: {why}", report.bytes);
                        return Err(Failure::new(Code::TargetPartiallyRestored, message));
                    }
                }
            }
        };
        Err(of_restore(&snapshot.id, fed_bytes, &why))
    }
}

/// The beginning of a message about a restore that was refused before it wrote anything.
fn unchanged(snapshot: &Snapshot) -> String {
    format!("snapshot {} is not restored, and nothing was changed", snapshot.id.get(..8).unwrap_or(&snapshot.id))
}

fn first(differences: &[String]) -> String {
    let more =
        if differences.len() > SHOWN { format!(" and {} more", differences.len() - SHOWN) } else { String::new() };
    format!("{}{more}", differences.iter().take(SHOWN).map(|one| escape(one)).collect::<Vec<_>>().join(", "))
}

fn few(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", escape(name))).collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
