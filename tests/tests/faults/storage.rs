//! An S3 server that refuses, forgets, loses its answers, returns other bytes or never answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lagan_tests::http_proxy::{HttpFate, HttpProxy, SeenRequest};
use lagan_tests::process::Process;
use lagan_tests::proxy::Proxy;
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World};
use serde_json::Value;

use super::{FAST, SHOP, world_with};

const RETRIES: &str = "retryConfig: {maxRetry: 3, delay: 1s}";
const BUCKET: &str = "backups";

fn refusal(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>told by a test</Message></Error>")
}

fn is_upload_of(request: &SeenRequest, folder: &str) -> bool {
    request.method == "PUT" && request.target.contains(&format!("/p/{folder}/"))
}

/// A configuration `shop` whose repository is in a bucket behind a proxy.
struct Behind {
    _up: Process,
    proxy: HttpProxy,
    server: S3Server,
    world: World,
}

impl Behind {
    fn start(more: &str) -> Result<Self> {
        let world = world_with(2)?;
        let server = S3Server::start()?;
        server.create_bucket(BUCKET)?;
        let proxy = HttpProxy::start(server.port())?;
        world.s3_repository_at(&server, proxy.port(), BUCKET, "p")?;
        world.configure("shop", "s3", SHOP, more)?;
        let up = world.up(&FAST)?;
        Ok(Self { _up: up, proxy, server, world })
    }

    /// The judge does not go through the proxy.
    fn restic(&self) -> Result<Restic> {
        Restic::s3(&self.server, BUCKET, "p", &self.world.password)
    }

    /// Makes a backup and returns its last fact, however it ended.
    fn backup(&self) -> Result<Value> {
        self.world.backup("shop", &[])?;
        self.world.facts("@latest", &[])?.pop().context("a session has facts")
    }

    /// Asserts that the last backup succeeded with the only snapshot, and that the repository is whole.
    fn judge_success(&self, end: &Value) -> Result<()> {
        assert_eq!(end["type"], "dev.lagan.backup.succeeded.v1", "{end}");
        let snapshots = self.restic()?.snapshots()?;
        assert_eq!(snapshots.len(), 1, "{snapshots:?}");
        assert_eq!(snapshots[0]["id"], end["data"]["results"][0]["snapshot"]);
        assert!(self.proxy.faults() > 0, "no fault was caused");
        self.restic()?.check()
    }

    /// Number of facts of the newest session with this name.
    fn count(&self, name: &str) -> Result<usize> {
        let kind = format!("dev.lagan.backup.{name}.v1");
        Ok(self.world.facts("@latest", &[])?.iter().filter(|fact| fact["type"] == kind.as_str()).count())
    }
}

#[test]
fn an_upload_that_is_acknowledged_and_not_stored_is_no_success() -> Result<()> {
    let behind = Behind::start("")?;
    // The index names packs, of which one is not there.
    let mut lied = false;
    behind.proxy.rule(move |request| {
        if lied || !is_upload_of(request, "data") {
            return HttpFate::Relay;
        }
        lied = true;
        HttpFate::Answer(200, String::new())
    });
    let end = behind.backup()?;
    assert_eq!(behind.proxy.faults(), 1);
    assert_eq!(end["type"], "dev.lagan.backup.failed.v1", "{end}");
    let message = end["data"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("data/") && message.contains("wrong length"), "{message}");
    assert_eq!(behind.restic()?.snapshots()?.len(), 0);
    // The next one stores again what is not there.
    let end = behind.backup()?;
    assert_eq!(end["type"], "dev.lagan.backup.succeeded.v1", "{end}");
    assert_eq!(behind.restic()?.snapshots()?.len(), 1);
    behind.restic()?.dump("latest", "/dumpfile.sql").map(drop)
}

#[test]
fn an_upload_whose_answer_is_lost_is_stored_once() -> Result<()> {
    let behind = Behind::start("")?;
    // The first upload to each folder: a pack, an index, and the snapshot itself.
    let mut lost = Vec::new();
    behind.proxy.rule(move |request| {
        let found = ["data", "index", "snapshots"].into_iter().find(|folder| is_upload_of(request, folder));
        let Some(folder) = found.filter(|folder| !lost.contains(folder)) else { return HttpFate::Relay };
        lost.push(folder);
        HttpFate::LoseAnswer
    });
    let end = behind.backup()?;
    assert_eq!(behind.proxy.faults(), 3);
    behind.judge_success(&end)
}

