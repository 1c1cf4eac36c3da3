create database f; use f;
create table a(id int primary key, b int); create table b(id int primary key, a int, foreign key(a) references a(id)); alter table a add foreign key(b) references b(id);
create table self(id int primary key, p int, foreign key(p) references self(id));
insert into a values(1,null); insert into b values(1,1); update a set b=1; insert into self values(2,null),(1,2);
create database e; use e; create table c(id int primary key, fa int, foreign key(fa) references f.a(id) on delete cascade on update set null); insert into c values(1,1);
use f; set foreign_key_checks=0; insert into b values(77,999); create table dangling(a int, foreign key(a) references nosuch(id)); 
