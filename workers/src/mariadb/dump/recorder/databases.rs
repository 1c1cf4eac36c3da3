//! The part of a record that is told by database.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::super::actions::actions;
use super::super::class::{ObjectKind, StatementKind};
use super::super::record::{DatabaseRecord, EventEnd, Naming, Needs, RecordedKind, TableRecord};
use super::super::statement::Statement;
use super::drops::Drops;

/// Databases that are told apart.
const DATABASES: usize = 10_000;
/// Names of tables and other objects, of all databases together, and their bytes.
const NAMES: usize = 100_000;
const NAME_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the names of all databases.
const DATABASE_BYTES: usize = 2 * 1024 * 1024;
/// Names in the needs of all databases together. Later ones count as needs of the whole dump.
const NEEDS: usize = 20_000;
/// Ends of events, databases that are used, and statements that name their database, of all databases together.
const FINDINGS: usize = 20_000;
/// Objects of one kind that are created without being dropped, of which names are kept.
const FEW: usize = 10;

#[derive(Debug)]
pub(super) struct Databases {
    known: Vec<RecordedDatabase>,
    /// By name; nothing for objects without a database.
    index: HashMap<Option<Vec<u8>>, usize>,
    left_out: u64,
    selected: Option<usize>,
    /// Where the statement's object is.
    target: Option<usize>,
    /// By the header, the database of objects without one; in lower case.
    dump_of: String,
    drops: Drops,
    names_left: usize,
    bytes_left: usize,
    database_bytes_left: usize,
    needs_left: usize,
    findings_left: usize,
    /// The table that rows went into last: its database, its name as it was written, and its index.
    last: Option<(usize, Vec<u8>, u8, TablePlace)>,
}

#[derive(Debug, Default)]
pub(super) struct RecordedDatabase {
    pub record: DatabaseRecord,
    /// The name in lower case, for comparisons.
    pub folded: String,
    /// Places of listed tables.
    tables: HashMap<Vec<u8>, TablePlace>,
    digests: HashMap<Option<RecordedKind>, u128>,
    /// Number of its needs before this statement.
    needs: usize,
}

/// The index of a table in one of the lists of a record.
#[derive(Debug, Clone, Copy)]
enum TablePlace {
    Created(usize),
    Required(usize),
}

impl Default for Databases {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            index: HashMap::new(),
            left_out: 0,
            selected: None,
            target: None,
            dump_of: String::new(),
            drops: Drops::default(),
            names_left: NAMES,
            bytes_left: NAME_BYTES,
            database_bytes_left: DATABASE_BYTES,
            needs_left: NEEDS,
            findings_left: FINDINGS,
            last: None,
        }
    }
}

impl Databases {
    /// The database that is selected; for a dump of one database that names none, the one without a name.
    pub fn selected(&mut self) -> Option<&mut RecordedDatabase> {
        self.selected.and_then(|index| self.known.get_mut(index))
    }

    /// The database that the statement's object is in.
    pub fn target(&mut self) -> Option<&mut RecordedDatabase> {
        self.target.and_then(|index| self.known.get_mut(index))
    }

    /// Needs of the database that the statement's object is in, if there is one and the bound is not reached.
    pub fn needs(&mut self) -> Option<&mut Needs> {
        if self.needs_left == 0 { None } else { self.target().map(|database| &mut database.record.needs) }
    }

    /// Notes when an event of the statement's database ends.
    pub fn event_ends(&mut self, event: String, end: EventEnd) {
        if self.has_room()
            && let Some(database) = self.target()
        {
            database.record.event_ends.insert(event, end);
            self.findings_left -= 1;
        }
    }

    /// Notes that the selected database uses another.
    pub fn uses(&mut self, name: String) {
        let has_room = self.has_room();
        let Some(uses) = self.selected().map(|database| &mut database.record.uses) else { return };
        let before = uses.names.len();
        uses.add(if has_room { super::NAMES } else { 0 }, name);
        self.findings_left -= uses.names.len() - before;
    }

    /// Notes a statement that names the selected database. The first is always kept, because a new name depends on it.
    pub fn names_itself(&mut self, naming: impl FnOnce() -> Naming) {
        let has_room = self.has_room();
        let Some(found) = self.selected().map(|database| &mut database.record.names_itself) else { return };
        let before = found.first.len();
        found.add(if has_room { super::FEW } else { 1 }, naming);
        let added = found.first.len() - before;
        self.findings_left = self.findings_left.saturating_sub(added);
    }

