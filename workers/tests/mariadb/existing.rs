//! A restore over existing data, judged by a server: the fate of everything that is there already is known before the first
//! statement.

use lagan_workers::mariadb::dump::Record;
use lagan_workers::mariadb::{
    Asked, Comparison, Emptied, Met, Obstacle, RestoreDifferences, clearing, met, missing_tables, name_case, scope,
};

use crate::obstacles::{compared, record};
use crate::server::{TestServer, source, target};
use crate::steps::{WAIT, dump, restore};

async fn met_at(server: &TestServer, record: &Record) -> Met {
    let client = server.client();
    let case = name_case(&client, WAIT).await.unwrap();
    let scope = scope(record, &Asked::default(), case).unwrap();
    met(&client, &scope, record, case).await.unwrap()
}

#[tokio::test]
async fn nothing_stays_in_a_database_that_the_dump_itself_drops() {
    source().sql(
        "create or replace database dr; create table dr.t(a int); create or replace database ds; create table ds.t(a int)",
    );
    let held = "create or replace database dr; create table dr.extra(a int); create view dr.t as select 1;
        create or replace database ds; create table ds.extra(a int)";
    target().sql(held);
    let dropping = dump(&source().client(), &["--add-drop-database", "--databases", "dr"]).await.bytes;
    let plain = dump(&source().client(), &["--databases", "ds"]).await.bytes;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let both =
        format!("{}{}", text(&plain).replace("-- Dump completed\n", ""), text(&dropping).split_once("--\n").unwrap().1);
    let found = met_at(target(), &record(both.as_bytes())).await;
    let expected = Met { dropped: vec!["dr".into()], stays: vec!["table ds.extra".into()], ..Met::default() };
    assert_eq!(found, expected);
    restore(&target().client(), &[], both.as_bytes()).await.unwrap();
    assert_eq!(target().sql("show tables from dr"), "t");
    assert_eq!(target().sql("show tables from ds"), "extra\nt");
}

/// One object of each kind, some of them in the place of another kind, beside nothing else that the dump brings.
const HELD: [&str; 13] = [
    "create table t(a int)",
    "create view v as select 2",
    "create sequence s",
    "create procedure P() select 2",
    "create function f() returns int return 2",
    "create event e on schedule every 2 day do select 2",
    "create table extra(a int); create trigger tr before insert on extra for each row set @a = 2",
    "create view t as select 2",
    "create sequence t",
    "create table v(a int)",
    "create sequence v",
    "create table s(a int)",
    "create view s as select 2",
];

#[tokio::test]
async fn a_restore_over_an_object_is_refused_exactly_if_it_would_break_off_there() {
    source().sql(
        "create or replace database kx; use kx; create table t(a int); create view v as select 1 as a; create sequence s;
         create procedure p() select 1; create function f() returns int deterministic return 1;
         create event e on schedule every 1 day do select 1;
         create trigger tr before insert on t for each row set @a = 1",
    );
    let all = ["--routines", "--events", "--databases", "kx"];
    for options in [&[][..], &["--skip-add-drop-table"], &["--skip-opt"], &["--add-drop-trigger"]] {
        let dumped = dump(&source().client(), &[options, &all].concat()).await.bytes;
        let record = record(&dumped);
        for held in HELD {
            target().sql(&format!("create or replace database kx; use kx; {held}"));
            let clashes = met_at(target(), &record).await.clashes;
            let restored = restore(&target().client(), &[], &dumped).await;
            assert_eq!(restored.is_err(), !clashes.is_empty(), "{options:?}, {held}: {clashes:?}, {restored:?}");
        }
    }
}

#[tokio::test]
async fn a_trigger_stays_with_its_table_and_goes_with_it() {
    source().sql("create or replace database tg; create table tg.t(a int)");
    target().sql(
        "create or replace database tg; use tg; create table t(a int); create table extra(a int);
         create trigger goes before insert on t for each row set @a = 1;
         create trigger stays before insert on extra for each row set @a = 1",
    );
    let dumped = dump(&source().client(), &["--databases", "tg"]).await.bytes;
    let found = met_at(target(), &record(&dumped)).await;
    assert_eq!(found.stays, ["table tg.extra", "trigger tg.stays"]);
    restore(&target().client(), &[], &dumped).await.unwrap();
    assert_eq!(
        target().sql("select trigger_name from information_schema.triggers where trigger_schema = 'tg'"),
        "stays"
    );
}

#[tokio::test]
async fn objects_beyond_the_list_of_a_record_are_not_said_to_stay() {
    let tables = (0..100_001).map(|at| format!("CREATE TABLE `t{at}` (`a` int);\n"));
    let stream: String = ["CREATE DATABASE `many`;\nUSE `many`;\n".to_owned()].into_iter().chain(tables).collect();
    target().sql("create or replace database many; create table many.t1(a int); create table many.t100000(a int)");
    let found = met_at(target(), &record(stream.as_bytes())).await;
    // The names of the list are still known.
    let expected = Met { clashes: vec!["table many.t1".into()], uncompared: vec!["many".into()], ..Met::default() };
    assert_eq!(found, expected);
}

