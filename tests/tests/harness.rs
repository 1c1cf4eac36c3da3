//! Tests of the harness itself: the programs that it starts work, survive a crash, and leave nothing behind. Lagan is not
//! tested here.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream;
use lagan_tests::canary::Canaries;
use lagan_tests::lagan::Lagan;
use lagan_tests::mariadb::MariaDbServer;
use lagan_tests::nats::{self, NatsServer};
use lagan_tests::process::{Process, guarded, run};
use lagan_tests::restic::Restic;
use lagan_tests::s3::S3Server;
use lagan_tests::sample::Sample;
use lagan_tests::wait::eventually;
use lagan_tests::{Scratch, canary_secret, sha256, tools};
use nix::sys::signal::{Signal, kill};

const SOON: Duration = Duration::from_secs(10);

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

#[tokio::test]
async fn acknowledged_messages_survive_a_killed_nats_server_but_not_a_deleted_store() -> Result<()> {
    let mut server = NatsServer::start_with(nats::NatsOptions {
        token: Some(canary_secret("nats")),
        ..nats::NatsOptions::default()
    })?;
    let client = server.connect().await?;
    let stream = jetstream::stream::Config { name: "T".into(), subjects: vec!["t.>".into()], ..Default::default() };
    let context = jetstream::new(client);
    context.create_stream(stream).await?;
    context.publish("t.a", "kept".into()).await?.await?;
    let messages =
        |server: &NatsServer| -> Result<u64> { Ok(server.monitoring("/jsz")?["messages"].as_u64().unwrap_or(0)) };

    let url = server.url();
    server.kill9()?;
    server.restart()?;
    assert_eq!(server.url(), url);
    assert_eq!(messages(&server)?, 1);

    server.delete_store()?;
    server.restart()?;
    assert_eq!(messages(&server)?, 0);
    let port = url.rsplit(':').next().unwrap().to_owned();
    let stranger = async_nats::connect(format!("127.0.0.1:{port}")).await;
    assert!(stranger.is_err(), "let in without a token");
    Ok(())
}

