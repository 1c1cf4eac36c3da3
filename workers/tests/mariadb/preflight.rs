//! A preflight refuses dumps that would have holes or could not be restored.

use std::{io::Write, time::Duration};

use lagan_schemas::error::{Class, Code};
use lagan_workers::mariadb::dump::NameCase;
use lagan_workers::mariadb::{Finding, InventoryKind, PreflightError, QueryError, TargetState, target_state};

use crate::{
    server::{client, other, source, target},
    steps::{WAIT, dump, preflight},
};

fn account(name: &str, grants: &[&str]) {
    source().sql(&format!("create or replace user {name}@'%' identified by 'geheim-4711'"));
    for grant in grants {
        source().sql(&format!("grant {grant} to {name}@'%'"));
    }
}

async fn missing(name: &str, grants: &[&str], args: &[&str]) -> Vec<String> {
    account(name, grants);
    match preflight(&source().client_as(name), args).await {
        Err(PreflightError::MissingGrants(missing)) => {
            missing.iter().map(|grant| format!("{} ON {}", grant.privilege, grant.on)).collect()
        }
        // The grants come first; other tests' databases may be refused for other reasons.
        Ok(_)
        | Err(PreflightError::BrokenViews(_) | PreflightError::EventBodies(_) | PreflightError::SequenceCycle(_)) => {
            Vec::new()
        }
        Err(error) => unreachable!("{error}"),
    }
}

#[tokio::test]
async fn every_missing_grant_that_would_leave_a_hole_is_named() {
    source().sql(
        "create database pv; use pv; create table a(x int); create table b(x int);
         create trigger ta before insert on a for each row set @a=1; create view v as select * from a;
         create procedure p() select 1; create event e on schedule every 1 day starts '2030-01-01' do select 1;",
    );
    let all = "select, show view, trigger, event on pv.*";
    let cases: [(&[&str], &[&str], &[&str]); 9] = [
        (&[all, "select on mysql.proc"], &["pv"], &[]),
        (&["select, show view, trigger, event on *.*"], &["--all-databases", "--ignore-database=mysql"], &[]),
        (&[all], &["pv"], &["SELECT ON mysql.proc"]),
        (&[all], &["pv", "--skip-routines"], &[]),
        (&["select, show view, event on pv.*", "select on mysql.proc"], &["pv"], &["TRIGGER ON `pv`.*"]),
        (&["select, show view, trigger on pv.*", "select on mysql.proc"], &["pv"], &["EVENT ON `pv`.*"]),
        (&["select, trigger, event on pv.*", "select on mysql.proc"], &["pv"], &["SHOW VIEW ON `pv`.*"]),
        (
            &["select, trigger on pv.a", "event on pv.*", "select on mysql.proc"],
            &["pv"],
            // It does not even see that there is a view.
            &["SELECT ON `pv`.*", "TRIGGER ON `pv`.*"],
        ),
        (
            &[all, "select on mysql.proc"],
            &["--all-databases", "--ignore-database=mysql", "--ignore-database=information_schema"],
            &["SHOW DATABASES ON *.*"],
        ),
    ];
    for (at, (grants, args, expected)) in cases.iter().enumerate() {
        assert_eq!(missing(&format!("g{at}"), grants, args).await, *expected, "{grants:?} {args:?}");
    }
}

#[tokio::test]
async fn rights_lost_after_the_preflight_are_found_in_the_stream() {
    source().sql("create database late; use late; create table a(x int); create trigger t1 before insert on a for each row set @a=1; create procedure p() select 1");
    account("late", &["select, show view, trigger, event on late.*", "select on mysql.proc"]);
    let full = dump(&source().client_as("late"), &["--databases", "late"]).await;
    assert_eq!(full.checked, Ok(()));
    source().sql("revoke trigger on late.* from late@'%'; revoke select on mysql.proc from late@'%'");
    let program = crate::steps::dump_program(&source().client_as("late"), full.prepared.argv.clone());
    let captured = lagan_workers::process::capture(
        &crate::server::spawner(),
        program,
        lagan_workers::process::Capture::default(),
        &tokio_util::sync::CancellationToken::new(),
    )
    .await
    .unwrap();
    assert!(captured.exit.success(), "mariadb-dump says nothing about the holes");
    let (mut scan, recording) = lagan_workers::mariadb::scanner(lagan_workers::mariadb::TextForm::Utf8);
    scan(&mut captured.stdout.clone());
    let missing = full.prepared.expected.missing_in(&recording.record());
    assert_eq!(
        missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["1 of 1 triggers of `late` (`t1`)", "1 of 1 routines of `late` (`PROCEDURE p`)"]
    );
}

#[tokio::test]
async fn broken_views_are_named_and_can_be_left_out() {
    source().sql("create database bv; use bv; create table t(a int); create view broken as select a from t; create view `al so` as select a from t; drop table t; create view fine as select 1");
    let error = preflight(&source().client(), &["bv"]).await.unwrap_err();
    let PreflightError::BrokenViews(views) = &error else { unreachable!("{error}") };
    assert_eq!(
        views.iter().map(|(name, failure)| (name.as_str(), failure.code())).collect::<Vec<_>>(),
        [("bv.al so", Some(Code::BrokenObject)), ("bv.broken", Some(Code::BrokenObject))]
    );
    assert_eq!(error.class(), Class::Permanent);
    let dumped = dump(&source().client(), &["bv", "--ignore-table=bv.broken", "--ignore-table=bv.al so"]).await;
    assert_eq!((dumped.checked, dumped.prepared.expected.count(InventoryKind::View)), (Ok(()), 1));
}

