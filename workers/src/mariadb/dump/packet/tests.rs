//! Ends of programs, as the server finds them.

use super::super::{OddityKind, Recorder};

/// Whether the packet holds more than one statement.
fn is_several(packet: &str) -> bool {
    let mut recorder = Recorder::default();
    recorder.feed(format!("USE a;\nDELIMITER ;;\n{packet} ;;\nDELIMITER ;\n").as_bytes());
    let record = recorder.finish();
    assert_eq!(
        record.ending.check().map_err(|error| error.to_string().contains("its last line is missing")),
        Err(true)
    );
    record.oddities.first.iter().any(|oddity| oddity.kind == OddityKind::Other)
}

const BODIES: [&str; 17] = [
    "begin end",
    "l: begin select 1; select 2; end l",
    "select case when a then b else c end, if(a, b, c), repeat('x', 3) from t",
    "if a then select 1; elseif b then select 2; else select 3; end if",
    "case a when 1 then select 1; when 2 then begin end; else select case b when end then end end; end case",
    "begin declare end, begin_ int default case 1 when 1 then 2 end; set end = 1; select t.begin, t.end, `if` from t; end",
    "begin declare x int; declare c cursor for select end from t; declare continue handler for not found, sqlstate '23000' set x = 1;
       declare exit handler for sqlexception begin rollback; end; open c; end",
    "`while`: while a do set @end = 1; end while `while`",
    "repeat set @x = 1; until case when a then b end end repeat",
    "l: loop if a then leave l; end if; set x = repeat('a', 3); end loop l",
    "for i in 1..3 do select i; for r in (select 1 as end) do select r.end; end for; end for",
    "begin not atomic select 1; end",
    "begin drop table if exists x; create table if not exists x (a int); insert into x values (1) on duplicate key update a = 2; end",
    "begin if (case when a then b end) then select ';'; /* ; */ -- ;\n end if; end",
    "begin if exists (select 1 from t where a in (1)) then begin loop select 1; end loop; end; end if; end",
    "begin case when a then if b then select 1; end if; when c then select 2; end case; end",
    "begin prepare s from 'a; b'; execute s; deallocate prepare s; end",
];
/// The part before a body.
const HEADERS: [&str; 9] = [
    "create procedure `p`()",
    "create definer=`r`@`%` procedure p(in a int, out `begin` decimal(10,2)) modifies sql data sql security invoker comment 'begin; if'",
    "create function f(a enum('begin',';')) returns varchar(20) character set utf8mb4 collate utf8mb4_bin not deterministic reads sql data",
    "/*!50003 create*/ /*!50017 definer=`r`@`h`*/ /*!50003 trigger `begin` before insert on `t` for each row",
    "create trigger begin after update on t for each row follows begin",
    "create event e on schedule every 1 day starts '2030-01-01' on completion preserve disable comment 'do begin' do",
    "create event e on schedule at now() + interval @do day do",
    "create procedure if not exists p() deterministic",
    "create or replace procedure a.p() language sql no sql",
];
const ORACLE: [&str; 6] = [
    "create procedure p as x int; begin x := 1; end",
    "create function f(a in int) return varchar2(10) deterministic is type r is record (a int); b int; begin return b; exception when others then return 1; when no_data_found then begin return 2; end; end",
    "create procedure p(a t.b%type) as begin <<l>> for i in 1..3 loop null; end loop; while a loop exit when b; end loop l; if a then null; elsif b then null; end if; end",
    "create package p as procedure a; function b return int; x int := 1; end",
    "create package body p is v int; procedure a as x int; begin null; end; function b return int as begin return 1; end; begin v := 2; end",
    "create trigger t before insert on t for each row declare x int; begin x := 1; end",
];

#[test]
fn a_program_is_one_statement_and_another_behind_it_is_seen() {
    let bodies = HEADERS.iter().flat_map(|header| BODIES.iter().map(move |body| format!("{header}\n{body}")));
    let programs = bodies.chain(ORACLE.iter().map(|program| (*program).to_owned()));
    let package = "create package body p procedure a() begin select 1; end; function b() returns int return 1; end";
    let plain = ["drop table if exists x", "insert into t values (1), (';')", "set @x = 1", "commit", "use a"];
    for one in programs.chain([package.to_owned()]).chain(plain.map(str::to_owned)) {
        assert!(!is_several(&one), "{one}");
        assert!(!is_several(&format!("{one}; /* c */\n")), "{one};");
        for second in ["delete from b.t", "use b", "set @y = 1", "insert into t values (1)", "end", "begin end"] {
            assert!(is_several(&format!("{one};\n{second}")), "{one}; {second}");
            assert!(is_several(&format!("{one}; -- c\n{second};")), "{one}; {second};");
        }
    }
}
