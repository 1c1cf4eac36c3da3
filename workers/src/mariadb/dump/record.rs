//! The record of a dump: what its stream holds. It is stored beside the dump, and has bounds of its own, so that a
//! stream of a million tables makes neither it nor its reader large.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::actions::PrivilegedAction;
use super::complete::Ending;

/// Version of the format.
pub const RECORD_VERSION: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    /// Facts that are not in the stream. Nothing if it was recorded by reading a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    pub bytes: u64,
    pub statements: u64,
    /// Without its delimiter. A restore needs a larger `max_allowed_packet` than this.
    pub longest_statement_bytes: u64,
    pub header: Header,
    /// Lines that say where a replica would go on, such as `-- CHANGE MASTER TO …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<String>,
    /// In the order of their first appearance.
    pub databases: Vec<DatabaseRecord>,
    /// Databases beyond the bound of the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub databases_left_out: u64,
    /// Needs of statements that belong to no database. Those of the databases are with them.
    #[serde(default, skip_serializing_if = "Needs::is_none")]
    pub needs: Needs,
    /// `INSERT … SELECT` and the like, whose rows the text does not tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted_inserts: u64,
    #[serde(default, skip_serializing_if = "Few::is_none")]
    pub oddities: Few<Oddity>,
    pub ending: Ending,
}

/// Facts about a backup that its stream does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// The moment that the data shows, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    pub server_version: String,
    pub lower_case_table_names: u8,
}

/// Facts from the lines at the start of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The program that wrote it, as in `MariaDB dump 10.19  Distrib 10.11.8-MariaDB, for Linux (x86_64)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The database that it is a dump of, or the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Of `SET NAMES`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub character_set: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRecord {
    /// Nothing for objects of which the dump does not say in which database they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The dump creates it. Otherwise it must exist before.
    pub created: bool,
    pub tables: Listed<TableRecord>,
    /// All others, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<RecordedKind, Listed<String>>,
    /// Tables that statements use and that the stream does not create, as with `--no-create-info`. They must exist before.
    #[serde(default, skip_serializing_if = "RequiredTables::is_none")]
    pub required_tables: RequiredTables,
    /// Tables that the stream creates without dropping them before, as with `--skip-add-drop-table`.
    #[serde(default, skip_serializing_if = "Few::is_none")]
    pub tables_not_dropped: Few<String>,
    /// The same for all others, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects_not_dropped: BTreeMap<RecordedKind, Few<String>>,
    /// Moments from which on a server does not create an event any more, by the event's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_ends: BTreeMap<String, EventEnd>,
    /// Of all its tables.
    pub rows: u64,
    /// The statements that it has, as far as they need privileges.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub actions: BTreeSet<PrivilegedAction>,
    /// Databases that its views, programs and foreign keys use, as far as their text shows.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub uses: Names,
    /// Statements that name this database, other than those that create and select it.
    #[serde(default, skip_serializing_if = "Few::is_none")]
    pub names_itself: Few<Naming>,
    /// Length of its longest statement.
    pub longest_statement_bytes: u64,
    /// Properties that a server must have to load this database.
    #[serde(default, skip_serializing_if = "Needs::is_none")]
    pub needs: Needs,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    pub name: String,
    pub rows: u64,
}

/// Tables that must exist before a stream, with the rows that it adds to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequiredTables {
    pub listed: Vec<TableRecord>,
    /// Set if there are more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The end of an event that does not outlive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEnd {
    /// As in `2030-01-01 00:00:00`.
    pub at: String,
    /// The time zone of the session; nothing if the stream does not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A kind of object besides tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordedKind {
    View,
    Sequence,
    Trigger,
    Procedure,
    Function,
    Package,
    PackageBody,
    Event,
}

/// A list with a bound, the number of all, and a digest of all names that does not depend on their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T> {
    pub count: u64,
    /// Sum of the first 16 bytes of the SHA-256 of each name, as a hexadecimal number.
    pub digest: String,
    /// In the order of the stream; fewer than `count` beyond the bound.
    pub listed: Vec<T>,
}

/// The first of several findings, and the number of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few<T> {
    pub count: u64,
    pub first: Vec<T>,
}

