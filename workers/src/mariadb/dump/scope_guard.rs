//! Lets a whole stream pass, as long as it writes to no database that its record does not name. The record comes from the
//! snapshot, and so may be that of another stream.

use std::collections::BTreeSet;

use super::class::StatementKind;
use super::filter::FilterError;
use super::lexer::StatementEnd;
use super::reader::{Reader, Visitor};
use super::record::{OddityKind, Record};
use super::settings::{Reach, assignments};
use super::statement::Statement;

const SHOWN_BYTES: usize = 120;

/// A stream on its way through the guard.
#[derive(Debug)]
pub struct ScopeGuard {
    reader: Reader<Watch>,
    /// Bytes that the reader has not understood yet. A client that had them could run a statement that nobody has looked at.
    held: Vec<u8>,
    passed: u64,
}

#[derive(Debug)]
struct Watch {
    /// Names of the record; nothing for a stream that does not name its database.
    databases: BTreeSet<Option<Vec<u8>>>,
    /// Kinds of statements beyond databases that the record tells of.
    beyond: Vec<OddityKind>,
    /// There are more of them than the record lists.
    more: bool,
    error: Option<FilterError>,
}

impl ScopeGuard {
    #[must_use]
    pub fn new(record: &Record) -> Self {
        let names = record.databases.iter().map(|database| database.name.clone().map(String::into_bytes));
        let beyond = record.oddities.first.iter().map(|oddity| oddity.kind).collect();
        let more = record.oddities.count > record.oddities.first.len() as u64;
        let watch = Watch { databases: names.collect(), beyond, more, error: None };
        Self { reader: Reader::new(watch), held: Vec::new(), passed: 0 }
    }

    /// Appends to `out` what has been understood of the stream up to here.
    pub fn feed(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.reader.feed(block);
        self.held.extend_from_slice(block);
        let understood = usize::try_from(self.reader.position() - self.passed).expect("bytes in memory");
        self.passed += understood as u64;
        self.release(understood, out)
    }

    /// Appends the rest.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.reader.finish();
        let all = self.held.len();
        self.release(all, out)
    }

    fn release(&mut self, bytes: usize, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if let Some(error) = self.reader.visitor_mut().error.take() {
            return Err(error);
        }
        out.extend(self.held.drain(..bytes));
        Ok(())
    }
}

impl Watch {
    fn knows(&self, statement: &Statement<'_>) -> bool {
        let class = statement.class;
        let name = |index: Option<usize>| index.map(|index| statement.head.name(index));
        match class.kind {
            StatementKind::Use
            | StatementKind::CreateDatabase
            | StatementKind::DropDatabase
            | StatementKind::AlterDatabase => self.has(name(class.name)),
            // The others of a list may be in any database.
            StatementKind::Drop(_) if statement.head.has_symbol(b',') => false,
            StatementKind::Create(_)
            | StatementKind::Placeholder
            | StatementKind::Drop(_)
            | StatementKind::Alter(_)
            | StatementKind::Insert => {
                self.has(name(class.qualifier).or_else(|| statement.selected.map(<[u8]>::to_vec)))
            }
            StatementKind::Account => self.tells_of(OddityKind::Account),
            StatementKind::Replication => self.tells_of(OddityKind::Replication),
            StatementKind::LoadData | StatementKind::Other => false,
            StatementKind::Upkeep if class.name.is_some() => {
                self.has(name(class.qualifier).or_else(|| statement.selected.map(<[u8]>::to_vec)))
            }
            StatementKind::Empty
            | StatementKind::Lock
            | StatementKind::Unlock
            | StatementKind::Transaction
            | StatementKind::Set
            | StatementKind::Upkeep => true,
        }
    }

    fn tells_of(&self, kind: OddityKind) -> bool {
        self.more || self.beyond.contains(&kind)
    }

    fn has(&self, name: Option<Vec<u8>>) -> bool {
        // The record holds names as text.
        let text = |name: Vec<u8>| {
            String::from_utf8(name).map_or_else(
                |error| String::from_utf8_lossy(error.as_bytes()).into_owned().into_bytes(),
                String::into_bytes,
            )
        };
        self.databases.contains(&name.map(text))
    }

