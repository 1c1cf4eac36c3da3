//! Restores of PostgreSQL into databases that hold something already.

use std::path::Path;

use anyhow::Result;
use lagan_tests::postgres::PostgresServer;
use lagan_tests::world::restore_session;

use super::{Scene, app_binding};

/// A subscription gets no slot, so nothing listens where it points to.
const SUBSCRIPTION: &str = "CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)";
const TAKEN: &[(&str, &str)] = &[
    ("SCHEMA s", "CREATE SCHEMA s"),
    ("TYPE public.mood", "CREATE TYPE mood AS ENUM ('x')"),
    ("TYPE public.pair", "CREATE DOMAIN pair AS int"),
    ("DOMAIN public.posint", "CREATE TYPE posint AS (a int)"),
    ("TABLE public.t", "CREATE TABLE t ()"),
    ("TABLE public.t", "CREATE VIEW t AS SELECT 1"),
    ("TABLE public.t", "CREATE TYPE t AS ENUM ('x')"),
    ("TABLE public.refers", "CREATE SEQUENCE refers"),
    ("FOREIGN TABLE public.ft", "CREATE TABLE ft ()"),
    ("INDEX public.ix", "CREATE TABLE other (a int); CREATE INDEX ix ON other (a)"),
    ("CONSTRAINT public.t_pkey", "CREATE TABLE other (a int CONSTRAINT t_pkey UNIQUE)"),
    ("CONSTRAINT public.t u", "CREATE SEQUENCE \"t u\""),
    ("VIEW public.v", "CREATE MATERIALIZED VIEW v AS SELECT 1"),
    ("MATERIALIZED VIEW public.mv", "CREATE VIEW mv AS SELECT 1"),
    ("SEQUENCE public.sq", "CREATE SEQUENCE sq"),
    ("SEQUENCE public.t_id_seq", "CREATE SEQUENCE t_id_seq"),
    ("FUNCTION public.tomood(integer)", "CREATE PROCEDURE tomood(a int) LANGUAGE sql AS ''"),
    ("PROCEDURE public.pr(integer)", "CREATE FUNCTION pr(int) RETURNS int LANGUAGE sql AS 'select 1'"),
    ("AGGREGATE public.agg(integer)", "CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int)"),
    ("AGGREGATE public.aggall(*)", "CREATE FUNCTION aggall() RETURNS int LANGUAGE sql AS 'select 1'"),
    ("COLLATION public.coll", "CREATE COLLATION coll FROM \"POSIX\""),
    ("CONVERSION public.conv", "CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8"),
    ("TEXT SEARCH DICTIONARY public.tsd", "CREATE TEXT SEARCH DICTIONARY tsd (TEMPLATE = simple)"),
    ("TEXT SEARCH CONFIGURATION public.tsc", "CREATE TEXT SEARCH CONFIGURATION tsc (PARSER = default)"),
    ("TEXT SEARCH TEMPLATE public.tst", "CREATE TEXT SEARCH TEMPLATE tst (LEXIZE = dsimple_lexize)"),
    (
        "TEXT SEARCH PARSER public.tsp",
        "CREATE TEXT SEARCH PARSER tsp (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
    ),
    ("STATISTICS public.st", "CREATE TABLE other (a int, b int); CREATE STATISTICS st ON a, b FROM other"),
    ("OPERATOR public.===", "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)"),
    ("OPERATOR FAMILY public.fam", "CREATE OPERATOR FAMILY fam USING btree"),
    (
        "OPERATOR CLASS public.cls",
        "CREATE OPERATOR FAMILY other USING btree; CREATE OPERATOR CLASS cls FOR TYPE int USING btree FAMILY other AS STORAGE int",
    ),
    ("CAST CAST (integer AS polygon)", "CREATE CAST (int AS polygon) WITH INOUT"),
    (
        "EVENT TRIGGER evt",
        "CREATE FUNCTION other() RETURNS event_trigger LANGUAGE plpgsql AS 'begin end'; CREATE EVENT TRIGGER evt ON sql_drop EXECUTE FUNCTION other()",
    ),
    ("FOREIGN DATA WRAPPER wrapper", "CREATE FOREIGN DATA WRAPPER wrapper"),
    ("SERVER srv", "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER srv FOREIGN DATA WRAPPER other"),
    ("PUBLICATION pub", "CREATE PUBLICATION pub"),
    ("SUBSCRIPTION sub", SUBSCRIPTION),
    ("ACCESS METHOD am", "CREATE ACCESS METHOD am TYPE TABLE HANDLER heap_tableam_handler"),
    (
        "PROCEDURAL LANGUAGE lang",
        "CREATE FUNCTION other() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'; CREATE LANGUAGE lang HANDLER other",
    ),
    ("LARGE OBJECT 777001", "SELECT lo_create(777001)"),
];
/// Objects beside which everything else can be created.
const BESIDE: &str = "
CREATE EXTENSION hstore;
CREATE SCHEMA other;
CREATE TYPE other.mood AS ENUM ('x');
CREATE TABLE other.t (a int CONSTRAINT t_pkey PRIMARY KEY, m other.mood);
CREATE FUNCTION f(a other.mood, VARIADIC c int[]) RETURNS int LANGUAGE sql AS 'select 1';
CREATE AGGREGATE agg(bigint) (sfunc = int8pl, stype = bigint);
CREATE CAST (int AS box) WITH INOUT;
CREATE PUBLICATION other;
SELECT lo_create(777002);
";
/// Objects on the way of a restore that drops everything.
const OLD: &str = "
CREATE EXTENSION citext SCHEMA pg_catalog;
CREATE EXTENSION isn;
CREATE SCHEMA old;
CREATE TABLE old.t (a citext);
CREATE FOREIGN DATA WRAPPER oldwrapper;
CREATE SERVER oldsrv FOREIGN DATA WRAPPER wrapper;
CREATE PUBLICATION oldpub;
CREATE CAST (int AS box) WITH INOUT;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO pg_monitor;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM root;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC;
CREATE FUNCTION old.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ begin raise 'no drops'; end $$;
CREATE EVENT TRIGGER oldevt ON sql_drop EXECUTE FUNCTION old.refuse();
";

