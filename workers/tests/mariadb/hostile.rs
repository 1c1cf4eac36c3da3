//! Streams that nobody should restore. The same stream runs through a real client and past the guard: if it changed another
//! database, or the server, the guard must have stopped before that statement, and the scope must have named or refused it.

use lagan_workers::mariadb::dump::{NameCase, Record, Recorder, ScopeGuard};
use lagan_workers::mariadb::{Asked, scope};

use crate::server::{TestServer, other};
use crate::steps::{dump, feed};

const MADE: &str = "create or replace database own; create or replace database prod; create table own.t(x varchar(90));
    create table prod.t(x varchar(90)); insert into prod.t values('1'),('2'); create table prod.m(x int) engine=myisam;
    create sequence prod.s; create sequence own.s; create procedure prod.p() delete from prod.t; set global net_retry_count=10;
    create or replace function prod.f() returns int return 1;";

/// Each is a statement, or some, that a real server runs to the harm of `prod` or of itself.
const HARMFUL: [&str; 54] = [
    "ANALYZE DELETE FROM prod.t;",
    "ANALYZE FORMAT=JSON DELETE FROM prod.t;",
    "EXECUTE IMMEDIATE IF(@@LOG_OUTPUT LIKE '%','DELETE FROM prod.t','');",
    "EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE' OR 1=1,'DELETE FROM prod.t','DO 0');",
    "DELIMITER ;;\nDROP TABLE IF EXISTS x; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nDROP TABLE IF EXISTS x; USE prod ;;\nDELIMITER ;\nINSERT INTO t VALUES ('9');",
    "DELIMITER ;;\nSET @x=1; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nINSERT INTO t VALUES ('a'); DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCOMMIT; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCREATE PROCEDURE p() SELECT 1; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCREATE PROCEDURE p() SELECT CASE 1 WHEN 1 THEN 2 END; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCREATE PROCEDURE p() begin_: BEGIN DECLARE end INT; SET end = 1; END begin_; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCREATE TRIGGER begin BEFORE INSERT ON t FOR EACH ROW SET @x=IF(1,2,3); DELETE FROM prod.t ;;",
    "SET @do=1;\nDELIMITER ;;\nCREATE EVENT e ON SCHEDULE AT now() + INTERVAL @do DAY DISABLE COMMENT 'do begin' DO DO 1; DELETE FROM prod.t ;;",
    "DELIMITER ;;\nCREATE FUNCTION f() RETURNS INT RETURN REPEAT('1',1); DELETE FROM prod.t ;;",
    "SET sql_mode='ORACLE';\nDELIMITER ;;\nCREATE PROCEDURE p AS x INT; BEGIN NULL; END; DELETE FROM prod.t ;;",
    "SET sql_mode='ORACLE';\nDELIMITER ;;\nCREATE PACKAGE p AS PROCEDURE q; END; DELETE FROM prod.t ;;",
    "/*M!99999 DELETE FROM prod.t */;",
    "/*M!50700 USE prod */;\nINSERT INTO t VALUES ('9');",
    "USE prod;\n/*!80000 USE own */;\nINSERT INTO t VALUES ('9');",
    "/*!80000 SET sql_mode='NO_BACKSLASH_ESCAPES' */;\nSET @x='\\'; SELECT 1 -- ';\nDELETE FROM prod.t; SET @y='';",
    "DROP TABLE IF EXISTS x /*!80000 /* */ ' */; DELETE FROM prod.t; -- '\n",
    "/*M!990000 SET sql_mode='ANSI_QUOTES' */;\nSET @x=\"\\\"\"; DELETE FROM prod.t; -- \";",
    "/*M!990000 SET @x='*/ DELETE FROM prod.t; -- ' */;",
    "/*M!990000 -- */ DELETE FROM prod.t\n-- */\n;",
    "DROP TABLE IF EXISTS x /*M!990000 , y, ' */; DELETE FROM prod.t; -- '\n",
    "ANALYZE /*M!990000 TABLE */ DELETE FROM prod.t;",
    "USE prod;\n/*M!990000 USE own */;\nINSERT INTO t VALUES ('9');",
    "SET @a='ANSI_QUOTES';\nSET sql_mode=@a;\nDROP TABLE IF EXISTS \"\\\"; DELETE FROM prod.t; -- \";",
    "SET sql_mode=0x414E53495F51554F544553;\nDROP TABLE IF EXISTS \"\\\"; DELETE FROM prod.t; -- \";",
    "SET sql_mode='ANSI_QUOTE\\S';\nDROP TABLE IF EXISTS \"\\\"; DELETE FROM prod.t; -- \";",
    "INSERT INTO t VALUES (@a:='ANSI_QUOTES');\nSET sql_mode=@a;\nDROP TABLE IF EXISTS \"\\\"; DELETE FROM prod.t; -- \";",
    "CREATE TABLE u (x VARCHAR(20) DEFAULT (@a:='ANSI_QUOTES'));\nINSERT INTO u VALUES ();\nSET sql_mode=@a;\nDROP TABLE IF EXISTS \"\\\"; DELETE FROM prod.t; -- \";",
    "SET GLOBAL net_retry_count=77;",
    "SET GLOBAL max_connections=99, @x=1, net_retry_count=77;",
    "SET @a01=1,@a02=1,@a03=1,@a04=1,@a05=1,@a06=1,@a07=1,@a08=1,@a09=1,@a10=1,@a11=1,@a12=1,@a13=1,@a14=1,@a15=1,@a16=1,@a17=1, GLOBAL net_retry_count=77;",
    "SET NAMES gbk;\nSET @x='\u{FFFF}\\'; DELETE FROM prod.t; -- ';",
    "DELIMITER ;;\nCREATE FUNCTION g() RETURNS INT BEGIN DELETE FROM prod.t; RETURN 1; END;;\nDELIMITER ;\nSET @x=g();",
    "DELIMITER ;;\nCREATE FUNCTION g() RETURNS INT BEGIN DELETE FROM prod.t; RETURN 1; END;;\nDELIMITER ;\nINSERT INTO t VALUES (g());",
    "DELIMITER ;;\nCREATE FUNCTION g() RETURNS INT BEGIN DELETE FROM prod.t; RETURN 1; END;;\nDELIMITER ;\nINSERT INTO t SET x=g();",
    "DELIMITER ;;\nCREATE FUNCTION g() RETURNS INT BEGIN DELETE FROM prod.t; RETURN 1; END;;\nDELIMITER ;\nCREATE TABLE u AS SELECT g();",
    "CREATE VIEW v AS SELECT * FROM prod.t;\nINSERT INTO v VALUES ('5');",
    "/*!50001 CREATE VIEW v AS SELECT * FROM prod.t */;\nREPLACE INTO own.v VALUES ('5');",
    "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW DELETE FROM prod.t;\nINSERT INTO t VALUES ('5');",
    "CREATE TABLE mm (x INT) ENGINE=MERGE UNION=(prod.m) INSERT_METHOD=LAST;\nINSERT INTO mm VALUES (5);",
    "SET default_storage_engine=MERGE;\nCREATE TABLE mm (x INT) UNION=(prod.m) INSERT_METHOD=LAST;\nINSERT INTO mm VALUES (5);",
    "ALTER TABLE t RENAME prod.t2;",
    "ALTER TABLE t RENAME = prod.t2;",
    "CREATE TABLE pt (x INT) ENGINE=MyISAM PARTITION BY HASH(x) PARTITIONS 1;\nINSERT INTO pt VALUES (3);\nALTER TABLE pt EXCHANGE PARTITION p0 WITH TABLE prod.m;",
    "CREATE INDEX i ON prod.t (x);",
    "SET @x = NEXT VALUE FOR prod.s;",
    "SET @x = (SELECT NEXTVAL(prod.s));",
    "DO SETVAL(own.s, 1), NEXTVAL(prod.s);",
    "CALL prod.p();",
];

