//! The preflight is satisfied exactly when the dump is complete: many accounts with generated grants, and what the
//! server lets each of them dump, compared with what it lets the administrator dump.

use std::{fmt::Write, process::Stdio};

use lagan_workers::mariadb::{PreflightError, SqlClient};
use tokio::process::Command;

use crate::{
    server::{DUMP, TestServer, other},
    steps::preflight,
};

const DATABASES: [&str; 5] = ["shop", "shop_a", "größe", "abbc", "sh\\op"];

/// Every database holds two tables and one object of each other kind, so that no dump is complete by luck.
fn schema() -> String {
    let mut sql = String::from(
        "create database shopXa; create table shopXa.t(x int); create database plain; create table plain.t(x int);",
    );
    for database in DATABASES {
        let _ = write!(
            sql,
            "create database `{database}`; use `{database}`; create table a(x int); create table b(x int, y int);
             insert into b values (1, 2); create trigger ta before insert on a for each row set @a = 1;
             create trigger tb before insert on b for each row set @a = 1; create view v as select x from a;
             create procedure p() select 1;"
        );
        // mariadb-dump cannot select a database with a backslash in its name again when it comes to the events.
        if !database.contains('\\') {
            sql += "create event e on schedule every 1 day starts '2030-01-01' do select 1;";
        }
    }
    sql
}

/// One account: its grants, and the grants of the roles `r` (its default) and `s` (which `r` inherits).
struct Case {
    database: &'static str,
    account: Vec<String>,
    role: Vec<String>,
    inherited: Vec<String>,
}

/// A small generator of pseudo-random numbers, so that a failure can be repeated.
struct Choice(u64);

impl Choice {
    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        &from[usize::try_from(self.0 >> 33).unwrap() % from.len()]
    }

    fn grants(&mut self, database: &str, counts: &[usize]) -> Vec<String> {
        let privileges = [
            "select",
            "trigger",
            "show view",
            "event",
            "select, trigger, show view, event",
            "all",
            "execute",
            "insert",
            "select, show view, event",
            "select, lock tables",
            "create routine",
            "references",
            "all",
        ];
        let patterns: &[&str] = match database {
            "shop" => &["shop", "sh%", "sho_", "shop%", "%", "____", "s_op", "shop\\_a", "%p"],
            "shop_a" => &["shop_a", "shop\\_a", "shop%", "shop\\_%", "sho__a", "%\\_a"],
            "größe" => &["größe", "gr%", "gr_ße", "gr__ße", "gr____e", "größ_"],
            "abbc" => &["abbc", "abb_", "a_bc", "ab%", "a%c", "a%b%c", "_bbc", "%"],
            "sh\\op" => &["sh\\\\op", "sh%", "sh_op", "%op"],
            _ => unreachable!("{database}"),
        };
        let count = *self.of(counts);
        (0..count)
            .map(|_| match self.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
                0 => {
                    let privilege = *self.of(&["select", "trigger", "select, trigger, show view", "show view"]);
                    format!("{privilege} on `{database}`.{}", self.of(&["a", "b", "v"]))
                }
                1 => "select on mysql.proc".to_owned(),
                2 => {
                    let columns = *self.of(&["(x) on `{}`.a", "(x, y) on `{}`.b", "(x) on `{}`.b", "(x) on `{}`.v"]);
                    format!("select {}", columns.replace("{}", database))
                }
                3 => {
                    (*self.of(&["event on *.*", "trigger on *.*", "select on *.*", "show databases on *.*"])).to_owned()
                }
                _ => format!("{} on `{}`.*", self.of(&privileges), self.of(patterns)),
            })
            .collect()
    }
}

/// The database, and the grants of the account, of its role, and of the role that this one inherits.
const BY_HAND: [[&str; 4]; 14] = [
    ["shop", "trigger on `sh%`.*; select, show view, event on shop.*; select on mysql.proc", "", ""],
    ["shop", "all on shop.*", "", ""],
    ["shop_a", "all on `shop\\_a`.*", "", ""],
    ["plain", "all on plain.*", "", ""],
    ["plain", "select, trigger, event, execute on plain.*", "", ""],
    ["shop", "select on mysql.proc", "select, trigger, show view, event on shop.*", ""],
    ["shop", "select on mysql.proc", "trigger on shop.*", "select, show view, event on shop.*"],
    ["shop", "select on mysql.proc", "trigger on shop.*", "select, show view, event on `sh%`.*"],
    [
        "shop",
        "event, insert on shop.*; select on mysql.proc",
        "select, trigger on shop.a; select, trigger on shop.b",
        "select, show view on shop.v",
    ],
    ["shop", "event on shop.*; select on mysql.proc; select, trigger on shop.a", "", ""],
    [
        "shop_a",
        "event, trigger, show view on shop_a.*; select (x) on shop_a.a; select (x, y) on shop_a.b; select (x) on shop_a.v; \
         select on mysql.proc",
        "",
        "",
    ],
    [
        "shop_a",
        "event, trigger, show view on shop_a.*; select (x) on shop_a.a; select (x) on shop_a.b; select (x) on shop_a.v; \
         select on mysql.proc",
        "",
        "",
    ],
    [
        "shop",
        "event, insert, trigger, show view on shop.*; select on shop.a; select on shop.b; select on shop.v; \
         select on mysql.proc",
        "",
        "",
    ],
    ["shop", "select, trigger, show view, event on *.*", "", ""],
];