    /// Notes that a variable of the whole server is set. Those beyond the bound are the caller's.
    pub fn sets_global(&mut self, variable: String) -> Result<(), String> {
        if self.needs_left == 0 {
            return Err(variable);
        }
        let Some(variables) = self.selected().map(|database| &mut database.record.needs.variables) else {
            return Err(variable);
        };
        let before = variables.names.len();
        variables.add(super::NAMES, variable);
        let added = variables.names.len() - before;
        if let Some(database) = self.selected() {
            database.needs += added;
        }
        self.needs_left -= added;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.findings_left > 0
    }

    /// Notes the end of a statement: its length, and the needs that it added.
    pub fn ended(&mut self, length: u64) {
        let Some(database) = self.target() else { return };
        let record = &mut database.record;
        record.longest_statement_bytes = record.longest_statement_bytes.max(length);
        let count = record.needs.count();
        let added = count - std::mem::replace(&mut database.needs, count);
        self.needs_left = self.needs_left.saturating_sub(added);
    }

    pub fn into_records(self) -> (Vec<DatabaseRecord>, u64) {
        let records = self.known.into_iter().map(RecordedDatabase::into_record).collect();
        (records, self.left_out)
    }

    pub fn is_dump_of(&mut self, database: &str) {
        self.dump_of = database.to_lowercase();
    }

    /// Notes what a statement makes and where.
    pub fn enter(&mut self, statement: &Statement<'_>) {
        let class = statement.class;
        let name = || class.name.map(|name| statement.head.name(name));
        match class.kind {
            StatementKind::Use => {
                self.selected = self.at(name());
                self.left_out += u64::from(self.selected.is_none());
                self.target = None;
            }
            StatementKind::CreateDatabase => {
                self.target = self.at(name());
                if let Some(at) = self.target {
                    self.known[at].record.created = true;
                }
            }
            // A database that is dropped or altered is written to, also if nothing else of the stream is in it.
            StatementKind::AlterDatabase | StatementKind::DropDatabase => self.target = self.at(name()),
            StatementKind::Create(kind) => {
                self.find(statement);
                if let (Some(name), Some(kind)) = (name(), listed_as(kind)) {
                    self.not_dropped(kind, statement);
                    self.add(kind, name);
                }
            }
            StatementKind::Placeholder => {
                self.find(statement);
                self.not_dropped(Some(RecordedKind::View), statement);
            }
            StatementKind::Drop(kind) => {
                self.find(statement);
                if let (Some(target), Some(name), Some(kind)) = (self.target, name(), listed_as(kind)) {
                    self.drops.add(target, kind, &name);
                }
            }
            StatementKind::Insert | StatementKind::Alter(_) | StatementKind::Lock | StatementKind::LoadData => {
                self.find(statement);
            }
            StatementKind::Upkeep if class.name.is_some() => self.find(statement),
            _ => self.target = None,
        }
        if let Some(database) = self.target() {
            database.record.actions.extend(actions(statement));
        }
    }

    /// Counts rows of an `INSERT`.
    pub fn rows(&mut self, statement: &Statement<'_>, rows: u64) {
        let token = statement.class.name.and_then(|name| Some((name, statement.head.get(name)?)));
        let (Some(target), Some((name, token))) = (self.target, token) else { return };
        self.known[target].record.rows += rows;
        let place = match &self.last {
            Some((of, text, quote, place)) if *of == target && text == token.text && *quote == token.quote => *place,
            _ => {
                let Some(place) = self.place(target, statement.head.name(name)) else { return };
                self.last = Some((target, token.text.to_vec(), token.quote, place));
                place
            }
        };
        let record = &mut self.known[target].record;
        match place {
            TablePlace::Created(at) => record.tables.listed[at].rows += rows,
            TablePlace::Required(at) => record.required_tables.listed[at].rows += rows,
        }
    }

    /// Notes that the statement needs this table.
    pub fn requires(&mut self, table: Vec<u8>) {
        if let Some(target) = self.target {
            self.place(target, table);
        }
    }

    /// The place of a table that a statement uses. One that the stream has not created must exist before.
    fn place(&mut self, target: usize, name: Vec<u8>) -> Option<TablePlace> {
        let database = &mut self.known[target];
        if let Some(place) = database.tables.get(&name) {
            return Some(*place);
        }
        // Beyond its bound the list does not tell which tables the stream creates.
        if !database.record.tables.is_whole() {
            return None;
        }
        let required = &mut database.record.required_tables;
        if self.names_left == 0 || self.bytes_left < name.len() {
            required.more = true;
            return None;
        }
        self.names_left -= 1;
        self.bytes_left -= name.len();
        let place = TablePlace::Required(required.listed.len());
        required.listed.push(TableRecord { name: String::from_utf8_lossy(&name).into_owned(), rows: 0 });
        database.tables.insert(name, place);
        Some(place)
    }

