//! One database out of a dump of several, judged by a server: it comes back exact, and no other database changes.

use std::process::Command;
use std::sync::OnceLock;

use lagan_workers::mariadb::dump::{
    DatabaseRecord, Filter, FilterError, NameCase, Record, RecordedKind, Recorder, WantedDatabase, WantedDatabases,
};
use lagan_workers::mariadb::{Asked, RestoreScope, clearing, met};

use crate::{
    server::{DUMP, TestServer, alone, source, target},
    steps::{passes, restore},
};

/// Names that a splitter could stumble over.
const NAMES: [&str; 7] =
    ["plain", "ti`ck;", "quo'te\"d", "/*!50000 c", "-- dash", "\u{fc}n\u{ef} \u{30bd}", "USE `plain"];

/// One database with all kinds of objects, whose text looks like the ends of statements and other databases.
fn schema(name: &str, other: &str) -> String {
    format!(
        "drop database {name}; create database {name} character set utf8mb4; use {name};
         create table t(id int primary key auto_increment, a text, b longblob, c varchar(20) character set latin1,
           d varchar(20) character set sjis, e double, `odd ``;'` int comment 'it''s; /*', check (e < 9)) comment='); -- \\\\';
         create table `x;y``z`(id int, foreign key (id) references t(id)) engine=innodb;
         create table `line
break`(a int) engine=aria;
         insert into t(a,b,c,d,e) values('{mark}''\\\\',0x00270a5c3b22,0xe927,_sjis 0x835c27,1e-300),('),(\\nUSE `plain`;\\n-- Dump completed\\n',null,'','',-0.5);
         insert into t(a,b) select concat('row ',seq),repeat(char(seq%256),seq%90) from seq_1_to_3000;
         insert into `x;y``z` select id from t where id%7=0; insert into `line
break` values(-1),(- 2);
         create sequence s start with 7; select nextval(s);
         create view v as select t.id, t.a from t where a <> ';''';
         create view `cross` as select x.id from {other}.t x join t on t.id = x.id;",
        mark = name.replace('\'', "''"),
    )
}

/// Programs and events, whose bodies could end a statement early.
fn programs(other: &str) -> String {
    format!(
        "delimiter $$
         create procedure p() comment 'p;' begin /* ; ' */ -- don't; `
           # \"
           declare x text default 'USE `plain`;\\n'; select 1; insert into {other}.t(a) values(';;'); end$$
         create function f() returns int deterministic return (select count(*) from {other}.t)$$
         create trigger tr before insert on t for each row begin if new.a = 'x' then set new.a = '*/;;'; end if; end$$
         create event ev on schedule every 1 day starts '2030-01-01' do begin select '; -- '; /* c */ end$$
         set sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'$$
         create procedure q() begin select '\\'; select \"odd `;'\" from t; end$$
         set sql_mode=default$$
         delimiter ;\n"
    )
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Everything that the server tells about a database.
fn state(server: &TestServer, database: &str) -> String {
    let hex: String = database.bytes().map(|byte| format!("{byte:02x}")).collect();
    let of = |column: &str| format!("{column} = convert(x'{hex}' using utf8mb4)");
    let list = |sql: &str| -> Vec<String> { server.sql(&format!("select hex({sql}")).lines().map(unhex).collect() };
    let mut asked = Vec::new();
    for table in list(&format!("table_name) from information_schema.tables where {} order by 1", of("table_schema"))) {
        let name = format!("{}.{}", quoted(database), quoted(&table));
        asked.push(format!("show create table {name};"));
    }
    for table in list(&format!(
        "table_name) from information_schema.tables where table_type='BASE TABLE' and {} order by 1",
        of("table_schema")
    )) {
        let name = format!("{}.{}", quoted(database), quoted(&table));
        asked.push(format!("checksum table {name} extended; select count(*) from {name};"));
    }
    for (kind, column, source) in [
        ("procedure", "routine_name", "routines where routine_type='PROCEDURE' and routine_schema"),
        ("function", "routine_name", "routines where routine_type='FUNCTION' and routine_schema"),
        ("trigger", "trigger_name", "triggers where trigger_schema"),
        ("event", "event_name", "events where event_schema"),
    ] {
        for name in list(&format!("{column}) from information_schema.{} order by 1", of(source))) {
            asked.push(format!("show create {kind} {}.{};", quoted(database), quoted(&name)));
        }
    }
    let said: Vec<String> = asked.iter().map(|sql| server.sql(sql)).collect();
    // The moment of creation is told beside a trigger.
    let lines: Vec<String> = said.iter().flat_map(|said| said.lines().map(str::to_owned)).collect();
    lines.iter().map(|line| without_time(line)).collect::<Vec<_>>().join("\n")
}

fn unhex(hex: &str) -> String {
    let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

fn without_time(line: &str) -> String {
    match line.rfind("\t20") {
        Some(at) if line.len() - at < 30 => line[..at].to_owned(),
        _ => line.to_owned(),
    }
}

fn dump_of(server: &TestServer, args: &[&str]) -> Vec<u8> {
    let output = Command::new(DUMP)
        .args(["--no-defaults", "-uroot", "--routines", "--events", "--single-transaction", "--hex-blob"])
        .arg(format!("--socket={}/socket", server.directory.display()))
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn record(dump: &[u8]) -> Record {
    let mut recorder = Recorder::default();
    dump.chunks(4093).for_each(|block| recorder.feed(block));
    recorder.finish()
}

fn take(dump: &[u8], database: &str, renamed: Option<&str>) -> Result<Vec<u8>, FilterError> {
    let databases = vec![WantedDatabase { name: database.to_owned(), renamed: renamed.map(str::to_owned) }];
    let wanted = WantedDatabases { databases, case: NameCase::Sensitive };
    let (mut filter, mut out) = (Filter::new(wanted), Vec::new());
    for block in dump.chunks(4093) {
        filter.feed(block, &mut out)?;
    }
    filter.finish(&mut out)?;
    Ok(out)
}

/// The server with all these databases, each of which uses the next.
fn many() -> &'static TestServer {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        for name in NAMES {
            alone().sql(&format!("create database {0}; create table {0}.t(id int primary key, a text)", quoted(name)));
        }
        for (at, name) in NAMES.iter().enumerate() {
            let other = quoted(NAMES[(at + 1) % NAMES.len()]);
            alone().sql(&schema(&quoted(name), &other));
            if !is_quoting(name) {
                alone().sql(&format!("use {};\n{}", quoted(name), programs(&other)));
            }
        }
    });
    alone()
}

