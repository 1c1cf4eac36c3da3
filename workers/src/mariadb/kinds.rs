//! Kinds of objects, as the server and people name them. Tables have no `RecordedKind`.

use super::dump::{NameCase, RecordedKind};

/// The kind of a word of `information_schema`; all others are tables.
pub(super) fn kind(word: &str) -> Option<RecordedKind> {
    match word {
        "VIEW" => Some(RecordedKind::View),
        "SEQUENCE" => Some(RecordedKind::Sequence),
        "TRIGGER" => Some(RecordedKind::Trigger),
        "PROCEDURE" => Some(RecordedKind::Procedure),
        "FUNCTION" => Some(RecordedKind::Function),
        "PACKAGE" => Some(RecordedKind::Package),
        "PACKAGE BODY" => Some(RecordedKind::PackageBody),
        "EVENT" => Some(RecordedKind::Event),
        _ => None,
    }
}

/// The word for people.
pub(super) fn word(kind: Option<RecordedKind>) -> &'static str {
    match kind {
        None => "table",
        Some(RecordedKind::View) => "view",
        Some(RecordedKind::Sequence) => "sequence",
        Some(RecordedKind::Trigger) => "trigger",
        Some(RecordedKind::Procedure) => "procedure",
        Some(RecordedKind::Function) => "function",
        Some(RecordedKind::Package) => "package",
        Some(RecordedKind::PackageBody) => "package body",
        Some(RecordedKind::Event) => "event",
    }
}

/// The form of a name that is equal for equal names. The server ignores the case of programs' names everywhere.
pub(super) fn folded(kind: Option<RecordedKind>, name: &str, case: NameCase) -> String {
    match kind {
        None | Some(RecordedKind::View | RecordedKind::Sequence) => case.fold(name),
        Some(RecordedKind::Trigger) => name.to_owned(),
        Some(_) => name.to_lowercase(),
    }
}

/// Whether these objects share their names with tables.
pub(super) fn is_relation(kind: Option<RecordedKind>) -> bool {
    matches!(kind, None | Some(RecordedKind::View | RecordedKind::Sequence))
}
