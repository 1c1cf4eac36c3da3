//! The golden matrix of roles, subjects, and what each role may do with them. The judge is the log of the server, which names
//! each refusal as a Publish Violation or a Subscription Violation. All other attempts count as allowed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{ConnectOptions, HeaderMap};
use lagan_schemas::fact::FactKind;
use lagan_tests::nats::NatsServer;
use lagan_tests::wait::eventually_async;

const ENGINE: &str = "engine";
const CLI: &str = "cli";
const SUBSCRIBER: &str = "subscriber";
const DEFAULT: &str = "worker-default";
const DISK: &str = "worker-disk";
const ROLES: [&str; 5] = [ENGINE, CLI, SUBSCRIBER, DEFAULT, DISK];
/// Refused to everybody; what was tried before it has been judged when its refusal is in the log.
const LAST: &str = "everybody.is.refused";

/// What is tried with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    Publish,
    Subscribe,
}

struct Row {
    attempt: Attempt,
    subject: String,
    allowed: Vec<&'static str>,
}

/// Facts: author by fact and pool, for each cluster and pool.
fn facts() -> Vec<Row> {
    let mut rows = Vec::new();
    for cluster in ["local", "other"] {
        for pool in ["_", "default", "disk"] {
            for fact in FactKind::ALL {
                let tail = if fact == FactKind::Planned { ".normal" } else { "" };
                let subject =
                    format!("lagan.session.{cluster}.shop.backup.lagan_dev.nightly.x.{pool}.{}{tail}", fact.as_str());
                let allowed = if cluster == "local" { authors(fact, pool) } else { Vec::new() };
                rows.push(Row { attempt: Attempt::Publish, subject, allowed });
            }
        }
    }
    rows
}

/// The roles that may author a fact under a pool; `_` stands for the engine.
fn authors(fact: FactKind, pool: &str) -> Vec<&'static str> {
    use FactKind as F;
    let worker = match pool {
        "default" => Some(DEFAULT),
        "disk" => Some(DISK),
        _ => None,
    };
    match (fact, worker) {
        // The pool is that of the workers that may start the session.
        (F::Planned, _) => vec![ENGINE],
        (F::Requested | F::Skipped | F::CancelRequested, None) => vec![ENGINE],
        (F::Failed | F::Cancelled, None) => vec![ENGINE],
        (F::Requested | F::Skipped | F::CancelRequested, Some(_)) => Vec::new(),
        (_, Some(worker)) => vec![worker],
        (F::Started | F::Restoring | F::Committing | F::Retrying | F::Succeeded, None) => Vec::new(),
    }
}

