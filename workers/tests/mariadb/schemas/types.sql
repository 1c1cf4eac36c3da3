create database types character set utf8mb4; use types; set sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00';
create table numbers(
  id int unsigned primary key auto_increment, b1 tinyint, b2 smallint, b3 mediumint, b4 int, b8 bigint,
  u1 tinyint unsigned, u2 smallint unsigned, u3 mediumint unsigned, u4 int unsigned, u8 bigint unsigned,
  z int(8) unsigned zerofill, n decimal(65,30), n0 decimal(65,0), d double, dz double(20,5), du double unsigned,
  b bit(1), b64 bit(64), bo boolean);
insert into numbers values
  (0, -128, -32768, -8388608, -2147483648, -9223372036854775808, 0, 0, 0, 0, 0, 0,
   -99999999999999999999999999999999999.999999999999999999999999999999, -99999999999999999999999999999999999999999999999999999999999999999,
   -1.7976931348623157e308, -1.00001, 0, 0, 0, false),
  (1, 127, 32767, 8388607, 2147483647, 9223372036854775807, 255, 65535, 16777215, 4294967295, 18446744073709551615, 42,
   99999999999999999999999999999999999.999999999999999999999999999999, 99999999999999999999999999999999999999999999999999999999999999999,
   1.7976931348623157e308, 99999999999999.99999, 4.9e-324, 1, 18446744073709551615, true),
  (2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4.9e-324, 0, 2.2250738585072014e-308, b'0', b'1010', null),
  (3, null, null, null, null, null, null, null, null, null, null, null, 1e-30, null, 0.1, 1e-5, 9007199254740993, null, 39, null),
  (4, null, null, null, null, null, null, null, null, null, null, null, null, null, -0e0, null, 0.30000000000000004, null, 10, null);
insert into numbers(d) values (cast('-0' as double)), (-1 * cast(0 as double)), (1e15), (123456789012345680), (5e-324);
create table times(id int primary key, d date, t time, t6 time(6), dt datetime, dt3 datetime(3), dt6 datetime(6),
  ts timestamp null, ts6 timestamp(6) null, y year, y4 year(4));
insert into times values
  (1, '0000-00-00', '-838:59:59', '-838:59:59.999999', '0000-00-00 00:00:00', '0001-01-01 00:00:00.001', '9999-12-31 23:59:59.999999',
   '1970-01-01 00:00:01', '1970-01-01 00:00:01.000001', 0, 1901),
  (2, '2024-02-30', '838:59:59', '-00:00:00.000001', '2024-00-31 00:00:00', '1000-01-01 00:00:00', '0000-00-00 00:00:00.000001',
   '0000-00-00 00:00:00', '2038-01-19 03:14:07.999999', 2155, 2000),
  (3, '9999-12-31', '00:00:00', '-00:59:59.5', '9999-12-31 23:59:59', null, null, null, null, null, null);
set sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; insert into times(id, d, dt) values (4, '2023-02-31', '2023-11-31 12:00:00');
set sql_mode = '';
create table bytes(id int primary key, c char(5), cb char(5) character set latin1, bn binary(5), vb varbinary(300), v varchar(300),
  tt tinytext, t text, mt mediumtext, lt longtext, tb tinyblob, bl blob, mb mediumblob, lb longblob,
  e enum('', 'a', 'it''s', 'back\\slash', 'é', 'x,y'), s set('a', 'b', 'é', 'it''s'), j json, l1 text character set latin1);