fn cases() -> Vec<Case> {
    let full = "select, trigger, show view, event";
    let split = |list: &str| list.split("; ").filter(|grant| !grant.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let mut cases: Vec<Case> = BY_HAND
        .iter()
        .map(|[database, account, role, inherited]| Case {
            database,
            account: split(account),
            role: split(role),
            inherited: split(inherited),
        })
        .collect();
    let mut choice = Choice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..240 {
        let database = *choice.of(&DATABASES);
        let mut account = choice.grants(database, &[1, 2, 3]);
        // Most random accounts can do nothing; half of them get what is often missing.
        if *choice.of(&[true, false]) {
            let exact = database.replace('\\', "\\\\");
            account.push(format!("{full} on `{}`.*", choice.of(&[exact.as_str(), "%", exact.as_str()])));
            account.push("select on mysql.proc".into());
        }
        let role = choice.grants(database, &[0, 0, 1, 2]);
        let inherited = choice.grants(database, &[0, 0, 1]);
        cases.push(Case { database, account, role, inherited });
    }
    cases
}

fn create(server: &TestServer, cases: &[Case]) {
    let mut sql = String::from("grant trigger on plain.* to public;\n");
    for (at, case) in cases.iter().enumerate() {
        let _ =
            writeln!(sql, "create user u{at}@'%' identified by 'geheim-4711'; create role r{at}; create role s{at};");
        let parties = [
            (format!("u{at}@'%'"), &case.account),
            (format!("r{at}"), &case.role),
            (format!("s{at}"), &case.inherited),
        ];
        for (party, grants) in &parties {
            for grant in *grants {
                let _ = writeln!(sql, "grant {grant} to {party};");
            }
        }
        if !case.role.is_empty() || !case.inherited.is_empty() {
            let _ =
                writeln!(sql, "grant s{at} to r{at}; grant r{at} to u{at}@'%'; set default role r{at} for u{at}@'%';");
        }
    }
    server.sql(&sql);
}

/// The dump of a database as the server lets this account make it; `None` if the program fails.
async fn dump(client: &SqlClient, database: &str) -> Option<Vec<u8>> {
    let mut command = Command::new(DUMP);
    command.args([
        "--no-defaults",
        "--protocol=TCP",
        "--host=127.0.0.1",
        "--password=geheim-4711",
        "--skip-dump-date",
        "--default-character-set=utf8mb4",
    ]);
    command.arg(format!("--port={}", client.connection.port)).arg(format!("--user={}", client.connection.user));
    command.args([
        "--single-transaction",
        "--routines",
        "--events",
        "--triggers",
        "--skip-lock-tables",
        "--",
        database,
    ]);
    let output = command.stderr(Stdio::null()).output().await.unwrap();
    output.status.success().then_some(output.stdout)
}

#[tokio::test]
async fn the_preflight_is_satisfied_exactly_when_the_dump_is_complete() {
    let server = other("");
    server.sql(&schema());
    let cases = cases();
    create(&server, &cases);
    let mut wrong = Vec::new();
    let (mut complete, mut satisfied) = (0, 0);
    for (at, case) in cases.iter().enumerate() {
        let client = server.client_as(&format!("u{at}"));
        let whole = dump(&server.client(), case.database).await.unwrap();
        let dumped = dump(&client, case.database).await;
        let is_complete = dumped.as_ref() == Some(&whole);
        let found = preflight(&client, &[case.database]).await;
        let is_satisfied = match &found {
            Ok(_) => true,
            Err(PreflightError::MissingGrants(_) | PreflightError::UnknownDatabases(_) | PreflightError::Query(_)) => {
                false
            }
            Err(error) => unreachable!("{error}"),
        };
        complete += usize::from(is_complete);
        satisfied += usize::from(is_satisfied);
        if is_complete != is_satisfied {
            let found = found.err().map(|error| error.to_string());
            wrong.push(format!(
                "u{at} {} complete: {is_complete} {found:?} {:?} {:?} {:?}",
                case.database, case.account, case.role, case.inherited
            ));
        }
    }
    assert!(complete > 40 && complete < cases.len() - 40, "{complete} of {} are complete", cases.len());
    assert!(wrong.is_empty(), "{satisfied} satisfied, {complete} complete, wrong: {wrong:#?}");
}

#[tokio::test]
async fn an_account_that_sees_every_database_dumps_all_of_them() {
    let server = other("");
    server.sql(&schema());
    for (at, privilege) in
        ["show databases", "select", "event", "execute", "lock tables", "references", "process", "reload", "file"]
            .iter()
            .enumerate()
    {
        server.sql(&format!(
            "create user d{at}@'%' identified by 'geheim-4711'; grant {privilege} on *.* to d{at}@'%'; \
             grant all on shop.* to d{at}@'%'; grant all on mysql.* to d{at}@'%'"
        ));
        let client = server.client_as(&format!("d{at}"));
        let seen = client.query("SHOW DATABASES").await.unwrap().len();
        let all = server.client().query("SHOW DATABASES").await.unwrap().len();
        let error = preflight(&client, &["--all-databases"]).await.unwrap_err();
        let PreflightError::MissingGrants(missing) = error else { unreachable!("{error}") };
        let blamed = missing.iter().any(|grant| grant.privilege == "SHOW DATABASES");
        assert_eq!(blamed, seen < all, "{privilege}: {seen} of {all} databases are visible");
    }
}
