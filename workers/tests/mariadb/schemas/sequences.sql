create database s; use s;
create sequence zs start 5 increment 3;
create table a(id int default nextval(s.zs) primary key, x int);
create table zz(id int default (nextval(zs)*2));
create sequence as1 cache 10;
insert into a(x) values(1),(2),(3);
create database a_user; use a_user; create table t(id bigint default (next value for s.zs), y int); insert into t(y) values(9);
create sequence a_user.q nocache; select nextval(a_user.q);
create sequence cyc start with 1 minvalue 1 maxvalue 3 cycle; select nextval(cyc),nextval(cyc);
