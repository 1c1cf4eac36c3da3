create database r; use r;
create table t(a int, b varchar(100)); create table log(x text);
delimiter $$
create procedure p1() begin select 'delimiter ;;'; -- delimiter ;
 /* ;; */ select 1; end$$
create procedure p2() begin insert into log values('
DELIMITER ;;
-- Dump completed
CREATE TABLE foo
;;
'); end$$
set sql_mode='ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'$$
create procedure "p 3"() begin select 'a\' || "x" from (select 1 as "x") q; end$$
set sql_mode='ORACLE'$$
create procedure p4(a in int) as x int; begin x:=1; select x; end;
$$
create package pk as function f return int; end;
$$
create package body pk as function f return int as begin return 1; end; end;
$$
set sql_mode=''$$
create function f5() returns varchar(10) charset latin1 return 'é'$$
create trigger tr1 before insert on t for each row begin set new.b=concat(new.b,';;'); insert into log values('x;;
y'); end$$
create trigger tr2 before insert on t for each row precedes tr1 set new.a=new.a+1$$
set sql_mode='ORACLE'$$
create trigger tr3 after update on t for each row begin insert into log values ('a'); end$$
set sql_mode='NO_BACKSLASH_ESCAPES'$$
create trigger tr4 after delete on t for each row begin insert into log values ('a\'); end$$
set sql_mode=''$$
create event e1 on schedule every 1 day starts '2030-01-01 00:00:00' on completion preserve do begin select 1; select '; ;'; end$$
create event e2 on schedule at '2035-01-01 00:00:00' disable comment 'it''s ; -- x' do insert into log values('x')$$
set time_zone='+05:00'$$
create event e3 on schedule every 1 hour do select 1$$
set names latin1$$
create procedure p6() comment 'foo' select 'é'$$
set names utf8mb4$$
delimiter ;
insert into t values(1,'x');
create database r5; use r5; create table t(a int); 
delimiter $$
create procedure p1() begin
-- it's ;; here
# delimiter ;
/* "quote' ;; */ select 'a' ;
select "x\";;"; select `a``;;` from (select 1 as `a``;;`) q; /*! select 1 */; /*M! select 2 */;
end$$
create procedure p2() sql security invoker modifies sql data comment 'a;;b
DELIMITER //' begin -- x
declare exit handler for sqlexception begin end; select 1; end$$
create procedure p3()
-- only comment ;;
select 1$$
create procedure p4() begin select 1; /* unbalanced ' and " and ` ;; */ select 2; end$$
set sql_mode='NO_BACKSLASH_ESCAPES'$$
create procedure p5() begin select '\'; select ';;'; select '\'; end$$
set sql_mode=''$$
create trigger tr before insert on t for each row begin
-- ;; it's
/* ;; ' */ set new.a=1; end$$
create event ev on schedule every 1 day starts '2030-01-01' do begin
-- it's ; 
/* ' */ set @a=1; end$$
create procedure p6() begin select 1; 

end$$
create procedure p7() begin
select 1;
-- foo
select "\r
";
end$$