    fn check(&mut self, is_known: bool, statement: &Statement<'_>) {
        if !is_known {
            self.error.get_or_insert(FilterError::NotInRecord { statement: statement.head.shown(SHOWN_BYTES) });
        }
    }
}

impl Visitor for Watch {
    fn classified(&mut self, statement: &Statement<'_>) {
        let is_known = self.knows(statement);
        self.check(is_known, statement);
    }

    fn misjudged(&mut self, statement: &Statement<'_>) {
        self.check(false, statement);
    }

    fn end(&mut self, _: &StatementEnd, statement: &Statement<'_>) {
        // Which variables a statement sets, and whether it drops a list, is known only at its end.
        let sets = statement.class.kind == StatementKind::Set;
        let is_global = sets && assignments(statement.head).iter().any(|assignment| assignment.reach == Reach::Global);
        let is_known = self.knows(statement) && (!is_global || self.tells_of(OddityKind::GlobalVariable));
        self.check(is_known, statement);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::Recorder;
    use super::*;

    fn record(stream: &str) -> Record {
        let mut recorder = Recorder::default();
        recorder.feed(stream.as_bytes());
        recorder.finish()
    }

    fn guarded(stream: &str, record: &Record, block: usize) -> (Vec<u8>, Result<(), FilterError>) {
        let (mut guard, mut out) = (ScopeGuard::new(record), Vec::new());
        for part in stream.as_bytes().chunks(block) {
            if let Err(error) = guard.feed(part, &mut out) {
                return (out, Err(error));
            }
        }
        let end = guard.finish(&mut out);
        (out, end)
    }

    const STREAM: &str = "/*!40101 SET NAMES utf8mb4 */;\nCREATE DATABASE `a`;\nUSE `a`;\nDROP TABLE IF EXISTS t;\n\
        CREATE TABLE t (x int);\nLOCK TABLES t WRITE;\nINSERT INTO t VALUES (';\nUSE `x`;');\nUNLOCK TABLES;\nDELIMITER ;;\n\
        CREATE PROCEDURE p() begin use b; delete from b.t; end ;;\nDELIMITER ;\n-- Dump completed\n";

    #[test]
    fn a_stream_passes_its_own_record_whole_and_no_statement_about_another_database_passes() {
        let own = record(STREAM);
        let nameless = record("CREATE TABLE t (x int);\n");
        let strangers = [
            "CREATE DATABASE `b`",
            "USE `b`",
            "DROP DATABASE `b`",
            "ALTER DATABASE `b` CHARACTER SET utf8mb4",
            "CREATE TABLE `b`.u (x int)",
            "DROP TABLE `b`.u",
            "DROP TABLE t, `b`.u",
            "ALTER TABLE `b`.u ENGINE=x",
            "INSERT INTO `b`.u VALUES (1)",
            "REPLACE INTO `b`.u VALUES (1)",
            "CREATE VIEW `b`.v AS select 1",
            "DO SETVAL(`b`.`s`, 1, 0)",
            "CREATE TRIGGER `b`.tr before insert on u for each row set @a=1",
            "UPDATE `b`.u SET x=1",
            "TRUNCATE `b`.u",
            "RENAME TABLE t TO `b`.t",
            "CALL `b`.p()",
            "DELETE FROM `b`.u",
            "LOAD DATA INFILE 'x' INTO TABLE `b`.u",
            "GRANT ALL ON *.* TO x",
            "CREATE USER x",
            "SET GLOBAL read_only=1",
            "CHANGE MASTER TO MASTER_LOG_FILE='x'",
            "USE `A`",
            "ANALYZE DELETE FROM `b`.u",
            "ANALYZE FORMAT=JSON DELETE FROM `b`.u",
            "ANALYZE TABLE `b`.u",
            "OPTIMIZE LOCAL TABLE t, `b`.u",
            "FLUSH PRIVILEGES, MASTER",
            "EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE',\"DELETE FROM b.u\", \"DO 0\")",
            "EXECUTE IMMEDIATE IF(@@LOG_OUTPUT='TABLE',\"SET GLOBAL LOG_OUTPUT='NONE'\", \"DO 0\") + f()",
            "DO SETVAL(`s`, 1, 0), f()",
            "CREATE INDEX i ON `b`.u (x)",
            "DROP INDEX i ON `b`.u",
            "ALTER TABLE t RENAME `b`.u",
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE `b`.u",
            "CREATE TABLE u LIKE `b`.u",
            "CREATE TABLE u (LIKE `b`.u)",
            "CREATE TABLE u AS SELECT f()",
            "INSERT INTO t VALUES (f())",
            "INSERT INTO t SET x = f()",
            "INSERT INTO t VALUES (@mode:='ANSI_QUOTES')",
            "INSERT INTO t VALUES (1, \\C gbk 1)",
            "SET @x = f()",
            "SET @x = NEXT VALUE FOR `b`.s",
            "SET sql_mode = @mode",
            "SET sql_mode = 0x414E5349",
            "SET sql_mode = 'ANSI_QUOTE\\S'",
            "SET sql_mode = DEFAULT",
            "SET @a = @@sql_mode, @a = 'ANSI', sql_mode = @a",
            "SET character_set_client = @mode",
            "SET NAMES DEFAULT",
            "SET default_storage_engine = SPIDER",
            "SET /*M!120000 @a = */ sql_mode = 'ANSI_QUOTES'",
            "/*M!120000 SET sql_mode = 'ANSI_QUOTES' */",
            "/*M!120000 USE a */",
            "DROP TABLE /*M!120000 t, */ u",
            "CREATE TABLE u (a int /*M!120000 , b int -- */ )",
            "CREATE TABLE u (a int /*M!120000 COMMENT '*/ )",
            "SET NAMES gbk /*!80000 \\C gbk */",
        ];
        for block in [1, 7, 64, 4096] {
            assert_eq!(guarded(STREAM, &own, block), (STREAM.as_bytes().to_vec(), Ok(())));
            for stranger in strangers {
                let verb = stranger.split(' ').find(|word| !word.starts_with("/*")).unwrap();
                for (record, stream) in [
                    (&own, STREAM.replace("-- Dump", &format!("{stranger};\n-- Dump"))),
                    (&nameless, format!("CREATE TABLE t (x int);\n{stranger};\n-- Dump completed\n")),
                ] {
                    let (out, end) = guarded(&stream, record, block);
                    assert!(
                        matches!(&end, Err(FilterError::NotInRecord { statement }) if statement.starts_with(verb)),
                        "{stranger}: {end:?}"
                    );
                    // The client does not run what it has not got to its delimiter.
                    assert!(!String::from_utf8(out).unwrap().contains(&format!("{stranger};")), "{stranger}");
                }
            }
        }
        let with_accounts = STREAM.replace("-- Dump", "GRANT SELECT ON a.* TO x;\nSET GLOBAL read_only=1;\n-- Dump");
        assert_eq!(guarded(&with_accounts, &record(&with_accounts), 64).1, Ok(()));
    }
    #[test]
    fn statements_of_real_dumps_pass() {
        let own = record(STREAM);
        for known in [
            "ANALYZE TABLE t",
            "OPTIMIZE LOCAL TABLE `a`.t",
            "/*! FLUSH PRIVILEGES */",
            "CREATE TABLE u (a int /*M!120000 COMPRESSED*/, b int /*!80023 INVISIBLE */) /*!80016 COMMENT 'x' */",
            "/*M!120000 SET @old = @@session.x, @@session.x = 1 */",
            "SET @old = @@sql_mode, @cs = @@character_set_client, sql_mode = 'ANSI', sql_mode = @old, character_set_client = @cs",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "INSERT INTO t (a, `b`) VALUES (1,-2.5e3,'@(\\\\',NULL) ON DUPLICATE KEY UPDATE a = VALUES(a)",
        ] {
            let stream = STREAM.replace("-- Dump", &format!("{known};\n-- Dump"));
            assert_eq!(guarded(&stream, &own, 64), (stream.as_bytes().to_vec(), Ok(())), "{known}");
        }
    }

    #[test]
    fn rows_that_would_not_stay_in_their_table_are_refused() {
        let made = [
            "CREATE VIEW v AS select * from b.u",
            "/*!50001 CREATE VIEW `V` AS SELECT * FROM b.u */",
            "CREATE TRIGGER tr BEFORE INSERT ON `a`.`v` FOR EACH ROW DELETE FROM b.u",
            "CREATE TABLE v (x int) ENGINE=MRG_MyISAM UNION=(b.u)",
            "CREATE TABLE v (x int) ENGINE SPIDER",
            "ALTER TABLE `v` ENGINE=`CONNECT`",
        ];
        for made in made {
            for insert in
                ["INSERT INTO v VALUES (1)", "REPLACE INTO `a`.V VALUES (1)", "USE a;\nINSERT IGNORE `v` VALUES (1)"]
            {
                let stream = format!("{STREAM}{made};\n{insert};\n");
                let (_, end) = guarded(&stream, &record(STREAM), 64);
                assert!(matches!(&end, Err(FilterError::NotInRecord { .. })), "{made}: {insert}");
            }
            let stream = format!("{STREAM}{made};\nINSERT INTO t VALUES (1);\n");
            assert_eq!(guarded(&stream, &record(&stream), 64).1, Ok(()), "{made}");
        }
    }

    #[test]
    fn characters_that_end_in_a_backslash_are_refused_where_the_server_reads_them() {
        let insert = |bytes: &[u8]| [b"INSERT INTO t VALUES ('".as_slice(), bytes, b"');\n"].concat();
        let passes = |bytes: &[u8]| {
            let (mut guard, mut out) = (ScopeGuard::new(&record(STREAM)), Vec::new());
            guard.feed(bytes, &mut out).and_then(|()| guard.finish(&mut out))
        };
        for names in
            ["SET NAMES gbk", "SET character_set_client = 'Big5'", "SET CHARACTER SET sjis", "SET CHARSET cp932"]
        {
            let with = |bytes: &[u8]| [b"USE a;\n", names.as_bytes(), b";\n", &insert(bytes)].concat();
            assert_eq!(passes(&with(b"\xC4\xE3 \\'")), Ok(()), "{names}");
            assert!(passes(&with(b"\xBF\\")).is_err() && passes(&with(b"\xBF\\', '\xBF\\")).is_err(), "{names}");
        }
        let back = [
            b"USE a;\nSET @c = @@character_set_client;\nSET NAMES gbk;\nSET character_set_client = @c;\n",
            insert(b"\xBF\\'").as_slice(),
        ]
        .concat();
        assert_eq!(passes(&back), Ok(()));
    }

    #[test]
    fn the_body_of_a_trigger_names_no_table_that_it_is_on() {
        let stream = "CREATE DATABASE `a`;\nUSE `a`;\nCREATE TABLE `orders` (x int);\nINSERT INTO `orders` VALUES (1);\nDELIMITER ;;\n\
            /*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 TRIGGER tr AFTER INSERT ON `orders` FOR EACH ROW BEGIN\n\
            UPDATE stock JOIN products ON products.id = stock.pid JOIN x l ON l.id = 1 SET stock.n = 1; END */;;\nDELIMITER ;\n\
            CREATE TABLE `products` (id int);\nINSERT INTO `products` VALUES (1);\nCREATE TABLE `l` (id int);\n\
            INSERT INTO `l` VALUES (1);\nCREATE TABLE `id` (id int);\nINSERT INTO `id` VALUES (1);\n-- Dump completed\n";
        assert_eq!(record(stream).oddities.count, 0, "{:?}", record(stream).oddities);
        assert_eq!(guarded(stream, &record(stream), 64).1, Ok(()));
        let later = stream.replace("-- Dump", "INSERT INTO `orders` VALUES (2);\n-- Dump");
        assert!(guarded(&later, &record(stream), 64).1.is_err(), "the trigger would run");
    }
}
