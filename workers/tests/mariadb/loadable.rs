//! Objects that a server accepts to exist but not to be made come back all the same, or the backup says that they will not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use lagan_workers::mariadb::{Finding, PreflightError, large_rows};

use crate::{
    server::{TestServer, other, source, target},
    steps::{dump, preflight, restore},
};

fn copy_table(from: &Path, to: &Path) {
    for end in ["frm", "MYD", "MYI"] {
        fs::copy(from.with_extension(end), to.with_extension(end)).unwrap();
    }
}

fn definition(server: &TestServer, table: &str) -> String {
    server.sql(&format!("show create table {table}; checksum table {table} extended"))
}

#[tokio::test]
async fn a_lost_and_found_folder_and_unencoded_names_are_left_out() {
    let server = other("");
    let data = server.directory.join("data");
    server.sql("create database um; create table um.t(a int) engine=myisam; insert into um.t values (1)");
    for folder in ["lost+found", "foo-bar"] {
        fs::create_dir(data.join(folder)).unwrap();
        fs::set_permissions(data.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let only =
        dump(&server.client(), &["--all-databases", "--ignore-database=mysql", "--ignore-database=#mysql50#foo-bar"])
            .await;
    assert!(only.prepared.findings.iter().all(|finding| !finding.hinders_loading()), "{:?}", only.prepared.findings);
    assert_eq!(only.checked, Ok(()));

    copy_table(&data.join("um/t"), &data.join("foo-bar/t"));
    copy_table(&data.join("um/t"), &data.join("um/a-b"));
    let dumped = dump(&server.client(), &["--all-databases", "--ignore-database=mysql"]).await;
    let left_out = Finding::UnencodedNames(vec!["#mysql50#foo-bar".into(), "um.#mysql50#a-b".into()]);
    assert!(dumped.prepared.findings.contains(&left_out), "{:?}", dumped.prepared.findings);
    assert_eq!(dumped.checked, Ok(()));
    restore(&target().client(), &[], &dumped.bytes).await.unwrap();
    assert_eq!(target().sql("select * from um.t; show tables from um"), "1\nt");
    let error = preflight(&server.client(), &["--databases", "#mysql50#foo-bar"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::UnencodedDatabases(names) if names == &["#mysql50#foo-bar"]), "{error}");
}

#[tokio::test]
async fn tables_made_under_other_settings_come_back() {
    let wide: Vec<String> = (0..20).map(|at| format!("c{at} text")).collect();
    source().sql(&format!(
        "create database lax; use lax; set innodb_strict_mode=0, sql_mode='ALLOW_INVALID_DATES';
         create table wide(id int primary key, {}) row_format=compact; insert into wide(id, c0) values (1, 'a');
         create table dates(d date default '2023-02-31', t datetime); insert into dates values ('2024-02-31', '2023-11-31 01:02:03'), ('0000-00-00', '2023-00-00');
         create table stamps(a timestamp not null, b timestamp not null default '0000-00-00 00:00:00', c timestamp null); insert into stamps values ('2020-01-01', 0, null);
         create table checks(a int check (a > 0)); set check_constraint_checks=0; insert into checks values (-1);
         create table compressed(a int) row_format=compressed key_block_size=4;",
        wide.join(", ")
    ));
    let server = other(
        "--autocommit=0 --explicit-defaults-for-timestamp=0 --innodb-strict-mode=1 --sql-mode=STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE --max-statement-time=60 --wait-timeout=5",
    );
    let dumped = dump(&source().client(), &["--databases", "lax"]).await;
    assert_eq!(dumped.prepared.findings, []);
    restore(&server.client(), &[], &dumped.bytes).await.unwrap();
    for table in ["wide", "dates", "stamps", "checks", "compressed"] {
        let table = format!("lax.{table}");
        assert_eq!(definition(&server, &table), definition(source(), &table));
    }
}

#[tokio::test]
async fn views_that_lean_on_other_databases_and_expired_events_and_foreign_paths_are_named() {
    let server = other("");
    let path = server.directory.join("elsewhere");
    fs::create_dir(&path).unwrap();
    server.sql(&format!(
        "create database here; create database there; create table there.t(a int); create function there.f() returns int return 1;
         use here; create table t(a int); create view fine as select t.a, 'there.`there`.x' from t; create view leans as select a from there.t;
         create view calls as select there.f() as b from t; create view chain as select * from leans;
         create table placed(a int) data directory='{}';
         create event gone on schedule at now() + interval 1 second do select 1;
         create event kept on schedule at now() + interval 1 second on completion preserve do select 1;
         create event later on schedule every 1 day do /* c */ select '/**/'; create event closes on schedule every 1 day do /* c */ select '*/';
         select sleep(1.5);",
        path.display()
    ));
    let found = preflight(&server.client(), &["--databases", "here"]).await.unwrap().findings;
    let expected = [
        Finding::ServerFeatures(vec!["here.placed".into()]),
        Finding::ForeignViews(vec!["here.calls".into(), "here.leans".into()]),
        Finding::ExpiredEvents(vec!["here.gone".into()]),
        Finding::ClosingEvents(vec!["here.closes".into()]),
    ];
    assert_eq!(found, expected);
    let both = preflight(&server.client(), &["--databases", "here", "there"]).await.unwrap().findings;
    assert_eq!(both, [expected[0].clone(), expected[2].clone(), expected[3].clone()]);
    let ignored = ["--databases", "here", "there", "--ignore-table=there.t", "--ignore-table=here.placed"];
    let found = preflight(&server.client(), &ignored).await.unwrap().findings;
    assert_eq!(found, [Finding::ForeignViews(vec!["here.leans".into()]), expected[2].clone(), expected[3].clone()]);
    let error = preflight(&server.client(), &["--databases", "here", "--require-loadable"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::NotLoadable(findings) if *findings == expected), "{error}");
}

#[tokio::test]
async fn variables_that_would_cut_results_short_are_refused() {
    let server = other("");
    server.sql("create database cut; create table cut.t(a int); insert into cut.t values (1), (2), (3); set global sql_select_limit=2");
    let error = preflight(&server.client(), &["cut"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::LimitedSelects(which) if which == "sql_select_limit=2"), "{error}");
    server.sql("set global sql_select_limit=default, global system_versioning_asof='2020-01-01 00:00:00'");
    let error = preflight(&server.client(), &["cut"]).await.unwrap_err();
    assert!(error.to_string().contains("system_versioning_asof=2020-01-01"), "{error}");
    server.sql("set global system_versioning_asof=default");
    preflight(&server.client(), &["cut"]).await.unwrap();
}

#[tokio::test]
async fn a_row_that_a_default_server_refuses_is_reported_after_the_dump() {
    source().sql(
        "create database large; create table large.t(a longblob); insert into large.t values (repeat('x', 10000000))",
    );
    let dumped = dump(&source().client(), &["large"]).await;
    let found = large_rows(dumped.record.longest_statement_bytes, dumped.prepared.server.max_allowed_packet_bytes);
    assert!(
        matches!(found, Some(Finding::LargeRows { statement_bytes, .. }) if statement_bytes > 20_000_000),
        "{found:?}"
    );
}