    /// Notes an object that is created although one of its name may exist.
    fn not_dropped(&mut self, kind: Option<RecordedKind>, statement: &Statement<'_>) {
        let Some(target) = self.target.filter(|target| !self.drops.allow(*target, kind, statement)) else { return };
        let record = &mut self.known[target].record;
        let few = match kind {
            None => &mut record.tables_not_dropped,
            Some(kind) => record.objects_not_dropped.entry(kind).or_default(),
        };
        let name = || statement.class.name.map(|name| statement.head.name(name)).unwrap_or_default();
        few.add(FEW, || String::from_utf8_lossy(&name()).into_owned());
    }

    fn find(&mut self, statement: &Statement<'_>) {
        // Most statements are about the selected database, which is known.
        if statement.class.qualifier.is_none() && statement.selected.is_some() && self.selected.is_some() {
            self.target = self.selected;
            return;
        }
        let named = statement.class.qualifier.map(|name| statement.head.name(name));
        let name = named.or_else(|| statement.selected.map(<[u8]>::to_vec));
        self.target = self.at(name.clone());
        if self.target.is_none() {
            self.left_out = self.left_out.max(1);
        }
        if name.is_none() {
            self.selected = self.target;
        }
    }

    fn at(&mut self, name: Option<Vec<u8>>) -> Option<usize> {
        if let Some(at) = self.index.get(&name) {
            return Some(*at);
        }
        let bytes = name.as_ref().map_or(0, Vec::len);
        if self.known.len() >= DATABASES || self.database_bytes_left < bytes {
            return None;
        }
        self.database_bytes_left -= bytes;
        let shown = name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
        let folded = shown.as_ref().map_or_else(|| self.dump_of.clone(), |name| name.to_lowercase());
        let record = DatabaseRecord { name: shown, ..DatabaseRecord::default() };
        self.known.push(RecordedDatabase { record, folded, ..RecordedDatabase::default() });
        self.index.insert(name, self.known.len() - 1);
        Some(self.known.len() - 1)
    }

    /// `None` is a table.
    fn add(&mut self, kind: Option<RecordedKind>, name: Vec<u8>) {
        let Some(database) = self.target.map(|target| &mut self.known[target]) else { return };
        let digest = database.digests.entry(kind).or_default();
        *digest = digest.wrapping_add(digest_of(&name));
        let fits = self.names_left > 0 && self.bytes_left >= name.len();
        if fits {
            self.names_left -= 1;
            self.bytes_left -= name.len();
        }
        let shown = String::from_utf8_lossy(&name).into_owned();
        match kind {
            None => {
                let tables = &mut database.record.tables;
                tables.count += 1;
                if fits {
                    database.tables.insert(name, TablePlace::Created(tables.listed.len()));
                    tables.listed.push(TableRecord { name: shown, rows: 0 });
                }
            }
            Some(kind) => {
                let listed = database.record.objects.entry(kind).or_default();
                listed.count += 1;
                if fits {
                    listed.listed.push(shown);
                }
            }
        }
    }
}

impl RecordedDatabase {
    fn into_record(self) -> DatabaseRecord {
        let mut record = self.record;
        for (kind, digest) in self.digests {
            let digest = format!("{digest:032x}");
            match kind {
                None => record.tables.digest = digest,
                Some(kind) => record.objects.entry(kind).or_default().digest = digest,
            }
        }
        record
    }
}

#[expect(clippy::option_option, reason = "the outer one says whether it is listed, the inner one as what")]
fn listed_as(kind: ObjectKind) -> Option<Option<RecordedKind>> {
    Some(match kind {
        ObjectKind::Table => None,
        ObjectKind::View => Some(RecordedKind::View),
        ObjectKind::Sequence => Some(RecordedKind::Sequence),
        ObjectKind::Trigger => Some(RecordedKind::Trigger),
        ObjectKind::Procedure => Some(RecordedKind::Procedure),
        ObjectKind::Function => Some(RecordedKind::Function),
        ObjectKind::Package => Some(RecordedKind::Package),
        ObjectKind::PackageBody => Some(RecordedKind::PackageBody),
        ObjectKind::Event => Some(RecordedKind::Event),
        ObjectKind::Index => return None,
    })
}

fn digest_of(name: &[u8]) -> u128 {
    let hash = Sha256::digest(name);
    let first: [u8; 16] = hash[..16].try_into().expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(first)
}
