//! Statements that reach beyond databases are named before the first statement, and a missing right for one of them is an
//! obstacle exactly if the server refuses it.

use lagan_workers::mariadb::dump::{NameCase, Record};
use lagan_workers::mariadb::{Asked, BeyondDatabases, Obstacle, beyond_databases, scope};

use crate::obstacles::{found, record};
use crate::server::other;
use crate::steps::{dump, restore};

/// Statements and the privilege that lets an account run each.
const STATEMENTS: [(&str, &str); 12] = [
    ("CHANGE MASTER TO MASTER_HOST='x'", "replication slave admin on *.*"),
    ("STOP SLAVE", "replication slave admin on *.*"),
    ("SET GLOBAL gtid_slave_pos=''", "replication slave admin on *.*"),
    ("SET GLOBAL gtid_slave_pos=''", "super on *.*"),
    ("SET GLOBAL max_connections=100", "connection admin on *.*"),
    ("SET @@SESSION.SQL_LOG_BIN=0", "binlog admin on *.*"),
    ("CREATE USER new@localhost", "create user on *.*"),
    ("DROP USER IF EXISTS new@localhost", "create user on *.*"),
    ("CREATE ROLE IF NOT EXISTS r", "create user on *.*"),
    ("ALTER USER there@localhost ACCOUNT LOCK", "create user on *.*"),
    ("GRANT SELECT ON `be`.* TO there@localhost", "all on be.*"),
    ("REVOKE SELECT ON `be`.* FROM there@localhost", "all on be.*"),
];

fn stream(statement: &str) -> Vec<u8> {
    let head = "CREATE DATABASE IF NOT EXISTS `be`;\nUSE `be`;\nCREATE OR REPLACE TABLE `t` (`a` int);\n";
    format!("{head}{statement};\n-- Dump completed\n").into_bytes()
}

#[tokio::test]
async fn a_right_that_a_statement_beyond_databases_needs_is_asked_for() {
    let server = other("--log-bin --server-id=7");
    server.sql("create user there@localhost");
    for (statement, privilege) in STATEMENTS {
        let (stream, says) = (stream(statement), |obstacles: &[Obstacle]| format!("{statement}: {obstacles:?}"));
        let account = "create or replace user part@'%' identified by 'geheim-4711'; grant all on be.* to part@'%'";
        server.sql(account);
        let obstacles = found(&server.client_as("part"), &record(&stream)).await;
        assert!(matches!(obstacles.as_slice(), [Obstacle::MissingGrant(_)]), "{}", says(&obstacles));
        let refused = format!("{:?}", restore(&server.client_as("part"), &[], &stream).await);
        assert!(["1227", "1044", "1045"].iter().any(|number| refused.contains(number)), "{statement}: {refused}");

        server.sql(&format!("grant {privilege} to part@'%' with grant option"));
        let obstacles = found(&server.client_as("part"), &record(&stream)).await;
        assert!(obstacles.is_empty(), "{}", says(&obstacles));
        restore(&server.client_as("part"), &[], &stream).await.unwrap();
    }
}

fn beyond(record: &Record, databases: &[&str]) -> BeyondDatabases {
    let databases = databases.iter().map(|name| (*name).to_owned()).collect();
    let scope = scope(record, &Asked { databases, ..Asked::default() }, NameCase::Sensitive).unwrap();
    beyond_databases(record, &scope, NameCase::Sensitive)
}

#[tokio::test]
async fn the_statements_of_a_dump_that_reach_beyond_its_databases_are_named() {
    let server = other("--log-bin --server-id=8");
    server.sql("create database ba; create table ba.t(a int); create database bb; create table bb.t(a int)");
    let options = ["--master-data=1", "--gtid", "--apply-slave-statements", "--databases", "ba", "bb"];
    let record = record(&dump(&server.client(), &options).await.bytes);
    let found = beyond(&record, &[]);
    let expected = [
        "STOP ALL SLAVES",
        "CHANGE MASTER TO MASTER_USE_GTID=slave_pos",
        "SET GLOBAL gtid_slave_pos=",
        "START ALL SLAVES",
    ];
    assert_eq!((found.statements.len(), found.more), (4, false), "{found:?}");
    for (statement, expected) in found.statements.iter().zip(expected) {
        assert!(statement.starts_with(expected), "{found:?}");
    }
    // One database alone leaves them out.
    assert_eq!(beyond(&record, &["ba"]), BeyondDatabases::default());
    let plain = crate::obstacles::record(&dump(&server.client(), &["--databases", "ba", "bb"]).await.bytes);
    assert_eq!(beyond(&plain, &[]), BeyondDatabases::default());
}