/// A set of names with a bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    pub names: BTreeSet<String>,
    /// Set if there were more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Properties that a server must have to load the dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// As in `root@localhost`.
    pub definers: Names,
    pub engines: Names,
    pub collations: Names,
    pub character_sets: Names,
    pub sql_modes: Names,
    /// Variables that the dump sets; those of the whole server as `GLOBAL name`.
    pub variables: Names,
    /// As in `ROW_FORMAT=COMPRESSED`.
    pub table_options: Names,
    /// Functions declared neither `DETERMINISTIC`, `NO SQL` nor `READS SQL DATA`. A server with a binary log refuses them.
    pub undeclared_functions: Names,
    /// `DEFINER` or `INVOKER`.
    pub sql_security: Names,
}

/// A statement that names its own database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Naming {
    /// As in `view`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The beginning of the statement, without the content of its strings.
    pub statement: String,
}

/// A statement that dumps do not hold as a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Oddity {
    pub kind: OddityKind,
    /// The database that is selected there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The beginning of the statement, without the content of its strings.
    pub statement: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OddityKind {
    /// `GRANT`, `CREATE USER` and the like, which reach beyond databases.
    Account,
    /// `CHANGE MASTER` and the like.
    Replication,
    /// `LOAD DATA`, which reads files.
    LoadData,
    /// A variable of the whole server is set.
    GlobalVariable,
    /// A character set in which a byte of one character may look like a quote or a backslash.
    CharacterSet,
    /// A command of the client that it will not run, or not as it was meant.
    ClientCommand,
    Other,
}

impl OddityKind {
    /// Whether such a statement may be about any database.
    #[must_use]
    pub fn is_unclear(self) -> bool {
        matches!(self, Self::LoadData | Self::ClientCommand | Self::Other)
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { count: 0, digest: String::new(), listed: Vec::new() }
    }
}

impl<T> Listed<T> {
    /// Whether every name is in the list.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.listed.len() as u64 == self.count
    }
}

impl RequiredTables {
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.listed.is_empty() && !self.more
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T> Few<T> {
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, bound: usize, finding: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < bound {
            self.first.push(finding());
        }
    }
}

impl Names {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn add(&mut self, bound: usize, name: String) {
        if self.names.len() < bound || self.names.contains(&name) {
            self.names.insert(name);
        } else {
            self.more = true;
        }
    }
}

impl Needs {
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.sets().into_iter().all(Names::is_empty)
    }

    /// Number of all names.
    pub(super) fn count(&self) -> usize {
        self.sets().into_iter().map(|names| names.names.len()).sum()
    }

    fn sets(&self) -> [&Names; 9] {
        [
            &self.definers,
            &self.engines,
            &self.collations,
            &self.character_sets,
            &self.sql_modes,
            &self.variables,
            &self.table_options,
            &self.undeclared_functions,
            &self.sql_security,
        ]
    }

    fn add(&mut self, other: &Self) {
        let own = [
            &mut self.definers,
            &mut self.engines,
            &mut self.collations,
            &mut self.character_sets,
            &mut self.sql_modes,
            &mut self.variables,
            &mut self.table_options,
            &mut self.undeclared_functions,
            &mut self.sql_security,
        ];
        for (own, other) in own.into_iter().zip(other.sets()) {
            own.names.extend(other.names.iter().cloned());
            own.more |= other.more;
        }
    }
}

impl Record {
    /// Needs of a restore of these databases.
    #[must_use]
    pub fn needs_of<'a>(&self, databases: impl IntoIterator<Item = &'a DatabaseRecord>) -> Needs {
        let mut needs = self.needs.clone();
        databases.into_iter().for_each(|database| needs.add(&database.needs));
        needs
    }

    /// JSON without anything that depends on when or where it is written.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has only text keys")
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.databases.iter().map(|database| database.rows).sum()
    }

    /// The database of this name; `None` for objects of which the dump does not say where they are.
    #[must_use]
    pub fn database(&self, name: Option<&str>) -> Option<&DatabaseRecord> {
        self.databases.iter().find(|database| database.name.as_deref() == name)
    }
}

impl DatabaseRecord {
    #[must_use]
    pub fn count(&self, kind: RecordedKind) -> u64 {
        self.objects.get(&kind).map_or(0, |listed| listed.count)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
