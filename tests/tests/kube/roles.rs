//! The permissions of `deploy/nats`: they allow engine, worker and CLI their own work, and deny them that of the others.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{ConnectOptions, Event};
use lagan_tests::Scratch;
use lagan_tests::control_plane::ControlPlane;
use lagan_tests::kube_world::{KubeWorld, backup_session, phase};
use lagan_tests::nats::{NatsOptions, NatsServer};
use lagan_tests::process::{guarded, run};
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually_async;

use super::chart::{rendered, root};
use super::{FOREVER, LAGAN, configuration, ready};

const REQUESTED: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x._.requested";
const PLANNED: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.planned.normal";
const STARTED: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.started";
const RESTORING: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.restoring";
const COMMITTING: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.committing";
const SUCCEEDED: &str = "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.succeeded";

/// The rendered configuration of the clusters `local` and `other`.
fn server() -> Result<(NatsServer, Scratch)> {
    let scratch = Scratch::new("roles")?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests crate has no parent folder")?;
    let mut render: Command = guarded(&root.join("deploy/nats/render.sh"));
    render.arg(scratch.path()).args(["local", "other"]).env("POOLS", "default disk");
    run(render, Duration::from_secs(30))?.success().context("rendering deploy/nats")?;
    // The server resolves even an absolute path relative to its own file.
    let folder = scratch.path().file_name().context("a folder")?.to_string_lossy().into_owned();
    let more = format!("include \"../{folder}/accounts.conf\"");
    let server = NatsServer::start_with(NatsOptions { more, ..NatsOptions::default() })?;
    Ok((server, scratch))
}

#[test]
fn the_chart_gives_each_pool_the_login_that_was_rendered_for_it() -> Result<()> {
    let (_nats, users) = server()?;
    let values = root()?.join("deploy/helm/lagan/ci/external-nats-tls.yaml");
    let pods = rendered(&values, "lagan-system", &[])?;
    let keys: Vec<&str> =
        pods.lines().filter_map(|line| line.trim().strip_prefix("- {key: ")?.strip_suffix(", path: user}")).collect();
    assert_eq!(keys, ["engine", "worker-default", "worker-disk"]);
    for key in keys {
        assert!(user(&users, key).is_file(), "no user file {key}");
    }
    assert_eq!(pods.matches("- --nats-domain=hub\n").count(), 3);
    let servers = "tls://nats-1.example.com:4222,tls://nats-2.example.com:5222";
    assert_eq!(pods.matches(&format!("- --nats-url={servers}\n")).count(), 3);
    assert!(pods.contains("- port: 4222\n        - port: 5222\n"), "the engine reaches every server:\n{pods}");
    for bad in ["tls://a,http://b", "tls://a,,tls://b", "tls://user:secret@a"] {
        let bad = format!("nats.url={}", bad.replace(',', "\\,"));
        assert!(rendered(&values, "lagan-system", &["--set", &bad]).is_err(), "{bad}");
    }
    let creds = ["--set", "nats.userSecret.name=", "--set", "nats.credsSecret.name=jwt"];
    let pods = rendered(&values, "lagan-system", &creds)?;
    for key in ["engine.creds", "worker-default.creds", "worker-disk.creds"] {
        assert!(pods.contains(&format!("- {{key: {key}, path: user.creds}}")), "{key}");
    }
    let embedded = root()?.join("deploy/helm/lagan/ci/default.yaml");
    let longer = ["--set", "nats.streams.sessionsMaxAge=30d", "--set", "nats.streams.locksMaxBytes=128MiB"];
    let pods = rendered(&embedded, "lagan-system", &longer)?;
    for (arg, pods_with_it) in
        [("sessions-max-age=30d", 1), ("locks-max-bytes=128MiB", 1), ("sessions-max-bytes=1GiB", 1)]
    {
        assert_eq!(pods.matches(&format!("- \"--{arg}\"\n")).count(), pods_with_it, "{arg}");
    }
    assert!(rendered(&embedded, "lagan-system", &["--set", "nats.streams.locksMaxBytes=1G"]).is_err());
    assert!(rendered(&embedded, "lagan-system", &["--set", "nats.domain=hub"]).is_err());
    Ok(())
}

fn user(scratch: &Scratch, role: &str) -> PathBuf {
    scratch.join(&format!("users-local/{role}"))
}

