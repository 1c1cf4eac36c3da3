//! Records of streams whose content is known.

use super::super::{Ending, FirstDump, OddityKind, Record, RecordedKind, Taken};
use super::record;

const HEAD: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for x (y)\n--\n\
    -- Host: db-0    Database: a\n-- ------\n-- Server version\t10.11.8-MariaDB-log\n\n\
    /*!40101 SET NAMES utf8mb4 */;\n/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n";
const TRAILER: &str = "/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n\n-- Dump completed on 2026-11-26  4:14:44\n";

fn of(body: &str) -> Record {
    record(format!("{HEAD}{body}{TRAILER}").as_bytes())
}

fn rows(record: &Record, database: Option<&str>, table: &str) -> u64 {
    record.database(database).unwrap().tables.listed.iter().find(|found| found.name == table).unwrap().rows
}

#[test]
fn the_header_is_read() {
    let header = of("").header;
    assert_eq!(header.writer.as_deref(), Some("MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for x (y)"));
    assert_eq!((header.host.as_deref(), header.database.as_deref()), (Some("db-0"), Some("a")));
    assert_eq!(header.server_version.as_deref(), Some("10.11.8-MariaDB-log"));
    assert_eq!(header.character_set.as_deref(), Some("utf8mb4"));
}

#[test]
fn rows_are_counted_whatever_they_hold() {
    let body = "CREATE TABLE `t` (a int);\n\
        INSERT INTO `t` VALUES (1,'a'),\n(2,'),(');\n\
        INSERT INTO `t` (`values`, `b`) VALUES\n(-1,_binary 'x\\'),(\\\\'),\n(- 2,'it''s),('),(3,0x27)\n;\n\
        INSERT IGNORE INTO t VALUE ('(1),',1) ON DUPLICATE KEY UPDATE a=VALUES(a),b=(2);\n\
        REPLACE INTO `t` VALUES ROW(1,2), ROW(3,4);\n\
        INSERT INTO `t` VALUES (1 /* ),( */, 2), -- ),(\n(2, 3 # ),(\n);\n\
        INSERT INTO `t` SELECT (1),(2);\nINSERT INTO `t` SET a=(1);\n";
    let record = of(body);
    assert_eq!(rows(&record, None, "t"), 2 + 3 + 1 + 2 + 2);
    assert_eq!((record.rows(), record.uncounted_inserts), (10, 2));
}

#[test]
fn objects_are_told_apart_and_placeholders_are_none() {
    let body = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a``b` /*!40100 DEFAULT CHARACTER SET latin1 COLLATE latin1_bin */;\n\
        USE `a``b`;\nCREATE SEQUENCE `s` start with 1 ENGINE=InnoDB;\nDO SETVAL(`s`, 1, 0);\n\
        CREATE TABLE `t` (\n  `x` varchar(1) COLLATE utf8mb3_bin CHARACTER SET utf8mb3\n) ENGINE=Aria DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin ROW_FORMAT=PAGE COMMENT='ENGINE=x; (';\n\
        /*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `x` */;\n/*!50001 CREATE TABLE `w` (`x` int) ENGINE=MyISAM */;\n\
        DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 trigger x before insert on t for each row begin\nCREATE TABLE `no` (a int);\nend */;;\nDELIMITER ;\n\
        DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=role*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO select ';;' */ ;;\nDELIMITER ;\n\
        DELIMITER ;;\nCREATE DEFINER=`r`@`%` PROCEDURE `p`()\nbegin\n-- don't; stop\nselect 1;\nend ;;\nCREATE FUNCTION f() RETURNS int return 1;;\nCREATE PACKAGE BODY `q` AS end;;\nDELIMITER ;\n\
        /*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`r`@`h` SQL SECURITY INVOKER */\n/*!50001 VIEW `v` AS select 1 */;\n";
    let record = of(body);
    let [database] = record.databases.as_slice() else { unreachable!("{:?}", record.databases) };
    assert_eq!((database.name.as_deref(), database.created), (Some("a`b"), true));
    assert_eq!(database.tables.listed.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["t"]);
    let kinds = [
        RecordedKind::Sequence,
        RecordedKind::Trigger,
        RecordedKind::Event,
        RecordedKind::Procedure,
        RecordedKind::Function,
        RecordedKind::PackageBody,
        RecordedKind::View,
    ];
    for (kind, name) in kinds.iter().zip(["s", "x", "e", "p", "f", "q", "v"]) {
        assert_eq!(database.objects[kind].listed, [name], "{kind:?}");
    }
    let names = |names: &super::super::Names| names.names.iter().cloned().collect::<Vec<_>>().join(" ");
    let needs = &database.needs;
    assert_eq!(names(&needs.definers), "r@% r@h role");
    assert_eq!(names(&needs.engines), "Aria InnoDB");
    assert_eq!(names(&needs.collations), "latin1_bin utf8mb3_bin utf8mb4_bin");
    assert_eq!(names(&needs.character_sets), "latin1 utf8mb3 utf8mb4");
    assert_eq!(names(&needs.table_options), "ROW_FORMAT=PAGE");
    assert_eq!(names(&needs.sql_security), "INVOKER");
    assert_eq!(record.oddities.count, 0, "{:?}", record.oddities);
}