/// Ways to dump all of them.
const WAYS: [&[&str]; 2] = [
    &["--all-databases"],
    &[
        "--all-databases",
        "--skip-extended-insert",
        "--skip-hex-blob",
        "--default-character-set=binary",
        "--add-drop-database",
    ],
];

/// mariadb-dump fails at programs and events of databases with such names.
fn is_quoting(name: &str) -> bool {
    name.contains(['\'', '"', '\\'])
}

#[tokio::test]
async fn one_database_of_all_comes_back_exact_and_no_other_changes() {
    let (source, target) = (many(), target());
    for way in WAYS {
        let dump = dump_of(source, way);
        for name in NAMES {
            let mine = format!(
                "set foreign_key_checks=0; create or replace database {0} character set utf8mb4; create table {0}.t(id int primary key, a text); ",
                quoted(name)
            );
            target.sql(&(mine + &format!("insert into {}.t values(1,'mine')", quoted(name))));
        }
        for (at, name) in NAMES.iter().enumerate() {
            let others = [&NAMES[..at], &NAMES[at + 1..]].concat();
            let states = || others.iter().map(|name| state(target, name)).collect::<Vec<_>>();
            let before = states();
            let stays = take(&dump, name, None).unwrap();
            assert_eq!(restore(&target.client(), &[], &stays).await, Ok(()), "{name}");
            assert_eq!(state(target, name), state(source, name), "{name}");
            assert_eq!(states(), before, "{name}");
        }
    }
}

#[test]
fn the_record_counts_what_the_server_counts() {
    let source = many();
    for way in WAYS {
        let dump = dump_of(source, way);
        let record = record(&dump);
        assert_eq!(record.ending.check(), Ok(()));
        passes(&record, &dump);
        let own = |database: &&DatabaseRecord| database.name.as_deref() != Some("mysql");
        for database in record.databases.iter().filter(own) {
            let name = database.name.as_deref().unwrap();
            for table in &database.tables.listed {
                let counted = source.sql(&format!("select count(*) from {}.{}", quoted(name), quoted(&table.name)));
                assert_eq!(table.rows.to_string(), counted, "{name} {}", table.name);
            }
            assert_eq!(database.tables.listed.len(), 3, "{name}");
            assert_eq!(database.objects[&RecordedKind::View].listed, ["cross", "v"], "{name}");
            if !is_quoting(name) {
                assert_eq!(database.objects[&RecordedKind::Procedure].listed, ["p", "q"], "{name}");
                assert_eq!(database.objects[&RecordedKind::Function].listed, ["f"], "{name}");
                assert_eq!(database.objects[&RecordedKind::Event].listed, ["ev"], "{name}");
                assert_eq!(database.objects[&RecordedKind::Trigger].listed, ["tr"], "{name}");
            }
            assert!(database.created, "{name}");
        }
        let mut found: Vec<&str> =
            record.databases.iter().filter(own).filter_map(|database| database.name.as_deref()).collect();
        found.sort_unstable();
        let mut all = NAMES;
        all.sort_unstable();
        assert_eq!(found, all);
        assert!(record.database(Some("plain")).unwrap().uses.names.contains(NAMES[1]));
    }
}