#[test]
fn each_role_does_its_own_work_and_nobody_elses() -> Result<()> {
    let (nats, users) = server()?;
    let world = KubeWorld::with_nats(ControlPlane::shared()?, "roles", nats)?;
    world.db.load_sample("shop", Sample { megabytes: 1, seed: 7 })?;
    let file = |role: &str| user(&users, role).to_string_lossy().into_owned();
    let _engine = world.engine(&["--nats-user-file", &file("engine"), "--pools", "default,disk"])?;
    let _default = world.worker(&["--nats-user-file", &file("worker-default")])?;
    let _disk = world.part("worker", "disk", &["--nats-user-file", &file("worker-disk"), "--pool", "disk"])?;
    let annotated = "metadata: {name: disk, annotations: {lagan.dev/pool: disk}}\nspec";
    world.apply(&world.storage("disk").replace("metadata: {name: disk}\nspec", annotated))?;
    let here = configuration("shop", FOREVER, "");
    world.apply(&here)?;
    let there = here.replace("metadata: {name: shop}", "metadata: {name: shop-on-disk}");
    world.apply(&there.replace("repository: {name: local}", "repository: {name: disk}"))?;
    for name in ["shop", "shop-on-disk"] {
        ready(&world, name)?;
        world.apply(&backup_session(LAGAN, name, name))?;
        let done = world.ended("backupsessions.lagan.dev", name)?;
        assert_eq!(phase(&done), "Succeeded", "{done:#}");
    }
    // In the server's log a refusal is a "Publish Violation" or a "Subscription Violation".
    let violations = || -> Result<Vec<String>> {
        let log = std::fs::read_to_string(world.nats.log_path())?;
        Ok(log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect())
    };
    assert_eq!(violations()?, Vec::<String>::new(), "the parts stay within their permissions");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for (role, subjects) in FORBIDDEN {
            let inbox = role.split('-').next().unwrap_or_default();
            let (name, password) = login(&std::fs::read_to_string(user(&users, role))?)?;
            let told: Arc<Mutex<Vec<String>>> = Arc::default();
            let tell = Arc::clone(&told);
            let options = ConnectOptions::with_user_and_password(name, password)
                .custom_inbox_prefix(format!("_INBOX_{inbox}"))
                .event_callback(move |event| {
                    if let (Event::ServerError(error), Ok(mut told)) = (event, tell.lock()) {
                        told.push(error.to_string().to_ascii_lowercase());
                    }
                    std::future::ready(())
                });
            let client = options.connect(world.nats.url()).await?;
            for subject in *subjects {
                client.publish(*subject, "x".into()).await?;
                client.flush().await?;
                let wanted = format!("\"{}\"", subject.to_ascii_lowercase());
                let refused = || async {
                    let told = told.lock().ok()?;
                    told.iter()
                        .any(|error| error.contains("permissions violation") && error.contains(&wanted))
                        .then_some(())
                };
                eventually_async(&format!("{role} to be refused {subject}"), Duration::from_secs(5), refused).await?;
            }
        }
        anyhow::Ok(())
    })?;
    // So the log would have told of the parts, too.
    let refused: usize = FORBIDDEN.iter().map(|(_, subjects)| subjects.len()).sum();
    assert_eq!(violations()?.len(), refused);
    Ok(())
}

fn login(text: &str) -> Result<(String, String)> {
    let (name, password) = text.trim().split_once(':').context("user:password")?;
    Ok((name.to_owned(), password.to_owned()))
}

/// Subjects that each role must not publish: facts of others, other clusters, the engine's queue, the streams themselves.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "worker-default",
        &[
            "lagan.resource.local.lagan_dev.Repository.n.r",
            "lagan.status.local.lagan_dev.Repository.n.r",
            REQUESTED,
            PLANNED,
            "lagan.session.other.shop.backup.lagan_dev.nightly.x.default.started",
            "lagan.session.local.shop.backup.lagan_dev.nightly.x.disk.started",
            "lagan.session.local.shop.backup.lagan_dev.nightly.x._.failed",
            "lagan.progress.other.n.default.x",
            "lagan.progress.local.n.disk.x",
            "$JS.API.STREAM.CREATE.SESSIONS",
            "$JS.API.STREAM.UPDATE.SESSIONS",
            "$JS.API.STREAM.DELETE.SESSIONS",
            "$JS.API.STREAM.PURGE.SESSIONS",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-disk-normal",
            "$JS.ACK.SESSIONS.work-disk-normal.1.1.1.1.0",
            "$JS.API.CONSUMER.CREATE.SESSIONS.work-disk-normal",
            "$JS.API.CONSUMER.CREATE.SESSIONS.work-default-normal",
            "$KV.LOCKS.target.n.db",
            "$KV.LEASES.role.watcher",
            "lagan.request.local.cancel",
        ],
    ),
    (
        "worker-disk",
        &[
            STARTED,
            SUCCEEDED,
            "lagan.progress.local.n.default.x",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-urgent",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-normal",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-maintenance",
            "$JS.API.CONSUMER.CREATE.SESSIONS.work-default-normal.lagan.session.local.>",
            "$JS.ACK.SESSIONS.work-default-normal.1.1.1.1.0",
        ],
    ),
    (
        "engine",
        &[
            STARTED,
            RESTORING,
            COMMITTING,
            SUCCEEDED,
            "lagan.session.other.shop.backup.lagan_dev.nightly.x._.requested",
            "lagan.session.local.shop.backup.lagan_dev.nightly.x.default.failed",
            "lagan.resource.other.lagan_dev.Repository.n.r",
            "lagan.progress.local.n.default.x",
            "$JS.API.STREAM.DELETE.SESSIONS",
            "$JS.API.STREAM.PURGE.SESSIONS",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-normal",
            "$KV.HEARTBEATS.x.y",
            "$KV.LEASES.repository.x",
        ],
    ),
    (
        "cli",
        &[
            "lagan.resource.local.lagan_dev.Repository.n.r",
            REQUESTED,
            STARTED,
            SUCCEEDED,
            "lagan.request.other.cancel",
            "$JS.API.STREAM.CREATE.SESSIONS",
            "$JS.API.STREAM.DELETE.SESSIONS",
            "$JS.API.STREAM.PURGE.STATUS",
            "$JS.API.CONSUMER.MSG.NEXT.SESSIONS.work-default-urgent",
            "$KV.LOCKS.target.n.db",
        ],
    ),
    (
        "subscriber",
        &[
            REQUESTED,
            STARTED,
            "lagan.request.local.cancel",
            "$JS.API.STREAM.DELETE.SESSIONS",
            "$JS.API.CONSUMER.CREATE.SESSIONS.mine.lagan.session.local.>",
        ],
    ),
];
