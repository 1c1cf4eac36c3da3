//! Some databases out of several.

use super::super::{FilterError, NameCase, WantedDatabases};
use super::{filter, record, renamed, wanted};

const DUMP: &str = "-- MariaDB dump 10.19\n/*!40101 SET NAMES utf8mb4 */;\nSET @OLD_SQL_MODE=@@SQL_MODE;\nCHANGE MASTER TO MASTER_LOG_FILE='x';\n\
    CREATE DATABASE `a`;\n\nUSE `a`;\n\n-- of a\nCREATE TABLE t (x int);\nINSERT INTO t VALUES (';\nUSE `b`;');\n\
    DELIMITER ;;\nCREATE PROCEDURE p() begin select 1; end ;;\nDELIMITER ;\n\
    -- Current Database: `b`\nCREATE DATABASE `b` /* ; */;\nUSE `b`;\n-- of b\nSET character_set_client = utf8;\n\
    CREATE TABLE t (x int);\nINSERT INTO t VALUES (1); INSERT INTO `a`.t VALUES (2);\nDELIMITER ;;\n\
    CREATE PROCEDURE p() begin use a; end ;;\nDELIMITER ;\nINSERT INTO `c`.`t` VALUES (1);\nUSE a;\nCREATE VIEW v AS select 1;\n\
    USE `B`;\nCREATE VIEW w AS select 1;\n/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n-- Dump completed\n";

#[test]
fn only_the_wanted_database_stays_with_settings_and_last_line() {
    let out = String::from_utf8(filter(DUMP.as_bytes(), wanted("b")).unwrap()).unwrap();
    assert_eq!(
        out,
        "-- MariaDB dump 10.19\n/*!40101 SET NAMES utf8mb4 */;\nSET @OLD_SQL_MODE=@@SQL_MODE;\nDELIMITER ;;\nDELIMITER ;\n\
         CREATE DATABASE `b` /* ; */;\nUSE `b`;\n-- of b\nSET character_set_client = utf8;\n\
         CREATE TABLE t (x int);\nINSERT INTO t VALUES (1); \nDELIMITER ;;\n\
         CREATE PROCEDURE p() begin use a; end ;;\nDELIMITER ;\n\
         /*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n-- Dump completed\n"
    );
}

#[test]
fn a_qualified_statement_belongs_to_the_database_that_it_names() {
    let out = String::from_utf8(filter(DUMP.as_bytes(), wanted("a")).unwrap()).unwrap();
    assert!(out.contains("INSERT INTO `a`.t VALUES (2);"), "{out}");
    assert!(out.contains("USE a;\nCREATE VIEW v AS select 1;\n") && !out.contains("VIEW w"), "{out}");
    assert!(out.contains("(';\nUSE `b`;')") && !out.contains("of b"), "{out}");
    let record = record(out.as_bytes());
    assert_eq!(record.ending.check(), Ok(()));
    assert_eq!(record.databases.len(), 1);
}