fn state(server: &TestServer) -> String {
    server.sql(
        "select group_concat(x order by x) from prod.t; select group_concat(x) from prod.m; show create table prod.t;
         select next_not_cached_value from prod.s; select @@global.net_retry_count; show tables in prod",
    )
}

fn bytes(text: &str) -> Vec<u8> {
    // The character of GBK whose second byte is a backslash.
    let Some(at) = text.find('\u{FFFF}') else { return text.as_bytes().to_vec() };
    [&text.as_bytes()[..at], b"\xBF", &text.as_bytes()[at + '\u{FFFF}'.len_utf8()..]].concat()
}

fn record(stream: &[u8]) -> Record {
    let mut recorder = Recorder::default();
    recorder.feed(stream);
    recorder.finish()
}

/// The bytes that the guard lets through, and whether they are all.
fn guarded(stream: &[u8], record: &Record) -> (Vec<u8>, bool) {
    let (mut guard, mut out) = (ScopeGuard::new(record), Vec::new());
    let passed = stream.chunks(64).try_for_each(|block| guard.feed(block, &mut out));
    let passed = passed.and_then(|()| guard.finish(&mut out));
    (out, passed.is_ok())
}

#[tokio::test]
async fn a_stream_that_changes_another_database_is_refused_before_it_does() {
    let server = other("");
    let innocent = record(b"USE own;\nCREATE TABLE t (x int);\nINSERT INTO t VALUES (1);\n");
    server.sql(MADE);
    let before = state(&server);
    let mut wrong = Vec::new();
    for text in HARMFUL {
        let stream = [b"USE own;\n", bytes(text).as_slice(), b"\n"].concat();
        server.sql(MADE);
        let _ = feed(&server.client(), &[], &stream).await;
        if state(&server) == before {
            wrong.push(format!("the server came to no harm: {text}"));
        }
        let (passed, whole) = guarded(&stream, &innocent);
        server.sql(MADE);
        let _ = feed(&server.client(), &[], &passed).await;
        if whole || state(&server) != before {
            wrong.push(format!("the guard let it pass: {text}"));
        }
        let own = record(&stream);
        let scope = scope(&own, &Asked::default(), NameCase::Sensitive);
        let only_own = scope.is_ok_and(|scope| scope.databases.iter().all(|database| database.name == "own"));
        let is_told = own.oddities.first.iter().any(|oddity| oddity.statement.contains("net_retry_count"));
        if only_own && !is_told {
            wrong.push(format!("the scope is only `own`: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All options of mariadb-dump that are allowed, with values.
const OPTIONS: [&[&str]; 53] = [
    &["--all-databases"],
    &["--databases", "opt"],
    &["opt", "--tables", "t"],
    &["--all-databases", "--ignore-database=opt2"],
    &["--ignore-table=opt.v", "opt"],
    &["--ignore-table-data=opt.t", "opt"],
    &["--require-loadable", "opt"],
    &["--routines", "opt"],
    &["--events", "opt"],
    &["--triggers", "opt"],
    &["--no-data", "opt"],
    &["--skip-no-data-med", "opt"],
    &["--no-create-info", "opt"],
    &["--no-create-db", "--databases", "opt"],
    &["--where=a>0", "--skip-triggers", "opt", "t"],
    &["--dump-history", "opt"],
    &["--skip-dump-history", "--as-of=2030-01-01 00:00:00", "opt"],
    &["--comments", "opt"],
    &["--quote-names", "opt"],
    &["--set-charset", "opt"],
    &["--tz-utc", "opt"],
    &["--default-character-set=utf8mb4", "opt"],
    &["--dump-date", "opt"],
    &["--max-allowed-packet=64M", "opt"],
    &["--all-tablespaces", "opt"],
    &["--no-tablespaces", "opt"],
    &["--add-drop-database", "--databases", "opt"],
    &["--add-drop-table", "opt"],
    &["--add-drop-trigger", "opt"],
    &["--add-locks", "opt"],
    &["--allow-keywords", "opt"],
    &["--apply-slave-statements", "--master-data=1", "--gtid", "opt"],
    &["--complete-insert", "opt"],
    &["--compress", "opt"],
    &["--copy-s3-tables", "opt"],
    &["--create-options", "opt"],
    &["--delayed-insert", "opt"],
    &["--disable-keys", "opt"],
    &["--skip-extended-insert", "opt"],
    &["--flush-privileges", "--all-databases"],
    &["--hex-blob", "opt"],
    &["--include-master-host-port", "--master-data", "opt"],
    &["--insert-ignore", "opt"],
    &["--lock-all-tables", "--skip-single-transaction", "opt"],
    &["--lock-tables", "--skip-single-transaction", "opt"],
    &["--log-queries", "opt"],
    &["--max-statement-time=100", "opt"],
    &["--net-buffer-length=8192", "opt"],
    &["--no-autocommit", "opt"],
    &["--opt", "--order-by-primary", "opt"],
    &["--order-by-size", "--quick", "opt"],
    &["--replace", "--skip-dump-history", "--single-transaction", "opt"],
    &["--verbose", "opt"],
];

#[tokio::test]
async fn what_is_dumped_with_any_option_is_restored() {
    // Without a cluster, the server has no such state.
    let without = ["galera-info"];
    let rules = lagan_schemas::catalogue::engine("MariaDB").unwrap().options.iter();
    for option in rules.filter(|rules| rules.program == "mariadb-dump").flat_map(|rules| &rules.allowed) {
        let names = |given: &&str| {
            given.trim_start_matches("--").trim_start_matches("skip-").split('=').next() == Some(&option.name)
        };
        let tried = OPTIONS.iter().copied().flatten().any(names);
        assert!(tried || without.contains(&option.name.as_str()), "--{} is not tried", option.name);
    }
    let server = other("--log-bin --server-id=1");
    server.sql(
        "create database opt; create database opt2; use opt; create table t(a int primary key, b varchar(20)) ;
         insert into t values(1,'a;b'),(2,null); create view v as select a from t; create sequence s;
         create table h(a int) with system versioning; insert into h values(1); delete from h;\ndelimiter $$
         create procedure p() begin declare continue handler for not found set @x=1; if 1 then select 1; end if; end$$
         create trigger tr before insert on t for each row begin set new.b='x'; end$$
         create event ev on schedule every 1 day do begin delete from t; end$$\n",
    );
    for args in OPTIONS {
        let dumped = dump(&server.client(), args).await;
        assert!(dumped.outcome.clean(), "{args:?}: {:?}", dumped.outcome.stderr);
        let scope = scope(&dumped.record, &Asked { into: None, ..Asked::default() }, NameCase::Sensitive);
        assert!(scope.is_ok(), "{args:?}: {scope:?} {:?}", dumped.record.oddities);
        let (_, whole) = guarded(&dumped.bytes, &dumped.record);
        assert!(whole, "{args:?}");
    }
}