#[test]
fn the_sample_survives_a_killed_mariadb_and_loads_again_from_its_own_dump() -> Result<()> {
    let mut server = MariaDbServer::start()?;
    let sample = Sample { megabytes: 2, seed: 3 };
    server.load_sample("shop", sample)?;
    let before = server.checksums("shop")?;
    assert_eq!(before.len(), 10, "{before:?}");
    server.kill9()?;
    server.restart()?;
    assert_eq!(server.checksums("shop")?, before);

    let options = ["--routines", "--events", "--triggers", "--hex-blob"];
    let dump = |database| server.dump(&[&options[..], &["--single-transaction", database]].concat());
    let file = Scratch::new("dump")?;
    let path = file.private_file("dump.sql", &String::from_utf8(dump("shop")?)?)?;
    server.query("CREATE DATABASE again CHARACTER SET utf8mb4")?;
    let sql = format!("USE again;\n{}", fs::read_to_string(&path)?);
    server.load(&file.private_file("again.sql", &sql)?)?;
    assert_eq!(server.checksums("again")?, before);

    server.change_sample("shop", sample)?;
    assert_ne!(server.checksums("shop")?, before);
    let objects = server.query(
        "SELECT (SELECT COUNT(*) FROM information_schema.views WHERE table_schema = 'again'),
                (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'again'),
                (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'again'),
                (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = 'again'),
                (SELECT COUNT(*) FROM again.best_customers) > 0",
    )?;
    assert_eq!(objects, "2\t2\t2\t1\t1");
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_and_failed_sql_is_an_error() -> Result<()> {
    let server = MariaDbServer::start()?;
    let error = server.query("SELECT * FROM nowhere.nothing").err().unwrap();
    assert!(format!("{error:#}").contains("ERROR 1049") || format!("{error:#}").contains("1146"));
    let mut stranger = guarded(&tools::find("mariadb")?);
    let port = format!("--port={}", server.port());
    stranger.args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uroot"]);
    stranger.args([port.as_str(), "-e", "SELECT 1"]);
    assert!(!run(stranger, SOON)?.status.success());
    Ok(())
}

#[test]
fn restic_judges_repositories_in_a_bucket_and_in_a_folder() -> Result<()> {
    let started = Instant::now();
    let mut server = S3Server::start()?;
    println!("S3 ready after {} ms", started.elapsed().as_millis());
    server.create_bucket("backups")?;
    let scratch = Scratch::new("content")?;
    let content = "not much\n".repeat(100_000);
    let file = scratch.private_file("dumpfile.sql", &content)?;
    let folder = scratch.join("repository");
    let password = canary_secret("restic");
    for judge in [Restic::s3(&server, "backups", "some/where", &password)?, Restic::folder(&folder, &password)?] {
        judge.init()?;
        assert!(judge.snapshots()?.is_empty());
        judge.run(&["backup", &file.to_string_lossy()])?.success()?;
        judge.check()?;
        let snapshots = judge.snapshots()?;
        let id = snapshots[0]["id"].as_str().unwrap();
        let bytes = judge.dump(id, &file.to_string_lossy())?;
        assert_eq!(sha256(&bytes), sha256(content.as_bytes()));
    }
    let damaged = fs::read_dir(folder.join("snapshots"))?.next().unwrap()?;
    fs::remove_file(damaged.path())?;
    let strangers = Restic::folder(&folder, "wrong")?;
    assert!(!strangers.run(&["snapshots"])?.status.success());

    server.kill9()?;
    server.restart()?;
    let judge = Restic::s3(&server, "backups", "some/where", &password)?;
    judge.check()?;
    assert_eq!(server.list("backups", "some/where/snapshots/")?.len(), 1);
    server.delete("backups", "some/where/snapshots/")?;
    assert_eq!(server.list("backups", "some/where/snapshots/")?.len(), 0);
    assert!(judge.snapshots()?.is_empty());
    Ok(())
}

#[test]
fn a_dropped_process_takes_its_children_along() -> Result<()> {
    let scratch = Scratch::new("group")?;
    let mut shell = guarded(Path::new("sh"));
    shell.args(["-c", "sleep 1000 & echo child $!; trap '' TERM; wait; wait"]);
    let mut process = Process::spawn("shell", shell, &scratch.join("log"))?;
    let line = process.wait_for_log("child", SOON)?;
    let child: u32 = line.trim_start_matches("child ").parse()?;
    // The shell names its child before that has become another program.
    eventually("the child to be `sleep`", SOON, || {
        (process.descendants_named("sleep").ok()?.len() == 1).then_some(())
    })?;
    assert_eq!(process.group_members()?.len(), 2);
    let parent = process.pid();
    drop(process);
    eventually("death of parent and child", SOON, || (!is_alive(parent) && !is_alive(child)).then_some(()))
}

#[test]
fn a_killed_test_process_takes_its_servers_along() -> Result<()> {
    let scratch = Scratch::new("victim")?;
    let mut victim = guarded(&std::env::current_exe()?);
    victim
        .args(["--exact", "victim_that_starts_a_server", "--ignored", "--nocapture"])
        .env("TMPDIR", scratch.path())
        .env("LAGAN_VICTIM_PID_FILE", scratch.join("pid"));
    let mut victim = Process::spawn("victim", victim, &scratch.join("log"))?;
    let server: u32 = victim.until("pid of the server", Duration::from_secs(30), || {
        fs::read_to_string(scratch.join("pid")).ok()?.parse().ok()
    })?;
    assert!(is_alive(server));
    victim.kill9()?;
    eventually("death of the server", SOON, || (!is_alive(server)).then_some(()))
}

/// The test above runs this in a process of its own and kills it.
#[test]
#[ignore = "is a part of a_killed_test_process_takes_its_servers_along"]
fn victim_that_starts_a_server() -> Result<()> {
    let Some(file) = std::env::var_os("LAGAN_VICTIM_PID_FILE") else {
        return Ok(());
    };
    let mut server = NatsServer::start()?;
    let draft = Path::new(&file).with_extension("draft");
    fs::write(&draft, server.process().pid().to_string())?;
    fs::rename(&draft, &file)?;
    server.process().wait_exit(Duration::from_mins(1)).map(drop)
}

#[test]
fn an_early_death_is_reported_with_the_end_of_the_log() -> Result<()> {
    let scratch = Scratch::new("early")?;
    let mut shell = guarded(Path::new("sh"));
    shell.args(["-c", "echo no room on device; exit 7"]);
    let mut process = Process::spawn("shell", shell, &scratch.join("log"))?;
    let error = process.wait_for_log("ready", SOON).err().unwrap();
    let text = format!("{error:#}");
    ensure!(text.contains("no room on device") && text.contains("exit status: 7"), text);
    Ok(())
}

#[test]
fn a_command_past_its_time_is_killed() {
    let mut sleep = guarded(Path::new("sh"));
    sleep.args(["-c", "echo begun >&2; sleep 1000 & sleep 1000"]);
    let error = run(sleep, Duration::from_millis(300)).err().unwrap();
    assert!(format!("{error:#}").contains("begun"));
}

#[test]
fn a_secret_in_argv_environment_or_a_file_is_seen() -> Result<()> {
    let secret = canary_secret("test");
    let canaries = Canaries::new(&[("test secret", secret.as_str())]);
    let scratch = Scratch::new("canary")?;
    let mut shell = guarded(Path::new("sh"));
    // The shell gets the secret as an argument and passes it to its child in the environment.
    shell.args(["-c", "SECRET=$1 sleep 1000; true", "shell", &secret]);
    let process = Process::spawn("shell", shell, &scratch.join("log"))?;
    let watch = canaries.watch(process.pid());
    eventually("two samples with the child", SOON, || {
        let both = watch.programs().contains("sleep") && watch.samples() > 2;
        both.then_some(())
    })?;
    drop(process);
    let report = watch.finish()?;
    for found in ["test secret (plain) in cmdline of sh", "test secret (plain) in environ of sleep"] {
        assert!(report.findings.contains(found), "{report:?}");
    }

    canaries.absent_below(&[scratch.path()])?;
    let log = scratch.join("deep");
    fs::create_dir(&log)?;
    fs::write(log.join("file.blk"), [b"\0\x01", secret.as_bytes()].concat())?;
    assert!(canaries.absent_below(&[scratch.path()]).is_err());
    Ok(())
}

#[test]
fn lagan_runs_with_folders_and_environment_of_its_own() -> Result<()> {
    let mut lagan = Lagan::with_program(tools::find("sh")?)?;
    lagan.env("LAGAN_EXTRA", "more");
    let script = "echo $LAGAN_DATA_DIR $HOME $LAGAN_EXTRA; echo oops >&2; exit 3";
    let done = lagan.run(&["-c", script])?;
    assert_eq!(done.status.code(), Some(3));
    assert_eq!(done.stderr, "oops\n");
    let (data, home) = (lagan.data_dir(), lagan.path("home"));
    let expected = format!("{} {} more\n", data.display(), home.display());
    assert_eq!(done.text(), expected);

    let manifest = lagan.manifest("a.yaml", "kind: Secret")?;
    assert_eq!(fs::read_to_string(&manifest)?, "kind: Secret");
    lagan.touch_manifest("a.yaml")?;
    lagan.remove_manifest("a.yaml")?;
    assert_eq!(fs::read_dir(lagan.manifests_dir())?.count(), 0);

    let mut process = lagan.start("worker", &["-c", "echo ready; exec sleep 1000"])?;
    process.wait_for_log("ready", SOON)?;
    process.terminate(SOON)?;
    assert_eq!(fs::read_to_string(lagan.log_path("worker"))?, "ready\n");
    Ok(())
}

#[test]
fn a_stopped_server_does_not_answer_until_it_continues() -> Result<()> {
    let mut server = NatsServer::start()?;
    let pid = nix::unistd::Pid::from_raw(server.process().pid().cast_signed());
    server.process().signal(Signal::SIGSTOP)?;
    let stat = format!("/proc/{pid}/stat");
    eventually("stopped state", SOON, || fs::read_to_string(&stat).ok()?.contains(") T ").then_some(()))?;
    kill(pid, Signal::SIGCONT)?;
    eventually("answers", SOON, || server.monitoring("/varz").ok())?;
    Ok(())
}
