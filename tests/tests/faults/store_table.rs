//! The table of lost stores: each stream and bucket is deleted, emptied, made anew or set back to an older copy while there
//! are sessions in every phase. Every session must end, and what is shown must be true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lagan_tests::audit::{LoggedFact, read_log};
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::process::Process;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, app_binding, configuration, restore_session};
use serde_json::Value;

use super::{Apart, FAST};

/// Limit for all sessions to end after a fault.
const ENDS: Duration = Duration::from_secs(75);

/// The counter of a server of restores that began: the stream of a dump creates its database once.
const BEGUN: &str = "Com_create_db";

/// A change to one stream that no client of NATS is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Deleted,
    Purged,
    MadeAnew,
    RolledBack,
}

/// A world with a session in each phase, and an older copy of its store.
///
/// | session | in the copy | when the fault comes |
/// |---|---|---|
/// | `first`, `init` | ended | ended |
/// | `done`, `restored` | planned | ended |
/// | `back` | planned | a restore past `restoring` |
/// | `retries` | planned | waits for the time of its retry |
/// | `held` | | runs a dump |
/// | `waits` | | waits for the target of `held` |
/// | `queued` | | planned without a worker |
/// | `late` | | asked for after it |
struct Phases {
    workers: Vec<Process>,
    locked: Option<Process>,
    apart: Apart,
    copy: MariaDbServer,
    third: MariaDbServer,
    kept: PathBuf,
    hold: PathBuf,
    fail: PathBuf,
}

fn target(yaml: &str, name: &str) -> String {
    yaml.replace("name: shop}}", &format!("name: {name}}}}}"))
}

impl Phases {
    fn prepare() -> Result<Self> {
        let mut world = World::new()?;
        for (database, megabytes) in [("shop", 3), ("flaky", 1), ("small", 1)] {
            world.db.load_sample(database, Sample { megabytes, seed: 11 })?;
        }
        for name in ["flaky", "small"] {
            world.lagan.manifest(&format!("{name}-db.yaml"), &app_binding(name, &world.db))?;
            let yaml =
                configuration(name, "local", &format!("--databases {name}"), "retryConfig: {maxRetry: 3, delay: 12s}");
            world.lagan.manifest(&format!("{name}.yaml"), &target(&yaml, name))?;
        }
        world.configure("shop", "local", "--databases shop", "retryConfig: {maxRetry: 1, delay: 1s}")?;
        for name in ["again", "late"] {
            world.configure(name, "local", "--databases shop", "")?;
        }
        let (copy, third) = (world.second_database("copy")?, world.second_database("third")?);
        third.load_sample("shop", Sample { megabytes: 3, seed: 12 })?;
        let (hold, fail) = (world.lagan.path("hold"), world.lagan.path("fail"));
        let script = format!(
            "case \"$*\" in\n\
             *flaky*) if [ -e {fail} ]; then echo half; exit 0; fi; exec $REAL \"$@\";;\n\
             *shop*) $REAL \"$@\" | {{ head -c 1500000; while [ -e {hold} ]; do touch {hold}.seen; sleep 0.05; done; cat; }};;\n\
             *) exec $REAL \"$@\";;\nesac",
            fail = fail.display(),
            hold = hold.display()
        );
        world.stub("mariadb-dump", &script)?;
        let kept = world.lagan.path("kept");
        let apart = Apart::start(world, FAST)?;
        Ok(Self { workers: Vec::new(), locked: None, apart, copy, third, kept, hold, fail })
    }

    fn world(&self) -> &World {
        &self.apart.world
    }

    fn worker(&mut self) -> Result<()> {
        let name = format!("worker-{}", self.workers.len());
        self.workers.push(self.apart.worker(&name)?);
        Ok(())
    }

