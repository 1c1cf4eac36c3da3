//! Dumps and restores that break in the middle.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lagan_schemas::error::{Class, Code};
use lagan_workers::{
    mariadb::dump::Fault,
    mariadb::{ClientFailure, Incomplete, Versions, attach, check_dump, probe, scanner},
    process::{ChildExit, DumpSettings, FeedError, Program, Pulse},
};
use tokio_util::sync::CancellationToken;

use crate::{
    server::{DUMP, MARIADB, client, source, spawner, target},
    steps::{NotLoaded, dump, dump_program, preflight, restore},
};

#[tokio::test]
async fn a_killed_connection_leaves_a_failed_dump_that_may_be_tried_again() {
    source().sql("create database big; use big; create table big.t(a int primary key, b varchar(400)); insert into big.t select seq, repeat('x',400) from seq_1_to_200000; create user victim@'%' identified by 'geheim-4711'; grant all on *.* to victim@'%'");
    let client = source().client_as("victim");
    let prepared = preflight(&client, &["big"]).await.unwrap();
    let program = dump_program(&client, prepared.argv);
    let (scan, recording) = scanner(lagan_workers::mariadb::TextForm::Utf8);
    let (mut reader, handle) =
        spawner().dump(program, DumpSettings::default(), Some(scan), &CancellationToken::new()).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut some = vec![0; 1024 * 1024];
        reader.read_exact(&mut some).unwrap();
        source().sql("kill hard user victim@'%'");
        let _ = reader.read_to_end(&mut some);
    })
    .await
    .unwrap();
    let outcome = handle.wait().await;
    assert_eq!((outcome.exit, outcome.stop), (ChildExit::Code(3), None));
    let failure = ClientFailure::read(&outcome.stderr.lines).unwrap();
    assert_eq!((failure.code(), failure.object.as_deref()), (Some(Code::ConnectionLost), Some("t")));
    assert_eq!(failure.class(), Class::Transient);
    let checked = check_dump(&outcome, &recording, &prepared.expected);
    // It ends the statement that it was in.
    assert!(matches!(checked, Err(Incomplete::Fault(Fault::NoTrailer { .. }))), "{checked:?}");
}

#[tokio::test]
async fn a_restore_cut_at_a_statement_is_not_complete_although_the_client_is_content() {
    source().sql("create database cut; create table cut.t(a int); insert into cut.t values(1)");
    let dumped = dump(&source().client(), &["--databases", "cut"]).await;
    let text = String::from_utf8(dumped.bytes).unwrap();
    let end = text.find("INSERT INTO").unwrap();
    let restored = restore(&target().client(), &[], &text.as_bytes()[..end]).await;
    assert!(matches!(restored, Err(NotLoaded::Cut(_))), "{restored:?}");
}

#[tokio::test]
async fn a_hostile_dump_cannot_touch_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("pwned");
    std::fs::write(directory.path().join("data"), "x").unwrap();
    target().sql("create database hostile; create table hostile.t(a text)");
    let path = mark.display();
    let data = directory.path().join("data");
    let lines = [
        format!("\\! touch {path}"),
        format!("system touch {path};"),
        format!("select 1 \\! touch {path}"),
        format!("source {path}"),
        format!("tee {path}"),
        format!("pager cat > {path}\nselect 1;"),
        format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE hostile.t;", data.display()),
    ];
    for line in lines {
        let dump = format!("-- MariaDB dump\nselect 1;\n{line}\n\n-- Dump completed\n");
        let result = restore(&target().client(), &[], dump.as_bytes()).await;
        assert!(matches!(result, Err(NotLoaded::Client { .. })), "{line}: {result:?}");
        assert!(!mark.exists(), "{line}");
    }
    assert_eq!(target().sql("select count(*) from hostile.t"), "0");
}

#[tokio::test]
async fn a_failed_statement_fails_the_restore_and_its_rows_are_not_in_the_message() {
    target().sql("create database dup; create table dup.t(a int primary key, b text); insert into dup.t values(1,'x')");
    let dump = "use dup;\ninsert into t values(1,'canary-in-a-row');\n\n-- Dump completed\n";
    let result = restore(&target().client(), &[], dump.as_bytes()).await;
    let Err(NotLoaded::Client { exit, failure: Some(failure) }) = &result else { unreachable!("{result:?}") };
    assert_eq!((*exit, failure.number), (Some(ChildExit::Code(1)), Some(1062)));
    assert!(!format!("{result:?}").contains("canary"), "{result:?}");
}

#[tokio::test]
async fn losing_the_right_to_write_kills_the_client_before_it_sees_the_end() {
    target().sql("create database lost; create table lost.t(a int)");
    let alive = Arc::new(AtomicBool::new(true));
    let pulse = Arc::clone(&alive);
    let mut program = Program { args: vec!["--batch".into()], ..Program::new(MARIADB) };
    let client = target().client();
    attach(&client.connection, &mut program, &client.version).unwrap();
    let alive_now = move || if pulse.load(Ordering::Relaxed) { Pulse::Alive } else { Pulse::Lost };
    let mut feeder = spawner().feed(program, alive_now, &CancellationToken::new()).await.unwrap();
    let error = tokio::task::spawn_blocking(move || {
        feeder.feed(b"insert into lost.t values(1);\nselect sleep(30);\ninsert into lost.t values(2);\n").unwrap();
        alive.store(false, Ordering::Relaxed);
        feeder.finish().unwrap_err()
    })
    .await
    .unwrap();
    assert!(matches!(&error, FeedError::Lost { report } if report.exit == Some(ChildExit::Signal(9))), "{error:?}");
    assert_ne!(target().sql("select ifnull(max(a),0) from lost.t"), "2");
}

#[tokio::test]
async fn the_password_is_in_no_command_line_environment_or_message() {
    let client = client(source().connection_as("nobody", "canary-8c1f"));
    let mut program = Program { args: vec!["-e".into(), "select 1".into()], ..Program::new(MARIADB) };
    attach(&client.connection, &mut program, &client.version).unwrap();
    assert!(!format!("{program:?} {client:?}").contains("canary"));
    let error = client.wait_ready(Duration::from_secs(1)).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[tokio::test]
async fn the_clients_are_recognised_and_others_refused() {
    let cancel = CancellationToken::new();
    for path in [MARIADB, DUMP] {
        assert!(probe(&spawner(), path.into(), &cancel).await.unwrap().at_least(10, 11, 8));
    }
    let error = probe(&spawner(), "/bin/echo".into(), &cancel).await.unwrap_err();
    assert!(error.to_string().contains("is not a client of MariaDB"), "{error}");
}

#[tokio::test]
async fn a_client_is_asked_for_its_version_once_and_again_when_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, asked) = (folder.path().join("mariadb"), folder.path().join("asked"));
    let install = |version: &str| {
        let script = format!("#!/bin/sh\necho x >> {}\necho 'mariadb from {version}-MariaDB'\n", asked.display());
        let new = folder.path().join("new");
        std::fs::write(&new, script).unwrap();
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, &path).unwrap();
    };
    let (cancel, versions) = (CancellationToken::new(), Versions::default());
    let times = || std::fs::read_to_string(&asked).unwrap().lines().count();
    install("10.11.8");
    for _ in 0..2 {
        assert!(!versions.of(&spawner(), path.clone(), &cancel).await.unwrap().at_least(11, 0, 0));
    }
    assert_eq!(times(), 1);
    install("11.4.10");
    assert!(versions.of(&spawner(), path.clone(), &cancel).await.unwrap().at_least(11, 4, 10));
    assert_eq!(times(), 2);
}