insert into bytes values
  (1, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '{}', ''),
  (2, 'a   ', 'b   ', 'c\0 ', 0x00, ' ', '\0', '\\', '\\''"`', '\r\n\t\b\Z', 0x00ff27225c0a0d1a, '''', '"', '\\0', 'it''s', 'a,b,é,it''s', '{"a": "\\u00e9\\n", "b": [1, 2.50, null, "😀"]}', 0x80818d8f909d9fa0ff),
  (3, '😀é', 0xe9, 0xff, unhex('000102030405060708090a0b0c0d0e0f'), 'NULL', '0x41', '-- Dump completed', '/*!50003 CREATE*/', 'DELIMITER ;;\n\\! touch x\nINSERT INTO `t` VALUES (1);\n', null, null, null, null, 'back\\slash', '', '[]', '%_'),
  (4, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null);
insert into bytes(id, lt, lb, v) values (5, repeat('😀é\\''', 200000), repeat(0x00ff5c27, 300000), repeat('ß', 300));
create table enums(id int primary key, e enum('a', 'b'), s set('a', 'b')); insert ignore into enums values (1, 'nope', 'nope'), (2, 'b', 'a,b'), (3, null, '');
create table networks(id int primary key, a inet6, b inet4, u uuid, note varchar(20), c inet6 default '::1', uniq uuid default uuid() unique, p int invisible, key(a));
insert into networks(id, a, b, u, note, uniq, p) values
  (1, '::', '0.0.0.0', '00000000-0000-0000-0000-000000000000', '0x3A3A', '123e4567-e89b-12d3-a456-426655440001', 1),
  (2, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '255.255.255.255', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::1', '123e4567-e89b-12d3-a456-426655440002', 2),
  (3, '::ffff:192.0.2.1', '10.0.0.1', '123e4567-e89b-12d3-a456-426655440000', 'it''s (0x41), ', '123e4567-e89b-12d3-a456-426655440003', 3),
  (4, null, null, null, null, '123e4567-e89b-12d3-a456-426655440004', null);
create table `network``s
x`(`id
(` int, `a ``b
  ``c`` int,x` uuid comment '),
  `x` int, \'', d inet6);
insert into `network``s
x` values (1, '123e4567-e89b-12d3-a456-426655440000', '2001:db8::1');
create table shapes(id int primary key, g geometry, p point not null, l linestring, o polygon, mp multipoint, ml multilinestring, mo multipolygon, gc geometrycollection, spatial index(p));
insert into shapes values
  (1, st_geomfromtext('POINT(1.7976931348623157e308 4.9e-324)'), point(-0.1, 0.30000000000000004), st_geomfromtext('LINESTRING(0 0,1 1)'),
   st_geomfromtext('POLYGON((0 0,10 0,10 10,0 10,0 0),(5 5,7 5,7 7,5 7,5 5))', 4326), st_geomfromtext('MULTIPOINT(0 0,1 1)'),
   st_geomfromtext('MULTILINESTRING((0 0,1 1),(2 2,3 3))'), st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'),
   st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')),
  (2, null, point(0, 0), null, null, null, null, null, null);
create table computed(id int primary key, a varchar(20), v varchar(40) as (concat(a, '😀')) virtual, s varchar(40) as (upper(a)) stored,
  h varbinary(40) as (unhex(md5(a))) stored, n decimal(10,4) as (id / 3) stored, d varchar(20) default (concat('é', '😀')), c int check (c <> 7), k varbinary(4) default 0xff00, bd bit(4) default b'101', key(v), unique(s));
insert into computed(id, a, c) values (1, 'ä\'\\', 1), (2, '', null), (3, null, 8);
create table versioned(id int primary key, a varchar(20), u uuid) with system versioning;
insert into versioned values (1, 'é', '123e4567-e89b-12d3-a456-426655440000'); update versioned set a = '😀'; delete from versioned;
create table aria(a int, b text) engine = aria; insert into aria values (1, 'é');
create table mine(a int, b text, fulltext(b)) engine = myisam row_format = dynamic; insert into mine values (1, 'é'), (2, null);
create table packed(a int primary key, b text, c varchar(20) compressed) row_format = compressed; insert into packed values (1, 'é', 'x');
create table ranges(a int, b date) partition by range columns(a, b) (partition p0 values less than (10, '2024-01-01') comment 'é', partition p1 values less than (maxvalue, maxvalue));
insert into ranges values (1, '0000-00-00'), (10, '2024-01-01'), (99, null);
create table lists(a varchar(10)) partition by list columns(a) (partition p0 values in ('é', '😀'), partition p1 values in ('it''s', null), partition p2 default);
insert into lists values ('é'), ('😀'), (null), ('it''s'), ('z');
