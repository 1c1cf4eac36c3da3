CREATE SCHEMA "Sch;ema";
CREATE EXTENSION pgcrypto;
CREATE TYPE mood AS ENUM ('sad', 'ok; $x$', 'ha''ppy\');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE "Sch;ema"."ta""ble (x)" (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Col;umn" text DEFAULT E'a\\b''c\n;', f4 float4, f8 float8, n numeric,
    b bytea, m mood, p pair, d posint, r floatrange, j jsonb, a int[], "line
break" xml);
INSERT INTO "Sch;ema"."ta""ble (x)" ("Col;umn", f4, f8, n, b, m, p, d, r, j, a)
    SELECT E'line\n\\.\ttab \\ back;''"$$ ' || i, 0.1::float4 * i, 0.1 * i, 'NaN', decode('00ff5c0a27', 'hex'), 'ok; $x$',
           row(i, 'x,"y')::pair, 1, '[1.5,2.5)', '{"a":"\\"}', '{1,NULL,3}'
    FROM generate_series(1, 500) i;
INSERT INTO "Sch;ema"."ta""ble (x)" ("Col;umn", f4, f8) VALUES (E'\\.', '3.4028235e38', '5e-324'),
    (E'\\restrict abc', '1e-45', 'Infinity'), (E'\restrict abc', '-0', '-0'), (NULL, 'NaN', 0.1), ('', 16777217, 1e23);
CREATE TABLE returned (line text);
INSERT INTO returned VALUES (E'\restrict abc'), (E'\nCOPY x FROM stdin;\n'), (E'--\n-- Name: v; Type: VIEW; Schema: x; Owner: y\n--');
CREATE TABLE nocols ();
INSERT INTO nocols DEFAULT VALUES;
CREATE TABLE measure (id bigserial, at date NOT NULL, v float4) PARTITION BY RANGE (at);
CREATE TABLE m2025 PARTITION OF measure FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE m2026 PARTITION OF measure FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
ALTER TABLE measure ADD PRIMARY KEY (id, at);
CREATE INDEX ON measure (v);
INSERT INTO measure (at, v) SELECT '2025-06-01'::date + i, 16777217.0 / i FROM generate_series(1, 400) i;
CREATE TABLE refers (id bigint, at date, FOREIGN KEY (id, at) REFERENCES measure);
INSERT INTO refers VALUES (1, '2025-06-02');
CREATE FUNCTION f(a int) RETURNS text LANGUAGE plpgsql AS $body$ BEGIN
/* \! false */ RETURN '$x$;
CREATE TABLE inner_text (x int);
COPY inner_text FROM stdin;
' || a; END $body$;
CREATE FUNCTION g(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + 1; SELECT a + 2; END;
CREATE PROCEDURE pr() LANGUAGE sql AS 'select 1; select ''a\b''';
CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int);
CREATE VIEW v AS SELECT 'a\b' AS x, m.id FROM measure m WHERE m.v > 1;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM measure;
CREATE RULE r AS ON INSERT TO nocols DO ALSO (SELECT 1; SELECT 2);
CREATE FUNCTION tg() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
CREATE TRIGGER t1 BEFORE INSERT ON measure FOR EACH ROW EXECUTE FUNCTION tg();
ALTER TABLE measure ENABLE ROW LEVEL SECURITY;
CREATE POLICY pol ON measure USING (true);
CREATE SEQUENCE sq START 17;
SELECT nextval('sq');
SELECT lo_from_bytea(777001, decode('00ff5c0a27', 'hex'));
COMMENT ON TABLE nocols IS E'line1\n\\! false;\n--\n-- Name: x; Type: TABLE DATA; Schema: y; Owner: z';
ALTER TABLE nocols OWNER TO "own er";
GRANT SELECT ON measure TO "own er" WITH GRANT OPTION;
CREATE UNLOGGED TABLE unl (x int UNIQUE);
CREATE TABLE chld (y int) INHERITS (unl);
CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk');
CREATE TABLE collated (t text COLLATE german);
CREATE STATISTICS st ON id, v FROM measure;
