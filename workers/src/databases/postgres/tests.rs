#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use crate::databases::postgres::load::{Guarded, differences, obstacles};
use crate::databases::postgres::record::NAMED;
use crate::databases::{Clearing, StreamFilter as _};

const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict KEY\n\n\
-- Dumped from database version 15.18 (Debian)\n\nSET client_encoding = 'UTF8';\n\n\
--\n-- Name: Sch;ema; Type: SCHEMA; Schema: -; Owner: own er\n--\n\nCREATE SCHEMA \"Sch;ema\";\n\n\
--\n-- Name: public; Type: SCHEMA; Schema: -; Owner: postgres\n--\n\n\
--\n-- Name: pgcrypto; Type: EXTENSION; Schema: -; Owner: -\n--\n\n\
--\n-- Name: a; Type: VIEW; Schema: x; Type: TABLE; Schema: Sch;ema; Owner: postgres; Tablespace: fast\n--\n\n\
--\n-- Name: t; Type: TABLE; Schema: public; Owner: postgres\n--\n\nCREATE TABLE public.t (\n    a text\n);\n\n\
--\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: postgres\n--\n\n\
CREATE FUNCTION public.f() RETURNS text AS $$\nCOPY x FROM stdin;\nGRANT ALL ON x TO nobody;\n-- Name: x; Type: VIEW; Schema: y; Owner: z\n$$;\n\n\
--\n-- Name: 777; Type: BLOB; Schema: -; Owner: postgres\n--\n\nSELECT pg_catalog.lo_create('777');\n\n\
--\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: postgres\n--\n\n\
COPY public.t (a, \"line\nbreak\") FROM stdin;\n\\restrict KEY\n\\\\.\n--\n-- PostgreSQL database dump complete\n\\.\n\n\
--\n-- Name: TABLE t; Type: ACL; Schema: public; Owner: postgres\n--\n\nGRANT SELECT ON TABLE public.t TO \"gr\"\"antee\" WITH GRANT OPTION;\nGRANT ALL ON TABLE public.t TO PUBLIC;\n\n\
--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict KEY\n\n";

fn record(dump: &str, at: usize) -> PostgresRecord {
    let mut recorder = PostgresRecorder::default();
    let (head, tail) = dump.as_bytes().split_at(at);
    recorder.feed(head);
    recorder.feed(tail);
    recorder.finish()
}

#[test]
fn a_record_tells_what_a_dump_holds_wherever_its_blocks_end() {
    let whole = record(DUMP, 0);
    let counts = [("EXTENSION", 1), ("FUNCTION", 1), ("LARGE OBJECT", 1), ("SCHEMA", 1), ("TABLE", 2)];
    assert_eq!(whole.objects, counts.map(|(of, count)| (of.to_owned(), count)).into());
    let tables = [("Sch;ema.a; Type: VIEW; Schema: x", 0), ("public.t", 4)];
    assert_eq!(whole.tables, tables.map(|(name, rows)| (name.to_owned(), rows)).into());
    assert_eq!((whole.rows, whole.complete, whole.encoding.as_str()), (4, true, "UTF8"));
    assert_eq!(whole.server_version, "15.18 (Debian)");
    assert_eq!(whole.roles, ["own er", "postgres", "gr\"antee"].map(str::to_owned).into());
    assert_eq!(whole.extensions, ["pgcrypto".to_owned()].into());
    for at in 1..DUMP.len() {
        assert_eq!(record(DUMP, at), whole, "cut at {at}");
    }
    assert_eq!(PostgresRecord::parse(&whole.to_json()).as_ref(), Some(&whole));
    assert_eq!(PostgresRecord::parse(b"{\"version\": 1}"), None);
}

#[test]
fn the_record_beside_a_dump_is_kept() {
    let database = Some("shop".to_owned());
    let taken = PostgresRecord { database, time: Some("2026-11-23T00:45:02Z".to_owned()), ..record(DUMP, 0) };
    crate::check::is_kept("snapshot/record-postgres.json", &taken);
}

#[test]
fn a_dump_without_its_end_is_not_complete() {
    let end = DUMP.rfind("-- PostgreSQL database dump complete").unwrap();
    for at in (0..end).filter(|at| DUMP.is_char_boundary(*at)) {
        assert!(!record(&DUMP[..at], 0).complete, "ends at {at}");
    }
    let more = format!("{DUMP}--\n-- Name: u; Type: TABLE; Schema: public; Owner: postgres\n--\n");
    assert!(!record(&more, 0).complete);
}