    fn ask(&self, name: &str, configuration: &str) -> Result<()> {
        let yaml = format!(
            "apiVersion: lagan.dev/v1alpha1\nkind: BackupSession\nmetadata: {{name: {name}}}\nspec:\n  \
             invoker: {{apiGroup: lagan.dev, kind: BackupConfiguration, name: {configuration}}}\n"
        );
        self.world().lagan.manifest(&format!("session-{name}.yaml"), &yaml).map(drop)
    }

    fn ask_restore(&self, name: &str, target: &str) -> Result<()> {
        let yaml = restore_session(name, "local", target, "overwrite: true");
        self.world().lagan.manifest(&format!("session-{name}.yaml"), &yaml).map(drop)
    }

    /// Waits until the log has a fact of this session.
    fn wait_for(&self, name: &str, fact: &str) -> Result<()> {
        eventually(&format!("{name} to be {fact}"), PATIENCE, || {
            let facts = self.world().facts(name, &self.apart.client()).ok()?;
            facts.iter().any(|one| one["type"].as_str().is_some_and(|kind| kind.contains(fact))).then_some(())
        })
    }

    /// Brings a session into each phase.
    fn begin(&mut self) -> Result<()> {
        self.worker()?;
        self.ask("first", "shop")?;
        self.wait_for("first", "succeeded")?;
        self.ask_restore("init", "copy")?;
        self.wait_for("init", "succeeded")?;
        self.workers[0].terminate(PATIENCE)?;
        self.ask("done", "shop")?;
        self.wait_for("done", "planned")?;
        self.ask_restore("restored", "copy")?;
        self.wait_for("restored", "planned")?;
        self.ask_restore("back", "third")?;
        self.wait_for("back", "planned")?;
        self.ask("retries", "flaky")?;
        self.wait_for("retries", "planned")?;
        self.apart.nats.copy_store(&self.kept)?;

        self.locked = Some(self.third.lock_table("shop.orders")?);
        fs::write(&self.fail, "")?;
        self.worker()?;
        self.wait_for("restored", "succeeded")?;
        eventually("the client of the restore to wait for the lock", PATIENCE, || {
            let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for %lock'";
            (self.third.query(waiting).ok()?.trim() == "1").then_some(())
        })?;
        self.wait_for("back", "restoring")?;
        fs::write(&self.hold, "")?;
        self.worker()?;
        self.wait_for("retries", "retrying")?;
        self.ask("held", "shop")?;
        let seen = self.hold.with_file_name("hold.seen");
        eventually("a dump to be held", PATIENCE, || seen.exists().then_some(()))?;
        self.ask("waits", "again")?;
        self.wait_for("waits", "requested")?;
        self.ask("queued", "small")?;
        self.wait_for("queued", "planned")
    }

    fn lose(&mut self, stream: &str, loss: Loss) -> Result<()> {
        if loss == Loss::RolledBack {
            return self.apart.nats.set_back(&self.kept, &[stream]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let context = async_nats::jetstream::new(self.apart.nats.connect().await?);
            let found = context.get_stream(stream).await?;
            match loss {
                Loss::Purged => drop(found.purge().await?),
                _ => {
                    context.delete_stream(stream).await?;
                }
            }
            if loss == Loss::MadeAnew {
                context.create_stream(found.cached_info().config.clone()).await?;
            }
            Ok(())
        })
    }

    /// Lets everything that is held go on, once a new worker has ended the session that had none.
    fn release(&mut self) -> Result<()> {
        fs::remove_file(&self.fail)?;
        self.ask("late", "late")?;
        self.worker()?;
        let queued = eventually("the queued session to end", ENDS, || {
            let sessions = self.sessions().ok()?;
            state(sessions.get("queued")?).filter(|state| state != "Pending")
        });
        fs::remove_file(&self.hold)?;
        self.locked.take().context("a lock")?.kill9()?;
        queued.map(drop)
    }

