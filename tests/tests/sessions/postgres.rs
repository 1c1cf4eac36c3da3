//! A PostgreSQL database comes back as it was, and what can't come back is told before the first statement.

#[path = "postgres/existing.rs"]
mod existing;

use std::path::Path;

use anyhow::Result;
use lagan_tests::postgres::PostgresServer;
use lagan_tests::process::Process;
use lagan_tests::wait::eventually;
use lagan_tests::world::{PATIENCE, World, configuration, restore_session, secret};
use serde_json::Value;

const DATABASE: &str = "odd;na'me=\u{e4}";
/// A query by which the server itself describes every object and every row.
const EVERYTHING: &str = r#"
CREATE TEMP TABLE said (line text);
DO $do$ DECLARE t record; BEGIN
  FOR t IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE relkind IN ('r', 'p', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('INSERT INTO said SELECT %L || count(*) || md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '''')) FROM %s x',
                   t.name || ' ', t.name);
  END LOOP;
END $do$;
INSERT INTO said
  SELECT 'column ' || format_type(atttypid, atttypmod) || attrelid::regclass || attname || attidentity::text || attcollation::regcollation
         || coalesce(pg_get_expr(adbin, adrelid), '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND attnum > 0
  UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) || pg_get_userbyid(proowner) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND prokind <> 'a'
  UNION ALL SELECT 'relation ' || relkind::text || relpersistence::text || relrowsecurity || coalesce(relacl::text, '') || c.oid::regclass || pg_get_userbyid(relowner)
    || coalesce(pg_get_partkeydef(c.oid), '') || coalesce(pg_get_expr(relpartbound, c.oid), '') || coalesce(obj_description(c.oid), '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'view ' || pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('v', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'constraint ' || conname || pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'rule ' || pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class WHERE c.oid >= 16384
  UNION ALL SELECT 'policy ' || polname || pg_get_expr(polqual, polrelid) FROM pg_policy
  UNION ALL SELECT 'sequence ' || sequencename || start_value || increment_by || max_value || coalesce(last_value, 0) FROM pg_sequences
  UNION ALL SELECT 'label ' || enumtypid::regtype || enumlabel FROM pg_enum
  UNION ALL SELECT 'statistics ' || pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
  UNION ALL SELECT 'extension ' || extname || extversion FROM pg_extension
  UNION ALL SELECT 'large object ' || oid || encode(lo_get(oid), 'hex') || pg_get_userbyid(lomowner) FROM pg_largeobject_metadata;
SELECT line FROM said ORDER BY line COLLATE "C";
"#;

struct Scene {
    world: World,
    source: PostgresServer,
    copy: PostgresServer,
    _up: Process,
}

impl Scene {
    /// Two servers, of which the first has a database with unusual content, and a configuration of its backups.
    fn new() -> Result<Self> {
        let scene = Self::of(&format!("--dbname={DATABASE}"))?;
        let create = format!("CREATE ROLE \"own er\"; CREATE DATABASE \"{DATABASE}\" TEMPLATE template0");
        scene.source.query("postgres", &create)?;
        scene.source.load(DATABASE, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions/unusual.sql"))?;
        Ok(scene)
    }

    /// Two servers, and a configuration of backups of the first with arguments of pg_dump.
    fn of(args: &str) -> Result<Self> {
        let (world, source, copy) = (World::new()?, PostgresServer::start()?, PostgresServer::start()?);
        for (name, server) in [("crm", &source), ("copy", &copy)] {
            world.lagan.manifest(&format!("{name}.yaml"), &app_binding(name, server, "root", server.password()))?;
        }
        let configured = configuration("nightly", "local", args, "").replace("name: shop}}", "name: crm}}");
        // KubeDB's name of the Task.
        world.lagan.manifest("nightly.yaml", &configured.replace("task: {", "task: {name: postgres-backup-15.1, "))?;
        let up = world.up(&[])?;
        Ok(Self { world, source, copy, _up: up })
    }

    /// A snapshot of another tool.
    fn foreign(&self, host: &str, dump: &[u8]) -> Result<()> {
        self.world.restic()?.backup_stream(host, "dumpfile.sql", dump)
    }

    fn restore(&self, name: &str, args: &str, more: &str) -> Result<Value> {
        self.request(name, args, more)?;
        self.ended(name)
    }

    fn request(&self, name: &str, args: &str, more: &str) -> Result<()> {
        let task = format!("task: {{params: [{{name: args, value: \"{args}\"}}]}}\n{more}");
        let session = restore_session(name, "local", "copy", &task);
        self.world.lagan.manifest(&format!("{name}.yaml"), &session).map(drop)
    }

    fn ended(&self, name: &str) -> Result<Value> {
        self.world.ended("restoresessions", name, &[])
    }
}

pub(super) fn app_binding(name: &str, server: &PostgresServer, user: &str, password: &str) -> String {
    format!(
        "{}---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: {name}}}
spec:
  type: kubedb.com/postgres
  clientConfig: {{url: \"postgresql://127.0.0.1:{}/\"}}
  secret: {{name: {name}-db}}
",
        secret(&format!("{name}-db"), &[("username", user), ("password", password)]),
        server.port()
    )
}

#[test]
fn an_unusual_postgres_database_comes_back_as_the_server_itself_says() -> Result<()> {
    let scene = Scene::new()?;
    let result = scene.world.good_backup("nightly")?;
    assert_eq!((&result["record"]["rows"], &result["record"]["tables"]), (&910.into(), &10.into()), "{result}");
    let before = scene.source.query(DATABASE, EVERYTHING)?;

    // Roles are no part of a database, so they are asked for before the first statement.
    scene.copy.query("postgres", "CREATE DATABASE back TEMPLATE template0")?;
    let refused = scene.restore("no-role", "--dbname=back", "")?;
    assert_eq!(
        (&refused["status"]["phase"], &refused["status"]["code"]),
        (&"Failed".into(), &"E0405".into()),
        "{refused}"
    );
    assert!(refused["status"].to_string().contains("own er"), "{refused}");
    assert_eq!(scene.copy.query("back", "SELECT count(*) FROM pg_class WHERE oid >= 16384")?, "0");

    scene.copy.query("postgres", "CREATE ROLE \"own er\"")?;
    let restored = scene.restore("whole", "--dbname=back", "verify: Rows")?;
    assert_eq!(restored["status"]["phase"], "Succeeded", "{restored}");
    assert_eq!(scene.copy.query("back", EVERYTHING)?, before);
    assert!(!restored.to_string().contains("TargetHoldsMore"), "{restored}");

    // It is not empty any more, and only `Replace` makes room.
    scene.copy.query("back", "CREATE TABLE later (x int); DROP VIEW v; SELECT lo_from_bytea(777002, 'x')")?;
    let refused = scene.restore("again", "--dbname=back", "")?;
    assert_eq!(refused["status"]["code"], "E0401", "{refused}");
    let refused = scene.restore("merged", "--dbname=back", "existing: Merge")?;
    assert_eq!(refused["status"]["code"], "E0401", "{refused}");
    assert_eq!(scene.copy.query("back", "SELECT count(*) FROM later")?, "0");
    let replaced = scene.restore("replaced", "--dbname=back", "existing: Replace")?;
    assert_eq!(replaced["status"]["phase"], "Succeeded", "{replaced}");
    assert_eq!(scene.copy.query("back", EVERYTHING)?, before);
    scene.world.judge()
}

#[test]
fn a_dump_that_names_no_database_goes_where_the_session_says_and_nowhere_else() -> Result<()> {
    let scene = Scene::of("--dbname=postgres")?;
    scene.source.query("postgres", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")?;
    scene.world.good_backup("nightly")?;
    scene.foreign("stash", &scene.source.dump("postgres", &[])?)?;
    let databases = ["postgres", "shop", "till", "copy"];
    for database in &databases[1..] {
        scene.copy.query("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"))?;
    }
    let rule = "rules: [{sourceHost: stash, snapshots: [latest]}]";
    for (name, args, wish, words) in [
        ("several", "", "databases: [shop, till]", "exactly one name can be given, not shop, till"),
        ("nowhere", "", "", "does not say of which database it is"),
        ("both", "--dbname=till", "databases: [shop]", "`databases` asks for `shop`, and the arguments for `till`"),
    ] {
        let refused = scene.restore(name, args, &format!("{rule}\n{wish}"))?;
        assert_eq!(refused["status"]["code"], "E0404", "{refused}");
        assert!(refused["status"].to_string().contains(words), "{refused}");
    }
    let holders = || {
        let holds = |database: &&str| {
            let found =
                scene.copy.query(database, "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relkind = 'r'");
            found.map(|count| (count == "1").then(|| (*database).to_owned()))
        };
        Ok::<Vec<String>, anyhow::Error>(
            databases.iter().map(holds).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect(),
        )
    };
    assert_eq!(holders()?, Vec::<String>::new());
    for (name, args, wish, all) in [
        ("one", "", "databases: [shop]", &["shop"][..]),
        ("renamed", "", "databases: [shop]\nas: copy", &["shop", "copy"]),
        ("named", "--dbname=till", "", &["shop", "till", "copy"]),
    ] {
        let restored = scene.restore(name, args, &format!("{rule}\n{wish}"))?;
        assert_eq!(restored["status"]["phase"], "Succeeded", "{restored}");
        assert_eq!(holders()?, all, "{name}");
    }
    Ok(())
}

#[test]
fn what_an_account_may_not_read_is_named_and_no_dump_is_made() -> Result<()> {
    let scene = Scene::new()?;
    scene.source.query(DATABASE, "CREATE ROLE reader LOGIN PASSWORD 'readers'; GRANT SELECT ON returned TO reader")?;
    scene.world.lagan.manifest("crm.yaml", &app_binding("crm", &scene.source, "reader", "readers"))?;
    let failed = eventually("the account to be refused", PATIENCE, || {
        let output = scene.world.backup("nightly", &[]).ok()?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), output.stderr);
        text.contains("E0204").then_some(text)
    })?;
    assert!(failed.contains("public.refers") && !failed.contains("public.returned"), "{failed}");
    assert_eq!(scene.world.list("snapshots", &[]).unwrap_or_default().len(), 0);
    Ok(())
}

#[test]
fn a_stream_makes_psql_run_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.copy.query("postgres", "CREATE DATABASE back TEMPLATE template0")?;
    scene.world.good_backup("nightly")?;
    let mark = scene.world.lagan.path("mark");
    let dump = String::from_utf8(scene.source.dump("postgres", &[])?)?;
    let key = dump.lines().find_map(|line| line.strip_prefix("\\restrict ")).expect("a dump has a key").to_owned();
    let command = format!("\\unrestrict {key}\n\\! touch {}\n", mark.display());
    let end = "--\n-- PostgreSQL database dump complete";
    let hostile = dump.replacen(end, &format!("{command}{end}"), 1);
    scene.foreign("hostile", hostile.as_bytes())?;
    let failed = scene.restore("hostile", "--dbname=back", "rules: [{sourceHost: hostile, snapshots: [latest]}]")?;
    assert_eq!(failed["status"]["phase"], "Failed", "{failed}");
    assert!(failed["status"].to_string().contains("backslash commands are restricted"), "{failed}");
    assert!(!mark.exists());
    Ok(())
}

#[test]
fn a_failed_restore_of_postgres_says_which_statements_ran() -> Result<()> {
    let scene = Scene::new()?;
    scene.world.good_backup("nightly")?;
    let dump = String::from_utf8(scene.source.dump("postgres", &[])?)?;
    let end = "--\n-- PostgreSQL database dump complete";
    let bad = "CREATE TABLE public.u (a nosuchtype);\n";
    let restore = |name: &str, body: &str, more: &str| {
        let database = format!("into_{name}");
        scene.copy.query("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"))?;
        if more.contains("Replace") {
            scene.copy.query(&database, "CREATE TABLE old (a int)")?;
        }
        scene.foreign(name, dump.replacen(end, &format!("{body}{end}"), 1).as_bytes())?;
        let rule = format!("rules: [{{sourceHost: {name}, snapshots: [latest]}}]\n{more}");
        let ended = scene.restore(name, &format!("--dbname={database}"), &rule)?;
        let tables = scene
            .copy
            .query(&database, "SELECT string_agg(relname, ' ') FROM pg_class WHERE oid >= 16384 AND relkind = 'r'")?;
        Ok::<_, anyhow::Error>((
            ended["status"]["code"].as_str().unwrap_or_default().to_owned(),
            ended.to_string(),
            tables,
        ))
    };
    let (code, words, tables) = restore("nothing", bad, "")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0403", ""), "{words}");
    assert!(words.contains("nothing was written: the client failed: psql:<stdin>:"), "{words}");
    let (code, words, tables) = restore("some", &format!("CREATE TABLE public.t (a int);\n{bad}"), "")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0402", "t"), "{words}");
    let line = dump.lines().position(|line| line.ends_with("database dump complete")).expect("a dump has an end") + 1;
    // The lines of the key are left out, and one takes their place; the comment begins a line before its text.
    let words_of =
        |words: &str| words.split("before line ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let named = words_of(&words).unwrap_or_else(|| panic!("{words}"));
    assert!(named.abs_diff(line) <= 2, "{named} of {line}: {words}");
    let (code, words, tables) = restore("emptied", bad, "existing: Replace")?;
    assert_eq!((code.as_str(), tables.as_str()), ("E0402", ""), "{words}");
    Ok(())
}
