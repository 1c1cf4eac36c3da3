//! A privilege is asked for before the first statement of a restore exactly if the server asks for it.

use crate::obstacles::{found, record};
use crate::server::{DUMP, TestServer, other};
use crate::steps::restore;

/// Every privilege of a database that a statement of a dump could need, and some that none needs.
const ALL: [&str; 16] = [
    "create",
    "drop",
    "insert",
    "select",
    "update",
    "delete",
    "references",
    "index",
    "alter",
    "create view",
    "trigger",
    "create routine",
    "alter routine",
    "event",
    "lock tables",
    SET_USER,
];
const SET_USER: &str = "set user";
const SAFE: &str = "--skip-add-locks --skip-disable-keys --routines --events --triggers";
const TABLE: &str = "create table t(a int primary key); insert into t values (1);";

/// Dumps by the program itself, each with statements of one kind.
const DUMPS: [(&str, &str); 19] = [
    (TABLE, ""),
    (TABLE, "--skip-add-locks"),
    (TABLE, "--skip-disable-keys"),
    (TABLE, SAFE),
    (TABLE, "--skip-add-locks --skip-disable-keys --skip-add-drop-table"),
    (TABLE, "--skip-add-locks --skip-disable-keys --replace"),
    (TABLE, "--skip-add-locks --skip-disable-keys --add-drop-database --no-data"),
    ("create sequence s;", SAFE),
    ("create sequence s; create table t(a int default nextval(s));", "--skip-add-locks --skip-disable-keys --no-data"),
    ("create view v as select 1 as a;", SAFE),
    ("create table t(a int, b int); create view v as select a from t where b > 1;", SAFE),
    ("create function f() returns int deterministic return 1; create view v as select f();", SAFE),
    ("create table t(a int); create trigger tr before insert on t for each row set @a = 1;", SAFE),
    (
        "create table t(a int); create trigger tr before insert on t for each row set @a = 1;",
        "--add-drop-trigger --skip-add-locks",
    ),
    ("create procedure p() select 1; create function f() returns int deterministic return 1;", SAFE),
    ("create event e on schedule every 1 day starts '2030-01-01' do select 1;", SAFE),
    ("create table p(a int primary key); create table c(a int, foreign key (a) references p(a));", SAFE),
    ("create table m1(a int) engine=myisam; create table m(a int) engine=merge union=(m1);", SAFE),
    (
        "create table t(a int) with system versioning; insert into t values (1); delete from t;",
        "--skip-add-locks --dump-history",
    ),
];

/// The dump of the database `rx` by the program, without anything that Lagan adds.
fn dump(server: &TestServer, options: &str) -> Vec<u8> {
    let mut program = std::process::Command::new(DUMP);
    program
        .args(["--no-defaults", "-uroot", "--default-character-set=utf8mb4", "-S"])
        .arg(server.directory.join("socket"));
    let output = program.args(options.split_whitespace()).args(["--databases", "rx"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An account with these privileges on the database.
fn account(server: &TestServer, name: &str, privileges: &[&str]) {
    server.sql(&format!("create user {name}@'%' identified by 'geheim-4711'"));
    let of_database: Vec<&str> = privileges.iter().filter(|one| **one != SET_USER).copied().collect();
    if !of_database.is_empty() {
        server.sql(&format!("grant {} on rx.* to {name}@'%'", of_database.join(", ")));
    }
    if privileges.contains(&SET_USER) {
        server.sql(&format!("grant set user on *.* to {name}@'%'"));
    }
}

#[tokio::test]
async fn a_missing_right_is_an_obstacle_exactly_if_the_restore_fails_without_it() {
    let (from, server) = (other(""), other(""));
    for left_out in ALL.iter().chain(&["nothing"]) {
        let held: Vec<&str> = ALL.iter().filter(|privilege| *privilege != left_out).copied().collect();
        account(&server, &format!("`without {left_out}`"), &held);
    }
    for (at, (schema, options)) in DUMPS.iter().enumerate() {
        from.sql(&format!("create or replace database rx; use rx; {schema}"));
        let bytes = dump(&from, options);
        let record = record(&bytes);
        let mut needed = Vec::new();
        for left_out in ALL.iter().chain(&["nothing"]) {
            let client = server.client_as(&format!("without {left_out}"));
            let found = found(&client, &record).await;
            let restored = restore(&client, &[], &bytes).await;
            server.sql("drop database if exists rx");
            assert_eq!(
                found.is_empty(),
                restored.is_ok(),
                "{schema} {options} without {left_out}: {found:?} {restored:?}"
            );
            needed.extend((!found.is_empty()).then_some(*left_out));
        }
        // The rights that were asked for are enough.
        let any = needed_by_any(schema);
        let least = needed.iter().copied().chain(any).collect::<Vec<_>>();
        account(&server, &format!("least{at}"), &least);
        let client = server.client_as(&format!("least{at}"));
        assert_eq!(
            (found(&client, &record).await, restore(&client, &[], &bytes).await),
            (vec![], Ok(())),
            "{schema} {options}"
        );
        server.sql("drop database if exists rx");
        if any.is_some() {
            account(&server, &format!("none{at}"), &needed);
            let client = server.client_as(&format!("none{at}"));
            let (found, restored) = (found(&client, &record).await, restore(&client, &[], &bytes).await);
            assert!(!found.is_empty() && restored.is_err(), "{schema} {options}: {found:?} {restored:?}");
            server.sql("drop database if exists rx");
        }
    }
}

/// Privileges of which one of several is enough, so that an account with all but one never lacks them.
fn needed_by_any(schema: &str) -> Option<&'static str> {
    schema.contains("references").then_some("delete")
}