#[tokio::test]
async fn a_database_comes_back_under_another_name_if_nothing_names_it() {
    let source = source();
    source.sql("create or replace database mv; use mv; create table t(a int, b text); insert into t values(1,'mv.t'),(2,'USE `mv`;');
        create view v as select t.a from t; create table k(a int);\ndelimiter $$\ncreate procedure p() begin select a from t; end$$
        create trigger tr before insert on t for each row set new.a = 1$$");
    let dump = dump_of(source, &["--databases", "mv"]);
    let stays = take(&dump, "mv", Some("m `v;")).unwrap();
    assert_eq!(restore(&target().client(), &[], &stays).await, Ok(()));
    assert_eq!(state(target(), "m `v;"), state(source, "mv").replace("`mv`", "`m ``v;`").replace("\nmv.", "\nm `v;."));
    assert_eq!(target().sql("select count(*) from information_schema.schemata where schema_name='mv'"), "0");
    source.sql("create procedure mv.old() select * from mv.t");
    let error = take(&dump_of(source, &["--databases", "mv"]), "mv", Some("other")).unwrap_err();
    assert!(matches!(&error, FilterError::NamesItself { .. }), "{error}");
    assert!(error.to_string().contains("procedure `old`"), "{error}");
}

fn scope_of(record: &Record, into: Option<&str>) -> RestoreScope {
    let asked = Asked { into: into.map(str::to_owned), ..Asked::default() };
    lagan_workers::mariadb::scope(record, &asked, NameCase::Sensitive).unwrap()
}

#[tokio::test]
async fn what_stays_and_what_is_in_the_way_is_known_before_and_replacing_leaves_nothing() {
    let (source, target) = (source(), target());
    source.sql(
        "create or replace database ex; use ex; create table t(a int); insert into t values(1); create table u(a int);
         create view v as select 1; create procedure p() select 1; create event e on schedule every 1 day do select 1",
    );
    let held =
        "use ex; create table t(z int); create view u as select 1 z; create table v(a int); create table extra(a int);
         create sequence s; create procedure P() select 2; create function f() returns int return 1;
         create table `o'ld`(a int, foreign key (a) references extra2(a))";
    let held = format!(
        "create or replace database ex character set latin2; create table ex.extra2(a int primary key);
         create or replace database user_of_ex; create table user_of_ex.r(a int, foreign key (a) references ex.extra2(a)); {held}"
    );
    // Once creating the database, once into one that is there.
    for (args, into) in [(&["--databases", "ex"][..], None), (&["ex"], Some("ex"))] {
        target.sql("set foreign_key_checks=0; drop database if exists ex; drop database if exists user_of_ex");
        target.sql(&held);
        let dump = dump_of(source, args);
        let record = record(&dump);
        let scope = scope_of(&record, into);
        let found = met(&target.client(), &scope, &record, NameCase::Sensitive).await.unwrap();
        assert_eq!(
            found.stays,
            ["table ex.extra", "table ex.extra2", "table ex.o'ld", "function ex.f", "sequence ex.s"]
        );
        assert_eq!(found.clashes, ["view ex.u"]);

        let first = clearing(&target.client(), &scope).await.unwrap();
        let stream = [first.as_bytes(), &dump].concat();
        let args: Vec<&str> = scope.selects.iter().map(String::as_str).collect();
        assert_eq!(restore(&target.client(), &args, &stream).await, Ok(()));
        let programs_collation = |text: String| text.replace("latin2_general_ci", "latin1_swedish_ci");
        assert_eq!(programs_collation(state(target, "ex")), state(source, "ex"));
        assert_eq!(target.sql("select count(*) from user_of_ex.r"), "0");
        let character_set = "select default_character_set_name from information_schema.schemata where schema_name='ex'";
        let kept =
            if into.is_some() { target.sql(character_set) == "latin2" } else { target.sql(character_set) != "latin2" };
        assert!(kept, "a database that the dump does not make keeps its own settings");
    }
}