#[test]
fn a_storage_that_is_overloaded_for_a_while_is_waited_for() -> Result<()> {
    let behind = Behind::start(RETRIES)?;
    let began = Instant::now();
    behind.proxy.rule(move |request| {
        if began.elapsed() > Duration::from_secs(20) || !request.target.contains("/p/") {
            return HttpFate::Relay;
        }
        HttpFate::Answer(503, refusal("SlowDown"))
    });
    let end = behind.backup()?;
    behind.judge_success(&end)
}

#[test]
fn a_storage_that_refuses_in_the_middle_ends_the_session_at_once() -> Result<()> {
    let behind = Behind::start(RETRIES)?;
    behind.proxy.rule(|request| {
        if is_upload_of(request, "data") { HttpFate::Answer(403, refusal("AccessDenied")) } else { HttpFate::Relay }
    });
    let end = behind.backup()?;
    assert_eq!((&end["type"], &end["data"]["code"]), (&"dev.lagan.backup.failed.v1".into(), &"E0305".into()), "{end}");
    assert_eq!(behind.count("started")?, 1);
    assert!(behind.proxy.faults() <= 8, "{} uploads were tried", behind.proxy.faults());
    assert_eq!(behind.restic()?.snapshots()?.len(), 0);
    Ok(())
}

#[test]
#[ignore = "just test-faults"]
fn a_storage_that_never_answers_costs_a_session_no_more_than_its_limits() -> Result<()> {
    let behind = Behind::start(&format!("{RETRIES}\ntimeOut: 60s"))?;
    behind.proxy.rule(|request| if is_upload_of(request, "data") { HttpFate::Hang } else { HttpFate::Relay });
    let began = Instant::now();
    let end = behind.backup()?;
    assert_eq!(end["type"], "dev.lagan.backup.failed.v1", "{end}");
    assert!(began.elapsed() < Duration::from_secs(80), "{:?}", began.elapsed());
    assert_eq!(behind.restic()?.snapshots()?.len(), 0);
    behind.proxy.heal();
    assert_eq!(behind.backup()?["type"], "dev.lagan.backup.succeeded.v1");
    behind.restic()?.check()
}

#[test]
fn a_listing_that_fails_removes_no_snapshot() -> Result<()> {
    let behind = Behind::start("retentionPolicy: {name: one, keepLast: 1}")?;
    let first = behind.backup()?;
    assert_eq!(first["type"], "dev.lagan.backup.succeeded.v1", "{first}");
    // From its snapshot on, all that a session learns of the others is wrong.
    let mut written = false;
    behind.proxy.rule(move |request| {
        written |= is_upload_of(request, "snapshots");
        let is_listing = request.method == "GET" && request.target.contains("list-type");
        if written && is_listing { HttpFate::CutBody } else { HttpFate::Relay }
    });
    let second = behind.backup()?;
    let snapshots = behind.restic()?.snapshots()?;
    assert_eq!(snapshots.len(), 2, "nothing may be removed by a listing that is not whole: {second}");
    behind.proxy.heal();
    let third = behind.backup()?;
    assert_eq!(third["type"], "dev.lagan.backup.succeeded.v1", "{third}");
    let left = behind.restic()?.snapshots()?;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["id"], third["data"]["results"][0]["snapshot"]);
    behind.restic()?.check()
}

#[test]
fn bytes_that_the_storage_changed_are_never_restored_as_if_they_were_right() -> Result<()> {
    let behind = Behind::start("")?;
    let copy = behind.world.second_database("copy")?;
    assert_eq!(behind.backup()?["type"], "dev.lagan.backup.succeeded.v1");
    behind.proxy.rule(|request| {
        if request.method == "GET" && request.target.contains("/p/data/") {
            HttpFate::ChangeBody
        } else {
            HttpFate::Relay
        }
    });
    let done = behind.world.lagan.run(&["restore", "shop", "--to", "copy", "--yes", "--wait"])?;
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    assert!(["E0402", "E0307", "E0315"].iter().any(|code| done.stderr.contains(code)), "{}", done.stderr);
    assert_ne!(copy.checksums("shop").unwrap_or_default(), behind.world.db.checksums("shop")?);
    // The backup itself is whole.
    behind.proxy.heal();
    behind.world.lagan.ok(&["restore", "shop", "--to", "copy", "--overwrite", "--yes", "--wait"])?;
    assert_eq!(copy.checksums("shop")?, behind.world.db.checksums("shop")?);
    Ok(())
}

