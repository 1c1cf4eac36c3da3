//! Before the first statement of a restore, everything is found that would break it off; after its last, everything that
//! is not there.

use lagan_workers::mariadb::{
    Asked, Comparison, Obstacle, RestoreDifferences, SqlClient, What,
    dump::{Record, Recorder},
    name_case, obstacles, read_back, scope,
};

use crate::{
    server::{other, source, target},
    steps::{WAIT, dump, restore},
};

pub fn record(dump: &[u8]) -> Record {
    let mut recorder = Recorder::default();
    recorder.feed(dump);
    recorder.finish()
}

/// The obstacles of a restore of all of it.
pub async fn found(client: &SqlClient, record: &Record) -> Vec<Obstacle> {
    let case = name_case(client, WAIT).await.unwrap();
    let scope = scope(record, &Asked::default(), case).unwrap();
    obstacles(client, record, &scope, case).await.unwrap()
}

pub async fn compared(client: &SqlClient, record: &Record, verify: Comparison) -> RestoreDifferences {
    let case = name_case(client, WAIT).await.unwrap();
    let scope = scope(record, &Asked::default(), case).unwrap();
    read_back(client, record, &scope, (case, verify)).await.unwrap()
}

const EVERYTHING: &str = "
    create database rx; use rx; create table t(id int primary key, b text); insert into t values (1, 'x'), (2, 'y');
    create sequence s; create table u(a int default nextval(s)); create trigger tr before insert on t for each row set @a = 1;
    create view v as select * from t; create procedure p() select 1; create function f() returns int deterministic return 1;
    create event e on schedule every 1 day starts '2030-01-01' do select 1;";

