//! Dump, restore into an empty server, dump again: the two dumps are equal byte for byte.

use std::fmt::Write;

use lagan_workers::mariadb::{Finding, InventoryKind};

use crate::{
    server::{source, target},
    steps::{Dumped, dump, restore},
};

/// Dumps the databases as given, restores them elsewhere and compares; returns the first dump.
async fn round_trip(schema: &str, databases: &[&str]) -> Dumped {
    source().sql(schema);
    let args: Vec<&str> = ["--databases", "--"].iter().chain(databases).copied().collect();
    let first = dump(&source().client(), &args).await;
    assert!(first.outcome.clean(), "{:?}", first.outcome.stderr);
    assert_eq!(first.checked, Ok(()));
    restore(&target().client(), &[], &first.bytes).await.unwrap();
    let second = dump(&target().client(), &args).await;
    assert_eq!(second.checked, Ok(()));
    if let Some(line) =
        first.bytes.split(|b| *b == b'\n').zip(second.bytes.split(|b| *b == b'\n')).find(|(a, b)| a != b)
    {
        assert_eq!(String::from_utf8_lossy(line.0), String::from_utf8_lossy(line.1));
    }
    assert!(first.bytes == second.bytes, "the dumps differ in length");
    first
}

#[tokio::test]
async fn views_on_views_over_functions_and_across_databases_come_back() {
    let dumped = round_trip(include_str!("schemas/views.sql"), &["d1", "a0"]).await;
    assert_eq!(dumped.prepared.expected.count(InventoryKind::View), 12);
}

#[tokio::test]
async fn routines_triggers_and_events_of_every_sql_mode_come_back_with_their_comments() {
    let dumped = round_trip(include_str!("schemas/programs.sql"), &["r", "r5"]).await;
    let text = String::from_utf8_lossy(&dumped.bytes);
    assert!(text.contains("-- delimiter ;") && text.contains("-- foo\r\n"), "comments and CR LF are kept");
    assert_eq!(dumped.prepared.expected.count(InventoryKind::Trigger), 5);
    assert_eq!(dumped.prepared.expected.count(InventoryKind::Event), 4);
}

#[tokio::test]
async fn tables_of_every_kind_come_back_with_their_history() {
    let dumped = round_trip(include_str!("schemas/tables.sql"), &["g"]).await;
    assert!(dumped.prepared.argv.contains(&"--dump-history".to_owned()));
}

#[tokio::test]
async fn cyclic_and_dangling_foreign_keys_come_back() {
    round_trip(include_str!("schemas/keys.sql"), &["f", "e"]).await;
}

#[tokio::test]
async fn odd_names_come_back() {
    let names = ["-lead", "db `x", "db.dot", "ünï", "a%_b", "a;b'c\"d\\e", "UPPER"];
    round_trip(include_str!("schemas/names.sql"), &names).await;
}

#[tokio::test]
async fn names_with_line_breaks_and_client_commands_come_back() {
    round_trip(include_str!("schemas/line_breaks.sql"), &["nl"]).await;
}

#[tokio::test]
async fn exhausted_sequences_engines_and_missing_definers_come_back() {
    let dumped = round_trip(include_str!("schemas/odd.sql"), &["s2", "zz"]).await;
    let [Finding::NonTransactionalTables(tables)] = dumped.prepared.findings.as_slice() else {
        unreachable!("{:?}", dumped.prepared.findings)
    };
    assert!(tables.contains(&"s2.m1".to_owned()) && tables.contains(&"s2.ar".to_owned()), "{tables:?}");
    assert!(!tables.contains(&"s2.t".to_owned()));
}

#[tokio::test]
async fn a_user_of_a_sequence_is_dumped_after_its_owner() {
    let dumped = round_trip(include_str!("schemas/sequences.sql"), &["a_user", "s"]).await;
    assert!(dumped.prepared.argv.ends_with(&["--".to_owned(), "s".to_owned(), "a_user".to_owned()]));
}

#[tokio::test]
async fn every_byte_comes_back() {
    let all: String = (0..=255_u8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let mut sql = String::from(
        "create database b; use b; create table t(id int primary key auto_increment, bl longblob, vb varbinary(300), \
         bn binary(16), bt bit(64), b1 bit(1), l1 varchar(300) character set latin1, u4 longtext character set utf8mb4, \
         u16 varchar(100) character set utf16, sj varchar(20) character set sjis, gb text character set gbk, \
         en enum('a','','é'), f float, d double, de decimal(65,30), ti time(6), y year, nn varchar(10) null);",
    );
    let _ = write!(
        sql,
        "insert into t(bl,vb,bn,bt,b1,l1,u4,u16,sj,gb,en,f,d,de,ti,y,nn) values(0x{all},0x{all},0x{},b'{}',1,0x{all},\
         _utf8mb4 0xf09f9880c3a900010a0d1a22275c25,'é😀',_sjis 0x835c5c27,_gbk 0xd55c5c27,'é',1e-30,1.7976931348623157e308,\
         12345678901234567890.123456789012345678901234567890,'-838:59:59.999999',0000,null);",
        &all[..32],
        "10".repeat(32)
    );
    sql += "insert into t(bl,vb,bt,l1,u4,nn) values('','',0,'','',''),(null,null,null,null,'NULL','NULL'),\
            ('a','b',1,'\\\\','\\n-- Dump completed\\nCREATE TABLE x(\\n;;\\nDELIMITER //\\n\\\\! touch PWN\\n','x');\
            insert into t(bl) values(repeat(0x00,3000000));\
            create table l(a text character set latin1, b text);";
    for byte in 0..=255_u8 {
        let _ = write!(sql, "insert into l values(0x{byte:02x},_latin1 0x{byte:02x});");
    }
    let dumped = round_trip(&sql, &["b"]).await;
    assert!(dumped.record.longest_statement_bytes > 6_000_000);
}

#[tokio::test]
async fn one_database_comes_back_under_another_name() {
    source().sql("create database one; create table one.t(a int); insert into one.t values(1); create view one.v as select * from one.t; create procedure one.p() select 1");
    target().sql("create database other");
    let dumped = dump(&source().client(), &["one"]).await;
    assert_eq!(dumped.checked, Ok(()));
    assert_eq!(dumped.prepared.expected.count(InventoryKind::Table), 1);
    restore(&target().client(), &["other"], &dumped.bytes).await.unwrap();
    assert_eq!(target().sql("select count(*) from other.t"), "1");
    assert_eq!(target().sql("show procedure status where db='other'").lines().count(), 1);
}