/// Objects of which an account that owns the database may drop only one.
const KEPT: &str = "
CREATE TABLE old (a int);
ALTER TABLE old OWNER TO keeper;
CREATE EXTENSION isn SCHEMA pg_catalog;
CREATE PUBLICATION others;
CREATE CAST (int AS box) WITH INOUT;
SELECT lo_create(777003);
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO pg_monitor;
";
/// Two schemas with as much, and something outside both.
const PART: &str = "
CREATE TABLE t (a int);
INSERT INTO t VALUES (1), (2);
CREATE SCHEMA other;
CREATE TABLE other.u (a int);
INSERT INTO other.u VALUES (1), (2);
SELECT lo_create(777001);
";

/// A backup of a database with everything.
fn scene() -> Result<Scene> {
    let scene = Scene::of("--dbname=everything")?;
    scene.source.query("postgres", "CREATE DATABASE everything TEMPLATE template0")?;
    everything(&scene.source)?;
    scene.world.good_backup("nightly")?;
    Ok(scene)
}

fn everything(server: &PostgresServer) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions/everything.sql");
    server.load("everything", &script).map(drop)
}

/// The whole database in the words of pg_dump. Only the key differs from dump to dump.
fn dumped(server: &PostgresServer, database: &str, args: &[&str]) -> Result<String> {
    let dump = String::from_utf8(server.dump(database, args)?)?;
    Ok(dump.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn whatever_a_database_holds_of_a_dump_is_known_before_a_merge() -> Result<()> {
    let scene = scene()?;
    for (number, (_, statements)) in TAKEN.iter().enumerate() {
        let database = format!("taken{number}");
        scene.copy.query("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"))?;
        scene.copy.query(&database, statements)?;
        scene.request(&database, &format!("--dbname={database}"), "existing: Merge")?;
    }
    for (number, (object, statements)) in TAKEN.iter().enumerate() {
        let refused = scene.ended(&format!("taken{number}"))?;
        assert_eq!(refused["status"]["code"], "E0401", "{statements}: {refused}");
        let words = format!("the snapshot can't take the place of {object};");
        assert!(refused["status"].to_string().contains(&words), "{words} {refused}");
    }
    Ok(())
}

#[test]
fn a_merge_leaves_what_is_there_and_says_so() -> Result<()> {
    let scene = scene()?;
    scene.copy.query("postgres", "CREATE DATABASE back TEMPLATE template0")?;
    scene.copy.query("back", BESIDE)?;
    let restored = scene.restore("beside", "--dbname=back", "existing: Merge")?;
    assert_eq!(restored["status"]["phase"], "Succeeded", "{restored}");
    let conditions = restored["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let more = conditions.iter().find(|condition| condition["type"] == "TargetHoldsMore");
    let more = more.unwrap_or_else(|| panic!("{restored}"))["message"].to_string();
    for object in [
        "AGGREGATE public.agg(bigint)",
        "CAST (integer AS box)",
        "CONSTRAINT other.t_pkey",
        "FUNCTION public.f(other.mood, integer[])",
        "LARGE OBJECT 777002",
        "PUBLICATION other",
        "SCHEMA other",
        "TABLE other.t",
        "TYPE other.mood",
    ] {
        assert!(more.contains(object), "{object}: {more}");
    }
    assert!(!more.contains("hstore") && !more.contains("t_id_seq") && !more.contains(" more\""), "{more}");
    Ok(())
}

#[test]
fn a_replaced_database_is_the_one_of_the_dump_in_everything_that_pg_dump_knows() -> Result<()> {
    let scene = scene()?;
    let before = dumped(&scene.source, "everything", &[])?;
    scene.copy.query("postgres", "CREATE DATABASE everything TEMPLATE template0")?;
    everything(&scene.copy)?;
    scene.copy.query("everything", OLD)?;
    let replaced = scene.restore("replaced", "--dbname=everything", "existing: Replace")?;
    assert_eq!(replaced["status"]["phase"], "Succeeded", "{replaced}");
    assert!(!replaced.to_string().contains("TargetHoldsMore"), "{replaced}");
    assert_eq!(dumped(&scene.copy, "everything", &[])?, before);
    Ok(())
}

#[test]
fn what_an_account_may_not_drop_is_named_before_anything_is_dropped() -> Result<()> {
    let scene = scene()?;
    scene.copy.query("postgres", "CREATE ROLE keeper LOGIN PASSWORD 'keepers'")?;
    scene.copy.query("postgres", "CREATE DATABASE back OWNER keeper TEMPLATE template0")?;
    scene.copy.query("back", KEPT)?;
    let binding = app_binding("keeper", &scene.copy, "keeper", "keepers");
    let task = "task: {params: [{name: args, value: \"--dbname=back\"}]}\nexisting: Replace";
    let session = restore_session("kept", "local", "keeper", task);
    scene.world.lagan.manifest("kept.yaml", &format!("{binding}---\n{session}"))?;
    let refused = scene.ended("kept")?;
    assert_eq!(refused["status"]["code"], "E0405", "{refused}");
    let said = refused["status"].to_string();
    let (_, words) = said.split_once("the account may not drop ").unwrap_or_else(|| panic!("{refused}"));
    for object in [
        "EXTENSION isn",
        "PUBLICATION others",
        "CAST CAST (integer AS box)",
        "LARGE OBJECT 777003",
        "DEFAULT PRIVILEGES FOR ROLE root",
    ] {
        assert!(words.contains(object), "{object}: {refused}");
    }
    assert!(!words.contains("SCHEMA"), "{refused}");
    assert_eq!(scene.copy.query("back", "SELECT count(*) FROM old")?, "0");
    Ok(())
}

#[test]
fn a_database_that_lost_its_schema_public_gets_it_back() -> Result<()> {
    let scene = scene()?;
    let before = dumped(&scene.source, "everything", &[])?;
    scene.copy.query("postgres", "CREATE DATABASE everything TEMPLATE template0")?;
    scene.copy.query("everything", "DROP SCHEMA public; CREATE SCHEMA other")?;
    let replaced = scene.restore("replaced", "--dbname=everything", "existing: Replace")?;
    assert_eq!(replaced["status"]["phase"], "Succeeded", "{replaced}");
    // The account owns it, because nothing tells who did.
    scene.copy.query("everything", "ALTER SCHEMA public OWNER TO pg_database_owner")?;
    assert_eq!(dumped(&scene.copy, "everything", &[])?, before);
    Ok(())
}

#[test]
fn a_dump_of_one_schema_comes_back_alone() -> Result<()> {
    for schema in ["public", "other"] {
        let scene = Scene::of(&format!("--dbname=part --schema={schema}"))?;
        scene.source.query("postgres", "CREATE DATABASE part TEMPLATE template0")?;
        scene.source.query("part", PART)?;
        let result = scene.world.good_backup("nightly")?;
        assert_eq!((&result["record"]["rows"], &result["record"]["tables"]), (&2.into(), &1.into()), "{result}");
        let only = format!("--schema={schema}");
        let before = dumped(&scene.source, "part", &[&only])?;
        let restore = |kind: &str, statements: &str, more: &str| {
            let database = format!("into_{kind}");
            scene.copy.query("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"))?;
            scene.copy.query(&database, statements)?;
            let ended = scene.restore(kind, &format!("--dbname={database}"), more)?;
            Ok::<_, anyhow::Error>((ended, dumped(&scene.copy, &database, &[&only])?))
        };
        let (restored, after) = restore("empty", "SELECT 1", "verify: Rows")?;
        assert_eq!(restored["status"]["phase"], "Succeeded", "{restored}");
        assert!(!restored.to_string().contains("TargetHoldsMore"), "{restored}");
        assert_eq!(after, before);
        let (replaced, after) = restore("full", "CREATE TABLE old (); CREATE SCHEMA other", "existing: Replace")?;
        assert_eq!(replaced["status"]["phase"], "Succeeded", "{replaced}");
        assert_eq!(after, before);
        let (merged, _) = restore("merge", "CREATE TABLE old ()", "existing: Merge")?;
        assert_eq!(merged["status"]["phase"], "Succeeded", "{merged}");
        assert!(merged.to_string().contains("more than the snapshot: TABLE public.old"), "{merged}");
    }
    Ok(())
}

#[test]
fn rows_are_counted_if_that_is_asked_for() -> Result<()> {
    let scene = Scene::of("--dbname=postgres")?;
    scene.source.query("postgres", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")?;
    let dump = String::from_utf8(scene.source.dump("postgres", &[])?)?;
    scene.world.good_backup("nightly")?;
    let end = "--\n-- PostgreSQL database dump complete";
    let with = |statement: &str| dump.replacen(end, &format!("{statement};\n{end}"), 1).into_bytes();
    let inserts = scene.source.dump("postgres", &["--inserts"])?;
    for (host, dump, verify, code, words) in [
        ("names", with("DELETE FROM public.t WHERE a = 1"), "Objects", "", ""),
        ("fewer", with("DELETE FROM public.t WHERE a = 1"), "Rows", "E0406", "lacks 1 of 2 rows of table public.t"),
        (
            "more",
            with("DO $$BEGIN INSERT INTO public.t VALUES (3); END$$"),
            "Rows",
            "",
            "more than the snapshot: 1 of 3 rows of table public.t",
        ),
        ("inserts", inserts, "Rows", "E0407", "could not be compared: rows of the snapshot are in INSERT statements"),
    ] {
        scene.foreign(host, &dump)?;
        scene.copy.query("postgres", &format!("CREATE DATABASE into_{host} TEMPLATE template0"))?;
        let rule = format!("rules: [{{sourceHost: {host}, snapshots: [latest]}}]\nverify: {verify}");
        let ended = scene.restore(host, &format!("--dbname=into_{host}"), &rule)?;
        assert_eq!(ended["status"]["code"].as_str().unwrap_or_default(), code, "{ended}");
        assert!(ended["status"].to_string().contains(words), "{ended}");
    }
    Ok(())
}
