//! The objects that a stream must hold, and the ones that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use crate::mariadb::dump::{DatabaseRecord, Record, RecordedKind};
use crate::mariadb::dump_args::{DumpArgs, Scope};

/// A kind of object as a dump is checked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InventoryKind {
    Table,
    View,
    Sequence,
    Trigger,
    Routine,
    Event,
}

/// The objects that must be found in the stream, by database ("" if the dump names none) and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedObjects {
    objects: BTreeMap<(String, InventoryKind), BTreeSet<String>>,
}

/// Objects of one kind that the stream lacks in one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingObjects {
    pub database: String,
    pub kind: InventoryKind,
    pub expected: usize,
    pub found: u64,
    /// The missing ones where they can be told, else all candidates.
    pub names: Vec<String>,
}

impl ExpectedObjects {
    pub(super) fn add(&mut self, args: &DumpArgs, database: &str, kind: InventoryKind, name: &str) {
        let database = match args.scope {
            Scope::One { .. } => String::new(),
            _ => database.to_owned(),
        };
        self.objects.entry((database, kind)).or_default().insert(name.to_owned());
    }

    /// Drops databases with all that they hold, and tables, views and sequences.
    pub(super) fn forget(&mut self, left_out: impl Fn(&str, Option<&str>) -> bool) {
        self.objects.retain(|(database, _), _| !left_out(database, None));
        for ((database, kind), names) in &mut self.objects {
            if matches!(kind, InventoryKind::Table | InventoryKind::View | InventoryKind::Sequence) {
                names.retain(|name| !left_out(database, Some(name)));
            }
        }
    }

    #[must_use]
    pub fn count(&self, kind: InventoryKind) -> usize {
        self.objects.iter().filter(|((_, found), _)| *found == kind).map(|(_, names)| names.len()).sum()
    }

    /// The expected objects that the stream does not hold. Additional ones are fine: they were created meanwhile.
    #[must_use]
    pub fn missing_in(&self, record: &Record) -> Vec<MissingObjects> {
        self.objects.iter().filter_map(|((database, kind), names)| missing(database, *kind, names, record)).collect()
    }
}

fn missing(
    database: &str,
    kind: InventoryKind,
    expected: &BTreeSet<String>,
    record: &Record,
) -> Option<MissingObjects> {
    let nothing = DatabaseRecord::default();
    let found = record.database((!database.is_empty()).then_some(database)).unwrap_or(&nothing);
    let (found, names): (u64, Vec<String>) = match listed(found, kind) {
        Some(listed) => {
            let absent: Vec<String> = expected.iter().filter(|name| !listed.contains(name.as_str())).cloned().collect();
            ((expected.len() - absent.len()) as u64, absent)
        }
        None => (count(found, kind), expected.iter().cloned().collect()),
    };
    (found < expected.len() as u64).then(|| MissingObjects {
        database: database.to_owned(),
        kind,
        expected: expected.len(),
        found,
        names,
    })
}

/// The names in the stream, where all of them can be told. Text of programs, with their names, is in a character set
/// of its own, so they are counted; and so is everything of a database that has very many objects.
fn listed(database: &DatabaseRecord, kind: InventoryKind) -> Option<BTreeSet<&str>> {
    let of = |object: RecordedKind| match database.objects.get(&object) {
        None => Some(BTreeSet::new()),
        Some(listed) => listed.is_whole().then(|| listed.listed.iter().map(String::as_str).collect()),
    };
    match kind {
        InventoryKind::Table => {
            let tables = &database.tables;
            tables.is_whole().then(|| tables.listed.iter().map(|table| table.name.as_str()).collect())
        }
        InventoryKind::View => of(RecordedKind::View),
        InventoryKind::Sequence => of(RecordedKind::Sequence),
        InventoryKind::Trigger | InventoryKind::Routine | InventoryKind::Event => None,
    }
}

fn count(database: &DatabaseRecord, kind: InventoryKind) -> u64 {
    match kind {
        InventoryKind::Table => database.tables.count,
        InventoryKind::View => database.count(RecordedKind::View),
        InventoryKind::Sequence => database.count(RecordedKind::Sequence),
        InventoryKind::Trigger => database.count(RecordedKind::Trigger),
        InventoryKind::Event => database.count(RecordedKind::Event),
        InventoryKind::Routine => {
            [RecordedKind::Procedure, RecordedKind::Function, RecordedKind::Package, RecordedKind::PackageBody]
                .iter()
                .map(|object| database.count(*object))
                .sum()
        }
    }
}

impl std::fmt::Display for MissingObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = format!("{:?}", self.kind).to_lowercase();
        write!(f, "{} of {} {kind}s", self.expected as u64 - self.found, self.expected)?;
        if !self.database.is_empty() {
            write!(f, " of `{}`", self.database)?;
        }
        let shown: Vec<String> =
            self.names.iter().take(5).map(|name| format!("`{}`", crate::process::escape(name))).collect();
        let more = if self.names.len() > 5 { ", …" } else { "" };
        write!(f, " ({}{more})", shown.join(", "))
    }
}
