//! Values come back exactly, judged by the servers themselves: checksums, hexadecimal aggregates, exact numbers and
//! definitions. A second dump proves nothing, because a dump is where values are lost.

use std::fmt::Write;

use lagan_workers::mariadb::{Finding, PreflightError, TextForm};

use crate::{
    server::{TestServer, other, source, target},
    steps::{Dumped, dump, preflight, restore},
};

async fn restored(source: &TestServer, target: &TestServer, databases: &[&str]) -> Dumped {
    let args: Vec<&str> = ["--databases", "--"].iter().chain(databases).copied().collect();
    let dumped = dump(&source.client(), &args).await;
    assert!(dumped.outcome.clean(), "{:?}", dumped.outcome.stderr);
    assert_eq!(dumped.checked, Ok(()));
    restore(&target.client(), &[], &dumped.bytes).await.unwrap();
    for database in databases {
        let (before, after) = (facts(source, database), facts(target, database));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after);
        }
    }
    dumped
}

/// Everything a server says about the tables of a database, a line for each fact.
fn facts(server: &TestServer, database: &str) -> Vec<String> {
    let definitions = server.sql(&format!(
        "select concat('show create table ', name, '; checksum table ', name, ' extended;') from (\
         select concat('`', table_schema, '`.`', replace(table_name, '`', '``'), '`') name \
         from information_schema.tables where table_schema = '{database}' and table_type <> 'SEQUENCE') named order by 1"
    ));
    let columns = server.sql(&format!(
        "select concat('select ''', hex(column_name), ''', count(', name, '), sum(crc32(ifnull(hex(', name, '), 0)))', \
         if(data_type in ('float', 'double', 'decimal'), concat(', sum(crc32(', name, ' + 0e0))'), ''), \
         ' from `', table_schema, '`.`', replace(table_name, '`', '``'), '`;') \
         from (select c.*, concat('`', replace(column_name, '`', '``'), '`') name from information_schema.columns c join information_schema.tables t using (table_schema, table_name) \
         where c.table_schema = '{database}' and table_type <> 'SEQUENCE') named order by table_name, ordinal_position"
    ));
    server.sql(&format!("set sql_mode = '';\n{columns}\n{definitions}")).lines().map(str::to_owned).collect()
}

/// Text of every character set: each byte of the small ones, each pair of bytes of the others, each collation.
fn character_sets(server: &TestServer) -> String {
    let mut sql = String::from("create database sets character set utf8mb4; use sets; set sql_mode = '';\n");
    let sets = server.sql("select character_set_name, maxlen from information_schema.character_sets order by 1");
    for (set, longest) in sets.lines().filter_map(|line| line.split_once('\t')) {
        let kept = |letter: &&str| {
            server.sql(&format!(
                "select convert(convert('{letter}' using {set}) using utf8mb4) = '{letter}' collate utf8mb4_bin"
            )) == "1"
        };
        let letter = ["é", "я", "あ", "ก", "א", "ა", "Ա"].into_iter().find(kept).unwrap_or("z");
        let _ = writeln!(
            sql,
            "create table `bytes_{set}` (id int primary key, c varchar(8) character set {set}, t text character set {set}, \
             e enum('a', '{letter}') character set {set}, d varchar(20) character set {set} default '{letter}', \
             g varchar(20) character set {set} as (concat(c, 'x')) stored, key(c));"
        );
        let (count, hex) = match longest {
            "1" => (255, "lpad(hex(seq), 2, '0')"),
            _ => (65_535, "if(seq < 256, lpad(hex(seq), 2, '0'), lpad(hex(seq), 4, '0'))"),
        };
        let _ = writeln!(
            sql,
            "insert ignore into `bytes_{set}` (id, c, t, e) select seq, unhex({hex}), concat(unhex({hex}), 'é'), \
             1 + seq % 2 from seq_0_to_{count};"
        );
        if set == "cp932" || set == "eucjpms" {
            let _ = writeln!(sql, "insert into `bytes_{set}` (id, c) values (100000, 0x8FA2B7);");
        }
    }
    let collations = server.sql(
        "select full_collation_name, character_set_name from information_schema.collation_character_set_applicability \
         order by 2, 1",
    );
    let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
    for (collation, set) in collations.lines().filter_map(|line| line.split_once('\t')) {
        match tables.last_mut() {
            Some((last, names)) if *last == set && names.len() < 100 => names.push(collation),
            _ => tables.push((set, vec![collation])),
        }
    }
    for (at, (set, names)) in tables.iter().enumerate() {
        let columns: Vec<String> = names
            .iter()
            .map(|name| format!("`{name}` varchar(12) character set {set} collate {name} default 'o'"))
            .collect();
        let _ = writeln!(
            sql,
            "create table `collations_{at}` ({}); insert into `collations_{at}` () values (), ();",
            columns.join(", ")
        );
    }
    sql
}

