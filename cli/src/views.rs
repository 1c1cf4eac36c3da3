//! Makes a table of the objects of each kind. It must not read a clock or print.

mod catalogue;
mod configurations;
mod repositories;
mod sessions;

pub use self::catalogue::address;

use jiff::Timestamp;
use lagan_schemas::resource::Kind;

use crate::glyph::Glyphs;
use crate::human::{age, bytes, relative};
use crate::objects::ObjectDocument;
use crate::table::TextTable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Narrow,
    Wide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespaces {
    /// All rows are of one namespace, so there is no column for it.
    One,
    All,
}

/// The style of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    pub glyphs: Glyphs,
    pub now: Timestamp,
    pub width: Width,
    pub namespaces: Namespaces,
}

/// The columns of a kind, without namespace and name.
struct Columns {
    narrow: &'static [&'static str],
    wide: &'static [&'static str],
    cells: fn(&TableStyle, &ObjectDocument) -> Cells,
}

/// The cells of one row.
struct Cells {
    narrow: Vec<String>,
    wide: Vec<String>,
    /// Text behind the last column that names a problem.
    note: String,
}

#[must_use]
pub fn table(kind: Kind, views: &[&ObjectDocument], style: TableStyle) -> TextTable {
    let columns = match kind {
        Kind::BackupSession => sessions::BACKUP,
        Kind::RestoreSession => sessions::RESTORE,
        Kind::Repository => repositories::COLUMNS,
        Kind::BackupConfiguration => configurations::COLUMNS,
        Kind::BackupBlueprint => catalogue::BLUEPRINT,
        Kind::Task => catalogue::TASK,
        Kind::Function => catalogue::FUNCTION,
        Kind::AppBinding | Kind::Secret | Kind::Other(_) => catalogue::APP_BINDING,
    };
    let shows_namespace = style.namespaces == Namespaces::All && kind.is_namespaced();
    let mut headers = if shows_namespace { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    headers.extend(columns.narrow);
    if style.width == Width::Wide {
        headers.extend(columns.wide);
    }
    headers.extend(["AGE", ""]);
    let mut table = TextTable::new(headers);
    for view in views {
        let cells = (columns.cells)(&style, view);
        let mut row = Vec::new();
        if shows_namespace {
            row.push(view.key.namespace.clone().unwrap_or_default());
        }
        row.push(view.key.name.clone());
        row.extend(cells.narrow);
        if style.width == Width::Wide {
            row.extend(cells.wide);
        }
        row.push(style.age(view.created()));
        row.push(cells.note);
        let row = row.into_iter().map(|cell| style.or_nothing(cell)).collect::<Vec<_>>();
        table.row(style.without_empty_note(row));
    }
    table
}

impl TableStyle {
    fn or_nothing(&self, cell: String) -> String {
        if cell.is_empty() { self.glyphs.nothing().to_owned() } else { cell }
    }

    /// Clears the placeholder in the column of notes, which has no header.
    fn without_empty_note(&self, mut row: Vec<String>) -> Vec<String> {
        if let Some(last) = row.last_mut().filter(|last| *last == self.glyphs.nothing()) {
            last.clear();
        }
        row
    }

    fn age(&self, time: Option<Timestamp>) -> String {
        time.map(|time| age(time, self.now)).unwrap_or_default()
    }

    fn relative(&self, time: Option<Timestamp>) -> String {
        time.map(|time| relative(time, self.now)).unwrap_or_default()
    }
}

fn size(count: Option<u64>) -> String {
    count.map(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