fn filtered(dump: &str, at: usize) -> String {
    let (mut filter, mut out) = (Box::<Guarded>::default(), Vec::new());
    filter.creates_public = record(dump, 0).creates_public;
    let (head, tail) = dump.as_bytes().split_at(at);
    filter.block(head, &mut out).unwrap();
    filter.block(tail, &mut out).unwrap();
    filter.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_restore_leaves_out_the_key_of_the_stream_and_nothing_else() {
    let expected = DUMP.replacen("\\restrict KEY\n", "", 1).replacen("\\unrestrict KEY\n", "", 1);
    assert!(expected.contains("\\restrict KEY\n"), "a row that looks like it stays");
    for at in 0..DUMP.len() {
        assert_eq!(filtered(DUMP, at), expected, "cut at {at}");
    }
}

#[test]
fn a_schema_that_each_database_has_is_not_created() {
    let public = "Schema: -; Owner: postgres\n--\n\n";
    let row = "COPY public.t (a, \"line\nbreak\") FROM stdin;\nCREATE SCHEMA public;\n";
    let dump = DUMP.replacen("COPY public.t (a, \"line\nbreak\") FROM stdin;\n", row, 1);
    assert!(filtered(&dump, 0).contains(row), "a row that looks like it stays");
    let creates = dump.replacen(public, &format!("{public}CREATE SCHEMA public;\n\n"), 1);
    assert_eq!(filtered(&creates, 0), filtered(&dump, 0).replacen(public, &format!("{public}\n"), 1));
}

#[test]
fn what_would_stop_a_restore_is_known_before() {
    let record = record(DUMP, 0);
    let good = || State {
        server_version: "15.1".to_owned(),
        encoding: "UTF8".to_owned(),
        roles: record.roles.clone(),
        extensions: record.extensions.clone(),
        ..State::default()
    };
    assert_eq!(obstacles(&record, &good(), Clearing::Empty), Vec::<String>::new());
    let cases = [
        (State { obstacles: vec!["read-only".to_owned()], ..good() }, "read-only"),
        (State { server_version: "14.9".to_owned(), ..good() }, "older version 14.9"),
        (State { encoding: "LATIN1".to_owned(), ..good() }, "LATIN1"),
        (State { roles: BTreeSet::new(), ..good() }, "own er"),
        (State { extensions: BTreeSet::new(), ..good() }, "pgcrypto"),
    ];
    for (server, words) in cases {
        let found = obstacles(&record, &server, Clearing::Leave);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
    let server = State { kept: ["EXTENSION isn", "SCHEMA public"].map(str::to_owned).into(), ..good() };
    for (clearing, words) in
        [(Clearing::Leave, None), (Clearing::Empty, Some("the account may not drop EXTENSION isn, SCHEMA public;"))]
    {
        let found = obstacles(&record, &server, clearing);
        assert_eq!(found.len(), words.iter().len(), "{found:?}");
        assert!(found.iter().zip(words).all(|(found, words)| found.contains(words)), "{found:?}");
    }
}

#[test]
fn a_target_is_compared_by_number_name_and_rows() {
    let record = record(DUMP, 0);
    let same = || State { objects: record.objects.clone(), names: record.names.clone(), ..State::default() };
    let found = |server: &State, rows| {
        let (missing, more) = differences(&record, server, &[("public.t".to_owned(), rows)].into());
        (missing.join("; "), more.join("; "))
    };
    let is = |missing: &str, more: &str| (missing.to_owned(), more.to_owned());
    assert_eq!(found(&same(), 4), is("", ""));
    assert_eq!(found(&same(), 3), is("1 of 4 rows of table public.t", ""));
    assert_eq!(found(&same(), 6), is("", "2 of 6 rows of table public.t"));
    let mut server = same();
    server.names.remove("TABLE public.t");
    server.names.insert("TABLE public.u".to_owned());
    assert_eq!(found(&server, 4), is("TABLE public.t", "TABLE public.u"));
    let mut server = same();
    server.objects.insert("FUNCTION".to_owned(), 0);
    assert_eq!(found(&server, 4), is("1 of 1 objects of kind FUNCTION", ""));
    // The server was not asked for these.
    server.objects.remove("FUNCTION");
    assert_eq!(found(&server, 4), is("", ""));
    // Lists that are cut prove nothing; numbers do.
    server.names = (0..NAMED).map(|number| format!("TABLE public.n{number}")).collect();
    assert_eq!(found(&server, 4), is("", ""));
}

#[test]
fn rows_in_statements_are_not_taken_for_none() {
    assert!(!record(DUMP, 0).uncounted);
    let inserts = DUMP.replace("COPY public.t (a", "INSERT INTO public.t VALUES (1);\nCOPY public.t (a");
    assert!(record(&inserts, 0).uncounted);
}

#[test]
fn standard_error_is_explained() {
    let explained = |line: &str| questions::explain(engine(), &[line.to_owned()]).and_then(|found| found.code);
    let cases = [
        (
            r#"psql: error: connection to server at "h" (::1), port 1 failed: FATAL:  password authentication failed for user "x""#,
            Code::AccessDenied,
        ),
        ("pg_dump: error: query failed: ERROR:  permission denied for table t", Code::MissingPrivileges),
        (
            r#"psql: error: connection to server at "h", port 1 failed: FATAL:  database "x" does not exist"#,
            Code::ScopeRefused,
        ),
        (r#"connection to server at "127.0.0.1", port 1 failed: Connection refused"#, Code::DatabaseUnreachable),
        ("pg_dump: error: aborting because of server version mismatch", Code::ProgramNotAllowed),
        ("invalid command \\restrict", Code::ProgramNotAllowed),
    ];
    for (line, code) in cases {
        assert_eq!(explained(line), Some(code), "{line}");
    }
    assert_eq!(explained("something else"), None);
}