fn requests() -> Vec<Row> {
    let direct_to_disk = "$JS.API.DIRECT.GET.SESSIONS.lagan.session.local.n.backup.g.i.x.disk.planned.normal";
    let workers = || vec![DEFAULT, DISK];
    let table = [
        // Reading.
        ("$JS.API.STREAM.MSG.GET.SESSIONS", vec![ENGINE, CLI]),
        ("$JS.API.DIRECT.GET.SESSIONS", vec![ENGINE]),
        ("$JS.API.DIRECT.GET.KV_LEASES", vec![ENGINE]),
        (direct_to_disk, vec![]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x", vec![ENGINE]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.local.>", vec![ENGINE, CLI]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.local.n.backup.g.i.x.>", vec![ENGINE, CLI]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.local.n.backup.g.i.x.disk.>", vec![ENGINE, CLI, DISK]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.local.n.backup.g.i.x.default.>", vec![ENGINE, CLI, DEFAULT]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.local.n.backup.g.i.x._.>", vec![ENGINE, CLI, DEFAULT, DISK]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.x.lagan.session.other.n.backup.g.i.x.disk.>", vec![ENGINE]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.work-disk-normal", vec![ENGINE]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.work-disk-normal.lagan.session.local.n.backup.g.i.x.disk.>", vec![ENGINE]),
        ("$JS.API.CONSUMER.DURABLE.CREATE.SESSIONS.x", vec![]),
        // The consumer of a program that subscribes: who pulls from it reads all pools.
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.subscriber", vec![ENGINE, SUBSCRIBER]),
        ("$JS.API.CONSUMER.CREATE.SESSIONS.subscriber.lagan.session.local.n.backup.g.i.x.disk.>", vec![ENGINE]),
        ("$JS.API.CONSUMER.MSG.NEXT.KV_HEARTBEATS.x", vec![ENGINE, CLI, DEFAULT, DISK]),
        ("$JS.API.CONSUMER.CREATE.KV_HEARTBEATS.x.$KV.HEARTBEATS.x.y", vec![DEFAULT, DISK]),
        ("$JS.API.CONSUMER.DELETE.SESSIONS.work-disk-normal", vec![]),
        ("$JS.API.CONSUMER.LIST.SESSIONS", vec![]),
        ("$JS.API.CONSUMER.CREATE.RESOURCES.x.lagan.resource.local.>", vec![ENGINE, CLI]),
        // The lanes: pulling from them, and settling.
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-disk-urgent", vec![DISK]),
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-disk-normal", vec![DISK]),
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-disk-maintenance", vec![DISK]),
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-urgent", vec![DEFAULT]),
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-normal", vec![DEFAULT]),
        ("$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-maintenance", vec![DEFAULT]),
        ("$JS.ACK.SESSIONS.work-disk-normal.1.1.1.1.0", vec![DISK]),
        ("$JS.ACK.SESSIONS.work-default-urgent.1.1.1.1.0", vec![DEFAULT]),
        ("$JS.ACK.SESSIONS.other.1.1.1.1.0", vec![]),
        // The streams themselves.
        ("$JS.API.STREAM.CREATE.SESSIONS", vec![ENGINE]),
        ("$JS.API.STREAM.UPDATE.SESSIONS", vec![ENGINE]),
        ("$JS.API.STREAM.DELETE.SESSIONS", vec![]),
        ("$JS.API.STREAM.PURGE.SESSIONS", vec![]),
        ("$JS.API.STREAM.MSG.DELETE.SESSIONS", vec![]),
        ("$JS.API.STREAM.PURGE.STATUS", vec![ENGINE]),
        // Everything else.
        ("lagan.resource.local.lagan_dev.Repository.n.r", vec![ENGINE]),
        ("lagan.resource.other.lagan_dev.Repository.n.r", vec![]),
        ("lagan.status.local.lagan_dev.Repository.n.r", vec![ENGINE]),
        ("lagan.dead.local.x", vec![ENGINE]),
        ("lagan.progress.local.n.default.x", vec![DEFAULT]),
        ("lagan.progress.local.n.disk.x", vec![DISK]),
        ("lagan.progress.other.n.disk.x", vec![]),
        ("lagan.request.local.cancel", vec![CLI]),
        ("lagan.request.other.cancel", vec![]),
        ("$KV.LOCKS.target.n.db", vec![ENGINE]),
        ("$KV.LEASES.role.watcher", vec![ENGINE]),
        ("$KV.LEASES.repository.x.exclusive", workers()),
        ("$KV.HEARTBEATS.x.y", workers()),
    ];
    let row = |(subject, allowed): (&str, Vec<&'static str>)| Row {
        attempt: Attempt::Publish,
        subject: subject.to_owned(),
        allowed,
    };
    table.into_iter().map(row).collect()
}

fn subscriptions() -> Vec<Row> {
    let table = [
        ("_INBOX_engine.x", vec![ENGINE]),
        ("_INBOX_cli.x", vec![CLI]),
        ("_INBOX_subscriber.x", vec![SUBSCRIBER]),
        ("_INBOX_worker-default.>", vec![DEFAULT]),
        ("_INBOX_worker-disk.>", vec![DISK]),
        ("_INBOX_worker.>", vec![]),
        ("_INBOX.>", vec![]),
        (">", vec![]),
        ("$JS.API.>", vec![]),
        ("$KV.>", vec![]),
        ("lagan.request.local.cancel", vec![]),
        ("lagan.session.local.>", vec![SUBSCRIBER]),
        ("lagan.session.local.n.backup.g.i.x.disk.planned.normal", vec![SUBSCRIBER]),
        ("lagan.session.other.>", vec![]),
        ("lagan.resource.local.>", vec![SUBSCRIBER]),
        ("lagan.progress.local.>", vec![SUBSCRIBER]),
    ];
    let row = |(subject, allowed): (&str, Vec<&'static str>)| Row {
        attempt: Attempt::Subscribe,
        subject: subject.to_owned(),
        allowed,
    };
    table.into_iter().map(row).collect()
}

/// Tries everything as every role, and compares with the refusals in the server's log. `login` returns name and password.
pub(super) fn is_kept(server: &NatsServer, login: impl Fn(&str) -> Result<(String, String)>) -> Result<()> {
    let rows: Vec<Row> = facts().into_iter().chain(requests()).chain(subscriptions()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for role in ROLES {
        let (name, password) = login(role)?;
        let log = server.log_path();
        runtime.block_on(attempt_all(server, (&name, password), &rows, &log))?;
        let refused: BTreeSet<(Attempt, String)> = refusals(&log, &name)?.into_iter().collect();
        let wanted: BTreeSet<(Attempt, String)> = rows
            .iter()
            .filter(|row| !row.allowed.contains(&role))
            .map(|row| (row.attempt, row.subject.clone()))
            .chain([(Attempt::Publish, LAST.to_owned())])
            .collect();
        let missing: Vec<_> = wanted.difference(&refused).collect();
        let excess: Vec<_> = refused.difference(&wanted).collect();
        ensure!(
            missing.is_empty() && excess.is_empty(),
            "{role} must be refused and is not: {missing:#?}\n{role} is refused and must not be: {excess:#?}"
        );
    }
    Ok(())
}

async fn attempt_all(server: &NatsServer, (name, password): (&str, String), rows: &[Row], log: &Path) -> Result<()> {
    let address = format!("nats://127.0.0.1:{}", server.port());
    let client = ConnectOptions::with_user_and_password(name.to_owned(), password).connect(address).await?;
    // An append under this condition is stored nowhere.
    let mut never = HeaderMap::new();
    never.insert("Nats-Expected-Last-Subject-Sequence", u64::MAX.to_string().as_str());
    let mut subscriptions = Vec::new();
    for row in rows {
        match row.attempt {
            Attempt::Publish => {
                client.publish_with_headers(row.subject.clone(), never.clone(), "x".into()).await?;
            }
            Attempt::Subscribe => subscriptions.push(client.subscribe(row.subject.clone()).await?),
        }
    }
    client.publish(LAST, "x".into()).await?;
    client.flush().await?;
    let judged = || async {
        let found = refusals(log, name).ok()?;
        found.contains(&(Attempt::Publish, LAST.to_owned())).then_some(())
    };
    eventually_async(&format!("{name} to be refused {LAST}"), Duration::from_secs(10), judged).await
}

/// Reads the refusals of a user from the server's log.
fn refusals(log: &Path, user: &str) -> Result<Vec<(Attempt, String)>> {
    let text = std::fs::read_to_string(log).context("the server's log")?;
    let user = format!("user:{user}\" - ");
    let of = |line: &str| {
        let attempt = if line.contains("Publish Violation") {
            Attempt::Publish
        } else if line.contains("Subscription Violation") {
            Attempt::Subscribe
        } else {
            return None;
        };
        let (_, after) = line.split_once("Subject \"")?;
        let (subject, _) = after.split_once('"')?;
        line.contains(&user).then(|| (attempt, subject.to_owned()))
    };
    Ok(text.lines().filter_map(of).collect())
}
