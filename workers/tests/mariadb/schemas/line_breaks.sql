create database nl; use nl; create table `a
\! touch PWN
x`(`c
d` int); insert into `a
\! touch PWN
x` values(1); create view `v
w` as select 1; create sequence `s
q`; create procedure `p

q`() select 1; create trigger `t
r` before insert on `a
\! touch PWN
x` for each row set @a=1; create event `e
1` on schedule every 1 day starts "2030-01-01" do select 1;