#[test]
fn credentials_that_expired_are_read_again_when_they_were_renewed() -> Result<()> {
    let behind = Behind::start("retryConfig: {maxRetry: 3, delay: 8s}")?;
    let good = std::fs::read_to_string(behind.world.lagan.manifests_dir().join("s3.yaml"))?;
    behind.proxy.rule(|request| {
        if is_upload_of(request, "data") { HttpFate::Answer(400, refusal("ExpiredToken")) } else { HttpFate::Relay }
    });
    behind.world.lagan.ok(&["backup", "shop"])?;
    let retry = eventually("an attempt to fail", PATIENCE, || {
        let facts = behind.world.facts("@latest", &[]).ok()?;
        facts.into_iter().find(|fact| fact["type"] == "dev.lagan.backup.retrying.v1")
    })?;
    assert_eq!(retry["data"]["code"], "E0316", "{retry}");
    // Other credentials than those of the first attempt are refused, which shows that they are used.
    behind.world.lagan.manifest("s3.yaml", &good.replace(behind.server.secret_key(), "renewed"))?;
    behind.proxy.heal();
    let session = super::the_session(&behind.world, &[])?;
    assert_eq!((&session["status"]["code"], &session["status"]["attempts"]), (&"E0305".into(), &2.into()), "{session}");
    behind.world.lagan.manifest("s3.yaml", &good)?;
    assert_eq!(behind.backup()?["type"], "dev.lagan.backup.succeeded.v1");
    behind.restic()?.check()
}

#[test]
fn credentials_that_had_expired_before_the_session_began_are_told_as_such() -> Result<()> {
    let behind = Behind::start("retryConfig: {maxRetry: 1, delay: 1s}")?;
    assert_eq!(behind.backup()?["type"], "dev.lagan.backup.succeeded.v1");
    // The first request of a session is a `HEAD`, whose answer has no words.
    behind.proxy.rule(|request| {
        let words = if request.method == "HEAD" { String::new() } else { refusal("ExpiredToken") };
        HttpFate::Answer(400, words)
    });
    let end = behind.backup()?;
    assert_eq!((&end["type"], &end["data"]["code"]), (&"dev.lagan.backup.failed.v1".into(), &"E0316".into()), "{end}");
    assert!(end["data"]["message"].as_str().unwrap_or_default().contains("have expired"), "{end}");
    behind.proxy.heal();
    assert_eq!(behind.backup()?["type"], "dev.lagan.backup.succeeded.v1");
    behind.restic()?.check()
}

#[test]
#[ignore = "just test-faults"]
fn a_slow_storage_does_not_make_the_database_server_give_a_dump_up() -> Result<()> {
    let world = world_with(24)?;
    // A server gives a client up that reads nothing for this time.
    world.db.query("SET GLOBAL net_write_timeout = 2")?;
    let server = S3Server::start()?;
    server.create_bucket(BUCKET)?;
    let proxy = Proxy::start(server.port())?;
    world.s3_repository_at(&server, proxy.port(), BUCKET, "p")?;
    world.configure("shop", "s3", SHOP, "")?;
    let _up = world.up(&FAST)?;
    proxy.limit(300_000);
    let began = Instant::now();
    world.backup("shop", &[])?.success()?;
    assert!(began.elapsed() > Duration::from_secs(15), "the storage was not slow: {:?}", began.elapsed());
    proxy.limit(0);
    let restic = Restic::s3(&server, BUCKET, "p", &world.password)?;
    assert_eq!(restic.snapshots()?.len(), 1);
    restic.check()
}

#[test]
fn a_bucket_that_does_not_exist_is_named() -> Result<()> {
    let world = world_with(1)?;
    let server = S3Server::start()?;
    world.s3_repository(&server, "nowhere", "p")?;
    world.configure("shop", "s3", SHOP, RETRIES)?;
    let _up = world.up(&FAST)?;
    let done = world.backup("shop", &[])?;
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("nowhere") && done.stderr.contains("E03"), "{}", done.stderr);
    Ok(())
}