#[test]
fn quotes_are_read_as_the_mode_of_the_moment_wants() {
    let body = "CREATE TABLE `t` (a int);\n/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\n\
        /*!50003 SET sql_mode              = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\n\
        CREATE PROCEDURE \"p\"() begin select '\\'; select \"a\\\"; end;;\nDELIMITER ;\n\
        /*!50003 SET sql_mode              = @saved_sql_mode */ ;\nINSERT INTO t VALUES ('\\''),(\"\\\"\");\n";
    let record = of(body);
    assert_eq!(record.ending, Ending::Complete);
    assert_eq!((record.database(None).unwrap().count(RecordedKind::Procedure), rows(&record, None, "t")), (1, 2));
}

#[test]
fn statements_that_name_databases_are_found() {
    let view = "CREATE VIEW `v` AS select `x`.`b` AS `b`,`b`.`t2`.`x` AS `x` from (`a`.`t` `x` join `b`.`t2` on(`c`.`f`() = 1))";
    let body = format!(
        "USE `b`;\n{view};\nCREATE TABLE k (t int, CONSTRAINT c FOREIGN KEY (t) REFERENCES `d`.`t` (`id`));\n\
         DELIMITER ;;\nCREATE PROCEDURE p() begin select x.y from t x where x.y > 1.5; prepare s from 'select * from `B`.t'; end;;\n\
         CREATE PROCEDURE q() begin set @b.x = 1, NEW.b = 'b'; select 'ab.c'; end;;\nDELIMITER ;\n"
    );
    let record = of(&body);
    let database = record.database(Some("b")).unwrap();
    assert_eq!(database.uses.names.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c", "d"]);
    let found: Vec<_> = database
        .names_itself
        .first
        .iter()
        .map(|naming| (naming.kind.as_str(), naming.object.as_deref().unwrap()))
        .collect();
    assert_eq!(found, [("view", "v"), ("view", "v"), ("procedure", "p"), ("procedure", "q")]);
}

#[test]
fn a_dump_of_one_database_knows_its_name_from_the_header() {
    let record = of("CREATE TABLE t (a int);\nCREATE VIEW v AS select `a`.`t`.`a` from `a`.`t`;\n");
    assert_eq!(record.database(None).unwrap().names_itself.count, 2);
}

#[test]
fn statements_that_no_dump_has_are_shown_without_their_data() {
    use OddityKind::{Account, CharacterSet, ClientCommand, GlobalVariable, LoadData, Other, Replication};
    let body = "GRANT ALL ON *.* TO `x`@`%` IDENTIFIED BY 'geheim';\nLOAD DATA INFILE '/etc/passwd' INTO TABLE t;\n\
        SET GLOBAL max_connections = 1;\nSET NAMES sjis;\nselect 1; DELIMITER //\n\\! touch x\n;\nSOURCE /etc/passwd;\nCHANGE MASTER TO MASTER_HOST='x';\n";
    let record = of(body);
    let kinds: Vec<OddityKind> = record.oddities.first.iter().map(|oddity| oddity.kind).collect();
    assert_eq!(kinds, [Account, LoadData, GlobalVariable, CharacterSet, Other, ClientCommand, Other, Replication]);
    assert!(!format!("{record:?}").contains("geheim"));
}

#[test]
fn tables_that_a_stream_uses_and_does_not_create_are_listed_with_their_rows() {
    let record =
        of("CREATE TABLE a (x int);\nLOCK TABLES `a` WRITE, `b` READ, other.z WRITE;\nINSERT INTO a VALUES (1);\n\
        INSERT INTO `d` VALUES (1),(2);\nINSERT INTO d VALUES (3);\nINSERT INTO c (x) SELECT 1;\n\
        ALTER TABLE e DISABLE KEYS;\nCREATE TRIGGER tr BEFORE INSERT ON f FOR EACH ROW SET @a=1;\n");
    let required = &record.database(None).unwrap().required_tables;
    let found: Vec<(&str, u64)> = required.listed.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    assert_eq!(found, [("b", 0), ("d", 3), ("c", 0), ("e", 0), ("f", 0)]);
}

#[test]
fn objects_that_are_created_where_one_may_be_are_listed() {
    let record = of("CREATE TABLE IF NOT EXISTS a (x int);\nCREATE OR REPLACE TABLE b (x int);\n\
        DROP TABLE IF EXISTS c;\nCREATE TABLE C (x int);\nDROP TABLE d;\nCREATE VIEW d AS SELECT 1;\n\
        DROP VIEW IF EXISTS `v`;\n/*!50001 CREATE VIEW `v` AS SELECT 1 */;\nDROP VIEW IF EXISTS `v`;\n\
        CREATE VIEW v AS SELECT 1;\nCREATE TABLE e (x int);\n");
    let database = record.database(None).unwrap();
    assert_eq!(database.tables_not_dropped.first, ["e"]);
    let kinds: Vec<_> = database.objects_not_dropped.iter().map(|(kind, few)| (*kind, few.first.as_slice())).collect();
    assert_eq!(kinds, [(RecordedKind::View, ["d".to_owned()].as_slice())]);
}

#[test]
fn each_kind_of_incomplete_stream_has_words_of_its_own() {
    let whole = format!("{HEAD}INSERT INTO `t` VALUES (1,'abc');\n{TRAILER}");
    let says = |stream: &str| record(stream.as_bytes()).ending.check().map_err(|error| error.to_string());
    assert_eq!(says(&whole), Ok(()));
    assert_eq!(says("").unwrap_err(), "the dump is empty");
    assert_eq!(says(" \n\n").unwrap_err(), "the dump is empty");
    let cut = |at: &str| says(&whole[..whole.find(at).unwrap()]).unwrap_err();
    assert!(cut("bc');").contains("within a string, at byte "), "{}", cut("bc');"));
    assert!(cut("bc');").ends_with("the statement starts with `INSERT INTO `t` VALUES`"), "{}", cut("bc');"));
    assert!(cut("'abc'").contains("within a statement"));
    assert!(cut("INSERT").contains("its last line is missing"));
    assert!(cut(" 4:14:44\n").len() > 10 && record(whole.trim_end().as_bytes()).ending != Ending::Complete);
    assert!(says("-- MariaDB dump 10\n/* abc").unwrap_err().contains("within a comment"));
    let twice = says(&format!("{whole}{whole}")).unwrap_err();
    let second = whole.len() + whole.find("-- MariaDB").unwrap();
    assert_eq!(twice, format!("a second dump starts at byte {second}, and the first one is whole"));
    let first_cut = &whole[..whole.find("INSERT").unwrap()];
    assert!(matches!(
        record(format!("{first_cut}{whole}").as_bytes()).ending,
        Ending::SecondDump { first: FirstDump::Cut, .. }
    ));
    for garbage in ["garbage", "DROP TABLE t;\n", "-- more\n", "DELIMITER ;;\n"] {
        let said = says(&format!("{whole}{garbage}")).unwrap_err();
        assert!(said.starts_with("the dump is complete, but more follows its last line"), "{said}");
    }
    assert_eq!(says(&format!("{whole}\n \n")), Ok(()));
}

#[test]
fn a_stream_of_very_many_tables_has_a_small_record() {
    let mut recorder = super::super::Recorder::default();
    for at in 0..300_000 {
        recorder
            .feed(format!("CREATE TABLE `table_{at}` (a int);\nINSERT INTO `table_{at}` VALUES (1),(2);\n").as_bytes());
    }
    let record = recorder.finish();
    let tables = &record.database(None).unwrap().tables;
    assert_eq!((tables.count, tables.is_whole(), record.rows()), (300_000, false, 600_000));
    assert_eq!(tables.listed.len(), 100_000);
    assert!(record.to_json().len() < 8 * 1024 * 1024);
}

#[test]
fn a_stream_of_very_many_findings_has_a_small_record() {
    let mut recorder = super::super::Recorder::default();
    let long = "x".repeat(900);
    let databases = 3_000;
    for database in 0..databases {
        let mut text = format!("CREATE DATABASE `d{database}`;\nUSE `d{database}`;\n");
        for at in 0..30 {
            text += &format!(
                "CREATE EVENT `{at}{long}` ON SCHEDULE AT '2020-01-01 00:00:00' DO SELECT 1 FROM `{at}{database}{long}`.t, `d{database}`.t;\n\
                 SET GLOBAL {at}{long} = 1;\n"
            );
        }
        recorder.feed(text.as_bytes());
    }
    let record = recorder.finish();
    assert_eq!((record.databases.len(), record.databases_left_out), (databases, 0));
    let events = |database: &super::super::DatabaseRecord| database.count(RecordedKind::Event) == 30;
    assert!(record.databases.iter().all(events));
    // Each is known by all that a new name of the database depends on.
    assert!(
        record
            .databases
            .iter()
            .all(|database| database.names_itself.first.len() == 1 || database.names_itself.first.len() == 10)
    );
    let bytes = record.to_json().len();
    assert!(bytes < 64 * 1024 * 1024, "{bytes}");
    let long_names = (0..10_000).map(|at| format!("USE `{at}{long}`;\n")).collect::<Vec<_>>().concat();
    assert!(super::record(long_names.as_bytes()).databases_left_out > 0);
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let record = of("USE `a`;\nCREATE TABLE t (a int);\nGRANT x;\n");
    assert_eq!(serde_json::from_slice::<Record>(&record.to_json()).unwrap(), record);
}

#[test]
fn the_longest_statement_is_measured_without_what_surrounds_it() {
    let long = format!("INSERT INTO t VALUES ('{}')", "x".repeat(5000));
    assert_eq!(of(&format!("-- a\n/* b */ {long} ;\n")).longest_statement_bytes, long.len() as u64 + 1);
}

#[test]
fn the_record_beside_a_dump_is_kept() {
    let body = "CREATE DATABASE `a` /*!40100 DEFAULT CHARACTER SET latin1 */;\nUSE `a`;\n\
        CREATE TABLE `t` (a int) ENGINE=Aria ROW_FORMAT=COMPRESSED DEFAULT CHARSET=latin1 COLLATE=latin1_bin;\n\
        INSERT INTO `t` VALUES (1),(2);\n\
        CREATE ALGORITHM=UNDEFINED DEFINER=`o`@`%` SQL SECURITY DEFINER VIEW `v` AS SELECT * FROM `b`.`t`;\n\
        INSERT INTO `t` SELECT 1;\nLOCK TABLES `r` WRITE;\nCHANGE MASTER TO MASTER_LOG_FILE='binlog.1', MASTER_LOG_POS=4;\n";
    let taken = Taken {
        time: Some("2026-11-23T00:45:02Z".to_owned()),
        server_version: "10.11.8-MariaDB-log".to_owned(),
        lower_case_table_names: 0,
    };
    let record = Record { taken: Some(taken), ..of(body) };
    assert!(record.uncounted_inserts == 1 && record.oddities.count == 1 && record.rows() == 2, "{record:?}");
    crate::check::is_kept("snapshot/record-mariadb.json", &record);
    assert_eq!(serde_json::from_slice::<Record>(&record.to_json()).unwrap(), record);
}
