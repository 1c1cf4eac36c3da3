//! Rows of BackupSessions and RestoreSessions.

use lagan_schemas::resource::backup_session::RunStatus;

use super::{Cells, Columns, TableStyle, size};
use crate::human::{between, one_line};
use crate::narration::waiting;
use crate::objects::ObjectDocument;

pub(super) const BACKUP: Columns = Columns {
    narrow: &["PLAN", "PHASE", "DURATION", "SNAPSHOT", "SIZE", "ADDED"],
    wide: &["ATTEMPTS", "WORKER", "CODE", "REASON"],
    cells: backup,
};

pub(super) const RESTORE: Columns = Columns {
    narrow: &["REPOSITORY", "SNAPSHOT", "TARGET", "PHASE", "DURATION", "SIZE"],
    wide: &["ATTEMPTS", "WORKER", "CODE", "REASON"],
    cells: restore,
};

const NOTE_LIMIT: usize = 100;

fn backup(style: &TableStyle, view: &ObjectDocument) -> Cells {
    let run: RunStatus = view.part("status");
    Cells {
        narrow: vec![
            view.text("/spec/invoker/name").to_owned(),
            style.glyphs.phase(view.phase()),
            duration(style, view),
            run.snapshot.clone().unwrap_or_default(),
            size(run.size_bytes),
            size(run.added_bytes),
        ],
        note: note(view, &run),
        wide: wide(run),
    }
}

fn restore(style: &TableStyle, view: &ObjectDocument) -> Cells {
    let run: RunStatus = view.part("status");
    Cells {
        narrow: vec![
            view.text("/spec/repository/name").to_owned(),
            run.snapshot.clone().unwrap_or_default(),
            view.text("/spec/target/ref/name").to_owned(),
            style.glyphs.phase(view.phase()),
            duration(style, view),
            size(run.size_bytes),
        ],
        note: note(view, &run),
        wide: wide(run),
    }
}

fn wide(run: RunStatus) -> Vec<String> {
    let attempts = if run.attempts > 0 { run.attempts.to_string() } else { String::new() };
    vec![attempts, run.worker.unwrap_or_default(), run.code.unwrap_or_default(), run.reason.unwrap_or_default()]
}

/// The duration of a session; for a running one the time since its start.
fn duration(style: &TableStyle, view: &ObjectDocument) -> String {
    match (view.phase(), view.time("/status/startTime"), view.time("/status/completionTime")) {
        (_, Some(start), Some(end)) => between(start, end),
        ("Running", Some(start), None) => between(start, style.now),
        _ => view.text("/status/sessionDuration").to_owned(),
    }
}

/// The failure of a session in one line, also while it is retried, or what it waits for.
fn note(view: &ObjectDocument, run: &RunStatus) -> String {
    if run.message.is_none() {
        return waiting(&view.conditions()).map(|waits| one_line(&waits.message, NOTE_LIMIT)).unwrap_or_default();
    }
    let (Some(message), false) = (&run.message, view.phase() == "Succeeded") else { return String::new() };
    let code = run.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    one_line(message, NOTE_LIMIT) + &code
}
