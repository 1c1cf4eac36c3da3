//! The result does not depend on the blocks, and no bytes make it panic.

use proptest::prelude::*;

use super::super::{NameCase, WantedDatabases};
use super::{filter_in, record_in, wanted};

const PARTS: [&str; 74] = [
    "'",
    "\"",
    "`",
    "\\",
    "\\'",
    "''",
    "``",
    "(",
    ")",
    ",",
    ";",
    ";;",
    "\n",
    "\r\n",
    " ",
    ".",
    "@",
    "=",
    "--",
    "-- ",
    "--\n",
    "#",
    "/*",
    "/*!",
    "/*!50003 ",
    "/*M!",
    "/*M!100616 ",
    "/*!999999\\- x */",
    "*/",
    "*",
    "/",
    "-",
    "//",
    "$$",
    "DELIMITER ;;\n",
    "DELIMITER ;\n",
    "delimiter //\n",
    "DELIMITER $$\n",
    "DELIMITER\n",
    "USE `a`",
    "USE `b`;\n",
    "USE a;\n",
    "CREATE DATABASE `a`;\n",
    "CREATE TABLE `t` (a int) ENGINE=InnoDB;\n",
    "INSERT INTO `t` VALUES (1,'x');\n",
    "INSERT INTO `a`.`t` (`values`) VALUES\n(1,'it''s'),\n(-2,'\\'');\n",
    "insert into t select 1",
    " VALUES ",
    "SET sql_mode='ANSI_QUOTES';\n",
    "SET sql_mode = @old;\n",
    "SET @old=@@sql_mode, sql_mode='NO_BACKSLASH_ESCAPES';\n",
    "CREATE VIEW `v` AS select `a`.`t`.`x` from `b`.`t`;\n",
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW ",
    "-- MariaDB dump 10.19\n",
    "-- Dump completed on 2026-01-01  0:00:00\n",
    "-- Host: h    Database: a\n",
    "GRANT ALL ",
    "DROP TABLE IF EXISTS `t`;\n",
    "COMMIT;\n",
    "ROW(1)",
    "\u{e9}\u{1f600}",
    "/*!80000 ",
    "/*M!120000 ",
    "\\C gbk",
    "SET NAMES gbk;\n",
    "SET character_set_client = @old;\n",
    "CREATE PROCEDURE p() BEGIN ",
    "IF a THEN ",
    "END",
    "INSERT INTO v VALUES (f(1), @a:=1);\n",
    "ON `t` FOR EACH ROW ",
    "CREATE TABLE u LIKE t;\n",
    "ENGINE=SPIDER",
    "\0",
];

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        20 => (0..PARTS.len()).prop_map(|at| PARTS[at].as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => (1000_usize..1100).prop_map(|length| vec![b'x'; length]),
        1 => (1000_usize..1100).prop_map(|length| {
            let mut long = vec![b'\''];
            long.resize(length, b'\\');
            long.push(b'\'');
            long
        }),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_blocks_give_the_same_record(stream in streams(), block in prop_oneof![1_usize..16, 16_usize..3000]) {
        prop_assert_eq!(record_in(&stream, block), record_in(&stream, stream.len().max(1)));
    }

    #[test]
    fn any_blocks_give_the_same_database(stream in streams(), block in prop_oneof![1_usize..16, 16_usize..3000]) {
        let renamed = WantedDatabases { case: NameCase::Insensitive, ..super::renamed("a", "y") };
        let several = WantedDatabases { databases: [wanted("a"), wanted("b")].into_iter().flat_map(|one| one.databases).collect(), case: NameCase::Sensitive };
        for wanted in [wanted("a"), renamed, several] {
            let whole = filter_in(&stream, wanted.clone(), stream.len().max(1));
            prop_assert_eq!(filter_in(&stream, wanted, block), whole);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
        let record = record_in(&stream, 7);
        prop_assert_eq!(record.bytes, stream.len() as u64);
        let _ = filter_in(&stream, wanted("a"), 7);
    }
}