#[tokio::test]
async fn events_that_would_make_the_dump_run_for_ever_are_refused() {
    source().sql("create database ev; use ev;\ndelimiter $$\ncreate event bad on schedule every 1 day starts '2030-01-01' do begin select ';;'; end$$");
    let error = preflight(&source().client(), &["ev"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::EventBodies(names) if *names == ["ev.bad"]), "{error}");
    assert!(preflight(&source().client(), &["ev", "--skip-events"]).await.is_ok());
}

#[tokio::test]
async fn databases_that_use_each_others_sequences_are_refused() {
    source().sql("create database c1; create database c2; create sequence c1.s; create sequence c2.s; create table c1.t(a int default nextval(c2.s)); create table c2.t(a int default nextval(c1.s))");
    let error = preflight(&source().client(), &["--databases", "c1", "c2"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::SequenceCycle(names) if *names == ["c1", "c2"]), "{error}");
    let alone = preflight(&source().client(), &["c1"]).await.unwrap();
    assert_eq!(alone.findings, [Finding::ForeignSequences(vec!["c1.t".into()])]);
}

#[tokio::test]
async fn a_table_versioned_by_transactions_is_dumped_without_history_and_says_so() {
    source().sql("create database tp; use tp; create table v(a int) with system versioning; create table p(a int primary key, rs bigint unsigned generated always as row start, re bigint unsigned generated always as row end, period for system_time(rs,re)) engine=innodb with system versioning; insert into p(a) values(1)");
    let dumped = dump(&source().client(), &["tp"]).await;
    assert_eq!(dumped.checked, Ok(()));
    assert_eq!(dumped.prepared.findings, [Finding::HistoryLeftOut(vec!["tp.p".into(), "tp.v".into()])]);
}

#[tokio::test]
async fn unknown_databases_are_named() {
    let error = preflight(&source().client(), &["--databases", "mysql", "nope"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::UnknownDatabases(names) if *names == ["nope"]), "{error}");
}

#[tokio::test]
async fn a_password_of_every_character_is_understood_and_a_wrong_one_is_permanent() {
    let password: String = (' '..='~').chain("éß€😀\t".chars()).collect();
    let mut quoted = password.replace('\\', "\\\\");
    quoted = quoted.replace('\'', "''");
    source().sql(&format!("create user odd@'%' identified by '{quoted}'"));
    let good = client(source().connection_as("odd", &password));
    good.wait_ready(WAIT).await.unwrap();
    let error = client(source().connection_as("odd", "wrong-password")).wait_ready(WAIT).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code(), Some(Code::AccessDenied));
    assert_eq!(error.class(), Class::Permanent);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_then_transient() {
    let mut connection = source().connection();
    connection.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = client(connection.clone()).wait_ready(Duration::from_millis(1500)).await.unwrap_err();
    assert!(matches!(&error, QueryError::NotReady { last, .. } if last.number == Some(2002)), "{error}");
    assert_eq!(error.class(), Class::Transient);
    connection.host = "no-such-host.invalid".into();
    let error = client(connection).wait_ready(WAIT).await.unwrap_err();
    assert_eq!(error.failure().unwrap().number, Some(2005));
    std::io::stdout().flush().unwrap();
}

#[tokio::test]
async fn a_target_tells_what_a_restore_would_overwrite() {
    target().sql("create database ta_full; create table ta_full.t(a int); create procedure ta_full.p() select 1; create database ta_empty");
    let client = target().client();
    let state = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let client = client.clone();
        async move { target_state(&client, &names, NameCase::Sensitive).await.unwrap() }
    };
    assert_eq!(state(&["ta_empty"]).await, TargetState::Empty);
    assert_eq!(state(&["ta_new"]).await, TargetState::Empty);
    let full = TargetState::NotEmpty { databases: vec!["ta_full".into()], tables: 1, programs: 1 };
    assert_eq!(state(&["ta_full", "ta_empty"]).await, full);
    assert_eq!(state(&["ta_none"]).await, TargetState::Empty);
    // These are other databases for this server.
    for name in ["TA_FULL", "tá_full"] {
        assert_eq!(state(&[name]).await, TargetState::Empty, "{name}");
    }
    target().sql("create database TA_FULL; create table TA_FULL.t(a int); create table TA_FULL.u(a int)");
    assert_eq!(state(&["ta_full", "ta_empty"]).await, full);
    let folded = other("--lower-case-table-names=1");
    folded.sql("create database ta_full; create table ta_full.t(a int)");
    let found = target_state(&folded.client(), &["TA_FULL".to_owned()], NameCase::Insensitive).await.unwrap();
    assert_eq!(found, TargetState::NotEmpty { databases: vec!["ta_full".into()], tables: 1, programs: 0 });
}