#[test]
fn several_databases_stay_and_each_must_be_there() {
    let of = |names: [&str; 2]| {
        let databases = names.into_iter().flat_map(|name| wanted(name).databases).collect();
        WantedDatabases { databases, case: NameCase::Sensitive }
    };
    let out = String::from_utf8(filter(DUMP.as_bytes(), of(["a", "b"])).unwrap()).unwrap();
    let names: Vec<String> = record(out.as_bytes()).databases.into_iter().filter_map(|found| found.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(out.contains("-- of a\n") && out.contains("-- of b\n") && out.contains("INSERT INTO `a`.t"), "{out}");
    assert!(!out.contains("`c`") && !out.contains("VIEW w") && !out.contains("CHANGE MASTER"), "{out}");
    let missing = filter(DUMP.as_bytes(), of(["a", "nope"]));
    assert_eq!(missing, Err(FilterError::NotFound { database: "nope".into() }));
    // A statement about two of them belongs to both, one about a third to nobody.
    let both = "USE `a`;\nDROP TABLE t, b.t;\nUSE `b`;\nCREATE TABLE t (x int);\n";
    assert_eq!(filter(both.as_bytes(), of(["a", "b"])), Ok(both.as_bytes().to_vec()));
    let third = both.replace("b.t", "c.t");
    assert!(matches!(filter(third.as_bytes(), of(["a", "b"])), Err(FilterError::Unclear { .. })));
}

#[test]
fn names_are_compared_as_the_server_does() {
    let insensitive = WantedDatabases { case: NameCase::Insensitive, ..wanted("b") };
    let out = String::from_utf8(filter(DUMP.as_bytes(), insensitive).unwrap()).unwrap();
    assert!(out.contains("USE `B`;\nCREATE VIEW w AS select 1;\n"), "{out}");
    let missing = filter(DUMP.as_bytes(), wanted("A"));
    assert_eq!(missing, Err(FilterError::NotFound { database: "A".into() }));
}

#[test]
fn statements_on_one_line_leave_commands_at_the_start_of_theirs() {
    let dump = "USE `b`; SET @x=1; CREATE TABLE t (a int);\nDELIMITER //\nUSE `a`//\ncreate table u (a int)//\nDELIMITER ;\n-- Dump completed\n";
    let out = String::from_utf8(filter(dump.as_bytes(), wanted("a")).unwrap()).unwrap();
    assert_eq!(out, "SET @x=1; \nDELIMITER //\nUSE `a`//\ncreate table u (a int)//\nDELIMITER ;\n-- Dump completed\n");
}

#[test]
fn a_database_gets_another_name_unless_something_names_it() {
    let renamed = |database: &str| renamed(database, "n`w");
    let out = String::from_utf8(filter(DUMP.as_bytes(), renamed("b")).unwrap()).unwrap();
    assert!(out.contains("CREATE DATABASE `n``w` /* ; */;\nUSE `n``w`;\n") && !out.contains("`b`"), "{out}");
    let error = filter(DUMP.as_bytes(), renamed("a")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a` cannot get another name, because the dump names it in a rows `t`: `INSERT INTO `a`.t`; restore it under its own name"
    );
    let view = "USE `a`;\nCREATE VIEW `v` AS select 1 from `A`.`t`;\n";
    let error = filter(view.as_bytes(), renamed("a")).unwrap_err();
    assert!(error.to_string().contains("names it in a view `v`: `CREATE VIEW `v` AS select 1 from `A`.`t`"), "{error}");
}

#[test]
fn statements_of_which_nobody_knows_where_they_belong_are_refused() {
    let unclear = [
        "DELETE FROM b.t",
        "LOAD DATA INFILE 'x' INTO TABLE t",
        "DROP TABLE t, b.t",
        "LOCK TABLES t WRITE, b.t WRITE",
        "SET STATEMENT max_statement_time=0 FOR DELETE FROM b.t",
        "BEGIN NOT ATOMIC DELETE FROM b.t",
        "CALL b.p()",
    ];
    for statement in unclear {
        let dump = format!("USE `a`;\n{statement};\n");
        assert!(matches!(filter(dump.as_bytes(), wanted("a")), Err(FilterError::Unclear { .. })), "{statement}");
        assert!(filter(format!("USE `a`;\nUSE `b`;\n{statement};\n").as_bytes(), wanted("a")).is_ok());
    }
}

#[test]
fn a_second_statement_of_a_packet_is_never_left_in_with_the_first() {
    for packet in [
        "DROP TABLE t; USE b",
        "SET @x = 1; DELETE FROM b.t",
        "INSERT INTO t VALUES (1); DELETE FROM b.t",
        "COMMIT; USE b",
    ] {
        let of_a = format!("USE a;\nDELIMITER ;;\n{packet};;\nDELIMITER ;\n");
        assert!(matches!(filter(of_a.as_bytes(), wanted("a")), Err(FilterError::Unclear { .. })), "{packet}");
    }
    let other = "USE a;\nUSE b;\nDELIMITER ;;\nDROP TABLE t; USE a;;\nCREATE TABLE u (a int);;\n";
    assert_eq!(filter(other.as_bytes(), wanted("a")), Ok(b"USE a;\nDELIMITER ;;\n".to_vec()));
}

#[test]
fn the_log_that_mariadb_dump_switches_off_is_no_riddle() {
    let dump = "USE `a`;\nSET @save_log_output=@@LOG_OUTPUT;\n\
        /*M!100203 EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE' AND (@@LOG_SLOW_QUERY=1 OR @@GENERAL_LOG=1),\"SET GLOBAL LOG_OUTPUT='NONE'\", \"DO 0\") */;\n\
        USE `mysql`;\nSET GLOBAL LOG_OUTPUT=@save_log_output;\nFLUSH PRIVILEGES;\n";
    let out = String::from_utf8(filter(dump.as_bytes(), wanted("a")).unwrap()).unwrap();
    assert_eq!(out, "USE `a`;\nSET @save_log_output=@@LOG_OUTPUT;\n");
    assert_eq!(record(dump.as_bytes()).oddities.count, 1);
}

#[test]
fn variables_of_the_whole_server_go_unless_the_database_sets_them() {
    let dump = "SET @@GLOBAL.gtid_purged='x';\nSET @@SESSION.SQL_LOG_BIN= 0;\nUSE `a`;\nSET GLOBAL x=1;\nUSE `b`;\nSET PERSIST x=2;\n";
    let out = String::from_utf8(filter(dump.as_bytes(), wanted("a")).unwrap()).unwrap();
    assert_eq!(out, "SET @@SESSION.SQL_LOG_BIN= 0;\nUSE `a`;\nSET GLOBAL x=1;\n");
}