#[tokio::test]
async fn text_of_every_character_set_and_every_type_beside_it_comes_back_exactly() {
    source().sql(&character_sets(source()));
    source().sql(include_str!("schemas/types.sql"));
    let dumped = restored(source(), target(), &["types", "sets"]).await;
    let aria_and_myisam = Finding::NonTransactionalTables(vec!["types.aria".into(), "types.mine".into()]);
    assert_eq!((dumped.prepared.text, dumped.prepared.findings), (TextForm::Hex, vec![aria_and_myisam]));
    for (database, form) in [("types", TextForm::Utf8), ("sets", TextForm::Hex)] {
        target().sql(&format!("drop database {database}"));
        let dumped = restored(source(), target(), &[database]).await;
        assert_eq!(dumped.prepared.text, form, "{database}");
    }
}

#[tokio::test]
async fn values_come_back_exactly_under_other_sql_modes() {
    let modes = "--sql-mode=NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH";
    let (strange, plain) = (other(modes), other(""));
    plain.sql(include_str!("schemas/types.sql"));
    restored(&plain, &strange, &["types"]).await;
    plain.sql("drop database types");
    restored(&strange, &plain, &["types"]).await;
}

#[tokio::test]
async fn float_columns_whose_values_are_rounded_are_named() {
    source().sql(
        "create database floats; use floats; create table f(id int primary key, ok float, many float, big float, \
         `fixed` float(10,2), d double); insert into f values (1, 0.1, 3.1415927, 1, 12345.67, 3.141592653589793), \
         (2, -19.99, 0, 16777216, 0, 1e-300), (3, null, null, null, null, null); create table `em``pty`(f float);",
    );
    let dumped = dump(&source().client(), &["floats"]).await;
    let expected = Finding::InexactFloats(vec!["floats.f.many".into(), "floats.f.big".into()]);
    assert_eq!(dumped.prepared.findings, [expected]);
    let skipped = dump(&source().client(), &["floats", "--no-data"]).await;
    assert_eq!(skipped.prepared.findings, []);
}

#[tokio::test]
async fn definitions_that_the_server_shows_with_question_marks_are_named() {
    source().sql(
        "create database marks character set utf8mb4; use marks; create table m(a enum('😀','x'), b varchar(9) default '😀', \
         c varchar(9) default 'é', d varchar(9) default (concat('?')), e enum('?') character set latin1)",
    );
    let found = preflight(&source().client(), &["marks"]).await.unwrap().findings;
    assert_eq!(found, [Finding::LossyDefinitions(vec!["marks.m.a".into(), "marks.m.b".into()])]);
}

#[tokio::test]
async fn a_server_that_ignores_the_character_set_of_its_clients_is_understood() {
    let schema = "create database `база`; use `база`; create table `таблица`(`имя` varchar(20) character set utf8mb4, \
                  old varchar(9) character set cp1251); insert into `таблица` values ('Ж😀', 'я')";
    let server = other("--skip-character-set-client-handshake --character-set-server=utf8mb4");
    server.sql(schema);
    let found = dump(&server.client(), &["--databases", "база"]).await;
    assert_eq!(found.checked, Ok(()));
    assert_eq!(found.prepared.findings, [Finding::InexactText(vec!["база.таблица.old".into()])]);
    restore(&target().client(), &[], &found.bytes).await.unwrap();
    assert_eq!(facts(&server, "база"), facts(target(), "база"));

    let server = other("--skip-character-set-client-handshake --character-set-server=latin1");
    server.sql(&format!("set names utf8mb4; {schema}"));
    let error = preflight(&server.client(), &["--databases", "база"]).await.unwrap_err();
    assert!(matches!(&error, PreflightError::CharacterSet(name) if name == "latin1"), "{error}");
    restore(&server.client(), &[], &found.bytes).await.unwrap();
}
