create database `-lead`; use `-lead`; create table `a b``c` (`x``y` int, `select` int, ` lead` int, `%` int); insert into `a b``c` values(1,2,3,4);
create table `-opt` (a int); insert into `-opt` values(1); create table `x.y` (a int); create table `é€` (`ü` int); create table `per%cent_` (a int); create table MiXed(a int); create table mixed(a int);
create table `select`(`from` int); create view `v ``w` as select `x``y` from `a b``c`; create procedure `p ``q`() select 1; create trigger `t ``r` before insert on `a b``c` for each row set new.`%`=1;
create event `e ``v` on schedule every 1 day starts '2030-01-01' do select 1; create sequence `s ``q`;
create table `;;`(a int); create table `quote'"q`(a int default 1 comment 'c''";\\'); create table `back\slash` (a int); create table `ends\` (a int);
create table `/*`(a int); create table `*/`(a int); create table `--x`(a int); create table `#h`(a int);
create database `db ``x`; create table `db ``x`.t(a int); create database `db.dot`; create table `db.dot`.t(a int); create database `ünï`; create table `ünï`.t(a int); create database `a%_b`; create table `a%_b`.t(a int); create database `a;b'c"d\e`; create table `a;b'c"d\e`.t(a int);
create database `UPPER` character set latin1 collate latin1_swedish_ci; create table `UPPER`.t(a varchar(10)); 
create view `UPPER`.`x*/y` as select 1 as `*/`;