#[tokio::test]
async fn settings_of_a_server_that_refuse_the_dump_are_named() {
    source().sql(
        "create database sx; use sx; create table t(b longblob); insert into t values (repeat('x', 1500000));
         create function plain() returns int return 1; create function fine() returns int no sql return 1; create trigger tr before insert on t for each row set @a = 1;",
    );
    let dumped = dump(&source().client(), &["--databases", "sx"]).await;
    let record = record(&dumped.bytes);
    assert_eq!(found(&target().client(), &record).await, []);

    let server = other("--log-bin --server-id=2 --max-allowed-packet=2M --read-only --enforce-storage-engine=Aria");
    server.sql("create user small@'%' identified by 'geheim-4711'; grant all on sx.* to small@'%'; grant set user on *.* to small@'%'");
    let found = self::found(&server.client_as("small"), &record).await;
    assert!(
        matches!(
            found.as_slice(),
            [
                Obstacle::ReadOnly,
                Obstacle::PacketTooSmall { .. },
                Obstacle::BinaryLog,
                Obstacle::UndeclaredFunctions(functions),
                    Obstacle::EnforcedEngine(engine),
            ] if *functions == ["plain"] && engine == "Aria"
        ),
        "{found:#?}"
    );
    let found = self::found(&server.client(), &record).await;
    assert!(!found.contains(&Obstacle::ReadOnly) && !found.contains(&Obstacle::BinaryLog), "{found:#?}");
    server.sql("set global log_bin_trust_function_creators=1");
    let found = self::found(&server.client_as("small"), &record).await;
    assert!(
        !found.iter().any(|one| matches!(one, Obstacle::BinaryLog | Obstacle::UndeclaredFunctions(_))),
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_dump_of_another_kind_of_server_is_known_before_its_first_statement() {
    let text = "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: h    Database: my\n\
        -- ------------------------------------------------------\n-- Server version\t8.0.36\n\n\
        SET @@GLOBAL.GTID_PURGED='x';\nSET SESSION show_create_table_skip_secondary_engine=1;\nSET sql_mode='NO_SUCH_MODE';\n\
        CREATE DATABASE `my` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_nope_ci */;\nUSE `my`;\n\
        CREATE TABLE `t` (\n  `a` text COLLATE utf8mb4_bin,\n  `b` text CHARACTER SET gb18030\n) ENGINE=ndbcluster DEFAULT CHARSET=utf8mb4;\n\
        -- Dump completed\n";
    let found = self::found(&target().client(), &record(text.as_bytes())).await;
    let unknown: Vec<(What, &[String])> = found
        .iter()
        .filter_map(|one| match one {
            Obstacle::Unknown { what, names, made_by, .. } => {
                assert_eq!(made_by, "8.0.36");
                Some((*what, names.as_slice()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        unknown,
        [
            (What::Collations, ["utf8mb4_0900_nope_ci".to_owned()].as_slice()),
            (What::CharacterSets, ["gb18030".to_owned()].as_slice()),
            (
                What::Variables,
                ["GLOBAL gtid_purged".to_owned(), "show_create_table_skip_secondary_engine".to_owned()].as_slice()
            ),
            (What::SqlModes, ["NO_SUCH_MODE".to_owned()].as_slice()),
        ]
    );
    assert!(found.contains(&Obstacle::Engines(vec!["ndbcluster".into()])), "{found:#?}");
}

#[tokio::test]
async fn needs_of_a_database_that_is_not_restored_are_no_obstacle() {
    let text = "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\nSET @@GLOBAL.GTID_PURGED='x';\n\
        CREATE DATABASE `fine`;\nUSE `fine`;\nCREATE TABLE `t` (\n  `a` text COLLATE utf8mb4_bin\n) ENGINE=InnoDB;\n\
        CREATE DATABASE `odd`;\nUSE `odd`;\nCREATE TABLE `t` (\n  `a` text COLLATE utf8mb4_0900_nope_ci\n) ENGINE=ndbcluster;\n\
        INSERT INTO `t` VALUES ('LONG');\nCREATE DEFINER=`other`@`%` VIEW `v` AS select 1;\n-- Dump completed\n";
    let record = record(text.replace("LONG", &"x".repeat(3 << 20)).as_bytes());
    let server = other("--max-allowed-packet=2M");
    server.sql("create user part@'%' identified by 'geheim-4711'; grant all on fine.* to part@'%'; grant all on odd.* to part@'%'");
    let client = server.client_as("part");
    let case = name_case(&client, WAIT).await.unwrap();
    let of = |databases: &[&str]| {
        let databases = databases.iter().map(|name| (*name).to_owned()).collect();
        scope(&record, &Asked { databases, ..Asked::default() }, case).unwrap()
    };
    assert_eq!(obstacles(&client, &record, &of(&["fine"]), case).await.unwrap(), []);
    let found = obstacles(&client, &record, &of(&["odd"]), case).await.unwrap();
    assert!(
        matches!(
            found.as_slice(),
            [
                Obstacle::PacketTooSmall { .. },
                Obstacle::Definers(_),
                Obstacle::Engines(_),
                Obstacle::Unknown { what: What::Collations, .. }
            ]
        ),
        "{found:#?}"
    );
    // All of it also sets a variable of the whole server, which needs a privilege and is unknown.
    let found = obstacles(&client, &record, &of(&["fine", "odd"]), case).await.unwrap();
    assert!(
        matches!(found.last(), Some(Obstacle::Unknown { what: What::Variables, .. })) && found.len() == 6,
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_database_that_neither_the_dump_nor_the_server_creates_is_an_obstacle() {
    let record = record(b"-- Host: h    Database: gone\nCREATE TABLE `t` (`a` int);\n-- Dump completed\n");
    let server = other("");
    let found = self::found(&server.client(), &record).await;
    assert_eq!(found, [Obstacle::NoDatabase("gone".into())]);
    server.sql("create database gone");
    assert_eq!(self::found(&server.client(), &record).await, []);
}

#[tokio::test]
async fn rows_that_an_account_may_not_count_are_not_taken_for_right() {
    source().sql("create database rc; create table rc.t(a int); insert into rc.t values (1)");
    let record = record(&dump(&source().client(), &["--databases", "rc"]).await.bytes);
    source().sql("create user blind@'%' identified by 'geheim-4711'; grant insert, create, drop on rc.* to blind@'%'");
    let found = compared(&source().client_as("blind"), &record, Comparison::Rows).await;
    assert_eq!((found.missing.len(), found.uncounted.len()), (0, 1), "{found:?}");
    assert!(found.uncounted[0].starts_with("table `rc`.`t` ("), "{found:?}");
}

#[tokio::test]
async fn objects_and_rows_that_are_not_there_after_a_restore_are_named() {
    source().sql(&EVERYTHING.replace("rx", "rb"));
    source().sql("create table rb.h(a int) with system versioning; insert into rb.h values (1); delete from rb.h");
    let dumped = dump(&source().client(), &["--databases", "rb"]).await;
    let record = record(&dumped.bytes);
    restore(&target().client(), &[], &dumped.bytes).await.unwrap();
    assert_eq!(compared(&target().client(), &record, Comparison::Rows).await, RestoreDifferences::default());
    target().sql(
        "use rb; insert into u values (7); drop view v; drop function f; drop event e; drop trigger tr; drop sequence s; delete from t where id = 2;
         create table new(a int)",
    );
    let found = compared(&target().client(), &record, Comparison::Rows).await;
    assert_eq!(
        found.missing,
        [
            "view `rb`.`v`",
            "sequence `rb`.`s`",
            "trigger `rb`.`tr`",
            "function `rb`.`f`",
            "event `rb`.`e`",
            "1 of 2 rows of table `rb`.`t`"
        ]
    );
    assert_eq!(found.expired, [""; 0]);
    assert_eq!(found.additional, ["table `rb`.`new`", "1 rows of table `rb`.`u`"]);
    let objects = compared(&target().client(), &record, Comparison::Objects).await;
    assert_eq!((objects.missing.len(), objects.additional.len()), (5, 1));

    let folded = other("--lower-case-table-names=1");
    source().sql("create database Mixed; create table Mixed.Table_A(a int); create view Mixed.`View` as select 1 as a; create procedure Mixed.Proc() select 1");
    let dumped = dump(&source().client(), &["--databases", "Mixed"]).await;
    restore(&folded.client(), &[], &dumped.bytes).await.unwrap();
    let record = self::record(&dumped.bytes);
    assert_eq!(compared(&folded.client(), &record, Comparison::Rows).await, RestoreDifferences::default());
}

#[tokio::test]
async fn only_events_whose_time_is_over_may_be_absent() {
    // Each is made when its time had not come yet. The name says what the server makes of it today.
    source().sql(
        "create database evt; use evt; set time_zone = '+00:00', timestamp = unix_timestamp('2020-01-01 00:00:00');
         create event over_at on schedule at '2020-06-01 00:00:00' do select 1;
         create event over_ends on schedule every 1 day starts '2020-02-01 00:00:00' ends '2020-06-01 00:00:00' do select preserve from (select ' on completion preserve' as preserve) as d;
         create event kept_at on schedule at '2020-06-01 00:00:00' on completion preserve do select 1;
         create event kept_ends on schedule every 1 day ends '2020-06-01 00:00:00' on completion preserve do select 1;
         create event comes_at on schedule at '2037-06-01 00:00:00' do select 1;
         create event comes_ends on schedule every 1 day ends '2037-06-01 00:00:00' do select 1;
         create event comes_always on schedule every 1 day do select ends '2020-06-01 00:00:00' from (select 1 as ends) as d;",
    );
    let dumped = dump(&source().client(), &["--databases", "evt"]).await;
    let record = record(&dumped.bytes);
    restore(&target().client(), &[], &dumped.bytes).await.unwrap();
    let over = ["event `evt`.`over_at`", "event `evt`.`over_ends`"];
    let found = compared(&target().client(), &record, Comparison::Objects).await;
    assert_eq!((found.expired.as_slice(), found.missing.len()), (&over.map(str::to_owned)[..], 0), "{found:?}");
    let others = ["comes_always", "comes_at", "comes_ends", "kept_at", "kept_ends"];
    for event in others {
        target().sql(&format!("drop event evt.{event}"));
    }
    let found = compared(&target().client(), &record, Comparison::Objects).await;
    let mut missing = found.missing.clone();
    missing.sort();
    assert_eq!(missing, others.map(|event| format!("event `evt`.`{event}`")), "{found:?}");
    assert_eq!(found.expired, over);
}
