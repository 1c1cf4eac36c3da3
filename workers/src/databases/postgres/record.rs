//! The record of a plain dump. pg_dump writes a comment before each object with its name, type and owner; each row of a table
//! is a line of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Bytes of a line that are read. `COPY` of 1600 columns with the longest names is shorter.
const LINE_BYTES: usize = 256 * 1024;
/// Names that a record holds at most of each kind, and the bytes of one.
pub(super) const NAMED: usize = 100_000;
const NAME_BYTES: usize = 1024;
const LO_CREATE: &str = "SELECT pg_catalog.lo_create('";
const END: &str = "-- PostgreSQL database dump complete";
pub(super) const TABLE: &str = "TABLE";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PostgresRecord {
    /// Version of the form.
    pub postgres: u32,
    pub database: Option<String>,
    /// The moment that the data shows.
    pub time: Option<String>,
    pub server_version: String,
    pub encoding: String,
    /// Whether the stream creates this schema, which each database has.
    pub creates_public: bool,
    pub objects: BTreeMap<String, u64>,
    /// Types and names of the objects that the stream creates.
    pub names: BTreeSet<String>,
    pub rows: u64,
    /// Whether a table has rows in statements that are not counted.
    pub uncounted: bool,
    /// Rows by the schema and name of their table.
    pub tables: BTreeMap<String, u64>,
    /// Owners, and roles with grants.
    pub roles: BTreeSet<String>,
    pub extensions: BTreeSet<String>,
    pub complete: bool,
}

/// Reads a stream line by line.
#[derive(Debug, Default)]
pub(super) struct PostgresRecorder {
    record: PostgresRecord,
    line: Vec<u8>,
    is_in_rows: bool,
    /// The last two lines: a comment stands between two lines `--`.
    recent: [String; 2],
    /// Type and name of the object that is read.
    of: String,
    name: String,
}

impl PostgresRecorder {
    pub fn of(database: Option<String>, time: Option<String>) -> Self {
        Self { record: PostgresRecord { database, time, ..PostgresRecord::default() }, ..Self::default() }
    }

    pub fn feed(&mut self, block: &[u8]) {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let limit = if self.is_in_rows { 3 } else { LINE_BYTES };
            let room = limit.saturating_sub(self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            if text.len() < piece.len() {
                let line = std::mem::take(&mut self.line);
                self.read(&line);
                self.line = line;
                self.line.clear();
            }
        }
    }

    pub fn finish(&self) -> PostgresRecord {
        let complete = self.record.complete && !self.is_in_rows;
        PostgresRecord { postgres: 1, complete, ..self.record.clone() }
    }

    fn read(&mut self, line: &[u8]) {
        if !self.is_in_rows {
            self.sql(&String::from_utf8_lossy(line));
        } else if line == b"\\." {
            self.is_in_rows = false;
        } else {
            self.record.rows += 1;
            if let Some(rows) = self.record.tables.get_mut(&self.name) {
                *rows += 1;
            }
        }
    }

    fn sql(&mut self, line: &str) {
        if line == "--" && self.recent[0] == "--" {
            let comment = std::mem::take(&mut self.recent[1]);
            self.comment(&comment);
        } else if self.of == "TABLE DATA" && line.ends_with(" FROM stdin;") {
            self.is_in_rows = true;
        } else if self.of == "TABLE DATA" && line.starts_with("INSERT INTO ") {
            self.record.uncounted = true;
        } else if self.of == "SCHEMA" && line == "CREATE SCHEMA public;" {
            self.record.creates_public = true;
        } else if self.of.ends_with("ACL") && line.starts_with("GRANT ") {
            let role = line.rsplit_once(" TO ").map_or("", |(_, role)| role.trim_end_matches(" WITH GRANT OPTION;"));
            insert(&mut self.record.roles, &unquoted(role.trim_end_matches(';')));
        } else if let Some(oid) = line.strip_prefix(LO_CREATE).filter(|_| self.of.starts_with("BLOB")) {
            self.record.count("LARGE OBJECT", oid.trim_end_matches("');"));
        } else if let Some(encoding) = line.strip_prefix("SET client_encoding = '") {
            encoding.trim_end_matches("';").clone_into(&mut self.record.encoding);
        } else if let Some(version) = line.strip_prefix("-- Dumped from database version ") {
            version.clone_into(&mut self.record.server_version);
        }
        self.recent.swap(0, 1);
        line.clone_into(&mut self.recent[1]);
    }

    fn comment(&mut self, comment: &str) {
        self.record.complete = comment == END;
        let entry = comment.strip_prefix("-- Name: ").or_else(|| comment.strip_prefix("-- Data for Name: "));
        if let Some((name, of, schema, owner)) = entry.and_then(entry_of) {
            (self.of, self.name) = (of.to_owned(), qualified(schema, name));
            insert(&mut self.record.roles, owner);
            self.record.add(of, name, schema);
        }
    }
}

impl PostgresRecord {
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().filter(|record: &Self| record.postgres == 1)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain data")
    }

    fn add(&mut self, of: &str, name: &str, schema: &str) {
        let full_name = qualified(schema, name);
        // Every database has a schema `public`, whether it is dumped or not.
        if is_object(of) && (of, name) != ("SCHEMA", "public") && self.objects.len() < NAMED {
            let index = (of == "CONSTRAINT").then(|| qualified(schema, self.index_of(name, schema)));
            self.count(of, index.as_ref().unwrap_or(&full_name));
        }
        if of == "EXTENSION" {
            insert(&mut self.extensions, name);
        }
        if of == TABLE && self.tables.len() < NAMED && full_name.len() < NAME_BYTES {
            self.tables.insert(full_name, 0);
        }
    }

    fn count(&mut self, of: &str, name: &str) {
        *self.objects.entry(of.to_owned()).or_default() += 1;
        insert(&mut self.names, &format!("{of} {name}"));
    }

    /// The index of a constraint, which has its name. A dump writes the name behind that of the table.
    fn index_of<'a>(&self, name: &'a str, schema: &str) -> &'a str {
        let mut spaces = name.match_indices(' ').map(|(at, _)| at);
        let found = spaces.find(|at| self.tables.contains_key(&qualified(schema, &name[..*at])));
        found.map_or(name, |at| &name[at + 1..])
    }
}

fn qualified(schema: &str, name: &str) -> String {
    if schema == "-" { name.to_owned() } else { format!("{schema}.{name}") }
}

/// Whether a type is one of objects, and not of rows or properties of objects.
fn is_object(of: &str) -> bool {
    let last = of.rsplit(' ').next().unwrap_or_default();
    !["DATA", "SET", "BY", "ATTACH", "COMMENT", "ACL", "LABEL", "DEFAULT", "BLOB", "BLOBS", "METADATA"].contains(&last)
}

/// Name, type, schema and owner of an object. Its name may hold anything, so it is read from behind.
fn entry_of(entry: &str) -> Option<(&str, &str, &str, &str)> {
    let (entry, owner) = entry.rsplit_once("; Owner: ")?;
    let (entry, schema) = entry.rsplit_once("; Schema: ")?;
    let (name, of) = entry.rsplit_once("; Type: ")?;
    Some((name, of, schema, owner.split("; Tablespace: ").next()?))
}

fn insert(names: &mut BTreeSet<String>, name: &str) {
    if !matches!(name, "" | "-" | "PUBLIC") && names.len() < NAMED && name.len() < NAME_BYTES {
        names.insert(name.to_owned());
    }
}

fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}