async fn missing(record: &Record, emptied: Emptied) -> Vec<Obstacle> {
    let client = target().client();
    let case = name_case(&client, WAIT).await.unwrap();
    let scope = scope(record, &Asked::default(), case).unwrap();
    missing_tables(&client, record, &scope, (case, emptied)).await.unwrap()
}

#[tokio::test]
async fn rows_without_their_tables_are_restored_into_tables_that_are_there_and_nowhere_else() {
    let tables = "create or replace database ro; use ro; create table full(a int primary key);
        create table empty(a int) engine=myisam";
    source().sql(&format!(
        "{tables}; insert into full values (1), (2); create trigger tr before insert on full for each row set @a = 1"
    ));
    let dumped = dump(&source().client(), &["--add-locks", "--no-create-info", "--skip-triggers", "--databases", "ro"])
        .await
        .bytes;
    let rows = record(&dumped);
    let both = || vec!["ro.empty".to_owned(), "ro.full".to_owned()];
    let fails = async |stream: &[u8]| format!("{:?}", restore(&target().client(), &[], stream).await.unwrap_err());

    target().sql("create or replace database ro");
    assert_eq!(missing(&rows, Emptied::No).await, [Obstacle::NoTables(both())]);
    assert!(fails(&dumped).await.contains("1146"));
    // It replaces everything: the tables would go, and nothing would create them.
    target().sql(tables);
    assert_eq!(missing(&rows, Emptied::Yes).await, [Obstacle::DropsTables(both())]);
    let client = target().client();
    let case = name_case(&client, WAIT).await.unwrap();
    let first = clearing(&client, &scope(&rows, &Asked::default(), case).unwrap()).await.unwrap();
    assert!(fails(&[first.as_bytes(), &dumped].concat()).await.contains("1146"));
    // So would they if the dump drops the database.
    let dropping = ["--add-drop-database", "--add-locks", "--no-create-info", "--skip-triggers", "--databases", "ro"];
    let dropping = dump(&source().client(), &dropping).await.bytes;
    target().sql(tables);
    assert_eq!(missing(&record(&dropping), Emptied::No).await, [Obstacle::DropsTables(both())]);
    assert!(fails(&dropping).await.contains("1146"));
    // A trigger needs its table.
    let programs = dump(&source().client(), &["--no-create-info", "--no-data", "--databases", "ro"]).await.bytes;
    assert_eq!(missing(&record(&programs), Emptied::No).await, [Obstacle::NoTables(vec!["ro.full".into()])]);
    assert!(fails(&programs).await.contains("1146"));

    target().sql(&format!("{tables}; create table extra(a int)"));
    assert_eq!(missing(&rows, Emptied::No).await, []);
    let found = met_at(target(), &rows).await;
    let expected = Met {
        filled: vec!["table ro.empty".into(), "table ro.full".into()],
        stays: vec!["table ro.extra".into()],
        ..Met::default()
    };
    assert_eq!(found, expected);
    restore(&target().client(), &[], &dumped).await.unwrap();
    assert_eq!(compared(&target().client(), &rows, Comparison::Rows).await.missing, [""; 0]);
    target().sql("delete from ro.full where a = 2");
    let found = compared(&target().client(), &rows, Comparison::Rows).await;
    assert_eq!(found.missing, ["1 of 2 rows of table `ro`.`full`"], "{found:?}");
    // A dump with its tables needs none.
    let whole = record(&dump(&source().client(), &["--databases", "ro"]).await.bytes);
    target().sql("drop database ro");
    assert_eq!((missing(&whole, Emptied::No).await, missing(&whole, Emptied::Yes).await), (vec![], vec![]));
}

#[tokio::test]
async fn rows_that_are_elsewhere_are_not_compared() {
    let external = "create or replace database xt; use xt; create table m1(a int) engine=myisam;
        create table m(a int) engine=merge union=(m1); insert into m1 values (1), (2)";
    source().sql(external);
    let dumped = dump(&source().client(), &["--databases", "xt"]).await.bytes;
    restore(&target().client(), &[], &dumped).await.unwrap();
    let rows = compared(&target().client(), &record(&dumped), Comparison::Rows).await;
    assert_eq!(rows, RestoreDifferences::default());
    target().sql("delete from xt.m1 where a = 2");
    let rows = compared(&target().client(), &record(&dumped), Comparison::Rows).await;
    assert_eq!(rows.missing, ["1 of 2 rows of table `xt`.`m1`"]);

    // The rows of this one are on another server, which is away later.
    target().sql(
        "create or replace database remote; create table remote.r(a int); insert into remote.r values (1), (2);
         create or replace user remote@'%' identified by 'geheim-4711'; grant all on remote.* to remote@'%';
         install soname 'ha_federatedx'; create or replace database fe",
    );
    let table = format!(
        "CREATE DATABASE IF NOT EXISTS `fe`;\nUSE `fe`;\nCREATE TABLE `f` (`a` int) ENGINE=FEDERATED \
         CONNECTION='mysql://remote:geheim-4711@127.0.0.1:{}/remote/r';\n",
        target().port
    );
    target().sql(&table);
    let record = record(table.as_bytes());
    assert_eq!(compared(&target().client(), &record, Comparison::Rows).await, RestoreDifferences::default());
    target().sql("drop user remote@'%'; flush tables");
    assert_eq!(compared(&target().client(), &record, Comparison::Rows).await, RestoreDifferences::default());
}