    fn sessions(&self) -> Result<BTreeMap<String, Value>> {
        let mut all = self.world().list("backupsessions", &self.apart.client())?;
        all.extend(self.world().list("restoresessions", &self.apart.client())?);
        let name = |one: &Value| one["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(all.into_iter().map(|one| (name(&one), one)).collect())
    }

    /// Waits until all sessions are over, and lists their states.
    fn states(&self) -> Result<BTreeMap<String, String>> {
        let names = ["first", "init", "done", "restored", "back", "retries", "held", "waits", "queued", "late"];
        let all_over = || {
            let sessions = self.sessions().ok()?;
            let states = names.iter().map(|name| Some(((*name).to_owned(), state(sessions.get(*name)?)?)));
            states.collect::<Option<BTreeMap<_, _>>>()
        };
        eventually("all sessions to end", ENDS, all_over).with_context(|| {
            let sessions = self.sessions().unwrap_or_default();
            let told = names.map(|name| format!("{name}: {}", sessions.get(name).unwrap_or(&Value::Null)["status"]));
            told.join("\n")
        })
    }

    /// Number of restores that both targets have seen.
    fn begun(&self) -> Result<[u64; 2]> {
        Ok([self.copy.counter(BEGUN)?, self.third.counter(BEGUN)?])
    }

    fn judge(&self, restores: [u64; 2]) -> Result<()> {
        let states = self.states()?;
        eprintln!("{states:?}");
        for name in ["first", "init", "done", "restored", "queued", "retries", "held", "waits", "late"] {
            // Another session of its configuration runs again after a rollback.
            let is_skipped = name == "held" && states[name] == "Skipped";
            ensure!(is_skipped || states[name] == "Succeeded", "{name}: {:#}", self.sessions()?[name]);
        }
        ensure!(["Succeeded", "Failed", "NeedsConfirmation"].contains(&states["back"].as_str()));
        let after = self.begun()?;
        ensure!(after == restores, "a restore ran again: {restores:?} before, {after:?} after");
        // Another backup forgets what it may.
        self.ask("last", "shop")?;
        self.world().ended("backupsessions", "last", &self.apart.client())?;
        self.snapshots_are_there()?;
        self.log_agrees(&states)?;
        self.world().judge()
    }

    /// Every session that succeeded has its snapshot.
    fn snapshots_are_there(&self) -> Result<()> {
        let stored = self.world().restic()?.snapshots()?;
        let stored: BTreeSet<&str> = stored.iter().filter_map(|one| one["short_id"].as_str()).collect();
        for (name, session) in self.sessions()?.iter().filter(|(_, one)| one["status"]["phase"] == "Succeeded") {
            let snapshot = session["status"]["snapshot"].as_str();
            ensure!(snapshot.is_some_and(|id| stored.contains(id)), "{name} names {snapshot:?} of {stored:?}");
        }
        Ok(())
    }

    /// Every session of the log has ended as its status says. One that had ended before its log was set back keeps that end.
    fn log_agrees(&self, states: &BTreeMap<String, String>) -> Result<()> {
        let mut sessions: BTreeMap<String, Vec<LoggedFact>> = BTreeMap::new();
        for fact in read_log(&self.apart.url, None)? {
            sessions.entry(fact.uid.clone()).or_default().push(fact);
        }
        for facts in sessions.values() {
            let name = facts[0].event["data"]["name"].as_str().unwrap_or_default();
            let end =
                facts.iter().find(|fact| fact.is_end()).with_context(|| format!("no end of {name}: {facts:?}"))?;
            let Some(state) = states.get(name) else { continue };
            let agrees = match end.name.as_str() {
                "succeeded" => state == "Succeeded",
                "skipped" => state == "Skipped",
                _ => state == "Failed" || ["done", "restored"].contains(&name),
            };
            ensure!(agrees, "{name} is {state}, and its log says {}", end.name);
        }
        one_at_a_time(&sessions)
    }
}

/// No two sessions of target `shop` were planned at the same time. One that is tried again leaves the target meanwhile.
fn one_at_a_time(sessions: &BTreeMap<String, Vec<LoggedFact>>) -> Result<()> {
    let of_shop = ["first", "done", "held", "waits", "late", "last"];
    let mut changes: Vec<(u64, &str, bool)> = Vec::new();
    for facts in sessions.values() {
        let name = facts[0].event["data"]["name"].as_str().unwrap_or_default();
        if !of_shop.contains(&name) {
            continue;
        }
        for fact in facts {
            match fact.name.as_str() {
                "planned" => changes.push((fact.sequence, name, true)),
                "retrying" => changes.push((fact.sequence, name, false)),
                _ if fact.is_end() => changes.push((fact.sequence, name, false)),
                _ => {}
            }
        }
    }
    changes.sort_unstable();
    let mut holder = None;
    for (_, name, takes) in changes {
        match holder {
            Some(other) if takes => ensure!(other == name, "{name} was planned before {other} had ended"),
            _ if takes => holder = Some(name),
            Some(other) if other == name => holder = None,
            _ => {}
        }
    }
    Ok(())
}

/// The state of a session that needs nothing more.
fn state(session: &Value) -> Option<String> {
    let status = &session["status"];
    let phase = status["phase"].as_str()?;
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if phase == "Pending" && conditions.iter().any(|one| one["type"] == "NeedsConfirmation") {
        return Some("NeedsConfirmation".to_owned());
    }
    ["Succeeded", "Failed", "Skipped"].contains(&phase).then(|| phase.to_owned())
}

fn cell(stream: &str, loss: Loss) -> Result<()> {
    let mut phases = Phases::prepare()?;
    phases.begin()?;
    let restores = phases.begun()?;
    phases.lose(stream, loss)?;
    let released = phases.release();
    let judged = phases.judge(restores);
    judged?;
    released
}

#[test]
fn sessions_rolled_back() -> Result<()> {
    cell("SESSIONS", Loss::RolledBack)
}

macro_rules! table {
    ($($name:ident: $stream:literal, $loss:ident;)*) => {
        $(
            #[test]
            #[ignore = "just test-faults"]
            fn $name() -> Result<()> {
                cell($stream, Loss::$loss)
            }
        )*
    };
}

table! {
    sessions_deleted: "SESSIONS", Deleted;
    sessions_purged: "SESSIONS", Purged;
    sessions_made_anew: "SESSIONS", MadeAnew;
    status_deleted: "STATUS", Deleted;
    status_purged: "STATUS", Purged;
    status_made_anew: "STATUS", MadeAnew;
    status_rolled_back: "STATUS", RolledBack;
    resources_deleted: "RESOURCES", Deleted;
    resources_purged: "RESOURCES", Purged;
    resources_made_anew: "RESOURCES", MadeAnew;
    resources_rolled_back: "RESOURCES", RolledBack;
    progress_deleted: "PROGRESS", Deleted;
    progress_purged: "PROGRESS", Purged;
    progress_made_anew: "PROGRESS", MadeAnew;
    dead_deleted: "DEAD", Deleted;
    dead_purged: "DEAD", Purged;
    dead_made_anew: "DEAD", MadeAnew;
    dead_rolled_back: "DEAD", RolledBack;
    locks_deleted: "KV_LOCKS", Deleted;
    locks_purged: "KV_LOCKS", Purged;
    locks_made_anew: "KV_LOCKS", MadeAnew;
    locks_rolled_back: "KV_LOCKS", RolledBack;
    leases_deleted: "KV_LEASES", Deleted;
    leases_purged: "KV_LEASES", Purged;
    leases_made_anew: "KV_LEASES", MadeAnew;
    leases_rolled_back: "KV_LEASES", RolledBack;
    heartbeats_deleted: "KV_HEARTBEATS", Deleted;
    heartbeats_purged: "KV_HEARTBEATS", Purged;
    heartbeats_made_anew: "KV_HEARTBEATS", MadeAnew;
}
